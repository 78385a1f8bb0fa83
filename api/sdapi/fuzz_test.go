package sdapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
)

// Whatever body comes, the reply is JSON in one of A1111's shapes and no handler
// panics.
func FuzzGenerate(f *testing.F) {
	image := encoded(f, 8, 8)
	for _, seed := range []string{
		`{"prompt":"a","steps":2,"width":64,"height":64,"seed":1}`,
		`{"enable_hr":true,"hr_scale":1.5,"denoising_strength":0.5,"width":8,"height":8,"hr_resize_x":9}`,
		`{"init_images":["` + image + `"],"mask":"` + image + `","width":8,"height":8,"steps":1,"mask_blur":3}`,
		`{"infotext":"a\nSteps: 3, Sampler: Euler, CFG scale: 7.0, Seed: 1, Size: 64x64, Clip skip: 2","width":8}`,
		`{"alwayson_scripts":{"controlnet":{"args":[{"enabled":true,"model":"canny","image":"` + image + `"}]}},"width":8,"height":8}`,
		`{"script_name":"sd upscale","script_args":["",0,"None",2],"init_images":["` + image + `"],"width":8,"height":8,"steps":1}`,
		`{"override_settings":{"samples_format":"jpg","sd_model_checkpoint":"other"},"styles":["x"],"width":8,"height":8,"save_images":false}`,
		`{"seed":1e30,"cfg_scale":NaN}`, `[["steps",1]]`, `{"a":`, `null`, ``,
	} {
		f.Add(true, []byte(seed))
		f.Add(false, []byte(seed))
	}
	shared := start(f, func(c *sdapi.Config) { c.Log = zerolog.Nop() })
	shared.gen.Limit = 1 << 16
	f.Fuzz(func(t *testing.T, text bool, body []byte) {
		server := *shared
		server.t = t
		path := "/sdapi/v1/img2img"
		if text {
			path = "/sdapi/v1/txt2img"
		}
		got := server.send("POST", path, string(body))
		require.True(t, json.Valid(got.body), "%s", got.body)
		require.NotContains(t, string(got.body), "internal error", "%q", body)
		if got.status == 422 || got.status == 500 {
			require.True(t, strings.HasPrefix(string(got.body), `{"detail":`) || strings.HasPrefix(string(got.body), `{"error":`), "%s", got.body)
		}
	})
}
