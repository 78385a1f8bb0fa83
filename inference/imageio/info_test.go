package imageio_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

func TestReadInfoEqualsA1111(t *testing.T) {
	var f struct {
		origin
		Cases []struct {
			Name       string
			File       []byte
			Parameters string
			Items      []imageio.Item
		}
	}
	load(t, "info.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got := imageio.ReadInfo(c.File)
			require.Equal(t, c.Parameters, got.Parameters)
			require.Len(t, got.Items, len(c.Items))
			for i, want := range c.Items {
				require.Equal(t, want.Key, got.Items[i].Key)
				require.EqualValues(t, want.Value, got.Items[i].Value)
			}
		})
	}
}
