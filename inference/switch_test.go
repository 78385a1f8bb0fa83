package inference_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
)

func TestSwitchWithAVAEThatFailsLeavesTheOldCheckpoint(t *testing.T) {
	opened := map[string]*enginetest.Fake{}
	p := inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(int, int)) (inference.Engine, error) {
		opened[checkpoint] = &enginetest.Fake{
			Description: inference.EngineInfo{Checkpoint: checkpoint},
			Before:      enginetest.FailAt(enginetest.OpSetVAE, 0, fault.Errorf(fault.Invalid, "vae", "not a VAE")),
		}
		return opened[checkpoint], nil
	}, inference.PipelineOptions{})
	defer func() { require.NoError(t, p.Close()) }()
	require.NoError(t, p.Load(t.Context(), inference.Files{Checkpoint: "old"}, inference.Hooks{}))
	require.ErrorContains(t, p.Load(t.Context(), inference.Files{Checkpoint: "new", VAE: "bad"}, inference.Hooks{}), "not a VAE")
	require.True(t, opened["new"].Closed())
	require.False(t, opened["old"].Closed())
	require.Equal(t, "old", p.Status().Engine.Checkpoint)
	require.Contains(t, p.Status().Err, "not a VAE")
}

// A job that is canceled before, in the middle or at the end of its change of the
// checkpoint leaves no doubt which one the next jobs paint with.
func TestACanceledSwitchChangesNoOtherJob(t *testing.T) {
	with := func(checkpoint string) *inference.Request {
		return txt2img(func(r *inference.Request) { r.Files.Checkpoint = checkpoint })
	}
	for _, moment := range []string{"before", "in the middle", "at the end"} {
		t.Run(moment, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var painted []string // the checkpoints of the calls of the UNet
			p := inference.NewPipeline(func(ctx context.Context, checkpoint string, _ func(int, int)) (inference.Engine, error) {
				if checkpoint == "b" && moment != "before" {
					cancel()
				}
				if moment == "in the middle" && ctx.Err() != nil {
					return nil, fault.Stopped(ctx, "open")
				}
				return &enginetest.Fake{
					Description: inference.EngineInfo{Checkpoint: checkpoint},
					Before: func(_ context.Context, c enginetest.Call) error {
						if c.Op == enginetest.OpPredictNoise {
							painted = append(painted, checkpoint)
						}
						return nil
					},
				}, nil
			}, inference.PipelineOptions{})
			defer func() { require.NoError(t, p.Close()) }()
			run := func(checkpoint string) []byte {
				painted = nil
				res, err := p.Generate(t.Context(), with(checkpoint), inference.Hooks{})
				require.NoError(t, err)
				require.NotEmpty(t, painted)
				for _, used := range painted {
					require.Equal(t, checkpoint, used)
				}
				require.Equal(t, checkpoint, p.Status().Engine.Checkpoint)
				return res.Images[0].Pixels.Pix
			}
			before := run("a")
			if moment == "before" {
				cancel()
			}
			painted = nil
			_, err := p.Generate(ctx, with("b"), inference.Hooks{})
			require.Equal(t, fault.Canceled, fault.CodeOf(err))
			require.Empty(t, painted)
			require.Equal(t, before, run("a"))
			run("b")
			require.Equal(t, before, run("a"))
		})
	}
}

func TestWarmCheckpointsAreKeptUpToTheLimitInBytes(t *testing.T) {
	var opened []string
	sizes := map[string]int64{"a": 4, "b": 4, "c": 2, "big": 20}
	closed := map[string]*enginetest.Fake{}
	p := inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(int, int)) (inference.Engine, error) {
		opened = append(opened, checkpoint)
		closed[checkpoint] = &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint, WeightBytes: sizes[checkpoint]}}
		return closed[checkpoint], nil
	}, inference.PipelineOptions{Warm: 9, WarmBytes: 10})
	defer func() { require.NoError(t, p.Close()) }()
	for _, name := range []string{"a", "b", "c", "a", "b", "c"} { // all three fit
		require.NoError(t, p.Load(t.Context(), inference.Files{Checkpoint: name}, inference.Hooks{}))
	}
	require.Equal(t, []string{"a", "b", "c"}, opened)
	for _, name := range []string{"big", "c"} { // larger than the limit alone: it goes when another comes
		require.NoError(t, p.Load(t.Context(), inference.Files{Checkpoint: name}, inference.Hooks{}))
		require.Equal(t, name, p.Status().Engine.Checkpoint)
	}
	for _, name := range []string{"a", "b", "big"} {
		require.True(t, closed[name].Closed(), name)
	}
	require.Equal(t, []string{"a", "b", "c", "big", "c"}, opened)
}

func TestLoadsAndCachesAreCounted(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(nil)) // a prompt and a negative prompt
	b.run(t, txt2img(nil))
	b.run(t, txt2img(func(r *inference.Request) { r.Prompt = "another cat" }))
	b.run(t, txt2img(func(r *inference.Request) { r.Files.Checkpoint = "b.safetensors" }))
	status := b.Status()
	require.EqualValues(t, 2, status.ModelLoads)
	require.Equal(t, []inference.CacheCount{
		{Name: "checkpoint", Hits: 2, Misses: 2}, {Name: "prompt", Hits: 3, Misses: 5},
	}, status.Caches)
}
