package imageio_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

// Faxes by Pillow 13.0.0 (libtiff) of 16x8 pixels, the left quarter white, with 0 for black
// and for white.
func TestDecodeFaxInTIFF(t *testing.T) {
	for name, file := range map[string]string{
		"group 3, black is zero": "SUkqACYAAAAAE1ZAAJqyAATVkAAmrIABNWQACasgAE1ZAAJqyAAJAAABAwABAAAAEAAAAAEBAwABAAAACAAAAAIBAwABAAAAAQAAAAMBAwABAAAAAwAAAAYBAwABAAAAAQAAABEBBAABAAAACAAAABYBAwABAAAACAAAABcBBAABAAAAHQAAABwBAwABAAAAAQAAAAAAAAA=",
		"group 4, black is zero": "SUkqABAAAAAmr///8AEAEAkAAAEDAAEAAAAQAAAAAQEDAAEAAAAIAAAAAgEDAAEAAAABAAAAAwEDAAEAAAAEAAAABgEDAAEAAAABAAAAEQEEAAEAAAAIAAAAFgEDAAEAAAAIAAAAFwEEAAEAAAAIAAAAHAEDAAEAAAABAAAAAAAAAA==",
		"group 4, white is zero": "SUkqABAAAAA2H//wAQAQAAkAAAEDAAEAAAAQAAAAAQEDAAEAAAAIAAAAAgEDAAEAAAABAAAAAwEDAAEAAAAEAAAABgEDAAEAAAAAAAAAEQEEAAEAAAAIAAAAFgEDAAEAAAAIAAAAFwEEAAEAAAAHAAAAHAEDAAEAAAABAAAAAAAAAA==",
	} {
		t.Run(name, func(t *testing.T) {
			data, err := base64.StdEncoding.DecodeString(file)
			require.NoError(t, err)
			m, err := imageio.Decode(data, imageio.MaxPixels)
			require.NoError(t, err)
			require.Equal(t, []int{16, 8}, []int{m.W, m.H})
			for i := range 16 * 8 {
				want := uint8(0)
				if i%16 < 4 {
					want = 255
				}
				require.Equal(t, []uint8{want, want, want, 255}, m.Pix[4*i:4*i+4], i)
			}
		})
	}
}
