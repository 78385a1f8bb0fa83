package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
)

// ControlNets of a request take their part of memory before the rows of a call do.
func TestRoomBesideControlNets(t *testing.T) {
	info := inference.EngineInfo{MemoryBytes: 6 << 30, WeightBytes: 2_132_696_762}
	alone, guided := info.UNetRows(64, 64, inference.ChunkTokens, 0, 0), info.UNetRows(64, 64, inference.ChunkTokens, 2, 0)
	require.Positive(t, guided)
	require.Greater(t, alone-guided, 2*722_000_000/90_000_000, "as many rows as their weights have room for, and more")
	require.NoError(t, info.Admit(1024, 1024, 1))
	err := info.Admit(1024, 1024, 4)
	require.Equal(t, fault.Exhausted, fault.CodeOf(err))
}
