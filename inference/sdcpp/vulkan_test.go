//go:build cgo && sdcpp && vulkan

package sdcpp_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// Products of halves are summed in floats on Vulkan, and the tests' calls are 1e-3 off at
// most; sums in halves were 5e-3 off.
func init() { deviceTolerance = 2e-3 }

// A device that the CPU plays is listed, but taken only by its name.
func TestSoftwareDeviceIsTakenByNameOnly(t *testing.T) {
	var software string
	for _, d := range sdcpp.Devices() {
		if d.Software {
			software = d.Name
			require.False(t, d.GPU)
			require.Positive(t, d.TotalBytes)
		}
	}
	if software == "" {
		t.Skip("there is no software device, or there are GPUs beside it")
	}
	for device, want := range map[string]string{"auto": "CPU", "": "CPU", "cpu": "CPU", strings.ToLower(software): software} {
		e, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Device: device, Log: zerolog.Nop()})
		require.NoError(t, err, device)
		require.True(t, strings.HasPrefix(e.Info().Device, want), "%s: %s", device, e.Info().Device)
		require.Equal(t, want != "CPU", e.Info().Fused)
		require.Equal(t, want != "CPU", strings.Contains(e.Info().Device, "no measure of a GPU's speed"))
		require.True(t, e.Info().HostMemory)
		require.NoError(t, e.Close())
	}
	_, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Device: "gpu", Log: zerolog.Nop()})
	require.ErrorContains(t, err, "there is no device 'gpu'")
}

// Where subgroups have fewer invocations than the engine's products are right for, a
// device is left out, and it is said why. Mesa's has as many as its vectors have floats.
func TestDevicesOfSmallSubgroupsAreLeftOut(t *testing.T) {
	const width, result = "LP_NATIVE_VECTOR_WIDTH", "no GPU: "
	if os.Getenv(width) == "128" {
		for _, d := range sdcpp.Devices() {
			require.Equal(t, "CPU", d.Name)
		}
		println(result + sdcpp.Version().NoGPU)
		return
	}
	if sdcpp.Version().NoGPU != "there are software devices only" {
		t.Skip("there is no software device, or there are GPUs beside it")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), width+"=128")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), result+"the engine's products are wrong on devices with subgroups of 4;")
}
