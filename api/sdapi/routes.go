package sdapi

import (
	"net/http"
	"slices"

	"sdworker/api/gate"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	api  = "/sdapi/v1/"
)

// table lists all routes of the server.
func (s *Server) table() []route {
	list := slices.Concat(s.jobRoutes(), s.listRoutes(), s.modelRoutes(), s.controlRoutes(), s.detailRoutes(), s.pageRoutes())
	if s.cfg.ServerStop != nil {
		list = append(list,
			route{method: post, path: api + "server-kill", handle: s.kill, summary: "End the process at once"},
			route{method: post, path: api + "server-restart", handle: s.restart, summary: "Not possible here"},
			route{method: post, path: api + "server-stop", handle: s.stop, summary: "Stop the server"},
		)
	}
	return list
}

// jobRoutes make and follow pictures.
func (s *Server) jobRoutes() []route {
	return []route{
		{method: post, path: api + "txt2img", handle: s.Generate(generation.Txt2Img), body: generation.Txt2Img.Model, summary: "Make pictures from a text"},
		{method: post, path: api + "img2img", handle: s.Generate(generation.Img2Img), body: generation.Img2Img.Model, summary: "Make pictures from pictures"},
		{method: post, path: api + "extra-single-image", handle: s.extrasSingle, body: &schema.ExtrasSingle, summary: "Enlarge one picture"},
		{method: post, path: api + "extra-batch-images", handle: s.extrasBatch, body: &schema.ExtrasBatch, summary: "Enlarge several pictures"},
		{method: post, path: api + "png-info", handle: s.value(s.PNGInfo), body: &schema.PNGInfo, summary: "Read the generation parameters of a picture"},
		{
			method: get, path: api + "progress", handle: s.value(s.progress), summary: "The running job",
			query: []schema.Field{{Name: "skip_current_image", Kind: schema.Boolean, Default: false}},
		},
		{method: post, path: api + "interrogate", handle: s.value(s.Interrogate), body: &schema.Interrogate, summary: "Describe a picture"},
		{method: post, path: api + "interrupt", handle: s.value(s.interrupt), summary: "End the running job with what there is"},
		{method: post, path: api + "skip", handle: s.value(s.skip), summary: "End the running batch"},
	}
}

func (s *Server) interrupt(*http.Request) (any, error) {
	s.cfg.Queue.Interrupt()
	return empty, nil
}

func (s *Server) skip(*http.Request) (any, error) {
	s.cfg.Queue.Skip()
	return nil, nil
}

// listRoutes tell what there is.
func (s *Server) listRoutes() []route {
	return []route{
		{method: get, path: api + "options", handle: s.value(s.getOptions), summary: "All options"},
		{method: post, path: api + "options", handle: s.value(s.setOptions), body: options.Table, summary: "Set options"},
		{method: get, path: api + "cmd-flags", handle: s.value(func(*http.Request) (any, error) { return s.cmdFlags(), nil }), summary: "Command line flags"},
		{method: get, path: api + "samplers", handle: s.value(listSamplers), summary: "Samplers"},
		{method: get, path: api + "schedulers", handle: s.value(listSchedulers), summary: "Schedulers"},
		{method: get, path: api + "upscalers", handle: s.value(s.listUpscalers), summary: "Upscalers"},
		{method: get, path: api + "latent-upscale-modes", handle: s.value(listLatentModes), summary: "Upscalers of latents"},
		{method: get, path: api + "sd-models", handle: s.value(s.listModels), summary: "Checkpoints"},
		{method: get, path: api + "sd-vae", handle: s.value(s.listVAEs), summary: "VAE files"},
		{method: get, path: api + "hypernetworks", handle: s.value(s.listHypernetworks), summary: "Hypernetworks"},
		{method: get, path: api + "face-restorers", handle: s.answer(faceRestorers), summary: "Face restoration models, by name"},
		{method: get, path: api + "realesrgan-models", handle: s.value(s.listRealESRGAN), summary: "Real-ESRGAN upscalers"},
		{method: get, path: api + "prompt-styles", handle: s.value(func(*http.Request) (any, error) { return s.listStyles(), nil }), summary: "Prompt styles"},
		{method: get, path: api + "embeddings", handle: s.value(s.listEmbeddings), summary: "Textual inversions"},
		{method: get, path: api + "memory", handle: s.value(s.memory), summary: "Memory in use, in bytes"},
		{method: get, path: api + "scripts", handle: s.answer(s.listScripts()), summary: "Scripts"},
		{method: get, path: api + "script-info", handle: s.answer(s.scriptInfo()), summary: "Scripts with their arguments"},
		{method: get, path: api + "extensions", handle: s.answer([]any{}), summary: "Extensions; there are none"},
		{method: get, path: api + "loras", handle: s.value(s.listLoRAs), access: gate.Guests, summary: "LoRA files"},
	}
}

// modelRoutes change what is loaded.
func (s *Server) modelRoutes() []route {
	return []route{
		{method: post, path: api + "refresh-embeddings", handle: s.value(s.refresh), summary: "Look for textual inversions again"},
		{method: post, path: api + "refresh-checkpoints", handle: s.value(s.refresh), summary: "Look for checkpoints again"},
		{method: post, path: api + "refresh-vae", handle: s.value(s.refresh), summary: "Look for VAE files again"},
		{method: post, path: api + "refresh-loras", handle: s.value(s.refresh), access: gate.Guests, summary: "Look for LoRA files again"},
		{method: post, path: api + "unload-checkpoint", handle: s.value(s.unload), summary: "Free the memory of the model"},
		{method: post, path: api + "reload-checkpoint", handle: s.value(s.reload), summary: "Load the model of the options"},
		{method: post, path: api + "create/embedding", handle: s.noTraining("create embedding"), body: anyObject, summary: "Not possible here"},
		{method: post, path: api + "create/hypernetwork", handle: s.noTraining("create hypernetwork"), body: anyObject, summary: "Not possible here"},
		{method: post, path: api + "train/embedding", handle: s.noTraining("train embedding"), body: anyObject, summary: "Not possible here"},
		{method: post, path: api + "train/hypernetwork", handle: s.noTraining("train hypernetwork"), body: anyObject, summary: "Not possible here"},
	}
}

// anyObject is a body that may hold anything.
var anyObject = &schema.Model{Name: "Args"}

// controlRoutes are those of the ControlNet extension, which A1111's API
// authentication does not cover.
func (s *Server) controlRoutes() []route {
	settings := pyjson.NewObject("control_net_unit_count", generation.ControlUnits)
	return []route{
		{method: get, path: "/controlnet/version", handle: s.answer(pyjson.NewObject("version", controlNetVersion)), access: gate.Guests, summary: "Version of the ControlNet API"},
		{
			method: get, path: "/controlnet/model_list", handle: s.value(s.listControlModels), access: gate.Guests, summary: "ControlNet models",
			query: []schema.Field{{Name: "update", Kind: schema.Boolean, Default: true}},
		},
		{
			method: get, path: "/controlnet/module_list", handle: s.value(listControlModules), access: gate.Guests, summary: "Preprocessors",
			query: []schema.Field{{Name: "alias_names", Kind: schema.Boolean, Default: false}},
		},
		{method: get, path: "/controlnet/control_types", handle: s.value(s.listControlTypes), access: gate.Guests, summary: "Preprocessors and models by kind"},
		{method: get, path: "/controlnet/settings", handle: s.answer(settings), access: gate.Guests, summary: "Number of units"},
		{method: post, path: "/controlnet/detect", handle: s.detect, access: gate.Guests, body: detectRequest, summary: "Run a preprocessor"},
	}
}

// pageRoutes are those of A1111's page and of gradio below it, and the health
// checks.
func (s *Server) pageRoutes() []route {
	login := s.answer(nil)
	id := s.answer(pyjson.NewObject("app_id", s.appID))
	list := []route{
		{method: get, path: "/internal/ping", handle: s.answer(empty)},
		{method: post, path: "/internal/progress", handle: s.value(s.internalProgress), body: taskProgress, summary: "Progress of one task"},
		{method: get, path: "/internal/pending-tasks", handle: s.value(s.pendingTasks)},
		{method: get, path: "/internal/quicksettings-hint", handle: s.value(quickSettings)},
		{method: get, path: "/internal/profile-startup", handle: s.answer(empty)},
		{method: get, path: "/internal/sysinfo", handle: s.sysinfo(false)},
		{method: get, path: "/internal/sysinfo-download", handle: s.sysinfo(true)},
		{method: get, path: "/app_id", handle: id},
		{method: get, path: "/app_id/", handle: id},
		{method: get, path: "/config", handle: s.answer(gradioConfig)},
		{method: get, path: "/info", handle: s.answer(gradioInfo)},
		{method: get, path: "/queue/status", handle: s.value(s.queueStatus)},
		{method: get, path: "/login_check", handle: login},
		{method: get, path: "/login_check/", handle: login},
		{method: get, path: "/user", handle: s.answer(nil)},
		{method: get, path: "/token", handle: s.answer(pyjson.NewObject("token", nil))},
		{method: get, path: "/startup-events", handle: s.answer(true)},
		{method: get, path: "/theme.css", handle: text("text/css; charset=utf-8", "")},
		{method: get, path: "/robots.txt", handle: text("text/plain; charset=utf-8", "User-agent: *\nDisallow: /")},
		{method: get, path: "/openapi.json", handle: s.openAPI},
		{method: get, path: "/docs", handle: text("text/html; charset=utf-8", docsPage)},
		{method: get, path: "/redoc", handle: text("text/html; charset=utf-8", docsPage)},
	}
	for i := range list {
		list[i].access = gate.Guests
		list[i].hidden = list[i].summary == ""
	}
	return append(list,
		route{method: get, path: "/healthz", handle: s.value(s.health), access: gate.Anyone, summary: "The server answers"},
		route{method: get, path: "/readyz", handle: s.ready, access: gate.Anyone, also: "503", summary: "A model is loaded"},
	)
}

// detailRoutes are those of the ADetailer extension.
func (s *Server) detailRoutes() []route {
	return []route{
		{method: get, path: "/adetailer/v1/version", handle: s.answer(pyjson.NewObject("version", generation.ADetailerVersion)), access: gate.Guests, summary: "Version of the ADetailer API"},
		{method: get, path: "/adetailer/v1/schema", handle: s.answer(generation.DetailSchema()), access: gate.Guests, summary: "Fields of a unit of ADetailer"},
		{method: get, path: "/adetailer/v1/ad_model", handle: s.value(s.ListDetectors), access: gate.Guests, summary: "Models of ADetailer"},
	}
}
