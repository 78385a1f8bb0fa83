package schema_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

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

func read(t *testing.T, m *schema.Model, body string) (schema.Values, error) {
	t.Helper()
	v, err := pyjson.Decode([]byte(body))
	require.NoError(t, err)
	return m.Read(v)
}

func TestFieldTables(t *testing.T) {
	for file, models := range map[string][]*schema.Model{
		"txt2img_fields.json": {&schema.Txt2Img},
		"img2img_fields.json": {&schema.Img2Img},
		"extras_fields.json":  {&schema.ExtrasSingle, &schema.ExtrasBatch},
	} {
		var cases struct {
			Cases []struct {
				Input string
				Want  struct {
					Type      string
					Default   json.RawMessage
					Nullable  bool
					Required  bool
					Position  *int
					GE        any `json:"ge"`
					LE        any `json:"le"`
					GT        any `json:"gt"`
					Permitted []int64
					Only      string
				}
			}
		}
		vectors.Load(t, file, &cases)
		require.NotEmpty(t, cases.Cases)
		kinds := map[schema.Kind]string{
			schema.Integer: "integer", schema.Number: "number", schema.String: "string", schema.Boolean: "boolean",
			schema.Array: "array", schema.Strings: "array of string", schema.Models: "array of {data, name}", schema.Dict: "object",
		}
		for i, tc := range cases.Cases {
			t.Run(file+"/"+tc.Input, func(t *testing.T) {
				var found *schema.Field
				for _, m := range models {
					for j := range m.Fields {
						if m.Fields[j].Name == tc.Input {
							found = &m.Fields[j]
							if tc.Want.Position != nil {
								require.Equal(t, *tc.Want.Position, j)
								require.Equal(t, i, j)
							}
						}
					}
				}
				require.NotNil(t, found)
				require.Equal(t, tc.Want.Type, kinds[found.Kind])
				require.Equal(t, tc.Want.Nullable, found.Nullable)
				require.Equal(t, tc.Want.Required, found.Required)
				require.Equal(t, tc.Want.Permitted, found.Permitted)
				for _, bound := range [][2]any{{tc.Want.GE, found.GE}, {tc.Want.LE, found.LE}, {tc.Want.GT, found.GT}} {
					if bound[0] == nil {
						require.Nil(t, bound[1])
						continue
					}
					require.InDelta(t, bound[0], bound[1], 0)
				}
				if !found.Required {
					require.Equal(t, string(tc.Want.Default), text(t, found.Default))
				}
			})
		}
	}
}

func TestCoercionVectors(t *testing.T) {
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
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			v, err := read(t, &schema.Txt2Img, `{"`+tc.Input.Field+`":`+string(tc.Input.Value)+`}`)
			require.NoError(t, err)
			got, _ := v.Get(tc.Input.Field)
			require.Equal(t, string(tc.Want), text(t, got))
			require.True(t, v.Given(tc.Input.Field))
		})
	}
}

func TestCoercions(t *testing.T) {
	for _, tc := range []struct{ body, field, want string }{
		{`{"steps": " +7 "}`, "steps", "7"},
		{`{"steps": "1_000"}`, "steps", "1000"},
		{`{"steps": 9.99}`, "steps", "9"},
		{`{"steps": -9.99}`, "steps", "-9"},
		{`{"seed": 123456789012345678901234567890}`, "seed", "123456789012345678901234567890"},
		{`{"seed": 1e20}`, "seed", "100000000000000000000"},
		{`{"cfg_scale": " 1e1 "}`, "cfg_scale", "10.0"},
		{`{"cfg_scale": true}`, "cfg_scale", "1.0"},
		{`{"prompt": 1.50}`, "prompt", `"1.5"`},
		{`{"prompt": true}`, "prompt", `"True"`},
		{`{"tiling": 1.0}`, "tiling", "true"},
		{`{"tiling": "OFF"}`, "tiling", "false"},
		{`{"styles": [1, "a"]}`, "styles", `["1","a"]`},
		{`{"override_settings": [["a", 1]]}`, "override_settings", `{"a":1}`},
		{`{"override_settings": ""}`, "override_settings", `{}`},
		{`{"subseed_strength": 0}`, "subseed_strength", "0.0"},
		{`{}`, "subseed_strength", "0"},
		{`[]`, "steps", "50"},
		{`[["steps", 2]]`, "steps", "2"},
		{`{"unknown": 1}`, "steps", "50"},
	} {
		t.Run(tc.body, func(t *testing.T) {
			v, err := read(t, &schema.Txt2Img, tc.body)
			require.NoError(t, err)
			got, _ := v.Get(tc.field)
			require.Equal(t, tc.want, text(t, got))
			_, has := v.Get("unknown")
			require.False(t, has)
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		model *schema.Model
		body  string
		want  string
	}{
		{&schema.Txt2Img, `"x"`, `[{"loc":["body"],"msg":"value is not a valid dict","type":"type_error.dict"}]`},
		{&schema.Txt2Img, `{"cfg_scale":"x","steps":"1.5"}`, `[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"},` +
			`{"loc":["body","cfg_scale"],"msg":"value is not a valid float","type":"type_error.float"}]`},
		{&schema.Txt2Img, `{"steps":""}`, `[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]`},
		{&schema.Txt2Img, `{"steps":NaN}`, `[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]`},
		{&schema.Txt2Img, `{"styles":"x"}`, `[{"loc":["body","styles"],"msg":"value is not a valid list","type":"type_error.list"}]`},
		{&schema.Txt2Img, `{"styles":["a",null,{}]}`, `[{"loc":["body","styles",1],"msg":"none is not an allowed value","type":"type_error.none.not_allowed"},` +
			`{"loc":["body","styles",2],"msg":"str type expected","type":"type_error.str"}]`},
		{&schema.Txt2Img, `{"tiling":2}`, `[{"loc":["body","tiling"],"msg":"value could not be parsed to a boolean","type":"type_error.bool"}]`},
		{&schema.ExtrasSingle, `{"resize_mode":"1"}`, `[{"loc":["body","resize_mode"],"msg":"unexpected value; permitted: 0, 1","type":"value_error.const","ctx":{"given":"1","permitted":[0,1]}}]`},
		{&schema.ExtrasSingle, `{"resize_mode":null}`, `[{"loc":["body","resize_mode"],"msg":"none is not an allowed value","type":"type_error.none.not_allowed"}]`},
		{&schema.ExtrasSingle, `{"upscaling_resize_w":0}`, `[{"loc":["body","upscaling_resize_w"],"msg":"ensure this value is greater than or equal to 1","type":"value_error.number.not_ge","ctx":{"limit_value":1}}]`},
		{&schema.ExtrasSingle, `{"codeformer_weight":NaN}`, `[{"loc":["body","codeformer_weight"],"msg":"ensure this value is greater than or equal to 0","type":"value_error.number.not_ge","ctx":{"limit_value":0}}]`},
		{&schema.ExtrasBatch, `{}`, `[{"loc":["body","imageList"],"msg":"field required","type":"value_error.missing"}]`},
		{&schema.ExtrasBatch, `{"imageList":[{"data":"x"},3]}`, `[{"loc":["body","imageList",0,"name"],"msg":"field required","type":"value_error.missing"},` +
			`{"loc":["body","imageList",1],"msg":"value is not a valid dict","type":"type_error.dict"}]`},
	} {
		t.Run(tc.body, func(t *testing.T) {
			_, err := read(t, tc.model, tc.body)
			var errs schema.Errors
			require.ErrorAs(t, err, &errs)
			require.Equal(t, tc.want, text(t, errs.JSON()))
		})
	}
}

// Whatever JSON comes, the model answers with a full set of fields or a list of
// errors, and reading the echo again changes nothing.
func TestReadIsIdempotent(t *testing.T) {
	scalar := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int64(), func(i int64) any { return i }), rapid.Map(rapid.Float64(), func(f float64) any { return f }),
		rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Just[any]([]any{}), rapid.Just[any](pyjson.NewObject()))
	rapid.Check(t, func(t *rapid.T) {
		body := pyjson.NewObject()
		for range rapid.IntRange(0, 6).Draw(t, "fields") {
			f := rapid.SampledFrom(schema.Img2Img.Fields).Draw(t, "field")
			body.Set(f.Name, scalar.Draw(t, "value"))
		}
		v, err := schema.Img2Img.Read(body)
		if err != nil {
			var errs schema.Errors
			require.ErrorAs(t, err, &errs)
			require.NotEmpty(t, errs)
			return
		}
		require.Equal(t, len(schema.Img2Img.Fields), v.Len())
		again, err := schema.Img2Img.Read(v.Object)
		require.NoError(t, err)
		for k, x := range v.All() {
			if k == "subseed_strength" {
				continue // its default is an int, which a second reading makes a float
			}
			y, _ := again.Get(k)
			require.Equal(t, x, y, k)
		}
	})
}
