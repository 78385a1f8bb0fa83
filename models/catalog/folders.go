package catalog

import (
	"os"
	"path/filepath"

	"sdworker/models"
)

// folderKinds says what the folders of A1111, ComfyUI and the RunPod volumes
// hold, by lower-case name.
var folderKinds = map[string]models.Kind{
	"stable-diffusion": models.Checkpoint,
	"checkpoints":      models.Checkpoint,
	"vae":              models.VAE,
	"lora":             models.LoRA,
	"loras":            models.LoRA,
	"lycoris":          models.LoRA,
	"embeddings":       models.Embedding,
	"controlnet":       models.ControlNet,
	"ipadapter":        models.IPAdapter,
	"clip_vision":      models.ImageEncoder,
	"depth_anything":   models.Depth,
	"esrgan":           models.Upscaler,
	"realesrgan":       models.Upscaler,
	"upscale_models":   models.Upscaler,
	"vae-approx":       models.Preview,
	"vae_approx":       models.Preview,
	"adetailer":        models.Detector,
	"ultralytics":      models.Detector,
}

// FolderFor is where a new file of a kind goes below a root.
func FolderFor(kind models.Kind) string {
	switch kind {
	case models.VAE:
		return "VAE"
	case models.LoRA:
		return "Lora"
	case models.Embedding:
		return "embeddings"
	case models.ControlNet:
		return "ControlNet"
	case models.IPAdapter:
		return "ipadapter"
	case models.ImageEncoder:
		return "clip_vision"
	case models.Depth:
		return "depth_anything"
	case models.Upscaler:
		return "ESRGAN"
	case models.Preview:
		return "VAE-approx"
	case models.Detector:
		return "adetailer"
	default:
		return "Stable-diffusion"
	}
}

// subRoots are the places below a root where model folders are looked for. A
// root is what a user points at: a models folder, an A1111 folder, a volume.
var subRoots = []string{"", "models", "stable-diffusion-webui", "stable-diffusion-webui/models"}

// Where A1111's ControlNet extension keeps its models, and what it fetches.
const (
	controlNetFolder = "extensions/sd-webui-controlnet/models"
	downloads        = "extensions/sd-webui-controlnet/annotator/downloads/"
)

// DefaultPlaces returns where models are looked for when nothing is configured:
// folders, then single files, both in order of precedence: Hugging Face caches,
// the RunPod volume, the user's data folder, what an image may have baked in.
func DefaultPlaces(getenv func(string) string) (roots, files []string) {
	add := func(elem ...string) {
		if elem[0] != "" {
			roots = append(roots, filepath.Join(elem...))
		}
	}
	add(getenv("HF_HUB_CACHE"))
	add(getenv("HF_HOME"), "hub")
	add("/runpod-volume/huggingface-cache/hub")
	add("/runpod-volume")
	add("/workspace")
	if data := getenv("XDG_DATA_HOME"); data != "" {
		add(data, "sdworker/models")
	} else {
		add(getenv("HOME"), ".local/share/sdworker/models")
	}
	add(getenv("HOME"), ".cache/huggingface/hub")
	add("/models")
	return roots, []string{"/model.safetensors"}
}

// exists tells whether there is something at path.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
