// Package v1test tests what all APIs below /v1 have in common.
package v1test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Description tests that every route of an API's description is served by h and has
// what a reader needs. absent is in the reply to a route that there is not.
func Description(t *testing.T, h http.Handler, paths map[string]any, absent string) {
	t.Helper()
	require.NotEmpty(t, paths)
	seen := map[string]bool{}
	for path, methods := range paths {
		for method, operation := range methods.(map[string]any) {
			op := operation.(map[string]any)
			require.NotEmpty(t, op["summary"], path)
			require.NotEmpty(t, op["responses"], path)
			id := op["operationId"].(string)
			require.False(t, seen[id], "%s twice", id)
			seen[id] = true
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), nil))
			require.NotEqual(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, path)
			require.NotContains(t, w.Body.String(), absent, "%s %s", method, path)
		}
	}
}
