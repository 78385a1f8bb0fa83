package sdapi_test

import (
	"maps"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/latent"
)

// softened sends an inpainting request with arguments of soft inpainting.
func softened(t *testing.T, body map[string]any, args ...any) map[string]any {
	t.Helper()
	out := map[string]any{
		"init_images": []string{blackPNG(64)}, "mask": blackPNG(64), "width": 64, "height": 64, "steps": 3,
		"alwayson_scripts": map[string]any{"Soft Inpainting": map[string]any{"args": append([]any{}, args...)}},
	}
	maps.Copy(out, body)
	return out
}

const softText = "Soft inpainting enabled: True, Soft inpainting schedule bias: 1.5, Soft inpainting preservation strength: 0.25, " +
	"Soft inpainting transition contrast boost: 8, Soft inpainting mask influence: 0.5, Soft inpainting difference threshold: 1, Soft inpainting difference contrast: 3"

// Arguments, texts and what a text says are the script's.
func TestSoftInpainting(t *testing.T) {
	f := start(t)
	all := latent.Soft{Bias: 1.5, Preservation: 0.25, Contrast: 8, MaskInfluence: 0.5, Threshold: 1, Sharpness: 3}
	g := f.post("/sdapi/v1/img2img", softened(t, nil, true, 1.5, 0.25, 8, 0.5, 1, 3)).generated(t)
	require.Empty(t, g.info["notes"])
	mask := f.gen.Last().Init.Mask
	require.Equal(t, &all, mask.Soft)
	require.False(t, mask.Round, "shades of the mask count")
	require.Contains(t, infotext(t, g), ", "+softText+", Version")
	require.Equal(t, true, g.info["extra_generation_params"].(map[string]any)["Soft inpainting enabled"])

	standard := latent.DefaultSoft()
	f.post("/sdapi/v1/img2img", softened(t, nil, true)).generated(t)
	require.Equal(t, &standard, f.gen.Last().Init.Mask.Soft)
	for _, args := range [][]any{{}, {false, 1.5}} {
		g := f.post("/sdapi/v1/img2img", softened(t, nil, args...)).generated(t)
		require.Nil(t, f.gen.Last().Init.Mask.Soft)
		require.True(t, f.gen.Last().Init.Mask.Round)
		require.NotContains(t, infotext(t, g), "Soft")
	}

	// The infotext field of a request fills what its arguments leave open.
	text := "a cat\nSteps: 3, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, " + softText
	f.post("/sdapi/v1/img2img", softened(t, map[string]any{"infotext": text, "alwayson_scripts": map[string]any{}})).generated(t)
	require.Equal(t, &all, f.gen.Last().Init.Mask.Soft)
	f.post("/sdapi/v1/img2img", softened(t, map[string]any{"infotext": text}, true, 4)).generated(t)
	changed := all
	changed.Bias = 4
	require.Equal(t, &changed, f.gen.Last().Init.Mask.Soft)
	f.post("/sdapi/v1/img2img", softened(t, map[string]any{"infotext": text}, false)).generated(t)
	require.Nil(t, f.gen.Last().Init.Mask.Soft)
	read, err := f.server.ReadParameters(text)
	require.NoError(t, err)
	require.Equal(t, []any{true, 1.5, 0.25, int64(8), 0.5, int64(1), int64(3)}, read.Extensions["soft inpainting"])

	// Without a mask it does nothing, and says so; its details have masks.
	g = f.post("/sdapi/v1/img2img", softened(t, map[string]any{"mask": nil}, true)).generated(t)
	require.Equal(t, []any{"soft inpainting did nothing: the request has no mask"}, g.info["notes"])
	require.NotContains(t, infotext(t, g), "Soft")
	scripts := map[string]any{"soft inpainting": map[string]any{"args": []any{true}}, "ADetailer": map[string]any{"args": []any{map[string]any{"ad_model": "face_yolov8n.pt"}}}}
	f.post("/sdapi/v1/img2img", softened(t, map[string]any{"mask": nil, "alwayson_scripts": scripts})).generated(t)
	require.Equal(t, &standard, f.gen.Last().Details[0].Mask.Soft)

	for _, args := range [][]any{{true, "much"}, {true, -1}, {true, 1, 0.5, 0}, {true, 1, 0.5, 4, 2}} {
		require.GreaterOrEqual(t, f.post("/sdapi/v1/img2img", softened(t, nil, args...)).status, http.StatusUnprocessableEntity, "%v", args)
	}
	require.Equal(t, http.StatusUnprocessableEntity, f.post("/sdapi/v1/txt2img", small(map[string]any{
		"alwayson_scripts": map[string]any{"Soft Inpainting": map[string]any{"args": []any{true}}},
	})).status, "a script of img2img only")
}
