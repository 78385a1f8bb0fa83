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
