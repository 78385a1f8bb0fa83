package inference_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
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

// IP-Adapters are not counted as ControlNets, neither in a job nor in ADetailer's.
func TestRoomBesideIPAdapters(t *testing.T) {
	four := slices.Repeat([]inference.ControlUnit{pictureUnit(nil)}, 4)
	for name, change := range map[string]func(*inference.Request){
		"a job": func(r *inference.Request) { r.Control = four },
		"details": func(r *inference.Request) {
			r.Details = []inference.DetailUnit{unit(func(u *inference.DetailUnit) { u.Control = four })}
		},
	} {
		big := txt2img(func(r *inference.Request) {
			r.Width, r.Height, r.Steps = 1024, 1024, 1
			change(r)
			for i := range r.Details {
				r.Details[i].Width, r.Details[i].Height = 1024, 1024
			}
		})
		b := newBench(t, func() *enginetest.Fake {
			return &enginetest.Fake{Description: inference.EngineInfo{MemoryBytes: 6 << 30, WeightBytes: 2_132_696_762}}
		})
		_, err := b.Generate(t.Context(), big, inference.Hooks{})
		require.NoError(t, err, name)
		for i := range four {
			four[i].Encoder, four[i].Module = "", "none"
		}
		_, err = b.Generate(t.Context(), big, inference.Hooks{})
		require.Equal(t, fault.Exhausted, fault.CodeOf(err), name)
		for i := range four {
			four[i] = pictureUnit(nil)
		}
	}
}
