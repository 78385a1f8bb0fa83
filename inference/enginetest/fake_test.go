package enginetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
)

func TestFakePassesTheSuite(t *testing.T) {
	for name, channels := range map[string]int{"text to image": 4, "inpainting": 9} {
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, enginetest.Suite{
				Open: func(testing.TB) inference.Engine {
					return &enginetest.Fake{Description: inference.EngineInfo{UNetChannels: channels}}
				},
				LoRA:       "a.safetensors",
				VAE:        "b.safetensors",
				TAESD:      "c.safetensors",
				ESRGAN:     "d.safetensors",
				ControlNet: "e.safetensors",
				Tolerance:  1e-5,
			})
		})
	}
}

func decode(ctx context.Context, f *enginetest.Fake) error {
	_, err := f.Decode(ctx, inference.LatentInput{Latent: make([]float32, 4), H: 1, W: 1})
	return err
}

func TestFakeRecordsCalls(t *testing.T) {
	f := &enginetest.Fake{}
	require.NoError(t, decode(t.Context(), f))
	require.NoError(t, f.SetVAE(t.Context(), "x"))
	require.NoError(t, decode(t.Context(), f))
	require.Len(t, f.Calls(), 3)
	calls := f.Calls(enginetest.OpDecode)
	require.Len(t, calls, 2)
	require.Equal(t, 1, calls[1].Index)
	require.Equal(t, 1, f.MaxParallel())
	f.Reset()
	require.Empty(t, f.Calls())
}

func TestFakeHooks(t *testing.T) {
	failure := errors.New("scripted")
	entered := make(chan struct{})
	f := &enginetest.Fake{Before: enginetest.Hooks(
		enginetest.FailAt(enginetest.OpDecode, 1, failure),
		enginetest.BlockAt(enginetest.OpDecode, 2, entered),
		enginetest.Delay(enginetest.OpSetVAE, 10*time.Millisecond),
	)}
	require.NoError(t, decode(t.Context(), f))
	require.ErrorIs(t, decode(t.Context(), f), failure)

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	require.Equal(t, fault.Canceled, fault.CodeOf(decode(ctx, f)))

	begin := time.Now()
	require.NoError(t, f.SetVAE(t.Context(), "x"))
	require.GreaterOrEqual(t, time.Since(begin), 10*time.Millisecond)
}

func TestFakeCloseWaitsForTheCallInHand(t *testing.T) {
	entered := make(chan struct{})
	f := &enginetest.Fake{Before: enginetest.BlockAt(enginetest.OpDecode, 0, entered)}
	ctx, cancel := context.WithCancel(t.Context())
	finished := make(chan error, 1)
	go func() { finished <- decode(ctx, f) }()
	<-entered
	closed := make(chan struct{})
	go func() { defer close(closed); f.Close() }()
	select {
	case <-closed:
		require.Fail(t, "closed while a call was in progress")
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	<-closed
	require.Error(t, <-finished)
	require.True(t, f.Closed())
}
