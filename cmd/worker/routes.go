package main

import (
	"context"
	"maps"
	"net/http"

	"sdworker/api/gate"
	"sdworker/api/jobs"
	"sdworker/api/metrics"
	"sdworker/api/openai"
	"sdworker/api/tracing"
	"sdworker/api/webui"
)

// publicMux serves everything that worker serve answers behind one policy: the
// A1111 API, and beside it jobs, OpenAI's image routes, metrics and the page.
// When ctx ends, so do streams that no job is waited for on. closing must be called at
// the end.
func publicMux(ctx context.Context, s *services, policy gate.Policy, hooks jobs.Webhooks, m *metrics.Metrics, t *tracing.Tracing) (mux http.Handler, closing func()) {
	running, tools := jobs.New(jobs.Config{API: s.api, Queue: s.queue, Webhooks: hooks, Preview: s.server.LivePreview}), s.mcp()
	context.AfterFunc(ctx, tools.Hush)
	around := []gate.Middleware{t.Requests, m.Requests, s.memory.Handler}
	return gate.NewMux(policy, around,
		s.door, running.Door(), tools.Door(), openai.New(openai.Config{API: s.api, Queue: s.queue, Preview: s.server.LivePreview}).Door(),
		gate.Door{
			Routes: gate.Head([]gate.Route{{Method: http.MethodGet, Path: "/metrics", Handler: m.Handler()}}),
			Refuse: s.door.Refuse,
		},
		pageDoor(s),
	), func() { running.Close(); tools.Close() }
}

// pageDoor is the page to try the server. Its files hold no data; what it asks of the
// server is for those who may call the API.
func pageDoor(s *services) gate.Door {
	page, data := webui.Page(s.toys), webui.Data(s.pageConfig())
	return gate.Door{
		Routes: append(gate.Head([]gate.Route{
			{Method: http.MethodGet, Path: "/{$}", Access: gate.Anyone, Handler: page},
			{Method: http.MethodGet, Path: "/webui/{file}", Access: gate.Anyone, Handler: page},
			{Method: http.MethodGet, Path: webui.FilesPath, Handler: data},
			{Method: http.MethodGet, Path: webui.ChoicesPath, Handler: data},
		}),
			gate.Route{Method: http.MethodPost, Path: webui.TokensPath, Handler: data},
			gate.Route{Method: http.MethodPost, Path: webui.ParametersPath, Handler: data},
		),
		Refuse: s.door.Refuse,
	}
}

// otherPaths describes the routes beside the A1111 API.
func otherPaths() map[string]any {
	paths := jobs.Paths()
	maps.Copy(paths, openai.Paths())
	of := func(kind, description string, schema map[string]any) map[string]any {
		return map[string]any{"content": map[string]any{kind: map[string]any{"schema": schema}}, "description": description}
	}
	text := map[string]any{"type": "string"}
	paths["/metrics"] = map[string]any{"get": map[string]any{
		"summary": "Metrics for Prometheus", "operationId": "metrics_get", "responses": map[string]any{"200": of("text/plain", "Successful Response", text)},
	}}
	paths["/mcp"] = map[string]any{"post": map[string]any{
		"summary": "Tools for language models: MCP over streamable HTTP", "operationId": "mcp_post",
		"requestBody": map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"title": "McpMessage", "type": "object"}}}},
		"responses": map[string]any{
			"200": of("text/event-stream", "Successful Response", map[string]any{}), "202": map[string]any{"description": "A notification was taken"},
			"4XX": of("text/plain", "This is no message of MCP", text),
		},
	}}
	return paths
}
