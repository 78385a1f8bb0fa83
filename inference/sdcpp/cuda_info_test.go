package sdcpp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/sdcpp"
)

func TestWhichGPUsRunTheCode(t *testing.T) {
	c := &sdcpp.CUDA{Architectures: []sdcpp.Dotted{80, 86, 89, 90, 100, 120}}
	require.Equal(t, "8.0, 8.6, 8.9, 9.0, 10.0, 12.0", c.ArchitectureList())
	for capability, want := range map[sdcpp.Dotted]bool{75: false, 80: true, 87: true, 90: true, 103: true, 120: true, 121: true} {
		require.Equal(t, want, c.Runs(capability), capability)
	}
	require.True(t, (&sdcpp.CUDA{}).Runs(75), "an engine that does not tell is tried")
}
