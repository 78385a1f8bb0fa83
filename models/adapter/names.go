package adapter

import (
	"strconv"
	"strings"
	"sync"

	"sdworker/sd1"
)

// modules maps the names of the network's modules, with underscores for dots, to
// the names in a checkpoint.
type modules struct {
	unet map[string]string // by the name in a checkpoint and by diffusers' name
	text map[string]string // without text_model
}

var known = sync.OnceValue(func() modules {
	m := modules{map[string]string{}, map[string]string{}}
	var unet, text sd1.Net
	unet.UNet("", sd1.UNetWidth, 4)
	text.CLIP("")
	for _, p := range unet {
		name := moduleOf(p.Name)
		m.unet[flat(name)] = sd1.UNetPrefix + name
		m.unet[flat(diffusersName(name))] = sd1.UNetPrefix + name
	}
	for _, p := range text {
		name := moduleOf(p.Name)
		m.text[flat(name)] = sd1.CLIPPrefix + name
	}
	return m
})

// moduleOf drops the last part of a parameter's name.
func moduleOf(name string) string { return name[:strings.LastIndexByte(name, '.')] }

func flat(name string) string { return strings.ReplaceAll(name, ".", "_") }

// Prefixes of modules by what they tell. The first group says nothing about the
// network: names of programs and wrappers.
var (
	wrapperPrefixes = []string{"base_model_model_", "lycoris_", "lora_", "oft_", "module_"}
	unetPrefixes    = []string{"unet_", "model_diffusion_model_", "diffusion_model_"}
	textPrefixes    = []string{
		"text_encoders_clip_l_", "text_encoder_", "cond_stage_model_", "clip_l_", "te1_", "te_", "transformer_text_model_", "text_model_",
	}
	otherPrefixes = []string{"te2_", "te3_", "text_encoder_2_", "text_encoder_3_", "text_encoders_", "clip_g_", "t5xxl_", "prior_", "transformer_"}
)

// findModule returns the checkpoint's name of a module of any spelling, and whether
// it belongs to a text encoder, which need not be one that the checkpoint has.
func findModule(name string) (module string, text, ok bool) {
	name = flat(name)
	anywhere, isText := true, false
loop:
	for {
		for _, p := range wrapperPrefixes {
			if rest, found := strings.CutPrefix(name, p); found {
				name = rest
				continue loop
			}
		}
		for _, p := range unetPrefixes {
			if rest, found := strings.CutPrefix(name, p); found {
				name, anywhere, isText = rest, false, false
				continue loop
			}
		}
		for _, p := range otherPrefixes[:4] { // longer than some of the text encoder's
			if strings.HasPrefix(name, p) {
				return "", true, false
			}
		}
		for _, p := range textPrefixes {
			if rest, found := strings.CutPrefix(name, p); found {
				name, anywhere, isText = rest, false, true
				continue loop
			}
		}
		for _, p := range otherPrefixes[4:] {
			if strings.HasPrefix(name, p) {
				return "", true, false
			}
		}
		break
	}
	if anywhere || !isText {
		if module, ok := known().unet[unetSpelling(name)]; ok {
			return module, false, true
		}
	}
	if anywhere || isText {
		if module, ok := known().text[textSpelling(name)]; ok {
			return module, true, true
		}
	}
	return "", false, false
}

// unetSpelling undoes what diffusers' attention processors did to names:
// attn1.processor.to_out_lora is attn1.to_out.0.
func unetSpelling(name string) string {
	name = strings.Replace(name, "_processor_", "_", 1)
	name = strings.TrimSuffix(name, "_lora")
	if strings.HasSuffix(name, "_to_out") {
		name += "_0"
	}
	return name
}

// textSpelling does the same for the text encoder, whose layers have other names.
func textSpelling(name string) string {
	name = strings.TrimSuffix(name, "_lora")
	for _, side := range []string{"q", "k", "v", "out"} {
		if rest, ok := strings.CutSuffix(name, "_self_attn_to_"+side); ok {
			return rest + "_self_attn_" + side + "_proj"
		}
	}
	return name
}

// layerNames are the layers of a residual block and outside the blocks, by their
// names in a checkpoint.
var layerNames = map[string]string{
	"in_layers.0": "norm1", "in_layers.2": "conv1", "out_layers.0": "norm2", "out_layers.3": "conv2",
	"emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
	"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
	"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
}

// diffusersName turns the checkpoint's name of a module of the UNet into that of
// the diffusers library.
func diffusersName(name string) string {
	if outside, ok := layerNames[name]; ok {
		return outside
	}
	parts := strings.SplitN(name, ".", 4)
	if parts[0] == "middle_block" {
		parts = strings.SplitN(name, ".", 3)
		rest := strings.Join(parts[2:], ".")
		if parts[1] == "1" {
			return "mid_block.attentions.0." + rest
		}
		return "mid_block.resnets." + map[string]string{"0": "0", "2": "1"}[parts[1]] + "." + layerNames[rest]
	}
	n, _ := strconv.Atoi(parts[1])
	side, sampler, at, rest := "up_blocks.", ".upsamplers.0.conv", parts[2], parts[3]
	if parts[0] == "input_blocks" {
		side, sampler, n = "down_blocks.", ".downsamplers.0.conv", n-1
	}
	block, layer := side+strconv.Itoa(n/3), strconv.Itoa(n%3)
	switch {
	case rest == "op", rest == "conv":
		return block + sampler
	case at == "0":
		return block + ".resnets." + layer + "." + layerNames[rest]
	default:
		return block + ".attentions." + layer + "." + rest
	}
}
