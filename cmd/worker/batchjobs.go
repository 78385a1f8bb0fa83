package main

import (
	"cmp"

	"github.com/rs/zerolog"

	"sdworker/inference"
	"sdworker/inference/sdcpp"
)

const (
	// usualMemory is that of the GPU for which inference.DefaultCallCells is right.
	usualMemory = 24e9
	// usualWeights is a checkpoint of Stable Diffusion 1.5 in 16 bits, in bytes.
	usualWeights = 2_132_696_762
	// maxBatchJobs is far above what any device shares well.
	maxBatchJobs = 64
)

// callCells is how many latent cells the rows of a shared UNet call may have together;
// gpuBytes tells the memory of a GPU, 0 where there is none.
func (e *engineSettings) callCells(gpuBytes func(device string) int64) int {
	if device := e.devices()[0]; !sdcpp.OnCPU(device) {
		if bytes := gpuBytes(device); bytes != 0 {
			return cellsOnGPU(bytes)
		}
	}
	return cellsOnCPU(sdcpp.Threads(e.Threads))
}

// cellsOnCPU: sharing pays where weights are read for few cells, the more cores wait for
// the same memory the longer; on 2 up to 16 rows of 64x64 pixels (docs/performance.md; at
// 256x256 there is no gain).
func cellsOnCPU(threads int) int { return 512 * threads }

// cellsOnGPU grows with the size of the card, which goes along with its speed: 16 rows of
// 512x512 for each 24 GB.
func cellsOnGPU(bytes int64) int {
	return int(min(float64(bytes)/usualMemory, 4) * inference.DefaultCallCells)
}

// settleJobs chooses BATCH_JOBS where it was left open, and says so.
func (e *engineSettings) settleJobs(gpuBytes func(device string) int64, log zerolog.Logger) {
	if e.BatchJobs != 0 {
		return
	}
	var bytes int64
	if device := e.devices()[0]; !sdcpp.OnCPU(device) {
		bytes = gpuBytes(device)
	}
	if bytes != 0 {
		e.BatchJobs = jobsFor(false, bytes, cellsOnGPU(bytes))
	} else {
		bytes = cmp.Or(e.HostMemory, hostMemory())
		e.BatchJobs = jobsFor(true, bytes, cellsOnCPU(sdcpp.Threads(e.Threads)))
	}
	log.Info().Int("jobs", e.BatchJobs).Int64("total_mib", bytes>>20).Msg("BATCH_JOBS chosen by the device's memory")
}

// jobsFor is how many jobs share the steps of a device with so much memory: a step
// with guidance has two rows for each, as many of them as calls may have cells and memory
// has room for beside the weights. They are counted at the size that is usual on a GPU,
// 512x512 pixels, and at the smallest one on a CPU, which shares nothing larger.
func jobsFor(onCPU bool, bytes int64, cells int) int {
	side := 512 / inference.LatentScale
	if onCPU {
		side = 64 / inference.LatentScale
	}
	engine := inference.EngineInfo{MemoryBytes: bytes, WeightBytes: usualWeights}
	rows := min(cells/(side*side), engine.UNetRows(side, side, inference.ChunkTokens, 0, 0))
	return min(max(rows/2, 1), maxBatchJobs)
}
