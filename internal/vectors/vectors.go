// Package vectors loads the recorded reference cases of testdata/vectors for tests.
package vectors

import (
	"bytes"
	"encoding/binary"
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

// Float32s are values that a file holds as base64 of their little-endian bytes.
type Float32s []float32

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Float32s) UnmarshalJSON(text []byte) error {
	var raw []byte
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	*v = make([]float32, len(raw)/4)
	return binary.Read(bytes.NewReader(raw), binary.LittleEndian, []float32(*v))
}
