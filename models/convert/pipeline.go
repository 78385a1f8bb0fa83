package convert

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/models"
)

// components are the folders of a pipeline of diffusers that hold what a checkpoint
// does; their names begin those of the tensors in its single file.
var components = []struct {
	name     string
	required bool
}{{"unet", true}, {"vae", false}, {"text_encoder", true}}

// weightFile matches the names of files that diffusers and transformers write, with the
// variant and the number of a shard before or after each other.
var weightFile = regexp.MustCompile(`^(?:diffusion_pytorch_model|pytorch_model|model)(?:\.([a-z]\w*))?(?:-(\d+)-of-(\d+))?(?:\.([a-z]\w*))?\.(safetensors|bin)$`)

// variants are taken in this order. Others, such as non_ema, are for training.
var variants = []string{"", "fp16", "bf16"}

// weightFiles returns the files of a component's folder: the whole weights before a
// variant of half precision, safetensors before pickles.
func weightFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil //nolint:nilerr // a part that is missing is told by what it lacks
	}
	type set struct {
		files []string
		of    int
	}
	sets := map[[2]string]*set{}
	for _, e := range entries {
		m := weightFile.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		key := [2]string{m[5], m[1] + m[4]}
		if sets[key] == nil {
			sets[key] = &set{of: 1}
		}
		sets[key].files = append(sets[key].files, filepath.Join(dir, e.Name()))
		if of, err := strconv.Atoi(m[3]); err == nil {
			sets[key].of = of
		}
	}
	missing := 0
	for _, ext := range []string{"safetensors", "bin"} {
		for _, variant := range variants {
			s := sets[[2]string{ext, variant}]
			switch {
			case s == nil:
			case len(s.files) < s.of:
				missing = s.of - len(s.files)
			default:
				return s.files, nil
			}
		}
	}
	if missing > 0 {
		return nil, fault.Errorf(fault.Invalid, "convert", "%s lacks %d files of its weights", dir, missing)
	}
	return nil, nil
}

// openPipeline opens the weights in a folder of diffusers, named as in one file, and
// notes what its scheduler says of the training.
func openPipeline(dir string) (parts, error) {
	all := parts{path: dir, folder: true, kind: models.Checkpoint, metadata: map[string]string{}}
	for _, c := range components {
		files, err := weightFiles(filepath.Join(dir, c.name))
		if err == nil && len(files) == 0 && c.required {
			err = fault.Errorf(fault.Invalid, "convert", "%s has no weights in %s", dir, c.name)
		}
		for _, path := range files {
			if err == nil {
				err = all.add(path, c.name+".")
			}
		}
		if err != nil {
			all.close()
			return parts{}, err
		}
	}
	var scheduler struct {
		Prediction string `json:"prediction_type"`
		ZeroSNR    bool   `json:"rescale_betas_zero_snr"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "scheduler", "scheduler_config.json"))
	if err == nil {
		err = json.Unmarshal(raw, &scheduler)
	}
	if err != nil && !os.IsNotExist(err) {
		all.close()
		return parts{}, &fault.Error{Code: fault.Invalid, Op: "convert", Msg: fmt.Sprintf("the scheduler of %s cannot be read", dir), Err: err}
	}
	if strings.HasPrefix(scheduler.Prediction, "v") {
		all.metadata["modelspec.prediction_type"] = "v"
	}
	if scheduler.ZeroSNR {
		all.markers = append(all.markers, "ztsnr")
	}
	return all, nil
}

// fits decides whether what a pipeline becomes is a checkpoint that runs here.
func (p parts) fits(items []item) error {
	list := make([]formats.Tensor, len(items))
	for i, it := range items {
		list[i] = it.old
		list[i].Name, list[i].DType = it.name, string(it.to)
	}
	info := models.Describe(formats.Contents{Tensors: list, Metadata: p.metadata})
	info.Path = p.path
	return info.Fits(models.Checkpoint, models.CheckOptions{})
}

// marks are items without values, by which programs know how a model was trained.
func (p parts) marks() []item {
	var list []item
	for _, name := range p.markers {
		list = append(list, item{old: formats.Tensor{Name: name, DType: "F16", Shape: []int64{0}}, name: name, to: "F16"})
	}
	return list
}
