package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/inference/sdcpp"
)

func TestBatchJobsFollowTheMemory(t *testing.T) {
	const gib = 1 << 30
	gpu := func(bytes int64) int { return jobsFor(false, bytes, cellsOnGPU(bytes)) }
	require.Equal(t, 1, gpu(3*gib))
	require.Equal(t, 2, gpu(8*gib))
	require.Equal(t, 8, gpu(24*gib))
	require.Equal(t, 28, gpu(80*gib))
	require.Equal(t, 32, gpu(192*gib), "four times the usual at most")
	require.Equal(t, 1, jobsFor(false, 3*gib, 1<<30), "calls might be large, and there is no room for a second job")

	require.Equal(t, 8, jobsFor(true, 24*gib, cellsOnCPU(2)))
	require.Equal(t, maxBatchJobs, jobsFor(true, 512*gib, cellsOnCPU(64)))
	require.Equal(t, 1, jobsFor(true, 1*gib, cellsOnCPU(2)), "there is no room for a second job")
}

func TestBatchJobsAreAnnounced(t *testing.T) {
	var out bytes.Buffer
	nobody := func(string) int64 { panic("a CPU needs no GPU's memory") }
	e := engineSettings{Device: "cpu"}
	e.settleJobs(nobody, zerolog.New(&out))
	require.Equal(t, jobsFor(true, hostMemory(), cellsOnCPU(sdcpp.Threads(0))), e.BatchJobs)
	require.JSONEq(t, fmt.Sprintf(`{"level":"info","jobs":%d,"total_mib":%d,"message":"BATCH_JOBS chosen by the device's memory"}`, e.BatchJobs, hostMemory()>>20), out.String())

	out.Reset()
	e = engineSettings{Device: "cuda1", BatchJobs: 3}
	e.settleJobs(nobody, zerolog.New(&out))
	require.Equal(t, 3, e.BatchJobs)
	require.Empty(t, out.String())
}
