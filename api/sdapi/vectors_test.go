package sdapi_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/gate"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/internal/vectors"
)

// stand replaces the @names of the vector files by pictures.
func stand(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	return strings.NewReplacer(
		`"@png64"`, `"`+encoded(t, 64, 64)+`"`,
		`"@mask64"`, `"`+maskPicture(t, 64, 64)+`"`,
		`"@basic"`, `"data:image/png;base64,`+encoded(t, 64, 64)+`"`,
		`"@mask"`, `"data:image/png;base64,`+maskPicture(t, 64, 64)+`"`,
	).Replace(string(raw))
}

func TestErrorVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Method, Path string
				Body         json.RawMessage
				RawBody      *string `json:"raw_body"`
				ContentType  string  `json:"content_type"`
			}
			Want struct {
				Status int
				Body   json.RawMessage
			}
			Compare   string
			Deviation *struct{ Status int }
		}
	}
	vectors.Load(t, "errors.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			var body any
			if tc.Input.Body != nil {
				body = stand(t, tc.Input.Body)
			}
			if tc.Input.RawBody != nil {
				body = *tc.Input.RawBody
			}
			var header []string
			if tc.Input.ContentType != "" {
				header = []string{"Content-Type", tc.Input.ContentType}
			}
			got := f.send(tc.Input.Method, tc.Input.Path, body, header...)
			want := tc.Want.Status
			if tc.Deviation != nil && got.status == tc.Deviation.Status {
				want = tc.Deviation.Status
			}
			require.Equal(t, want, got.status, "%s", got.body)
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			require.NotEmpty(t, got.header.Get("X-Process-Time"))
			if tc.Compare == "exact" {
				require.JSONEq(t, string(tc.Want.Body), string(got.body))
				return
			}
			var four map[string]string
			require.NoError(t, json.Unmarshal(got.body, &four))
			require.Len(t, four, 4)
			require.NotEmpty(t, four["error"])
			require.Empty(t, four["detail"])
			require.Empty(t, four["body"])
		})
	}
}

func TestRouteVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct{ Method, Path string }
			Want  struct {
				Kind string
				Keys []string
			}
		}
	}
	vectors.Load(t, "routes.json", &file)
	require.NotEmpty(t, file.Cases)
	image := encoded(t, 64, 64)
	bodies := map[string]any{
		"txt2img": small(nil), "img2img": small(map[string]any{"init_images": []string{image}}),
		"extra-single-image": map[string]any{"image": image},
		"extra-batch-images": map[string]any{"imageList": []any{map[string]any{"data": image, "name": "a"}}},
		"png-info":           map[string]any{"image": image}, "interrogate": map[string]any{"image": image},
		"options": map[string]any{}, "create/embedding": map[string]any{}, "create/hypernetwork": map[string]any{},
		"train/embedding": map[string]any{}, "train/hypernetwork": map[string]any{},
	}
	stopped := 0
	f := start(t, func(c *sdapi.Config) { c.ServerStop = func() { stopped++ } })
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			if strings.HasSuffix(tc.Name, "server-kill") {
				require.Panics(t, func() { f.send(tc.Input.Method, tc.Input.Path, nil) }, "no reply")
				return
			}
			var body any
			if tc.Input.Method == "POST" {
				body = bodies[strings.TrimPrefix(tc.Input.Path, "/sdapi/v1/")]
			}
			got := f.send(tc.Input.Method, tc.Input.Path, body)
			switch tc.Want.Kind {
			case "none":
				require.Equal(t, 501, got.status)
				require.Empty(t, got.body)
				return
			case "text":
				require.Equal(t, 200, got.status)
				require.Equal(t, "Stopping.", string(got.body))
				return
			}
			require.Equal(t, 200, got.status, "%s", got.body)
			switch tc.Want.Kind {
			case "null":
				require.Equal(t, "null", string(got.body))
			case "object":
				require.True(t, strings.HasPrefix(string(got.body), "{"))
				if tc.Want.Keys != nil {
					require.Equal(t, tc.Want.Keys, keysOf(t, got.body))
				}
			case "array":
				var list []json.RawMessage
				require.NoError(t, json.Unmarshal(got.body, &list))
				for _, row := range list {
					require.Equal(t, tc.Want.Keys, keysOf(t, row))
				}
			default:
				t.Fatalf("unknown kind %q", tc.Want.Kind)
			}
		})
	}
	require.Equal(t, 2, stopped)
}

// keysOf lists the keys of an object in their order.
func keysOf(t *testing.T, raw []byte) []string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(raw)))
	_, err := d.Token()
	require.NoError(t, err)
	keys := []string{}
	for d.More() {
		key, err := d.Token()
		require.NoError(t, err)
		keys = append(keys, key.(string))
		var skip json.RawMessage
		require.NoError(t, d.Decode(&skip))
	}
	return keys
}

func TestServerStopIsOff(t *testing.T) {
	f := start(t)
	for _, route := range []string{"server-kill", "server-restart", "server-stop"} {
		require.Equal(t, 404, f.post("/sdapi/v1/"+route, nil).status)
	}
}

func TestAuthVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct{ Authorization *string }
			Want  struct {
				Status int
				Body   json.RawMessage
			}
		}
	}
	vectors.Load(t, "auth.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t).guard(gate.Policy{Credentials: gate.Credentials{Users: map[string]string{"user": "pass"}}})
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			var header []string
			if tc.Input.Authorization != nil {
				header = []string{"Authorization", *tc.Input.Authorization}
			}
			got := f.send("GET", "/sdapi/v1/samplers", nil, header...)
			require.Equal(t, tc.Want.Status, got.status)
			require.Empty(t, got.header.Get("WWW-Authenticate"))
			if tc.Want.Body != nil {
				require.JSONEq(t, string(tc.Want.Body), string(got.body))
			}
		})
	}
}

func TestSuiteVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Method, Path string
				Body         json.RawMessage
			}
			Want struct{ Status int }
		}
	}
	vectors.Load(t, "a1111_suite.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			var body any
			if tc.Input.Body != nil {
				body = stand(t, tc.Input.Body)
			}
			got := f.send(tc.Input.Method, tc.Input.Path, body)
			require.Equal(t, tc.Want.Status, got.status, "%s", got.body)
		})
	}
}

func TestEchoVectors(t *testing.T) {
	for path, name := range map[string]string{"/sdapi/v1/txt2img": "txt2img_fields.json", "/sdapi/v1/img2img": "img2img_fields.json"} {
		var file struct {
			Cases []struct {
				Input string
				Want  struct{ Default json.RawMessage }
			}
		}
		vectors.Load(t, name, &file)
		f := start(t)
		body := map[string]any{"unknown": 1}
		if strings.HasSuffix(path, "img2img") {
			body["init_images"] = []string{encoded(t, 64, 64)}
		}
		var raw struct{ Parameters json.RawMessage }
		got := f.post(path, body)
		require.Equal(t, 200, got.status, "%s", got.body)
		require.NoError(t, json.Unmarshal(got.body, &raw))
		var want []string
		values := map[string]json.RawMessage{}
		require.NoError(t, json.Unmarshal(raw.Parameters, &values))
		for _, tc := range file.Cases {
			want = append(want, tc.Input)
			require.Equal(t, string(tc.Want.Default), string(values[tc.Input]), "%s %s", path, tc.Input)
		}
		require.Equal(t, want, keysOf(t, raw.Parameters))
	}
}

func TestCoercionEcho(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Field string
				Value json.RawMessage
			}
			Want json.RawMessage
		}
	}
	vectors.Load(t, "coercions.json", &file)
	f := start(t)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := f.post("/sdapi/v1/txt2img", small(map[string]any{tc.Input.Field: tc.Input.Value}))
			require.Equal(t, 200, got.status, "%s", got.body)
			var raw struct{ Parameters map[string]json.RawMessage }
			require.NoError(t, json.Unmarshal(got.body, &raw))
			require.Equal(t, string(tc.Want), string(raw.Parameters[tc.Input.Field]))
		})
	}
}

func TestInfotextVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Path    string
				Request json.RawMessage
			}
			Want []string
		}
	}
	vectors.Load(t, "infotext.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := f.post(tc.Input.Path, stand(t, tc.Input.Request)).generated(t)
			require.Equal(t, anyStrings(tc.Want), got.info["infotexts"])
			require.Len(t, got.images, len(tc.Want))
		})
	}
}

func anyStrings(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func TestInfoKeyVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Input string
			Want  int
		}
	}
	vectors.Load(t, "info_keys.json", &file)
	require.NotEmpty(t, file.Cases)
	got := start(t).post("/sdapi/v1/txt2img", small(nil)).generated(t)
	keys := keysOf(t, []byte(got.infoText))
	for _, tc := range file.Cases {
		require.Equal(t, tc.Input, keys[tc.Want])
	}
}

func TestOptionVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Input, Kind string
			Want        json.RawMessage
		}
	}
	vectors.Load(t, "options_defaults.json", &file)
	got := start(t).get("/sdapi/v1/options")
	require.Equal(t, 200, got.status)
	var values map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(got.body, &values))
	var order []string
	for _, tc := range file.Cases {
		order = append(order, tc.Input)
		if tc.Kind != "html" {
			require.JSONEq(t, string(tc.Want), string(values[tc.Input]), tc.Input)
			require.Equal(t, strings.Contains(string(tc.Want), "."), strings.Contains(string(values[tc.Input]), "."), tc.Input)
		}
	}
	require.Equal(t, order, keysOf(t, got.body))
}

func TestCmdFlagVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Input string
			Want  any
		}
	}
	vectors.Load(t, "cmd_flags.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t, func(c *sdapi.Config) { c.OutputDir = "<data dir>" })
	got := f.get("/sdapi/v1/cmd-flags")
	values := got.object(t)
	var order []string
	for _, tc := range file.Cases {
		order = append(order, tc.Input)
		require.Equal(t, tc.Want, values[tc.Input], tc.Input)
	}
	require.Equal(t, order, keysOf(t, got.body))
}

func TestListVectors(t *testing.T) {
	f := start(t)
	for name, path := range map[string]string{"samplers_list.json": "samplers", "schedulers_list.json": "schedulers"} {
		var file struct {
			Cases []struct{ Want json.RawMessage }
		}
		vectors.Load(t, name, &file)
		var want []string
		for _, tc := range file.Cases {
			want = append(want, string(tc.Want))
		}
		require.JSONEq(t, "["+strings.Join(want, ",")+"]", string(f.get("/sdapi/v1/"+path).body))
	}
	var file struct {
		Cases []struct {
			Name string
			Want []string
		}
	}
	vectors.Load(t, "lists.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		switch tc.Name {
		case "latent upscale modes":
			require.Equal(t, tc.Want, namesOf(t, f.get("/sdapi/v1/latent-upscale-modes")))
		case "face restorers":
			require.Equal(t, tc.Want, namesOf(t, f.get("/sdapi/v1/face-restorers")))
		case "first upscalers":
			require.Equal(t, tc.Want, namesOf(t, f.get("/sdapi/v1/upscalers"))[:len(tc.Want)])
		case "interrogate models":
			for _, model := range tc.Want {
				got := f.post("/sdapi/v1/interrogate", map[string]any{"image": encoded(t, 8, 8), "model": model})
				require.NotEqual(t, 404, got.status, model)
			}
		case "emphasis values", "randn_source values":
			key := map[string]string{"emphasis values": "emphasis", "randn_source values": "randn_source"}[tc.Name]
			for _, value := range tc.Want {
				got := f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": map[string]any{key: value}}))
				require.Equal(t, 200, got.status, "%s %s", value, got.body)
			}
		default:
			t.Errorf("list %q is not tested", tc.Name)
		}
	}
}

func namesOf(t *testing.T, r reply) []string {
	t.Helper()
	var list []struct{ Name string }
	require.NoError(t, json.Unmarshal(r.body, &list))
	var names []string
	for _, row := range list {
		names = append(names, row.Name)
	}
	return names
}

func TestModelNameVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Path   string
				SHA256 *string
			}
			Want struct {
				Title     string
				ModelName string `json:"model_name"`
				Hash      *string
			}
		}
	}
	vectors.Load(t, "model_names.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			sum := ""
			if tc.Input.SHA256 != nil {
				sum = *tc.Input.SHA256
			}
			f := start(t)
			f.catalog.Tell(sdapitest.Files(sdapitest.Checkpoint(tc.Input.Path, sum))...)
			var list []struct {
				Title     string
				ModelName string `json:"model_name"`
				Hash      *string
				SHA256    *string
			}
			require.NoError(t, json.Unmarshal(f.get("/sdapi/v1/sd-models").body, &list))
			require.Equal(t, tc.Want.Title, list[0].Title)
			require.Equal(t, tc.Want.ModelName, list[0].ModelName)
			require.Equal(t, tc.Want.Hash, list[0].Hash)
			require.Equal(t, tc.Input.SHA256, list[0].SHA256)
			for _, name := range []string{tc.Want.Title, tc.Want.ModelName} {
				got := f.post("/sdapi/v1/options", map[string]any{"sd_model_checkpoint": name})
				require.Equal(t, "null", string(got.body), url.PathEscape(name))
			}
		})
	}
}
