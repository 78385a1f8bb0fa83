package main

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/jobs"
	"sdworker/api/loopback"
	"sdworker/api/metrics"
	"sdworker/api/openai"
	"sdworker/api/webui"
)

// site is everything that worker serve answers: the A1111 API, and beside it
// jobs, OpenAI's image routes, metrics and the page.
type site struct {
	api     http.Handler // A1111's; also takes what no other one does
	jobs    *jobs.Server
	openai  http.Handler
	metrics http.Handler
	page    http.Handler
	maxBody int64
}

func newSite(s *stack, m *metrics.Metrics, maxBody int64) *site {
	return &site{
		api: s.api, jobs: jobs.New(jobs.Config{API: s.api, Queue: s.queue}), openai: openai.New(openai.Config{API: s.api}),
		metrics: m.Handler(), page: webui.Handler(), maxBody: maxBody,
	}
}

// Close ends the jobs.
func (s *site) Close() error { return s.jobs.Close() }

// ServeHTTP finds who answers.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	below := func(roots ...string) bool {
		return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
	}
	switch {
	case isPreflight(r):
		s.api.ServeHTTP(w, r)
	case below("/v1/jobs"):
		s.guard(w, r, s.jobs)
	case below("/v1/images", "/v1/models"):
		s.guard(w, r, s.openai)
	case path == "/metrics":
		s.guard(w, r, s.metrics)
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

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// probe is a cheap route of the A1111 API that needs credentials.
const probe = "/sdapi/v1/progress?skip_current_image=true"

// guard lets a request through that the A1111 API would, with the same headers
// for other origins and the same limit of the body.
func (s *site) guard(w http.ResponseWriter, r *http.Request, h http.Handler) {
	header := loopback.Credentials(r)
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Origin", origin)
	}
	verdict := loopback.Get(r.Context(), s.api, probe, header)
	for name, values := range verdict.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			w.Header()[name] = values
		}
	}
	if verdict.Status == http.StatusUnauthorized {
		w.Header().Set("Content-Type", verdict.Header.Get("Content-Type"))
		w.WriteHeader(verdict.Status)
		_, _ = w.Write(verdict.Body) // a client that went away is not our error
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.maxBody)
	h.ServeHTTP(w, r)
}

// countedRoutes are told apart in the metrics.
var countedRoutes = []string{
	"/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images", "/sdapi/v1/progress",
	"/sdapi/v1/options", "/sdapi/v1/interrupt", "/sdapi/v1/skip", "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events",
	"/v1/images/generations", "/v1/images/edits", "/v1/models", "/metrics", "/ping",
}
