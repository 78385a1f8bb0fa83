package fetch

import (
	"context"
	"strconv"
	"strings"

	"sdworker/fault"
	"sdworker/models"
)

// maxReply bounds an answer of Civitai's API.
const maxReply = 4 << 20

// civitaiKinds maps the model types of Civitai's API.
var civitaiKinds = map[string]models.Kind{
	"Checkpoint": models.Checkpoint, "LORA": models.LoRA, "LoCon": models.LoRA, "DoRA": models.LoRA,
	"TextualInversion": models.Embedding, "VAE": models.VAE, "Controlnet": models.ControlNet, "Upscaler": models.Upscaler,
}

// civitai asks for the files of a model version and takes the primary one in
// safetensors format.
func (f *Fetcher) civitai(ctx context.Context, version string) (Source, error) {
	if _, err := strconv.ParseUint(version, 10, 63); err != nil {
		return Source{}, fault.Errorf(fault.Invalid, "fetch", "%q is not the number of a Civitai model version", version)
	}
	endpoint := f.endpoint(envCivitaiEndpoint, civitaiEndpoint)
	src := Source{URL: endpoint + "/api/v1/model-versions/" + version, token: f.env(envCivitaiToken)}
	var reply struct {
		Model struct{ Type string }
		Files []struct {
			Name        string
			DownloadURL string `json:"downloadUrl"`
			Primary     bool
			Metadata    struct{ Format string }
			Hashes      struct{ SHA256 string }
		}
	}
	if err := f.getJSON(ctx, src, &reply); err != nil {
		return Source{}, err
	}
	best := -1
	for i, file := range reply.Files {
		if file.DownloadURL == "" {
			continue
		}
		if best < 0 || rank(file.Metadata.Format, file.Primary) > rank(reply.Files[best].Metadata.Format, reply.Files[best].Primary) {
			best = i
		}
	}
	if best < 0 {
		return Source{}, fault.Errorf(fault.NotFound, "fetch", "Civitai lists no file for version %s", version)
	}
	file := reply.Files[best]
	u, err := parseURL(file.DownloadURL)
	if err != nil {
		return Source{}, err
	}
	src.URL, src.SHA256 = u.String(), strings.ToLower(file.Hashes.SHA256)
	if !sameHost(u, endpoint) {
		src.token = ""
	}
	src.Kind = civitaiKinds[reply.Model.Type]
	src.Name, err = fileName(file.Name)
	return src, err
}

// rank prefers safetensors, then the file that the author marked.
func rank(format string, primary bool) int {
	r := 0
	if strings.EqualFold(format, "SafeTensor") {
		r += 2
	}
	if primary {
		r++
	}
	return r
}
