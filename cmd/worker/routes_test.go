package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The document describes what is served, and all of it is.
func TestDescriptionOfAllRoutes(t *testing.T) {
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(c.get("/openapi.json").body), &doc))
	for _, path := range []string{"/sdapi/v1/txt2img", "/v1/jobs", "/v1/jobs/{id}/events", "/v1/images/generations", "/v1/models", "/readyz"} {
		require.Contains(t, doc.Paths, path)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			got := c.do(strings.ToUpper(method), path, "")
			require.NotEqual(t, http.StatusMethodNotAllowed, got.status, "%s %s", method, path)
			require.NotContains(t, got.body, `"Not Found"`, "%s %s", method, path)
			require.NotContains(t, got.body, "there is no /", "%s %s", method, path)
		}
	}
	require.JSONEq(t, `{"detail":"Method Not Allowed"}`, c.do(http.MethodPut, "/", "").body)
	require.JSONEq(t, `{"detail":"Not Found"}`, c.get("/sdapi/v1/version").body)
}
