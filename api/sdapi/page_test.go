package sdapi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
)

// Counts are those of A1111's page: extra networks cost nothing, the longest text of a
// prompt that changes counts, an embedding has its vectors ("style" has 2).
func TestCountTokens(t *testing.T) {
	styles := filepath.Join(t.TempDir(), "styles.csv")
	require.NoError(t, os.WriteFile(styles, []byte("name,prompt,negative_prompt\nink,ink drawing of {prompt},photo\n"), 0o600))
	f := start(t, func(c *sdapi.Config) { c.StylesFiles = []string{styles} })
	for _, tc := range []struct {
		text          string
		styles        []string
		negative      bool
		tokens, limit int
	}{
		{"", nil, false, 0, 75},
		{"a cat", nil, false, 2, 75},
		{"a (cat:1.3) <lora:foo:1>", nil, false, 2, 75},
		{"a <lora:foo:1>", nil, true, 9, 75},
		{"[a:a red cat:0.5]", nil, false, 3, 75},
		{"a cat AND a red dog :1.5", nil, false, 3, 75},
		{"style cat", nil, false, 3, 75},
		{"large cat", nil, false, 2, 75},
		{"cat # not this\n", nil, false, 1, 75},
		{"cat", []string{"ink", "unknown"}, false, 4, 75},
		{"cat", []string{"ink"}, true, 3, 75},
		{strings.Repeat("cat ", 75), nil, false, 75, 75},
		{strings.Repeat("cat ", 76), nil, false, 76, 150},
		{"cat BREAK dog", nil, false, 76, 150},
		{"(cat:1.1.1)", nil, false, 0, 75},
	} {
		tokens, limit := f.server.CountTokens(tc.text, tc.styles, tc.negative, 20)
		require.Equal(t, []int{tc.tokens, tc.limit}, []int{tokens, limit}, "%q %v", tc.text, tc.styles)
	}
}

// A text is read into every field that it tells of, those of masks and units too.
func TestReadParameters(t *testing.T) {
	f := start(t)
	got, err := f.server.ReadParameters("a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 5, Size: 512x768, Model hash: 6ce0161689, " +
		`Model: v1-5-pruned-emaonly, Denoising strength: 0.6, Clip skip: 2, ControlNet 1: "Module: canny, Model: canny [01234567], Weight: 0.5, ` +
		`Resize Mode: Just Resize, Threshold A: 90, Pixel Perfect: True, Control Mode: Balanced", Mask mode: Inpaint not masked, Mask blur: 6, ` +
		`Inpaint area: Only masked, Masked area padding: 16, Masked content: latent noise, ADetailer model: face_yolov8n.pt, ADetailer prompt: "a face, smiling", ` +
		`ADetailer confidence: 0.4, ADetailer mask blur: 8, ADetailer model 2nd: hand_yolov8n.pt, ADetailer denoising strength 2nd: 0.5, Script: X/Y/Z plot, X Type: Steps, X Values: "10,20"`)
	require.NoError(t, err)
	for name, want := range map[string]any{
		"prompt": "a cat", "negative_prompt": "dog", "steps": int64(20), "cfg_scale": 7.5, "width": int64(512), "height": int64(768), "denoising_strength": 0.6, "enable_hr": false,
		"mask_blur": int64(6), "inpainting_mask_invert": int64(1), "inpaint_full_res": true, "inpaint_full_res_padding": int64(16), "inpainting_fill": int64(2),
	} {
		require.Equal(t, want, got.Fields[name], name)
	}
	require.Equal(t, map[string]any{"CLIP_stop_at_last_layers": 2.0}, got.Overrides)
	require.Equal(t, []string{"6ce0161689", "v1-5-pruned-emaonly"}, []string{got.ModelHash, got.Model})
	require.Equal(t, []map[string]any{{
		"enabled": true, "module": "canny", "model": "canny [01234567]", "weight": 0.5, "resize_mode": "Just Resize", "threshold_a": 90.0, "pixel_perfect": true, "control_mode": "Balanced",
	}}, got.Control)
	require.Equal(t, []map[string]any{
		{"ad_model": "face_yolov8n.pt", "ad_prompt": "a face, smiling", "ad_confidence": 0.4, "ad_mask_blur": int64(8)},
		{"ad_model": "hand_yolov8n.pt", "ad_denoising_strength": 0.5},
	}, got.Details)
	require.Equal(t, map[string]any{"X type": "Steps", "X values": "10,20"}, got.Script)

	_, err = f.server.ReadParameters("a cat\nSteps: many, Sampler: Euler a, Seed: 1")
	require.ErrorContains(t, err, "'many'")
}
