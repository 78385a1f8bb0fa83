package models_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/adapter"
	"sdworker/models/modelstest"
)

// A LoRA in GGUF can be used where its values are floats. Blocks of quantized values
// are told as such.
func TestLoRAInGGUF(t *testing.T) {
	const module = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
	names := map[string][]uint64{module + ".lora_up.weight": {32, 64}, module + ".lora_down.weight": {64, 32}} // fastest first
	path := filepath.Join(t.TempDir(), "lora.gguf")
	require.NoError(t, os.WriteFile(path, ggufFile(names), 0o600))
	f, err := models.OpenLoRA(path, models.CheckOptions{})
	require.NoError(t, err)
	require.Empty(t, f.Summary())
	require.Len(t, f.Changes, 1)
	_, err = f.Changes[0].Prepare(adapter.Plain{}, f, []int64{64, 64}, new(adapter.Arena))
	require.NoError(t, err)
	require.NoError(t, f.Close())

	require.NoError(t, os.WriteFile(path, ggufFileOf(8, 32, 34, names), 0o600)) // Q8_0
	_, err = models.OpenLoRA(path, models.CheckOptions{})
	require.ErrorContains(t, err, "have values of a type that is not read here")
}

// The settings that PEFT stores beside a file tell its strength; other programs' notes
// of the same name do not.
func TestSettingsOfPEFT(t *testing.T) {
	const module = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
	const config = `{"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["to_q"]}`
	for name, tc := range map[string]struct {
		file, beside, text string
		want               float32
	}{
		"a folder":               {"adapter_model.safetensors", "adapter_config.json", config, 4},
		"a file":                 {"mine.safetensors", "mine.json", config, 4},
		"another file":           {"mine.safetensors", "adapter_config.json", config, 1},
		"notes of a web UI":      {"mine.safetensors", "mine.json", `{"lora_alpha": 8, "r": 2, "sd version": "SD1"}`, 1},
		"a text that is no JSON": {"mine.safetensors", "mine.json", `{"peft_type": `, 1},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			list := []safetensors.Tensor{
				{Name: module + ".lora_A.weight", DType: safetensors.F32, Shape: []int64{2, 1}},
				{Name: module + ".lora_B.weight", DType: safetensors.F32, Shape: []int64{1, 2}},
			}
			path := modelstest.WriteData(t, filepath.Join(folder, tc.file), nil, map[string][]byte{
				list[0].Name: modelstest.Data(t, safetensors.F32, 1, 1), list[1].Name: modelstest.Data(t, safetensors.F32, 1, 0),
			}, list...)
			require.NoError(t, os.WriteFile(filepath.Join(folder, tc.beside), []byte(tc.text), 0o600))

			f, err := models.OpenLoRA(path, models.CheckOptions{})
			require.NoError(t, err)
			defer f.Close()
			var arena adapter.Arena
			d, err := f.Changes[0].Prepare(adapter.Plain{}, f, []int64{1, 1}, &arena)
			require.NoError(t, err)
			w := []float32{0}
			require.NoError(t, d.Apply(w, 0, 1, 1, &arena))
			require.InDelta(t, tc.want, w[0], 1e-6)
		})
	}
}
