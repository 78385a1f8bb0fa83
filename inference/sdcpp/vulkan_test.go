//go:build cgo && sdcpp && vulkan

package sdcpp_test

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

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
