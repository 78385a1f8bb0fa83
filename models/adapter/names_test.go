package adapter

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/sd1"
)

// Every spelling of a name leads to the module that its maker meant.
func TestSpellings(t *testing.T) {
	const (
		attention = sd1.UNetPrefix + "input_blocks.4.1.transformer_blocks.0.attn2."
		text      = sd1.CLIPPrefix + "encoder.layers.3."
	)
	for name, want := range map[string]struct{ module, role string }{
		// kohya, with diffusers' blocks and with the checkpoint's
		"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": {attention + "to_k", loraDown},
		"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight":             {attention + "to_k", loraUp},
		"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0.alpha":        {attention + "to_out.0", "alpha"},
		"lora_te_text_model_encoder_layers_3_self_attn_q_proj.lora_down.weight":                 {text + "self_attn.q_proj", loraDown},
		"lora_te1_text_model_encoder_layers_3_mlp_fc2.dora_scale":                               {text + "mlp.fc2", "dora_scale"},
		"lora_te_text_model_final_layer_norm.w_norm":                                            {sd1.CLIPPrefix + "final_layer_norm", "w_norm"},
		"oft_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q.oft_blocks":        {attention + "to_q", "oft_blocks"},
		// LyCORIS' wrapper
		"lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q.hada_w1_a": {attention + "to_q", "hada_w1_a"},
		"lycoris_text_model_encoder_layers_3_self_attn_out_proj.lokr_w2_b":             {text + "self_attn.out_proj", "lokr_w2_b"},
		// diffusers of three ages
		"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight": {attention + "to_out.0", loraUp},
		"down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_q_lora.down.weight":      {attention + "to_q", loraDown},
		"text_encoder.text_model.encoder.layers.3.self_attn.to_q_lora.up.weight":                     {text + "self_attn.q_proj", loraUp},
		"text_encoder.text_model.encoder.layers.3.self_attn.to_out_lora.up.weight":                   {text + "self_attn.out_proj", loraUp},
		"text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_linear_layer.down.weight":    {text + "self_attn.q_proj", loraDown},
		"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora.down.weight":           {attention + "to_k", loraDown},
		"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight":              {attention + "to_k", loraDown},
		"text_encoder.encoder.layers.3.mlp.fc2.lora_B.weight":                                        {text + "mlp.fc2", loraUp},
		"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_magnitude_vector":      {attention + "to_k", magnitude},
		// PEFT
		"base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.default.weight": {attention + "to_k", loraDown},
		"base_model.model.unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight":    {attention + "to_k", loraUp},
		"base_model.model.text_model.encoder.layers.3.mlp.fc2.lora_magnitude_vector.default.weight":         {text + "mlp.fc2", magnitude},
		"base_model.model.text_model.encoder.layers.3.mlp.fc2.lora_B.default.bias":                          {text + "mlp.fc2", upBias},
		"base_model.model.text_model.encoder.layers.3.mlp.fc2.hada_w1_a.default":                            {text + "mlp.fc2", "hada_w1_a"},
		// OneTrainer, ComfyUI, the checkpoint's own
		"lora_te.text_model.encoder.layers.3.mlp.fc2.lora_up.weight":                          {text + "mlp.fc2", loraUp},
		"clip_l.text_model.encoder.layers.3.mlp.fc2.lora_up.weight":                           {text + "mlp.fc2", loraUp},
		"text_encoders.clip_l.transformer.text_model.encoder.layers.3.mlp.fc2.lora_up.weight": {text + "mlp.fc2", loraUp},
		"diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.lora_up.weight":     {attention + "to_k", loraUp},
		"model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.diff":         {attention + "to_k", "diff"},
		"cond_stage_model.transformer.text_model.encoder.layers.3.mlp.fc2.diff_b":             {text + "mlp.fc2", "diff_b"},
		"lora_unet_conv_in.lora_mid.weight":                                                   {sd1.UNetPrefix + "input_blocks.0.0", loraMid},
		"lora_unet_out_2.diff":                                                                {sd1.UNetPrefix + "out.2", "diff"},
		"lora_unet_time_embedding_linear_2.a1.weight":                                         {sd1.UNetPrefix + "time_embed.2", "a1"},
		"unet.mid_block.resnets.1.time_emb_proj.lora_A.weight":                                {sd1.UNetPrefix + "middle_block.2.emb_layers.1", loraDown},
		"lora_unet_up_blocks_2_resnets_1_conv_shortcut.on_input":                              {sd1.UNetPrefix + "output_blocks.7.0.skip_connection", "on_input"},
		"lora_unet_up_blocks_1_upsamplers_0_conv.rescale":                                     {sd1.UNetPrefix + "output_blocks.5.2.conv", "rescale"},
		"lora_unet_up_blocks_0_upsamplers_0_conv.weight":                                      {sd1.UNetPrefix + "output_blocks.2.1.conv", "weight"},
		"lora_unet_down_blocks_0_downsamplers_0_conv.bias_indices":                            {sd1.UNetPrefix + "input_blocks.3.0.op", "bias_indices"},
	} {
		module, role, ok := splitName(name)
		require.True(t, ok, name)
		found, _, ok := findModule(module)
		require.True(t, ok, name)
		require.Equal(t, want.module, found, name)
		require.Equal(t, want.role, role, name)
		require.True(t, Recognize(name) || vague[role], name)
	}
}

// A name of another network is none of this one, whatever follows it.
func TestNamesOfOtherModels(t *testing.T) {
	for module, other := range map[string]bool{
		"lora_te2_text_model_encoder_layers_3_mlp_fc2":        true,
		"text_encoder_2.text_model.encoder.layers.3.mlp.fc2":  true,
		"transformer.single_transformer_blocks.0.attn.to_q":   true,
		"lora_unet_double_blocks_0_img_attn_qkv":              false,
		"lora_te_text_model_encoder_layers_12_mlp_fc2":        false,
		"lora_unet_input_blocks_4_1_transformer_blocks_1_ff":  false,
		"lora_te_down_blocks_1_attentions_0_proj_in":          false,
		"unet.text_model.encoder.layers.3.mlp.fc2_processor_": false,
		"": false,
	} {
		_, text, ok := findModule(module)
		require.False(t, ok, module)
		require.Equal(t, other, text, module)
	}
}

// The diffusers names lead to every module of the UNet, each to its own.
func TestEveryModuleHasTwoNames(t *testing.T) {
	var unet sd1.Net
	unet.UNet("", sd1.UNetWidth, 4)
	seen := map[string]bool{}
	for _, p := range unet {
		name := moduleOf(p.Name)
		other := diffusersName(name)
		found, _, ok := findModule("unet." + other)
		require.True(t, ok, other)
		require.Equal(t, sd1.UNetPrefix+name, found)
		seen[other] = true
	}
	require.Len(t, known().unet, 2*len(seen))
}

func TestCounters(t *testing.T) {
	f := Parse([]*Tensor{
		{Name: "text_model.embeddings.position_ids", DType: "I64", Shape: []int64{1, 77}},
		{Name: "global_step", DType: "I64"},
		{Name: "note", DType: "F32", Shape: []int64{0}},
	}, nil)
	require.Empty(t, f.Changes)
	require.Empty(t, f.Summary())
}
