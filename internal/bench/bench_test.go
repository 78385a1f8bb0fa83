package bench_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/internal/bench"
	"sdworker/models"
)

func fake(context.Context, string, func(done, total int)) (inference.Engine, error) {
	return &enginetest.Fake{}, nil
}

func TestEngine(t *testing.T) {
	r, err := bench.Engine(t.Context(), bench.EngineOptions{Checkpoint: "x", Open: fake, Width: 64, Height: 64, Budget: time.Millisecond})
	require.NoError(t, err)
	require.Nil(t, r.Baseline)
	require.NotEmpty(t, r.Machine.CPU)
	require.Positive(t, r.PeakMemory)
	for name, s := range map[string]bench.Series{
		"open": r.Open, "encode": r.Encode, "64": r.Step64, "256": r.Step256, "decode": r.Decode256, "picture": r.Picture.Series,
	} {
		require.Positive(t, s.Median, name)
		require.GreaterOrEqual(t, s.Runs, 3, name)
		require.LessOrEqual(t, s.Min, s.Median, name)
		require.LessOrEqual(t, s.Median, s.Max, name)
	}
}

// program writes a shell script that plays a baseline program.
func program(t *testing.T, script string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "baseline")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755))
	return []string{path}
}

func TestBaselineIsMeasuredInTurn(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	script := `echo "$@" >` + log + `; echo '{"open_s": 1.5}'; while read line; do echo '{"picture_s": 2}'; done`
	r, err := bench.Engine(t.Context(), bench.EngineOptions{
		Checkpoint: "m.safetensors", Open: fake, Width: 64, Height: 64, Budget: time.Millisecond, Baseline: program(t, script),
	})
	require.NoError(t, err)
	require.InDelta(t, 1.5, r.Baseline.Open, 0)
	require.InDelta(t, 2, r.Baseline.Picture.Median, 0)
	require.Equal(t, r.Picture.Series.Runs, r.Baseline.Picture.Runs)
	require.Greater(t, r.Baseline.Speedup, 1.0)
	args, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "--model m.safetensors --width 64 --height 64 --steps 4 --batch 1\n", string(args))
}

func TestBrokenBaseline(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"silent", "exit 1", "did not tell that it is ready"},
		{"talks", "echo hello", "did not tell that it is ready"},
		{"dies", `echo '{"open_s": 1}'; read line; exit 1`, "baseline program"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := bench.Engine(t.Context(), bench.EngineOptions{
				Open: fake, Width: 64, Height: 64, Budget: time.Millisecond, Baseline: program(t, tc.script),
			})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	r, err := bench.Load(t.Context(), path, fake)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, r.Bytes)
	require.Positive(t, r.Cold.ReadGBps)
	require.Positive(t, r.Warm.Share)
	_, err = bench.Load(t.Context(), path+"x", fake)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLoRA(t *testing.T) {
	folder := t.TempDir()
	r, err := bench.LoRA(t.Context(), bench.LoRAOptions{Checkpoint: "x", Width: 32, Open: fake, Rank: 4, Budget: time.Millisecond, Folder: folder})
	require.NoError(t, err)
	require.Greater(t, len(r.Kinds), 8)
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, files, len(r.Kinds))
	for _, k := range r.Kinds {
		require.Positive(t, k.Read.Min, k.Kind)
		require.GreaterOrEqual(t, k.Layers, 180, k.Kind)
	}
	for _, f := range files {
		opened, err := models.OpenLoRA(filepath.Join(folder, f.Name()), models.CheckOptions{})
		require.NoError(t, err)
		require.Empty(t, opened.Summary(), f.Name())
		require.NoError(t, opened.Close())
	}
}

func TestHTTP(t *testing.T) {
	r, err := bench.HTTP(t.Context(), bench.HTTPOptions{Width: 128, Height: 64, Requests: 64, Small: 16})
	require.NoError(t, err)
	require.Len(t, r.Loads, 3)
	for _, l := range r.Loads {
		require.Positive(t, l.Picture)
		require.Positive(t, l.Small)
	}
	require.Positive(t, r.PNG)
	require.Positive(t, r.Small.After)

	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = bench.HTTP(over, bench.HTTPOptions{Width: 64, Height: 64, Requests: 64})
	require.ErrorIs(t, err, context.Canceled)
}

func TestThroughput(t *testing.T) {
	open := func(context.Context, string, func(done, total int)) (inference.Engine, error) {
		return &enginetest.Fake{Before: enginetest.Delay(enginetest.OpPredictNoise, time.Millisecond)}, nil
	}
	r, err := bench.Throughput(t.Context(), bench.ThroughputOptions{Checkpoint: "x", Open: open, Sides: []int{64}, Clients: []int{1, 4}, Steps: 3, Pictures: 2, Rounds: 2})
	require.NoError(t, err)
	require.Len(t, r.Loads, 2)
	for _, l := range r.Loads {
		for _, f := range []bench.Flow{l.InTurn, l.Shared} {
			require.Positive(t, f.PerSecond)
			require.LessOrEqual(t, f.P50, f.P95)
			require.Positive(t, f.First)
			require.GreaterOrEqual(t, f.RowsPerCall, 2.0)
		}
		require.LessOrEqual(t, l.Speedup.Min, l.Speedup.Median)
	}
	require.InDelta(t, 2, r.Loads[0].Shared.RowsPerCall, 0, "one client has no company")
	require.Greater(t, r.Loads[1].Shared.RowsPerCall, 2.0)
}
