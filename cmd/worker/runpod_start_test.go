package main

import (
	"bytes"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/inference/sdcpp"
)

func TestDeviceCheck(t *testing.T) {
	const gib = 1 << 30
	cpu := sdcpp.Device{Name: "CPU", Description: "a processor"}
	gpu := func(name string, free uint64) sdcpp.Device {
		return sdcpp.Device{Name: name, Description: "NVIDIA " + name, GPU: true, FreeBytes: free * gib, TotalBytes: 24 * gib}
	}
	cuda := func(capabilities ...sdcpp.Dotted) *sdcpp.CUDA {
		return &sdcpp.CUDA{Runtime: 128, Driver: 130, Architectures: []sdcpp.Dotted{80, 89, 90}, Devices: capabilities}
	}
	for _, tc := range []struct {
		name    string
		backend string
		devices []sdcpp.Device
		cuda    *sdcpp.CUDA
		device  string
		want    string // "" for a device that will do
		log     string
	}{
		{name: "no engine", backend: "none", device: "auto", want: "make build"},
		{name: "processor", backend: "cpu", devices: []sdcpp.Device{cpu}, device: "auto"},
		{name: "GPU wanted without CUDA", backend: "cpu", devices: []sdcpp.Device{cpu}, device: "cuda0", want: `DEVICE is "cuda0", but there is only cpu`},
		{name: "GPU", backend: "cuda", devices: []sdcpp.Device{cpu, gpu("CUDA0", 20)}, cuda: cuda(89), device: "auto", log: `"compute_capability":"8.9","driver_cuda":"13.0"`},
		{name: "second GPU", backend: "cuda", devices: []sdcpp.Device{gpu("CUDA0", 1), gpu("CUDA1", 20), cpu}, cuda: cuda(75, 89), device: "cuda1", log: `"device":"CUDA1"`},
		{name: "no such GPU", backend: "cuda", devices: []sdcpp.Device{gpu("CUDA0", 20), cpu}, cuda: cuda(89), device: "cuda1", want: "but there is only cuda0, cpu"},
		{name: "no GPU", backend: "cuda", devices: []sdcpp.Device{cpu}, cuda: &sdcpp.CUDA{Runtime: 128, Driver: 128, Problem: "no CUDA-capable device is detected"}, device: "auto", want: "finds no GPU (no CUDA-capable device is detected)"},
		{name: "no driver", backend: "cuda", devices: []sdcpp.Device{cpu}, cuda: &sdcpp.CUDA{Runtime: 128, Problem: "insufficient"}, device: "auto", want: "finds no GPU (there is no driver)"},
		{name: "old driver", backend: "cuda", devices: []sdcpp.Device{cpu}, cuda: &sdcpp.CUDA{Runtime: 128, Driver: 118, Problem: "insufficient"}, device: "auto", want: "it knows CUDA 11.8 and this program needs 12.8"},
		{name: "old GPU", backend: "cuda", devices: []sdcpp.Device{gpu("CUDA0", 20)}, cuda: cuda(75), device: "auto", want: "compute capability 7.5, but this program is compiled for 8.0, 8.9, 9.0; choose a newer GPU, or build it with CUDA_ARCHS=75"},
		{name: "full GPU", backend: "cuda", devices: []sdcpp.Device{gpu("CUDA0", 1)}, cuda: cuda(89), device: "auto", want: "has 1024 of 24576 MiB free"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			b := build{Engine: sdcpp.Build{Backend: tc.backend, Devices: tc.devices}, CUDA: tc.cuda}
			err := b.fits(tc.device, zerolog.New(&log))
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				require.NotContains(t, err.Error(), "\n")
				return
			}
			require.NoError(t, err)
			require.Contains(t, log.String(), tc.log)
		})
	}
}
