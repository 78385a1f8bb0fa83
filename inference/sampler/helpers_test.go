package sampler_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/vectors"
)

type ctx = context.Context

// unmarshalPair decodes a JSON array of two elements.
func unmarshalPair(raw []byte, first, second any) error {
	return json.Unmarshal(raw, &[]any{first, second})
}

// rawCases returns the cases of a vector file undecoded.
func rawCases(t *testing.T, name string) []json.RawMessage {
	t.Helper()
	var file struct{ Cases []json.RawMessage }
	vectors.Load(t, name, &file)
	return file.Cases
}

func decode[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}

func requireNear(t *testing.T, want []float64, got []float32, tolerance float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i, w := range want {
		require.InDelta(t, w, got[i], tolerance, "%s, value %d", what, i)
	}
}

func toFloat32(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}
