package main

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

// specified is a server and what its OpenAPI document says of it.
type specified struct {
	*client
	doc *openapi3.T
}

// reply sends a request and requires that the document knows its reply.
func (d *specified) reply(method, path, route, body string) reply {
	d.t.Helper()
	got := d.do(method, path, body)
	item := d.doc.Paths.Find(route)
	require.NotNil(d.t, item, route)
	op := item.GetOperation(method)
	require.NotNil(d.t, op, "%s %s", method, route)
	response := op.Responses.Value(strconv.Itoa(got.status))
	if response == nil {
		response = op.Responses.Default()
	}
	require.NotNil(d.t, response, "%s %s answers %d, which is not described: %s", method, route, got.status, got.body)
	media := response.Value.Content.Get("application/json")
	if media == nil {
		return got
	}
	var v any
	require.NoError(d.t, json.Unmarshal([]byte(got.body), &v), "%s %s %d: %s", method, route, got.status, got.body)
	require.NoError(d.t, media.Schema.Value.VisitJSON(v), "%s %s %d", method, route, got.status)
	return got
}

// TestOpenAPIDescribesReplies: the document of all doors is valid, each of its routes has
// replies described, and what the server answers, also to what is wrong, is what it says.
func TestOpenAPIDescribesReplies(t *testing.T) {
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(c.get("/openapi.json").body))
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	d := &specified{c, doc}

	picture := `{"prompt":"a cat","steps":1,"width":64,"height":64}`
	images := c.paint(picture)
	require.NotEmpty(t, images)
	var made struct{ Images []string }
	require.NoError(t, json.Unmarshal([]byte(c.do(http.MethodPost, "/sdapi/v1/txt2img", picture).body), &made))
	job := d.reply(http.MethodPost, "/v1/jobs?wait=60", "/v1/jobs", `{"endpoint":"txt2img","input":`+picture+`}`)
	require.Equal(t, http.StatusAccepted, job.status, job.body)
	var submitted struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(job.body), &submitted))
	model := d.reply(http.MethodGet, "/v1/models", "/v1/models", "")
	var models struct{ Data []struct{ ID string } }
	require.NoError(t, json.Unmarshal([]byte(model.body), &models))
	models.Data = append(models.Data, struct{ ID string }{"none"})

	quoted := strconv.Quote(made.Images[0])
	bodies := map[string]string{
		"POST /sdapi/v1/txt2img":            picture,
		"POST /sdapi/v1/img2img":            `{"init_images":[` + quoted + `],"steps":1,"width":64,"height":64}`,
		"POST /sdapi/v1/extra-single-image": `{"image":` + quoted + `}`,
		"POST /sdapi/v1/extra-batch-images": `{"imageList":[{"data":` + quoted + `,"name":"a"}]}`,
		"POST /sdapi/v1/png-info":           `{"image":` + quoted + `}`,
		"POST /sdapi/v1/interrogate":        `{"image":` + quoted + `}`,
		"POST /controlnet/detect":           `{"controlnet_input_images":[` + quoted + `]}`,
		"POST /v1/images/generations":       `{"prompt":"a cat","size":"64x64"}`,
	}
	examples := 0
	last := map[string]bool{ // they change what others need
		"POST /sdapi/v1/server-kill": true, "POST /sdapi/v1/server-stop": true, "POST /sdapi/v1/server-restart": true, "GET /v1/jobs/{id}/events": true,
		"DELETE /v1/jobs/{id}": true, "POST /sdapi/v1/unload-checkpoint": true, "POST /mcp": true, "GET /metrics": true,
	}
	place := strings.NewReplacer("{id}", submitted.ID, "{n}", "0", "{model}", models.Data[0].ID)
	for route, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			name := method + " " + route
			if ok := op.Responses.Value("200"); ok != nil && ok.Value.Content.Get("application/json") != nil {
				require.NotNil(t, ok.Value.Content.Get("application/json").Schema, name)
			}
			if last[name] {
				continue
			}
			body, path := bodies[name], place.Replace(route)
			if body == "" && method == http.MethodPost {
				body = "{}"
			}
			d.reply(method, path, route, body)
			if op.RequestBody != nil {
				if media := op.RequestBody.Value.Content.Get("application/json"); media != nil && media.Example != nil {
					example, err := json.Marshal(media.Example)
					require.NoError(t, err)
					got := d.reply(method, path, route, string(example))
					require.Less(t, got.status, http.StatusBadRequest, "the example of %s: %s", name, got.body)
					examples++
				}
				// What is wrong.
				d.reply(method, path, route, "[]")
				d.reply(method, path, route, `{"prompt":7,"image":7,"imageList":7,"steps":"x"`)
				d.reply(method, path, route, `{"prompt":7,"image":"x","imageList":7,"steps":"x","size":"x","endpoint":"x"}`)
			}
			if strings.Contains(route, "{") {
				d.reply(method, strings.NewReplacer("{id}", "none", "{n}", "0", "{model}", "none").Replace(route), route, "")
			}
		}
	}
	require.GreaterOrEqual(t, examples, 11, "requests have examples")
	require.Equal(t, http.StatusNoContent, d.reply(http.MethodDelete, "/v1/jobs/"+submitted.ID, "/v1/jobs/{id}", "").status)
	require.Equal(t, http.StatusGone, d.reply(http.MethodGet, "/v1/jobs/"+submitted.ID, "/v1/jobs/{id}", "").status)
}

// TestOpenAPIClient: another validator agrees, and a client that is generated from the
// document makes pictures by three doors.
func TestOpenAPIClient(t *testing.T) {
	python := clienttest.Need(t, "cmd/worker/testdata/openapi/install.sh", "openapi", "bin", "python")
	script, err := filepath.Abs("testdata/openapi/client.py")
	require.NoError(t, err)
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	out, err := exec.Command(python, script, c.base, t.TempDir()).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "ok")
}

// TestOpenAPIOfAnyRequest: replies to requests that a tool makes of the document, right and
// wrong ones, are those that it describes. The A1111 API has 500 where A1111 has; the
// routes that are not A1111's have it for no request.
func TestOpenAPIOfAnyRequest(t *testing.T) {
	if underRace {
		t.Skip("the same requests are made without the race detector")
	}
	st := clienttest.Need(t, "cmd/worker/testdata/openapi/install.sh", "openapi", "bin", "schemathesis")
	for name, args := range map[string][]string{
		"replies as described": {"--checks", "status_code_conformance,content_type_conformance,response_schema_conformance"},
		"no error of ours":     {"--checks", "not_a_server_error", "--include-path-regex", "^/(v1/images|v1/models|v1/jobs/|mcp|metrics|controlnet/[a-ce-z]|queue)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := serve(t, newHome(t), openGate)
			c.ready()
			cmd := exec.Command(st, append([]string{
				"run", c.base + "/openapi.json", "--url", c.base, "--phases", "fuzzing", "--max-examples", "8", "--generation-deterministic",
				"--request-timeout", "60", "--no-color",
			}, args...)...)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			require.Contains(t, string(out), "Test cases:")
		})
	}
}
