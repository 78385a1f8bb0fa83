package modelstest

import (
	"fmt"
	"strings"
)

// The names of diffusers, written from its documentation of the conversion
// (convert_diffusers_to_original_stable_diffusion.py), as tables of what becomes
// what: the program reads them by rules.

var diffusersUNet, diffusersVAE = tables()

func tables() (unet, vae [][2]string) {
	add := func(to *[][2]string, diffusers, original string) { *to = append(*to, [2]string{original, diffusers}) }
	for i := range 4 {
		for j := range 2 {
			add(&unet, fmt.Sprintf("down_blocks.%d.resnets.%d.", i, j), fmt.Sprintf("input_blocks.%d.0.", 3*i+j+1))
			if i < 3 {
				add(&unet, fmt.Sprintf("down_blocks.%d.attentions.%d.", i, j), fmt.Sprintf("input_blocks.%d.1.", 3*i+j+1))
			}
		}
		for j := range 3 {
			if i > 0 {
				add(&unet, fmt.Sprintf("up_blocks.%d.attentions.%d.", i, j), fmt.Sprintf("output_blocks.%d.1.", 3*i+j))
			}
			add(&unet, fmt.Sprintf("up_blocks.%d.resnets.%d.", i, j), fmt.Sprintf("output_blocks.%d.0.", 3*i+j))
		}
		if i < 3 {
			add(&unet, fmt.Sprintf("down_blocks.%d.downsamplers.0.conv.", i), fmt.Sprintf("input_blocks.%d.0.op.", 3*(i+1)))
			behind := 2
			if i == 0 {
				behind = 1
			}
			add(&unet, fmt.Sprintf("up_blocks.%d.upsamplers.0.", i), fmt.Sprintf("output_blocks.%d.%d.", 3*i+2, behind))
		}
		for j := range 2 {
			add(&vae, fmt.Sprintf("encoder.down_blocks.%d.resnets.%d.", i, j), fmt.Sprintf("encoder.down.%d.block.%d.", i, j))
		}
		for j := range 3 {
			add(&vae, fmt.Sprintf("decoder.up_blocks.%d.resnets.%d.", 3-i, j), fmt.Sprintf("decoder.up.%d.block.%d.", i, j))
		}
		add(&vae, fmt.Sprintf("down_blocks.%d.downsamplers.0.", i), fmt.Sprintf("down.%d.downsample.", i))
		add(&vae, fmt.Sprintf("up_blocks.%d.upsamplers.0.", 3-i), fmt.Sprintf("up.%d.upsample.", i))
	}
	add(&unet, "mid_block.attentions.0.", "middle_block.1.")
	for j := range 2 {
		add(&unet, fmt.Sprintf("mid_block.resnets.%d.", j), fmt.Sprintf("middle_block.%d.", 2*j))
		add(&vae, fmt.Sprintf("mid_block.resnets.%d.", j), fmt.Sprintf("mid.block_%d.", j+1))
	}
	add(&vae, "mid_block.attentions.0.", "mid.attn_1.")
	add(&vae, "conv_norm_out.", "norm_out.")
	add(&vae, "conv_shortcut.", "nin_shortcut.")
	return unet, vae
}

// DiffusersName is what diffusers calls a tensor of an original checkpoint, in a
// file that holds all networks.
func DiffusersName(name string) string {
	if rest, ok := strings.CutPrefix(name, "model.diffusion_model."); ok {
		return "unet." + diffusersUNetName(rest)
	}
	if rest, ok := strings.CutPrefix(name, "first_stage_model."); ok {
		return "vae." + DiffusersVAEName(rest)
	}
	return strings.Replace(name, "cond_stage_model.transformer.", "text_encoder.", 1)
}

func diffusersUNetName(name string) string {
	for original, diffusers := range map[string]string{
		"time_embed.0.": "time_embedding.linear_1.", "time_embed.2.": "time_embedding.linear_2.",
		"input_blocks.0.0.": "conv_in.", "out.0.": "conv_norm_out.", "out.2.": "conv_out.",
	} {
		if rest, ok := strings.CutPrefix(name, original); ok {
			return diffusers + rest
		}
	}
	for _, pair := range diffusersUNet {
		if rest, ok := strings.CutPrefix(name, pair[0]); ok {
			name = pair[1] + rest
			break
		}
	}
	if strings.Contains(name, "resnets") {
		name = strings.NewReplacer("in_layers.0", "norm1", "in_layers.2", "conv1", "out_layers.0", "norm2", "out_layers.3", "conv2",
			"emb_layers.1", "time_emb_proj", "skip_connection", "conv_shortcut").Replace(name)
	}
	return name
}

// DiffusersVAEName is what diffusers calls a tensor of an original VAE file.
func DiffusersVAEName(name string) string {
	for _, pair := range diffusersVAE {
		name = strings.Replace(name, pair[0], pair[1], 1)
	}
	if strings.Contains(name, "attentions") {
		name = strings.NewReplacer(".norm.", ".group_norm.", ".q.", ".to_q.", ".k.", ".to_k.", ".v.", ".to_v.", ".proj_out.", ".to_out.0.").Replace(name)
	}
	return name
}

func diffusersControlName(name string) string {
	for i := range 12 {
		if rest, ok := strings.CutPrefix(name, fmt.Sprintf("zero_convs.%d.0.", i)); ok {
			return fmt.Sprintf("controlnet_down_blocks.%d.", i) + rest
		}
	}
	for i, layer := range []string{"conv_in", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "conv_out"} {
		if rest, ok := strings.CutPrefix(name, fmt.Sprintf("input_hint_block.%d.", 2*i)); ok {
			return "controlnet_cond_embedding." + layer + "." + rest
		}
	}
	if rest, ok := strings.CutPrefix(name, "middle_block_out.0."); ok {
		return "controlnet_mid_block." + rest
	}
	return diffusersUNetName(name)
}
