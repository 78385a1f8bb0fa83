package catalog_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/modelstest"
)

// A file is used or refused by Check and by the lists alike, and what is used has
// weights to read. The engine's side of this is in inference/sdcpp.
func TestOneJudge(t *testing.T) {
	root := t.TempDir()
	cases := modelstest.Cases(t)
	paths := map[string]string{}
	for _, c := range cases {
		paths[c.Name] = c.Write(t, root)
	}
	files := open(t, catalog.Config{Roots: []string{root}})
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			path := paths[c.Name]
			info, err := models.Check(path, c.Kind, models.CheckOptions{})
			listed := slices.ContainsFunc(files.Usable(files.List(c.Kind)), func(f catalog.File) bool { return f.Path == path })
			if c.Problem != "" {
				require.ErrorContains(t, err, c.Problem)
				require.Equal(t, fault.Invalid, fault.CodeOf(err))
				require.Contains(t, fault.Message(err), path)
				require.Regexp(t, `^[[:print:]]+$`, fault.Message(err))
				require.Less(t, len(fault.Message(err)), len(path)+400)
				require.False(t, listed)
				return
			}
			require.NoError(t, err)
			require.True(t, listed)
			require.Equal(t, c.VPrediction, info.VPrediction)
			require.Equal(t, c.ZeroTerminalSNR, info.ZeroTerminalSNR)
			if c.Kind == models.Checkpoint {
				require.Equal(t, c.NoVAE, !info.HasVAE())
			}
			weights, err := info.Weights(c.Kind, models.CheckOptions{})
			require.NoError(t, err)
			require.Equal(t, c.Kind == models.LoRA, weights == nil)
			for _, w := range weights {
				require.Positive(t, w.Tensor.Bytes, w.Name)
			}
		})
	}
}
