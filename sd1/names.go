package sd1

import (
	"strconv"
	"strings"
)

// Prefixes that files put before the names of a network, and what stands for each
// in an original checkpoint. A longer one comes before its own beginning.
var (
	unetPrefixes = []string{UNetPrefix, "diffusion_model.", "unet."}
	vaePrefixes  = []string{VAEPrefix, "vae."}
	// The text encoder of 2022 and that of transformers 5 have no level text_model.
	clipPrefixes = []string{
		CLIPPrefix, "cond_stage_model.transformer.",
		"conditioner.embedders.0.transformer.text_model.", // the layout of SDXL's code
		"text_encoder.text_model.", "text_encoder.", "te.text_model.", "te.",
	}
	// Programs that save a wrapped module write these before every name.
	wrapperPrefixes = []string{"module.", "_orig_mod."}
)

// CheckpointName returns the name that an original checkpoint has for a tensor of
// any of the spellings in use: that of 2022, of diffusers in one file, of a
// wrapped module. Other names come back as they are.
func CheckpointName(name string) string {
	name, _ = cutPrefix(name, wrapperPrefixes)
	if rest, ok := cutPrefix(name, unetPrefixes); ok {
		return UNetPrefix + unetName(rest)
	}
	if rest, ok := cutPrefix(name, vaePrefixes); ok {
		return VAEPrefix + vaeName(rest)
	}
	if rest, ok := cutPrefix(name, clipPrefixes); ok {
		return CLIPPrefix + rest
	}
	return name
}

// VAEName returns the name that an original VAE file has for a tensor of one,
// which may be part of a checkpoint or come from diffusers.
func VAEName(name string) string {
	name, _ = cutPrefix(name, wrapperPrefixes)
	name, _ = cutPrefix(name, vaePrefixes)
	return vaeName(name)
}

// ControlNetName returns the name that an original ControlNet file has for a
// tensor of one, which may be part of a whole checkpoint or come from diffusers.
func ControlNetName(name string) string {
	name, _ = cutPrefix(name, wrapperPrefixes)
	name, _ = cutPrefix(name, []string{"control_model."})
	for _, r := range []struct{ from, to string }{
		{"controlnet_cond_embedding.conv_in.", "input_hint_block.0."},
		{"controlnet_cond_embedding.conv_out.", "input_hint_block.14."},
		{"controlnet_mid_block.", "middle_block_out.0."},
	} {
		if rest, ok := strings.CutPrefix(name, r.from); ok {
			return r.to + rest
		}
	}
	if i, rest, ok := numbered(name, "controlnet_down_blocks."); ok {
		return at("zero_convs", i, 0) + "." + rest
	}
	if i, rest, ok := numbered(name, "controlnet_cond_embedding.blocks."); ok {
		return at("input_hint_block", 2*i+2) + "." + rest
	}
	return unetName(name)
}

// unetRenamed are the layers outside the blocks, by diffusers' names.
var unetRenamed = map[string]string{
	"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
	"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
}

// unetName turns diffusers' name of a tensor of the UNet into the original one.
func unetName(name string) string {
	if layer, leaf, ok := cutLast(name); ok && unetRenamed[layer] != "" {
		return unetRenamed[layer] + "." + leaf
	}
	block := func(to string, rest string) string { return to + "." + resName(rest, unetResNames) }
	if i, rest, ok := numbered(name, "down_blocks."); ok {
		if j, rest, ok := numbered(rest, "resnets."); ok {
			return block(at("input_blocks", 3*i+j+1, 0), rest)
		}
		if j, rest, ok := numbered(rest, "attentions."); ok {
			return at("input_blocks", 3*i+j+1, 1) + "." + rest
		}
		if rest, ok := strings.CutPrefix(rest, "downsamplers.0.conv."); ok {
			return at("input_blocks", 3*i+3, 0) + ".op." + rest
		}
	}
	if i, rest, ok := numbered(name, "up_blocks."); ok {
		if j, rest, ok := numbered(rest, "resnets."); ok {
			return block(at("output_blocks", 3*i+j, 0), rest)
		}
		if j, rest, ok := numbered(rest, "attentions."); ok {
			return at("output_blocks", 3*i+j, 1) + "." + rest
		}
		if rest, ok := strings.CutPrefix(rest, "upsamplers.0."); ok {
			behind := 2 // a residual block and a transformer, which the lowest level lacks
			if i == 0 {
				behind = 1
			}
			return at("output_blocks", 3*i+2, behind) + "." + rest
		}
	}
	if j, rest, ok := numbered(name, "mid_block.resnets."); ok {
		return block(at("middle_block", 2*j), rest)
	}
	if rest, ok := strings.CutPrefix(name, "mid_block.attentions.0."); ok {
		return "middle_block.1." + rest
	}
	return name
}

// Layers of a residual block, by diffusers' names.
var (
	unetResNames = map[string]string{
		"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
		"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
	}
	vaeResNames = map[string]string{"conv_shortcut": "nin_shortcut"}
)

func resName(name string, names map[string]string) string {
	layer, leaf, ok := cutLast(name)
	if to := names[layer]; ok && to != "" {
		return to + "." + leaf
	}
	return name
}

// vaeAttention are the layers of the VAE's attention by all the names that
// diffusers has given them.
var vaeAttention = map[string]string{
	"group_norm": "norm",
	"to_q":       "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
	"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
}

// vaeName turns diffusers' name of a tensor of the VAE into the original one.
func vaeName(name string) string {
	for _, side := range []string{"encoder.", "decoder."} {
		rest, ok := strings.CutPrefix(name, side)
		if !ok {
			continue
		}
		if rest, ok := cutPrefix(rest, []string{"quant_conv.", "post_quant_conv."}); ok {
			return name[len(side):len(name)-len(rest)] + rest // as a few converters file it
		}
		if j, rest, ok := numbered(rest, "mid_block.resnets."); ok {
			return side + "mid.block_" + strconv.Itoa(j+1) + "." + resName(rest, vaeResNames)
		}
		if rest, ok := cutPrefix(rest, []string{"mid_block.attentions.0.", "mid.attn_1."}); ok {
			return side + "mid.attn_1." + resName(rest, vaeAttention)
		}
		if rest, ok := strings.CutPrefix(rest, "conv_norm_out."); ok {
			return side + "norm_out." + rest
		}
		for _, level := range []struct {
			from, to, samplers string
			reversed           bool
		}{{"down_blocks.", "down", "downsample", false}, {"up_blocks.", "up", "upsample", true}} {
			i, rest, ok := numbered(rest, level.from)
			if !ok {
				continue
			}
			if level.reversed {
				i = levels - 1 - i
			}
			if j, rest, ok := numbered(rest, "resnets."); ok {
				return side + at(level.to, i) + at(".block", j) + "." + resName(rest, vaeResNames)
			}
			if rest, ok := strings.CutPrefix(rest, level.samplers+"rs.0."); ok {
				return side + at(level.to, i) + "." + level.samplers + "." + rest
			}
		}
	}
	return name
}

// UpscalerName returns the name that ESRGAN's second code has for a tensor; files
// of the first code number their layers, with those of activations between.
func UpscalerName(name string) string {
	name, _ = cutPrefix(name, wrapperPrefixes)
	i, rest, ok := numbered(name, "model.")
	if !ok {
		return name
	}
	if i != 1 {
		return "model." + strconv.Itoa(i) + "." + rest // which layer it is depends on the factor
	}
	j, rest, ok := numbered(rest, "sub.")
	if !ok {
		return name
	}
	if dense, layer, ok := cutDense(rest); ok {
		return at("body", j) + "." + dense + "." + layer
	}
	return "conv_body." + rest // the last one, behind the blocks
}

// cutDense reads "RDB1.conv1.0.weight".
func cutDense(name string) (dense, layer string, ok bool) {
	i, rest, ok := numbered(name, "RDB")
	if !ok {
		return "", "", false
	}
	if strings.HasPrefix(rest, "conv1x1.") { // of ESRGAN+, without an activation behind it
		return "rdb" + strconv.Itoa(i), rest, true
	}
	conv, leaf, ok := strings.Cut(rest, ".0.")
	return "rdb" + strconv.Itoa(i), conv + "." + leaf, ok
}

// UpscalerTail names the numbered layers behind the blocks of a file of ESRGAN's
// first code, by the highest number in it; nil for a factor that was not published.
func UpscalerTail(last int) map[int]string {
	switch last {
	case 4: // x1
		return map[int]string{0: "conv_first", 2: "conv_hr", 4: "conv_last"}
	case 7: // x2
		return map[int]string{0: "conv_first", 3: "conv_up1", 5: "conv_hr", 7: "conv_last"}
	case 10: // x4
		return map[int]string{0: "conv_first", 3: "conv_up1", 6: "conv_up2", 8: "conv_hr", 10: "conv_last"}
	}
	return nil
}

// PreviewName returns the name that diffusers' TAESD has for a tensor of the
// decoder; the first files number its layers from one, alone or under "decoder.".
func PreviewName(name string) string {
	name, _ = cutPrefix(name, vaePrefixes)
	if strings.HasPrefix(name, "decoder.layers.") || strings.HasPrefix(name, "encoder.") {
		return name
	}
	rest := strings.TrimPrefix(name, "decoder.")
	if i, rest, ok := numbered(rest, ""); ok && i > 0 {
		return at("decoder.layers", i-1) + "." + rest
	}
	return name
}

// numbered reads "prefix", a number, "." and a rest.
func numbered(name, prefix string) (i int, rest string, ok bool) {
	name, ok = strings.CutPrefix(name, prefix)
	if !ok {
		return 0, "", false
	}
	number, rest, ok := strings.Cut(name, ".")
	if !ok || len(number) == 0 || len(number) > 3 || strings.Trim(number, "0123456789") != "" {
		return 0, "", false
	}
	i, _ = strconv.Atoi(number)
	return i, rest, true
}

// cutLast splits off what follows the last dot.
func cutLast(name string) (layer, leaf string, ok bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return "", "", false
	}
	return name[:dot], name[dot+1:], true
}

func cutPrefix(name string, prefixes []string) (rest string, ok bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return rest, true
		}
	}
	return name, false
}
