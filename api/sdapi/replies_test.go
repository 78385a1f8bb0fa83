package sdapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
)

var updateReplies = flag.Bool("update", false, "write replies.json anew")

// replyShape is what replies.json has of a route: the schema of its replies and one of
// them.
type replyShape struct {
	Schema  map[string]any `json:"schema"`
	Example any            `json:"example,omitempty"`
}

// named are objects whose keys are names of the user's or of models, by their place.
var named = []string{
	"GET /sdapi/v1/embeddings.loaded", "GET /sdapi/v1/embeddings.skipped", "GET /controlnet/control_types.control_types", "GET /controlnet/module_list.module_detail",
	"POST /sdapi/v1/png-info.items", "POST /sdapi/v1/png-info.parameters", "GET /sdapi/v1/samplers[].options", "GET /sdapi/v1/embeddings.loaded{}", "GET /sdapi/v1/loras[].metadata",
	"GET /sdapi/v1/sd-models[].metadata",
}

// objectOf is an object of texts, which may be null.
func objectOf(keys ...string) map[string]any {
	properties := map[string]any{}
	for _, key := range keys {
		properties[key] = map[string]any{"type": "string", "nullable": true}
	}
	return map[string]any{"type": "object", "properties": properties, "required": keys}
}

// upscalerShape is an entry of the list of Real-ESRGAN upscalers.
var upscalerShape = func() map[string]any {
	s := objectOf("name", "path")
	s["properties"].(map[string]any)["scale"] = map[string]any{"type": "integer"}
	s["required"] = []string{"name", "path", "scale"}
	return s
}()

// embeddingShape is an entry of the lists of embeddings.
var embeddingShape = func() map[string]any {
	s := objectOf("sd_checkpoint", "sd_checkpoint_name")
	p := s["properties"].(map[string]any)
	p["step"] = map[string]any{"type": "integer", "nullable": true}
	p["shape"], p["vectors"] = map[string]any{"type": "integer"}, map[string]any{"type": "integer"}
	s["required"] = []string{"step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"}
	return s
}()

// unseen are what replies of a small server do not show.
var unseen = map[string]map[string]any{
	"GET /sdapi/v1/progress.current_image":       {"type": "string", "nullable": true, "description": "a PNG as base64"},
	"GET /sdapi/v1/progress.textinfo":            {"type": "string", "nullable": true},
	"POST /internal/progress.eta":                {"type": "number", "nullable": true},
	"POST /internal/progress.progress":           {"type": "number", "nullable": true},
	"POST /internal/progress.live_preview":       {"type": "string", "nullable": true},
	"POST /internal/progress.textinfo":           {"type": "string", "nullable": true},
	"GET /sdapi/v1/script-info[].args[].value":   {"nullable": true},
	"GET /sdapi/v1/script-info[].args[].choices": {"type": "array", "nullable": true, "items": map[string]any{"type": "string"}},
	"GET /sdapi/v1/upscalers[].model_url":        {"type": "string", "nullable": true},
	"GET /sdapi/v1/upscalers[].model_name":       {"type": "string", "nullable": true},
	"GET /sdapi/v1/sd-models[].config":           {"type": "string", "nullable": true},
	"GET /sdapi/v1/sd-models[].hash":             {"type": "string", "nullable": true},
	"GET /sdapi/v1/sd-models[].sha256":           {"type": "string", "nullable": true},
	"GET /sdapi/v1/face-restorers[].cmd_dir":     {"type": "string", "nullable": true},
	"GET /sdapi/v1/embeddings.loaded{}":          embeddingShape,
	"GET /sdapi/v1/embeddings.skipped{}":         embeddingShape,
	"GET /sdapi/v1/hypernetworks[]":              objectOf("name", "path"),
	"GET /sdapi/v1/prompt-styles[]":              objectOf("name", "prompt", "negative_prompt"),
	"GET /sdapi/v1/realesrgan-models[]":          upscalerShape,
	"GET /sdapi/v1/extensions[]":                 {"type": "object"},
	"POST /sdapi/v1/txt2img.parameters":          {"type": "object", "description": "the fields of the request, with defaults"},
	"POST /sdapi/v1/img2img.parameters":          {"type": "object", "description": "the fields of the request, with defaults"},
	"GET /adetailer/v1/schema.properties":        {"type": "object"},
	"GET /sdapi/v1/cmd-flags":                    {"type": "object"},
	"GET /sdapi/v1/options":                      {"type": "object"},
	"GET /adetailer/v1/schema":                   {"type": "object"},
}

// shapeOf is the schema of a value in its place.
func shapeOf(place string, v any) map[string]any {
	if s, ok := unseen[place]; ok {
		return maps.Clone(s)
	}
	switch v := v.(type) {
	case nil:
		return map[string]any{"nullable": true}
	case bool:
		return map[string]any{"type": "boolean"}
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return map[string]any{"type": "number"}
		}
		return map[string]any{"type": "integer"}
	case string:
		return map[string]any{"type": "string"}
	case []any:
		items := map[string]any{}
		for i, e := range v {
			if s := shapeOf(place+"[]", e); i == 0 {
				items = s
			} else {
				items = joined(items, s)
			}
		}
		if len(v) == 0 {
			if s, ok := unseen[place+"[]"]; ok {
				items = s
			}
		}
		return map[string]any{"type": "array", "items": items}
	case map[string]any:
		if slices.Contains(named, place) {
			values := map[string]any{}
			for i, key := range slices.Sorted(maps.Keys(v)) {
				if s := shapeOf(place+"{}", v[key]); i == 0 {
					values = s
				} else {
					values = joined(values, s)
				}
			}
			return map[string]any{"type": "object", "additionalProperties": values}
		}
		properties, keys := map[string]any{}, slices.Sorted(maps.Keys(v))
		for _, key := range keys {
			properties[key] = shapeOf(place+"."+key, v[key])
		}
		s := map[string]any{"type": "object", "properties": properties}
		if len(keys) > 0 {
			s["required"] = keys
		}
		return s
	}
	panic("no JSON")
}

// anything is the title of schemas of values that have several types.
const anything = "Any"

// joined is the schema of values that have one of two.
func joined(a, b map[string]any) map[string]any {
	a, b = maps.Clone(a), maps.Clone(b)
	nullable := a["nullable"] == true || b["nullable"] == true
	delete(a, "nullable")
	delete(b, "nullable")
	out := map[string]any{"title": anything}
	kinds := []any{a["type"], b["type"]}
	switch {
	case a["title"] == anything || b["title"] == anything:
	case len(a) == 0:
		out = b
	case len(b) == 0:
		out = a
	case kinds[0] == "object" && kinds[1] == "object" && a["properties"] != nil && b["properties"] != nil:
		out = joinedObjects(a, b)
	case kinds[0] == "object" && kinds[1] == "object" && a["additionalProperties"] != nil && b["additionalProperties"] != nil:
		out = map[string]any{"type": "object", "additionalProperties": joined(a["additionalProperties"].(map[string]any), b["additionalProperties"].(map[string]any))}
	case kinds[0] == "array" && kinds[1] == "array":
		out = map[string]any{"type": "array", "items": joined(a["items"].(map[string]any), b["items"].(map[string]any))}
	case kinds[0] == kinds[1]:
		out = a
	case slices.Contains(kinds, any("number")) && slices.Contains(kinds, any("integer")):
		out = map[string]any{"type": "number"}
	}
	if nullable {
		out["nullable"] = true
	}
	return out
}

func joinedObjects(a, b map[string]any) map[string]any {
	properties := maps.Clone(a["properties"].(map[string]any))
	for key, s := range b["properties"].(map[string]any) {
		if known, ok := properties[key]; ok {
			properties[key] = joined(known.(map[string]any), s.(map[string]any))
		} else {
			properties[key] = s
		}
	}
	out := map[string]any{"type": "object", "properties": properties}
	first, _ := a["required"].([]string)
	second, _ := b["required"].([]string)
	if both := slices.DeleteFunc(slices.Clone(first), func(key string) bool { return !slices.Contains(second, key) }); len(both) > 0 {
		out["required"] = both
	}
	return out
}

// brief is a value with short texts and lists, for an example.
func brief(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > 200 {
			return v[:60] + "..."
		}
	case []any:
		if len(v) > 2 {
			v = v[:2]
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = brief(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for key, e := range v {
			out[key] = brief(e)
		}
		return out
	}
	return v
}

// requests are the bodies of requests.json, with which routes are called.
func requests(t *testing.T) map[string][]any {
	t.Helper()
	var examples map[string]any
	require.NoError(t, json.Unmarshal([]byte(sdapi.Requests), &examples))
	bodies := map[string][]any{}
	for route, body := range examples {
		bodies[route] = []any{body}
	}
	return bodies
}

// call sends the requests of a route and returns the bodies of its replies, as JSON.
func (f *fixture) replies(t *testing.T, method, path string, bodies []any) (list []any) {
	t.Helper()
	if len(bodies) == 0 {
		bodies = []any{nil}
		if method == "POST" {
			bodies = []any{map[string]any{}}
		}
	}
	for _, body := range bodies {
		got := f.send(method, path, body)
		require.Equal(t, 200, got.status, "%s %s: %s", method, path, got.body)
		if !strings.Contains(got.header.Get("Content-Type"), "json") {
			continue
		}
		var v any
		dec := json.NewDecoder(bytes.NewReader(got.body))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&v), "%s %s", method, path)
		list = append(list, v)
	}
	return list
}

// noReply are routes that answer nothing that could be described.
var noReply = []string{"POST /sdapi/v1/server-kill", "POST /sdapi/v1/server-restart", "POST /sdapi/v1/server-stop"}

// TestReplies: what the OpenAPI document says of replies is what replies are. replies.json
// is made of them: go test ./api/sdapi -run TestReplies -update.
func TestReplies(t *testing.T) {
	doc := start(t).get("/openapi.json").object(t)
	bodies := requests(t)
	shapes := map[string]replyShape{}
	for path, item := range doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			method = strings.ToUpper(method)
			route := method + " " + path
			if slices.Contains(noReply, route) {
				continue
			}
			f := start(t) // routes change what others show
			f.post("/sdapi/v1/reload-checkpoint", map[string]any{})
			list := f.replies(t, method, path, bodies[route])
			if len(list) == 0 {
				continue
			}
			shape := replyShape{Schema: shapeOf(route, list[0]), Example: brief(list[0])}
			for _, v := range list[1:] {
				shape.Schema = joined(shape.Schema, shapeOf(route, v))
			}
			if text, err := json.Marshal(shape.Example); err != nil || len(text) > 4000 {
				shape.Example = nil
			}
			shapes[route] = shape
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	require.NoError(t, enc.Encode(shapes))
	if *updateReplies {
		require.NoError(t, os.WriteFile("replies.json", buf.Bytes(), 0o644))
		return
	}
	want := map[string]struct{ Schema map[string]any }{}
	got := map[string]struct{ Schema map[string]any }{}
	require.NoError(t, json.Unmarshal([]byte(sdapi.Replies), &want))
	require.NoError(t, json.Unmarshal(buf.Bytes(), &got))
	require.Equal(t, want, got, "replies.json is old: run the test with -update")
}
