package options_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/internal/vectors"
)

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := pyjson.Marshal(v, pyjson.Compact)
	require.NoError(t, err)
	return string(out)
}

func TestDefaults(t *testing.T) {
	var file struct {
		Cases []struct {
			Input, Kind string
			Want        json.RawMessage
		}
	}
	vectors.Load(t, "options_defaults.json", &file)
	require.Len(t, options.Table.Fields, len(file.Cases))
	values := options.Defaults()
	for i, tc := range file.Cases {
		t.Run(tc.Input, func(t *testing.T) {
			require.Equal(t, tc.Input, options.Table.Fields[i].Name)
			if tc.Kind == "html" {
				require.NotEmpty(t, values.Text(tc.Input))
				return
			}
			want, err := pyjson.Decode(tc.Want)
			require.NoError(t, err)
			require.Equal(t, text(t, want), text(t, values.Get(tc.Input)))
		})
	}
}

func TestSaveAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"jpeg_quality": "abc", "samples_format": "jpg", "some_extension": [1]}`), 0o600))
	s, skipped, err := options.Open(path)
	require.NoError(t, err)
	require.Equal(t, []string{"jpeg_quality"}, skipped)
	require.Equal(t, "jpg", s.Values().Text("samples_format"))

	before := s.Values()
	require.NoError(t, s.Save(pyjson.NewObject("CLIP_stop_at_last_layers", int64(2), "api_useragent", "x", "gone", nil, "s_churn", int64(3))))
	require.EqualValues(t, 1, before.Int("CLIP_stop_at_last_layers"), "values of a job do not change")

	s, skipped, err = options.Open(path)
	require.NoError(t, err)
	require.Empty(t, skipped)
	require.InDelta(t, 2.0, s.Values().Get("CLIP_stop_at_last_layers"), 0)
	require.Equal(t, int64(3), s.Values().Get("s_churn"))
	require.Empty(t, s.Values().Get("api_useragent"))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), "\n    \"some_extension\": [")
	require.Contains(t, string(raw), `"jpeg_quality": 80.0`)
}

func TestSetAllOrNothing(t *testing.T) {
	s, _, err := options.Open("")
	require.NoError(t, err)
	var unknown *options.UnknownKeyError
	require.ErrorAs(t, s.Save(pyjson.NewObject("tiling", true, "nope", int64(1))), &unknown)
	require.Equal(t, "nope", unknown.Key)
	require.False(t, s.Values().Bool("tiling"))

	var errs schema.Errors
	require.ErrorAs(t, s.Save(pyjson.NewObject("tiling", true, "jpeg_quality", "abc")), &errs)
	require.JSONEq(t, `[{"loc":["body","jpeg_quality"],"msg":"value is not a valid float","type":"type_error.float"}]`, text(t, errs.JSON()))
	require.False(t, s.Values().Bool("tiling"))
}

// What no job could read would spoil those of everyone.
func TestSetForAllWhatTheyCanRead(t *testing.T) {
	s, _, err := options.Open("")
	require.NoError(t, err)
	for key, values := range map[string][]any{
		"upscaler_for_img2img": {int64(1), []any{}, true}, "samples_filename_pattern": {1.5, pyjson.NewObject()},
		"eta_noise_seed_delta": {"abc", 1e30, []any{}}, "CLIP_stop_at_last_layers": {1e30}, "s_churn": {"1"},
	} {
		for _, v := range values {
			var errs schema.Errors
			require.ErrorAs(t, s.Save(pyjson.NewObject(key, v)), &errs, "%s %v", key, v)
			require.Equal(t, []any{"body", key}, errs[0].Loc)
			require.ErrorAs(t, s.Keep(pyjson.NewObject(key, v)), &errs)
		}
		require.NoError(t, s.Save(pyjson.NewObject(key, nil)))
	}
	require.NoError(t, s.Save(pyjson.NewObject("upscaler_for_img2img", "Lanczos", "eta_noise_seed_delta", int64(5), "s_churn", true)))
}

func TestOverrides(t *testing.T) {
	base := options.Defaults()
	v, err := base.With(pyjson.NewObject("eta_noise_seed_delta", "abc", "emphasis", "No norm"))
	require.NoError(t, err)
	require.Equal(t, "No norm", v.Text("emphasis"))
	require.Equal(t, "Original", base.Text("emphasis"))
	require.NoError(t, v.Err())
	v.Int("eta_noise_seed_delta")
	require.ErrorContains(t, v.Err(), `option eta_noise_seed_delta cannot be "abc"`)
}

func TestOpenBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	for _, content := range []string{`{"a":`, `[]`} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, _, err := options.Open(path)
		require.ErrorContains(t, err, path)
	}
}
