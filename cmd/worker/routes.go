package main

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/jobs"
	"sdworker/api/metrics"
	"sdworker/api/openai"
	"sdworker/api/webui"
)

// site is everything that worker serve answers: the A1111 API, and beside it
// jobs, OpenAI's image routes, metrics and the page.
type site struct {
	api     http.Handler // A1111's; also takes what no other one does
	jobs    http.Handler
	openai  http.Handler
	metrics http.Handler
	page    http.Handler

	running *jobs.Server
}

func newSite(s *stack, m *metrics.Metrics) *site {
	running := jobs.New(jobs.Config{API: s.api, Queue: s.queue})
	guarded := func(h http.Handler) http.Handler { return s.memory.Handler(s.server.Guard(h)) }
	return &site{
		api: s.api, jobs: guarded(running), openai: guarded(openai.New(openai.Config{API: s.api})),
		metrics: guarded(m.Handler()), page: webui.Handler(s.toys), running: running,
	}
}

// Close ends the jobs.
func (s *site) Close() error { return s.running.Close() }

// ServeHTTP finds who answers.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	below := func(roots ...string) bool {
		return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
	}
	switch {
	case below("/v1/jobs"):
		s.jobs.ServeHTTP(w, r)
	case below("/v1/images", "/v1/models"):
		s.openai.ServeHTTP(w, r)
	case path == "/metrics":
		s.metrics.ServeHTTP(w, r)
	case (path == "/" || below("/webui")) && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		s.page.ServeHTTP(w, r)
	default:
		s.api.ServeHTTP(w, r)
	}
}

// otherPaths describes the routes beside the A1111 API.
func otherPaths() map[string]any {
	paths := jobs.Paths()
	maps.Copy(paths, openai.Paths())
	return paths
}

// countedRoutes are told apart in the metrics.
var countedRoutes = []string{
	"/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images", "/sdapi/v1/progress",
	"/sdapi/v1/options", "/sdapi/v1/interrupt", "/sdapi/v1/skip", "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events",
	"/v1/images/generations", "/v1/images/edits", "/v1/models", "/metrics", "/ping",
}
