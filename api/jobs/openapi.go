package jobs

import (
	_ "embed"
	"time"

	v1 "sdworker/api/v1"
)

//go:embed openapi.json
var description string

// Paths describes the routes of the package as the paths of an OpenAPI 3.0
// document.
func Paths() map[string]any {
	job := v1.Schema(document{})
	job["properties"].(map[string]any)["output"] = map[string]any{"type": "object", "description": "The reply of the API, once the job is completed"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	position := 2
	example := document{ID: "job-z7qboai2a3fbq3jp364spe3ads", Object: "job", Status: Queued, Endpoint: "/sdapi/v1/txt2img", Created: at, Position: &position}
	return v1.Paths(description, map[string]v1.Reply{
		"job":   {Schema: job, Example: example},
		"list":  {Schema: v1.Schema(jobList{}), Example: jobList{Object: "list", Data: []*document{&example}}},
		"error": {Schema: v1.Schema(errorBody{}), Example: errorBody{Detail: "there is no such job"}},
		"refusal": {Schema: map[string]any{
			"type": "object", "properties": map[string]any{"detail": map[string]any{"description": "What is wrong: a text, or FastAPI's list of fields"}}, "required": []any{"detail"},
		}, Example: errorBody{Detail: "endpoint is missing"}},
	})
}
