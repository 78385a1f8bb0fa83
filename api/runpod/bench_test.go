package runpod_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

// BenchmarkJobOverhead runs trivial jobs over the loopback interface. idle: one
// job at a time from hand-out to answer, with the worker in its long poll.
// waiting: jobs are always waiting; gap-ns is the time between the end of one
// handler and the start of the next, when the engine has nothing to do.
func BenchmarkJobOverhead(b *testing.B) {
	b.Run("idle", func(b *testing.B) {
		server := startBench(b, echo)
		var total time.Duration
		b.ReportAllocs()
		for b.Loop() {
			r, err := server.Wait(b.Context(), server.Submit(1))
			require.NoError(b, err)
			total += r.Finals[0].At.Sub(r.HandedOut[0])
		}
		b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "overhead-ns")
	})
	b.Run("waiting", func(b *testing.B) {
		var last time.Time
		var gaps time.Duration
		server := startBench(b, func(_ context.Context, job runpod.Job) (any, error) {
			if !last.IsZero() { // one slot: handlers do not overlap
				gaps += time.Since(last)
			}
			defer func() { last = time.Now() }()
			return job.Input, nil
		})
		b.ReportAllocs()
		const depth = 16
		var ids []string
		for range depth {
			ids = append(ids, server.Submit(1))
		}
		for b.Loop() {
			_, err := server.Wait(b.Context(), ids[0])
			require.NoError(b, err)
			ids = append(ids[1:], server.Submit(1))
		}
		b.ReportMetric(float64(gaps.Nanoseconds())/float64(b.N), "gap-ns")
	})
}

func startBench(b *testing.B, h runpod.Handler) *runpodtest.Server {
	b.Helper()
	server, err := runpodtest.Listen(runpodtest.Options{})
	require.NoError(b, err)
	cfg, err := runpod.LoadConfig(server.Env())
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- runpod.Start(ctx, h, cfg) }()
	b.Cleanup(func() {
		stop()
		require.NoError(b, <-done)
		require.NoError(b, server.Close())
		require.Empty(b, server.Violations())
	})
	return server
}

func TestMeasure(t *testing.T) {
	rep, err := runpodtest.Measure(t.Context(), runpodtest.MeasureOptions{Jobs: 50}, func(ctx context.Context, environ map[string]string) error {
		cfg, err := runpod.LoadConfig(environ)
		if err != nil {
			return err
		}
		return runpod.Start(ctx, echo, cfg)
	})
	require.NoError(t, err)
	require.Empty(t, rep.Violations)
	require.Equal(t, 50, rep.Jobs)
	require.Positive(t, rep.Idle.Median)
	require.LessOrEqual(t, rep.Idle.Median, rep.Idle.P95)
	require.Positive(t, rep.JobsPerSecond)
	t.Logf("%+v", rep)
}

func TestMeasureTellsWhyAWorkerDidNotWork(t *testing.T) {
	_, err := runpodtest.Measure(t.Context(), runpodtest.MeasureOptions{Jobs: 1}, func(context.Context, map[string]string) error {
		return context.DeadlineExceeded
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "did not answer its first job")
}
