package infotext_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/infotext"
	"sdworker/inference/imageio"
)

func TestFromFile(t *testing.T) {
	text := infotext.Write(everything("Script"))
	m := imageio.NewRGB(8, 16)
	png, err := imageio.EncodePNG(m, imageio.Text{Key: "parameters", Value: text}, imageio.Text{Key: "Title", Value: "x"})
	require.NoError(t, err)
	jpeg, err := imageio.EncodeJPEG(m, 80, text)
	require.NoError(t, err)
	webp, err := imageio.EncodeWebP(m, 80, false, text)
	require.NoError(t, err)
	for name, data := range map[string][]byte{"png": png, "jpeg": jpeg, "webp": webp} {
		got, items := infotext.FromFile(data)
		require.Equal(t, text, got, name)
		require.Equal(t, name == "png", len(items) == 1, name)
	}
	got, items := infotext.FromFile([]byte("no picture"))
	require.Empty(t, got)
	require.Empty(t, items)
}

func TestFromNovelAI(t *testing.T) {
	const comment = `{"steps": 28, "sampler": "k_euler_ancestral", "seed": 12, "strength": 0.69, "scale": 11.0, "uc": "lowres"}`
	png, err := imageio.EncodePNG(imageio.NewRGB(8, 16), imageio.Text{Key: "Software", Value: "NovelAI"},
		imageio.Text{Key: "Description", Value: "a cat"}, imageio.Text{Key: "Comment", Value: comment})
	require.NoError(t, err)
	got, items := infotext.FromFile(png)
	require.Equal(t, "a cat\nNegative prompt: lowres\nSteps: 28, Sampler: Euler a, CFG scale: 11.0, Seed: 12, Size: 8x16, Clip skip: 2, ENSD: 31337", got)
	require.Len(t, items, 3)
}
