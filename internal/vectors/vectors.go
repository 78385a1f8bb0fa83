// Package vectors loads the recorded reference cases of testdata/vectors for tests.
package vectors

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Path returns the absolute path of a file below testdata/vectors, such as
// "attention.json" or "numeric/samplers.json".
func Path(name string) string {
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "..", "..", "testdata", "vectors", name)
}

// Load decodes the file into dst, usually a struct with a Cases slice. It fails
// the test when the file is missing or malformed, so that no test passes on
// nothing.
func Load(tb testing.TB, name string, dst any) {
	tb.Helper()
	raw, err := os.ReadFile(Path(name))
	if err != nil {
		tb.Fatalf("vectors: %v", err)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		tb.Fatalf("vectors: %s: %v", name, err)
	}
}
