package sdapi

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference/sampler"
	"sdworker/models"
	"sdworker/sd1"
)

// listSamplers is GET /sdapi/v1/samplers: those of v1.9.3.
func listSamplers(*http.Request) (any, error) {
	list := []any{}
	for _, info := range sampler.All() {
		if info.Later {
			continue
		}
		given, shown := info.Options(), pyjson.NewObject()
		for _, key := range []string{"scheduler", "discard_next_to_last_sigma", "uses_ensd", "second_order", "brownian_noise", "solver_type"} {
			if value, ok := given[key]; ok {
				shown.Set(key, value)
			}
		}
		list = append(list, pyjson.NewObject("name", info.Name, "aliases", info.Aliases, "options", shown))
	}
	return list, nil
}

// listSchedulers is GET /sdapi/v1/schedulers: those of v1.9.3.
func listSchedulers(*http.Request) (any, error) {
	list := []any{}
	for _, s := range sampler.Schedulers() {
		if s.Later {
			continue
		}
		var aliases any
		if len(s.Aliases) > 0 {
			aliases = s.Aliases
		}
		list = append(list, pyjson.NewObject("name", s.Name, "label", s.Label, "aliases", aliases,
			"default_rho", s.DefaultRho, "need_inner_model", s.NeedsModel))
	}
	return list, nil
}

func listLatentModes(*http.Request) (any, error) {
	list := []any{}
	for _, name := range generation.LatentModes {
		list = append(list, pyjson.NewObject("name", name))
	}
	return list, nil
}

// listModels is GET /sdapi/v1/sd-models.
func (s *Server) listModels(*http.Request) (any, error) {
	list := []any{}
	for _, c := range s.Checkpoints() {
		list = append(list, pyjson.NewObject("title", c.Title(), "model_name", c.ModelName(), "hash", orNull(c.ShortHash()),
			"sha256", orNull(c.SHA256), "filename", c.Path, "config", orNull(models.ConfigBeside(c.Path))))
	}
	return list, nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *Server) listVAEs(*http.Request) (any, error) {
	list := []any{}
	for _, v := range s.VAEs() {
		list = append(list, pyjson.NewObject("model_name", v.FileName(), "filename", v.Path))
	}
	return list, nil
}

// faceRestorers are listed by A1111 whether or not their models are there.
var faceRestorers = []any{
	pyjson.NewObject("name", "CodeFormer", "cmd_dir", nil),
	pyjson.NewObject("name", "GFPGAN", "cmd_dir", nil),
}

// listEmbeddings is GET /sdapi/v1/embeddings. Those of another model family are
// in "skipped".
func (s *Server) listEmbeddings(*http.Request) (any, error) {
	loaded, skipped := pyjson.NewObject(), pyjson.NewObject()
	for _, f := range s.Embeddings() {
		e, into := f.Content, loaded
		if e.Shape != sd1.TextWidth {
			into = skipped
		}
		into.Set(e.Name, pyjson.NewObject("step", orAbsent(e.Step), "sd_checkpoint", orAbsent(e.Checkpoint),
			"sd_checkpoint_name", orAbsent(e.CheckpointName), "shape", e.Shape, "vectors", e.Vectors))
	}
	return pyjson.NewObject("loaded", loaded, "skipped", skipped), nil
}

// orAbsent is null for nothing.
func orAbsent[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func (s *Server) listLoRAs(*http.Request) (any, error) {
	list := []any{}
	for _, l := range s.cfg.Catalog.LoRAs() {
		if s.cfg.Catalog.Problem(l.File) != nil {
			continue
		}
		list = append(list, pyjson.NewObject("name", l.Stem(), "alias", l.Alias, "path", l.Path, "metadata", l.Metadata))
	}
	return list, nil
}

// refresh looks at the model folders again.
func (s *Server) refresh(*http.Request) (any, error) {
	return nil, s.cfg.Catalog.Refresh()
}

// noTraining answers the routes that create and train models in the way in which
// A1111 reports a failure.
func (s *Server) noTraining(what string) fastapi.Handler {
	return s.value(func(r *http.Request) (any, error) {
		if _, err := fastapi.ReadObject(r); err != nil {
			return nil, err
		}
		return pyjson.NewObject("info", what+" error: this server does not train models"), nil
	})
}

// memory handles GET /sdapi/v1/memory, in bytes. torch's allocator statistics
// do not exist here; the device's figures fill them.
func (s *Server) memory(*http.Request) (any, error) {
	status := s.cfg.Queue.Generator().Status()
	return pyjson.NewObject("ram", ramUse(status.Memory.HostUsed), "cuda", deviceUse(status.Engine.GPU, status.Memory.DeviceFree, status.Memory.DeviceTotal)), nil
}

func ramUse(used int64) *pyjson.Object {
	total, err := procKB("/proc/meminfo", "MemTotal:")
	if err == nil && used == 0 {
		used, err = procKB("/proc/self/status", "VmRSS:")
	}
	if err != nil {
		return pyjson.NewObject("error", "memory use is known on Linux only")
	}
	return pyjson.NewObject("free", total-used, "used", used, "total", total)
}

func deviceUse(gpu bool, free, total int64) *pyjson.Object {
	if !gpu || total == 0 {
		return pyjson.NewObject("error", "unavailable")
	}
	used := total - free
	both := func() *pyjson.Object { return pyjson.NewObject("current", used, "peak", used) }
	return pyjson.NewObject(
		"system", pyjson.NewObject("free", free, "used", used, "total", total),
		"active", both(), "allocated", both(), "reserved", both(),
		"inactive", pyjson.NewObject("current", int64(0), "peak", int64(0)),
		"events", pyjson.NewObject("retries", int64(0), "oom", int64(0)),
	)
}

// procKB reads a line such as "VmRSS:   1234 kB" and returns it in bytes.
func procKB(path, key string) (int64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), key); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, os.ErrNotExist
}

//go:embed cmdflags.json
var cmdFlagsJSON []byte

// dataDir stands in cmdflags.json for the folder that A1111 is installed in.
const dataDir = "<data dir>"

// cmdFlags is GET /sdapi/v1/cmd-flags: A1111's flags with the values that this
// server has. Secrets are never shown, unlike in the original.
func (s *Server) cmdFlags() *pyjson.Object {
	v, err := pyjson.Decode(cmdFlagsJSON)
	if err != nil {
		panic(fmt.Sprintf("sdapi: cmdflags.json: %v", err))
	}
	flags := v.(*pyjson.Object)
	here := s.cfg.OutputDir
	if here == "" {
		here, _ = os.Getwd()
	}
	for name, value := range flags.Clone().All() {
		switch value := value.(type) {
		case string:
			flags.Set(name, strings.Replace(value, dataDir, here, 1))
		case []any:
			for i := range value {
				if text, ok := value[i].(string); ok {
					value[i] = strings.Replace(text, dataDir, here, 1)
				}
			}
		}
	}
	flags.Set("api_server_stop", s.cfg.ServerStop != nil)
	if origins := s.cfg.Origins; len(origins.List) > 0 {
		flags.Set("cors_allow_origins", strings.Join(origins.List, ","))
	}
	if pattern := s.cfg.Origins.Pattern; pattern != nil {
		flags.Set("cors_allow_origins_regex", pattern.String())
	}
	return flags
}

// listHypernetworks handles GET /sdapi/v1/hypernetworks.
func (s *Server) listHypernetworks(*http.Request) (any, error) {
	out := []any{}
	for _, h := range s.cfg.Catalog.Hypernetworks() {
		out = append(out, pyjson.NewObject("name", h.Name, "path", h.Path))
	}
	return out, nil
}

// listStyles is GET /sdapi/v1/prompt-styles, with a heading for each file when
// there are several.
func (s *Server) listStyles() []any {
	list := []any{}
	files := s.StyleFiles()
	for _, f := range files {
		if len(files) > 1 {
			stem := strings.TrimSuffix(filepath.Base(f.Path), filepath.Ext(f.Path))
			list = append(list, pyjson.NewObject("name", centred(" "+strings.ToUpper(stem)+" ", 40), "prompt", nil, "negative_prompt", nil))
		}
		for _, style := range f.Styles {
			list = append(list, pyjson.NewObject("name", style.Name, "prompt", style.Prompt, "negative_prompt", style.NegativePrompt))
		}
	}
	return list
}

// centred fills a text with dashes to n characters on both sides.
func centred(text string, n int) string {
	gap := max(0, n-len(text))
	return strings.Repeat("-", gap/2) + text + strings.Repeat("-", gap-gap/2)
}

// upscalerScale is what A1111 shows for upscalers of any factor.
const upscalerScale = 4.0

// listUpscalers is GET /sdapi/v1/upscalers.
func (s *Server) listUpscalers(*http.Request) (any, error) {
	list := []any{}
	for _, name := range generation.BuiltinUpscalers {
		list = append(list, pyjson.NewObject("name", name, "model_name", nil, "model_path", nil, "model_url", nil, "scale", upscalerScale))
	}
	for _, u := range s.Upscalers() {
		list = append(list, pyjson.NewObject("name", u.Name, "model_name", orNull(u.Stem), "model_path", u.Model.Path, "model_url", nil, "scale", upscalerScale))
	}
	return list, nil
}

// listRealESRGAN is GET /sdapi/v1/realesrgan-models: those upscalers that are of
// this kind by their name.
func (s *Server) listRealESRGAN(*http.Request) (any, error) {
	list := []any{}
	for _, u := range s.Upscalers() {
		name := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(u.Name))
		if strings.Contains(name, "realesrgan") || strings.HasPrefix(name, "resrgan") {
			list = append(list, pyjson.NewObject("name", u.Name, "path", u.Model.Path, "scale", int64(upscalerScale)))
		}
	}
	return list, nil
}

// listScripts is GET /sdapi/v1/scripts.
func (s *Server) listScripts() *pyjson.Object {
	names := func(t *generation.Tab) []string {
		list := []string{}
		for _, one := range s.Scripts() {
			if slices.Contains(one.Tabs, t) {
				list = append(list, one.Name)
			}
		}
		return list
	}
	return pyjson.NewObject("txt2img", names(generation.Txt2Img), "img2img", names(generation.Img2Img))
}

// scriptInfo is GET /sdapi/v1/script-info.
func (s *Server) scriptInfo() []any {
	list := []any{}
	for _, t := range generation.BothTabs {
		for _, one := range s.Scripts() {
			if !slices.Contains(one.Tabs, t) {
				continue
			}
			args := []any{}
			for _, a := range one.Args {
				var choices any
				if a.Choices != nil {
					choices = a.Choices
				}
				args = append(args, pyjson.NewObject("label", a.Label, "value", a.Value,
					"minimum", a.Minimum, "maximum", a.Max, "step", a.Step, "choices", choices))
			}
			list = append(list, pyjson.NewObject("name", one.Name, "is_alwayson", one.AlwaysOn, "is_img2img", t == generation.Img2Img, "args", args))
		}
	}
	return list
}
