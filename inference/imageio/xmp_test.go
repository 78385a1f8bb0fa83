package imageio_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

func TestXMP(t *testing.T) {
	const packet, text = "<x:xmpmeta>é</x:xmpmeta>", "a fox\nSteps: 4"
	m := imageio.NewRGB(18, 10)
	for i := range m.Pix {
		m.Pix[i] = uint8(i * 7)
	}
	for name, encode := range map[string]func(comment string) ([]byte, error){
		"png": func(c string) ([]byte, error) {
			if c == "" {
				return imageio.EncodePNG(m)
			}
			return imageio.EncodePNG(m, imageio.Text{Key: "parameters", Value: c})
		},
		"jpg":  func(c string) ([]byte, error) { return imageio.EncodeJPEG(m, 90, c) },
		"webp": func(c string) ([]byte, error) { return imageio.EncodeWebP(m, 90, true, c) },
	} {
		for _, comment := range []string{"", text} {
			plain, err := encode(comment)
			require.NoError(t, err)
			require.Empty(t, imageio.XMP(plain))
			marked, err := imageio.AddXMP(plain, packet)
			require.NoError(t, err)
			require.Equal(t, packet, imageio.XMP(marked), name)
			require.Equal(t, comment, imageio.ReadInfo(marked).Parameters, name)
			want, err := imageio.Decode(plain, imageio.MaxPixels)
			require.NoError(t, err)
			got, err := imageio.Decode(marked, imageio.MaxPixels)
			require.NoError(t, err)
			require.Equal(t, want.Pix, got.Pix, "the pixels stay")
		}
	}
	_, err := imageio.AddXMP([]byte("GIF89a"), packet)
	require.Error(t, err)
	_, err = imageio.AddXMP([]byte("\x89PNG\r\n\x1a\n"), packet)
	require.Error(t, err)
}
