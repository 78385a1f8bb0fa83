package bench_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/internal/bench"
)

// profiled is an engine that tells invented times, shorter ones at each run.
type profiled struct {
	enginetest.Fake
	runs int
}

func (p *profiled) PeakFLOPS(context.Context) (float64, error) { return 1e9, nil }

func (p *profiled) Profile(ctx context.Context, calls func(context.Context) error) ([]inference.Operation, error) {
	p.runs++
	slow := 1 / float64(int(1)<<p.runs)
	return []inference.Operation{
		{Kind: "linear", Shape: "a", Calls: 1, Seconds: 1 + slow, CPU: 4, FLOPs: 10},
		{Kind: "linear", Shape: "b", Calls: 2, Seconds: 2 + slow, CPU: 5, FLOPs: 20},
		{Kind: "attention", Shape: "c", Calls: 4, Seconds: 4 + slow, CPU: 6, FLOPs: 40},
		{Kind: "norm", Shape: "d", Calls: 8, Seconds: 2.5 + slow, CPU: 7},
	}, calls(ctx)
}

func TestProfile(t *testing.T) {
	engine := new(profiled)
	r, err := bench.Profile(t.Context(), bench.ProfileOptions{Sides: []int{64}, Open: func(context.Context, string, func(done, total int)) (inference.Engine, error) {
		return engine, nil
	}})
	require.NoError(t, err)
	require.InDelta(t, 1e9, r.Peak, 0)
	require.Len(t, r.Networks, 2)
	require.Equal(t, "CFG step", r.Networks[0].Name)
	require.Equal(t, "VAE decode", r.Networks[1].Name)
	n := r.Networks[0]
	const slow = 1.0 / 8 // in the shortest of three runs
	require.Equal(t, []inference.Operation{
		{Kind: "attention", Calls: 4, Seconds: 4 + slow, CPU: 6, FLOPs: 40},
		{Kind: "linear", Calls: 3, Seconds: 3 + 2*slow, CPU: 9, FLOPs: 30},
		{Kind: "norm", Calls: 8, Seconds: 2.5 + slow, CPU: 7},
	}, n.Kinds)
	var shapes string
	for _, o := range n.Operations {
		shapes += o.Shape
	}
	require.Equal(t, "cbad", shapes)
}

func TestProfileNeedsAnEngineThatKeepsOne(t *testing.T) {
	_, err := bench.Profile(t.Context(), bench.ProfileOptions{Open: fake})
	require.ErrorContains(t, err, "keeps no profile")
}
