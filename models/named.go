package models

import (
	"slices"
	"strings"
)

// Named is a published model that has a short name here.
type Named struct {
	Short  string
	Repo   string // of Hugging Face
	File   string // in the repository
	Name   string // under which it is stored, if not that of File
	Kind   Kind
	SHA256 string // "" when not recorded here
}

// named lists them by short name.
var named = []Named{
	{Short: "deliberate-v6", Repo: "XpucT/Deliberate", File: "Deliberate_v6.safetensors", Kind: Checkpoint},
	{
		Short: "sd-v1-5", Repo: "stable-diffusion-v1-5/stable-diffusion-v1-5", File: "v1-5-pruned-emaonly.safetensors", Kind: Checkpoint,
		SHA256: "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
	},
	{Short: "taesd", Repo: "madebyollin/taesd", File: "diffusion_pytorch_model.safetensors", Name: "taesd.safetensors", Kind: Preview},
	{Short: "vae-ft-mse", Repo: "stabilityai/sd-vae-ft-mse-original", File: "vae-ft-mse-840000-ema-pruned.safetensors", Kind: VAE},
}

// FindNamed returns the model of a short name, in any case.
func FindNamed(short string) (Named, bool) {
	short = strings.ToLower(strings.TrimSpace(short))
	at := slices.IndexFunc(named, func(n Named) bool { return n.Short == short })
	if at < 0 {
		return Named{}, false
	}
	return named[at], true
}

// ShortNames lists the short names.
func ShortNames() []string {
	var list []string
	for _, n := range named {
		list = append(list, n.Short)
	}
	return list
}

// FileName is the name under which the model is stored.
func (n Named) FileName() string {
	if n.Name != "" {
		return n.Name
	}
	return n.File
}
