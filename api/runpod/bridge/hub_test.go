package bridge_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
	"sdworker/api/runpod/bridge"
	"sdworker/internal/vectors"
)

var update = flag.Bool("update", false, "rewrite generated files")

const hub = "../../../.runpod/"

func readHub(t *testing.T, name string, into any) {
	t.Helper()
	body, err := os.ReadFile(filepath.FromSlash(hub + name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(body, into))
}

// TestHubFilesExist names what the Hub looks for in a repository before it lists
// it.
func TestHubFilesExist(t *testing.T) {
	for _, name := range []string{"hub.json", "tests.json", "handler.py", "../Dockerfile", "../README.md"} {
		info, err := os.Stat(filepath.FromSlash(hub + name))
		require.NoError(t, err)
		require.Positive(t, info.Size())
	}
}

func TestHubVariablesExist(t *testing.T) {
	var file struct {
		Title, Description, Type, Category string
		Config                             struct {
			Presets []struct{ Defaults map[string]string }
			Env     []struct{ Key string }
		}
	}
	readHub(t, "hub.json", &file)
	require.Equal(t, "serverless", file.Type)
	require.Equal(t, "image", file.Category)
	require.NotEmpty(t, file.Title)
	documented, err := os.ReadFile("../../../docs/configuration.md")
	require.NoError(t, err)
	known := string(documented)
	for _, e := range file.Config.Env {
		require.Contains(t, known, "| `"+e.Key+"`")
	}
	for _, p := range file.Config.Presets {
		for key := range p.Defaults {
			require.Contains(t, known, "| `"+key+"`")
		}
	}
}

func TestHubTestsAreRequests(t *testing.T) {
	var file struct {
		Tests []map[string]any
	}
	readHub(t, "tests.json", &file)
	require.NotEmpty(t, file.Tests)
	for _, test := range file.Tests {
		server := &api{body: pictures}
		h := newBridge(t, bridge.Options{API: a1111.Client{Handler: server}, SplitSampler: split})
		whole, err := json.Marshal(test) // the Hub's runner has wrapped the whole test as the input
		require.NoError(t, err)
		input, err := json.Marshal(test["input"])
		require.NoError(t, err)
		for _, in := range []string{string(input), string(whole)} {
			_, err := do(t, h, in)
			require.NoError(t, err)
		}
		require.Equal(t, server.requests[0], server.requests[1])
	}
}

// fieldFile is a vector file of request fields.
type fieldFile struct {
	About string
	Cases []struct {
		Name, Input string
		Want        struct {
			Position int
			Type     string
			Default  any
			Nullable bool
		}
	}
}

// TestInputSchema keeps .runpod/input.schema.json, the JSON schema of a job's
// input, in step with the recorded request fields.
func TestInputSchema(t *testing.T) {
	request := func(file string) map[string]any {
		return map[string]any{"type": "object", "properties": fields(t, file)}
	}
	flat := map[string]any{
		"mode":                map[string]any{"enum": []string{"txt2img", "img2img"}, "description": "default: img2img when there are init_images"},
		"num_inference_steps": map[string]any{"type": "integer", "description": "another name of steps"},
		"guidance_scale":      map[string]any{"type": "number", "description": "another name of cfg_scale"},
	}
	schema := map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "Input of a job",
		"description": "Unknown fields are ignored. Names of samplers may include the scheduler, as before A1111 1.9.",
		"anyOf": []any{
			map[string]any{
				"title": "A1111 request", "required": []string{"api"}, "type": "object",
				"properties": map[string]any{
					"api": map[string]any{
						"type": "object", "required": []string{"method", "endpoint"},
						"properties": map[string]any{
							"method":   map[string]any{"enum": []string{"GET", "POST"}},
							"endpoint": map[string]any{"type": "string", "examples": []string{"/sdapi/v1/txt2img", "/sdapi/v1/samplers"}},
						},
					},
					"payload": map[string]any{"type": "object", "description": "body of a POST, query of a GET"},
				},
			},
			map[string]any{"title": "txt2img", "allOf": []any{request("txt2img_fields.json"), map[string]any{"properties": flat}}},
			map[string]any{"title": "img2img", "allOf": []any{request("img2img_fields.json"), map[string]any{"properties": flat}}},
		},
	}
	path := filepath.FromSlash(hub + "input.schema.json")
	if *update {
		text, err := json.MarshalIndent(schema, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append(text, '\n'), 0o644))
	}
	var written struct {
		AnyOf []struct {
			Title string
			AllOf []struct{ Properties map[string]any }
		}
	}
	readHub(t, "input.schema.json", &written)
	checked := 0
	for _, request := range written.AnyOf {
		if len(request.AllOf) == 0 {
			continue // {api, payload}
		}
		for name, want := range fields(t, request.Title+"_fields.json") {
			got, err := json.Marshal(request.AllOf[0].Properties[name])
			require.NoError(t, err)
			text, err := json.Marshal(want)
			require.NoError(t, err)
			require.JSONEq(t, string(text), string(got), "%s: %s; go test ./api/runpod/bridge -update rewrites the schema", request.Title, name)
			checked++
		}
	}
	require.Positive(t, checked)
}

// fields turns a vector file of request fields into JSON schema.
func fields(t *testing.T, file string) map[string]any {
	t.Helper()
	var f fieldFile
	vectors.Load(t, file, &f)
	require.NotEmpty(t, f.Cases)
	properties := map[string]any{}
	for _, c := range f.Cases {
		property := schemaType(c.Want.Type)
		if c.Want.Default != nil {
			property["default"] = c.Want.Default
		}
		if kind, ok := property["type"]; ok && c.Want.Nullable {
			property["type"] = []any{kind, "null"}
		}
		properties[c.Input] = property
	}
	return properties
}

// schemaType turns a vector file's type into JSON schema.
func schemaType(kind string) map[string]any {
	if of, ok := strings.CutPrefix(kind, "array of "); ok {
		return map[string]any{"type": "array", "items": schemaType(of)}
	}
	switch kind {
	case "string", "integer", "number", "boolean", "object", "array":
		return map[string]any{"type": kind}
	default:
		return map[string]any{}
	}
}
