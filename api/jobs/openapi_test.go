package jobs_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/jobs"
)

// Every route that is described is served, and has what a reader needs.
func TestDescription(t *testing.T) {
	h := handler(t)
	paths := jobs.Paths()
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
			require.NotEqual(t, 405, w.Code, "%s %s", method, path)
			require.NotContains(t, w.Body.String(), `"Not Found"`, "%s %s", method, path)
		}
	}
}
