package sdapi_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/inference/regions"
)

// encodedRGB is a picture as requests have it.
func encodedRGB(t *testing.T, m imageio.RGB) string {
	t.Helper()
	data, err := imageio.EncodePNG(m)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(data)
}

func withPrompt(prompt string, body map[string]any) map[string]any {
	body["prompt"] = prompt
	return small(body)
}

func TestRegionalPrompter(t *testing.T) {
	f := start(t)
	g := f.post("/sdapi/v1/txt2img", withPrompt("sky ADDCOMM red BREAK blue", scriptsOf("Regional Prompter", true, false, "Matrix", "Rows", "Mask", "Prompt",
		"1;2", "0.4", false, true, false, "Latent", []any{"Flip prompts", "nonsense"}, "0", "0", "0", "", "0", "0", true))).generated(t)
	req := f.gen.Last()
	require.Equal(t, &regions.Spec{Prompter: &regions.Prompter{Rows: true, Ratios: "1,2", BaseRatios: "0.4", UseCommon: true, FlipPrompts: true}}, req.Regions)
	require.Equal(t, "sky ADDCOMM red BREAK blue", req.Prompt, "texts have the prompt that was sent")
	require.Empty(t, g.info["notes"])
	require.Equal(t, "sky ADDCOMM red BREAK blue", g.info["prompt"])
	text := g.info["infotexts"].([]any)[0].(string)
	require.Contains(t, text, "sky ADDCOMM red BREAK blue\n")
	require.Contains(t, text, "RP Active: True, RP Divide mode: Matrix, RP Matrix submode: Rows, RP Mask submode: Mask, RP Prompt submode: Prompt, RP Calc Mode: Latent, RP Ratios: 1;2, "+
		"RP Base Ratios: 0.4, RP Use Base: False, RP Use Common: True, RP Use Ncommon: False, RP Options: Flip prompts, RP LoRA Neg Te Ratios: 0, RP LoRA Neg U Ratios: 0, RP threshold: 0, "+
		"RP LoRA Stop Step: 0, RP LoRA Hires Stop Step: 0, RP Flip: True")

	// The call of the extension's manual, with 17 arguments.
	g = f.post("/sdapi/v1/txt2img", withPrompt("green hair BREAK red blouse BREAK blue skirt", scriptsOf("regional prompter", true, false, "Matrix", "Vertical", "Mask", "Prompt",
		"1,1,1", "", false, false, false, "Attention", false, "0", "0", "0", ""))).generated(t)
	require.Equal(t, &regions.Spec{Prompter: &regions.Prompter{Rows: true, Ratios: "1,1,1"}}, f.gen.Last().Regions)
	require.Equal(t, []any{`regional prompter: mode 'Attention' is not available on this server; regions are composed at the latent (mode Latent)`}, g.info["notes"])
	require.Contains(t, g.info["infotexts"].([]any)[0], `RP Ratios: "1,1,1"`)

	mask := imageio.NewRGB(16, 16)
	copy(mask.Pix, []byte{128, 64, 64, 64, 128, 128})
	g = f.post("/sdapi/v1/txt2img", withPrompt("scene BREAK red BREAK blue", scriptsOf("Regional Prompter", true, false, "Mask", "Columns", "Mask", "Prompt",
		"1,1", "0.3", true, false, false, "Latent", true, "0", "0", "0", "data:image/png;base64,"+encodedRGB(t, mask)))).generated(t)
	require.Equal(t, &regions.Spec{Prompter: &regions.Prompter{Masked: true, Mask: mask, Ratios: "1,1", BaseRatios: "0.3", UseBase: true, KeepAND: true}}, f.gen.Last().Regions)
	require.Contains(t, g.info["infotexts"].([]any)[0], "RP Options: disable convert 'AND' to 'BREAK'")

	g = f.post("/sdapi/v1/txt2img", small(map[string]any{
		"prompt": "red BREAK blue <lora:x:1>", "enable_hr": true, "hr_prompt": "other", "denoising_strength": 0.5,
		"alwayson_scripts": map[string]any{"Regional Prompter": map[string]any{"args": []any{true, false, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", false, false, false, "Latent", "Disabled in Hires Fix", "1"}}},
	})).generated(t)
	require.Equal(t, "red BREAK blue <lora:x:1>", f.gen.Last().Hires.Prompt)
	require.True(t, f.gen.Last().Regions.Prompter.FirstOnly)
	require.Subset(t, g.info["notes"], []any{
		"regional prompter: networks of tags act on the whole picture",
		`regional prompter: "LoRA in negative textencoder" is not available on this server and did nothing`,
		"regional prompter: the hires pass has the prompts of the first pass",
	})
}

func TestRegionalPrompterDoesNothing(t *testing.T) {
	f := start(t)
	for prompt, args := range map[string][]any{
		"a cat":             {true},
		"a BREAK b, ADDP c": {true},
		"a BREAK b":         {true, false, "Prompt"},
		"c BREAK d":         {true, false, "Matrix", "Random"},
		"e BREAK f":         {false},
	} {
		g := f.post("/sdapi/v1/txt2img", withPrompt(prompt, scriptsOf("Regional Prompter", args...))).generated(t)
		require.Nil(t, f.gen.Last().Regions, prompt)
		require.NotContains(t, g.info["infotexts"].([]any)[0], "RP ")
		if args[0] == true {
			require.Contains(t, g.info["notes"].([]any)[0], "did nothing")
		}
	}
	for _, c := range []struct {
		status int
		args   []any
	}{
		{500, []any{true, false, "Matrix", "Sideways"}},
		{500, []any{"maybe"}},
		{422, []any{true, false, "Mask"}},
		{422, []any{true, false, "Mask", "Columns", "Mask", "Prompt", "1,1", "", false, false, false, "Latent", false, "0", "0", "0", "/etc/passwd"}},
		{422, []any{true, false, "Matrix", "Columns", "Mask", "Prompt", "0,0"}},
	} {
		got := f.post("/sdapi/v1/txt2img", withPrompt("a BREAK b", scriptsOf("Regional Prompter", c.args...)))
		require.Equal(t, c.status, got.status, "%v %s", c.args, got.body)
	}
	got := f.post("/sdapi/v1/txt2img", withPrompt("a BREAK b BREAK c ADDCOL d", scriptsOf("Regional Prompter", true)))
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "the prompt has 4 parts for 3 regions")
}

func TestLatentCouple(t *testing.T) {
	f := start(t)
	g := f.post("/sdapi/v1/txt2img", withPrompt("a AND b AND c", scriptsOf("Latent Couple extension", true, "1:1,1:2,1:2", "0:0,0:0,0:1", "0.2,0.8,0.8", 12))).generated(t)
	require.Equal(t, &regions.Spec{Couple: &regions.Couple{Divisions: "1:1,1:2,1:2", Positions: "0:0,0:0,0:1", Weights: "0.2,0.8,0.8", Steps: 12}}, f.gen.Last().Regions)
	require.Contains(t, g.info["infotexts"].([]any)[0], `Latent Couple: "divisions=1:1,1:2,1:2 positions=0:0,0:0,0:1 weights=0.2,0.8,0.8 end at step=12"`)

	// Arguments of the fork with masks, as its page sends them, have more numbers.
	args := []any{true, "1:2,1:2", "0:0,0:1", "1,1", 150, 0.2, 1, 1}
	f.post("/sdapi/v1/txt2img", withPrompt("a AND b", scriptsOf("latent couple", args...))).generated(t)
	require.Equal(t, 150, f.gen.Last().Regions.Couple.Steps)

	mask := imageio.NewRGB(8, 8)
	for i := range 12 {
		mask.Pix[i] = 255
	}
	g = f.post("/sdapi/v1/txt2img", withPrompt("a AND b", scriptsOf("Latent Couple", map[string]any{"masks": []any{nil, encodedRGB(t, mask)}, "weights": "0.3,0.7"}))).generated(t)
	couple := f.gen.Last().Regions.Couple
	require.Len(t, couple.Masks, 2)
	require.Empty(t, couple.Masks[0].Pix)
	require.Equal(t, []byte{255, 255, 255, 255, 0}, couple.Masks[1].Pix[:5])
	require.Equal(t, 20, couple.Steps)
	require.Contains(t, g.info["infotexts"].([]any)[0], `Latent Couple: "masks=2 weights=0.3,0.7 end at step=20"`)

	g = f.post("/sdapi/v1/txt2img", withPrompt("a AND b", scriptsOf("Latent Couple", false))).generated(t)
	require.Nil(t, f.gen.Last().Regions)
	require.NotContains(t, g.info["infotexts"].([]any)[0], "Latent Couple")
	for status, args := range map[int][]any{500: {true, 7, "x", "1", "soon"}, 422: {true, "1:0", "0:0", "1"}} {
		require.Equal(t, status, f.post("/sdapi/v1/txt2img", withPrompt("a AND b", scriptsOf("Latent Couple", args...))).status)
	}
	got := f.post("/sdapi/v1/txt2img", withPrompt("a BREAK b", map[string]any{"alwayson_scripts": map[string]any{
		"Latent Couple": map[string]any{"args": []any{true}}, "Regional Prompter": map[string]any{"args": []any{true}},
	}}))
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), "cannot act together")
}
