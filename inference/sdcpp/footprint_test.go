//go:build cgo && sdcpp

package sdcpp_test

import (
	"cmp"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/footprint"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
	"sdworker/sd1"
)

// TestFootprint: what is foretold is what the engine reserves, or a little more. With
// SDWORKER_TEST_CHECKPOINT it is checked for another checkpoint.
func TestFootprint(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: cmp.Or(os.Getenv("SDWORKER_TEST_CHECKPOINT"), model(t, synth.Checkpoint)), Tiles: inference.TileNever})
	defer e.Close()
	n := e.Info().Networks
	require.NotZero(t, n.UNetWidth)
	require.NotZero(t, n.DecoderWidth)
	const slack = 3 << 20 // of pictures as small as those here
	check := func(what string, foretold, reserved int64) {
		t.Logf("%s: %d bytes, foretold %d", what, reserved, foretold)
		require.NotZero(t, reserved, what)
		require.GreaterOrEqual(t, foretold, reserved, what)
		require.LessOrEqual(t, foretold, reserved*6/5+slack, what)
	}
	for _, rows := range []int{1, 2, 3} {
		for _, tokens := range []int{77, 154} {
			_, err := e.PredictNoise(t.Context(), inference.UNetInput{
				Latent: make([]float32, rows*4*16*24), H: 16, W: 24, Timestep: make([]float32, rows), Context: make([]float32, rows*tokens*inference.TextWidth),
			})
			require.NoError(t, err)
			_, unet, _ := e.Reserved()
			check("UNet", n.UNet(rows, 16, 24, tokens, 0, 0), unet)
		}
		for _, images := range []int{4, 257} {
			in := inference.UNetInput{
				Latent: make([]float32, rows*4*16*24), H: 16, W: 24, Timestep: make([]float32, rows), Context: make([]float32, rows*77*inference.TextWidth),
			}
			in.Images = []inference.ImageInput{{Tokens: images, Values: slices.Repeat([][]float32{make([]float32, imageValues(n)*images)}, rows)}}
			_, err := e.PredictNoise(t.Context(), in)
			require.NoError(t, err)
			_, unet, _ := e.Reserved()
			check("UNet with a picture", n.UNet(rows, 16, 24, 77, 0, images), unet)
		}
	}
	_, err := e.EncodeText(t.Context(), inference.TextInput{Chunks: make([][inference.ChunkTokens]int32, 3), Skip: 1})
	require.NoError(t, err)
	text, _, _ := e.Reserved()
	check("text encoder", footprint.Text(3), text)
	for _, side := range []int{8, 32} {
		_, err = e.Decode(t.Context(), inference.LatentInput{Latent: make([]float32, 4*side*side), H: side, W: side})
		require.NoError(t, err)
		_, _, vae := e.Reserved()
		check("decode", n.Decode(side, side), vae)
		_, err = e.Encode(t.Context(), inference.PixelInput{Pixels: make([]float32, 3*64*side*side), H: 8 * side, W: 8 * side})
		require.NoError(t, err)
		_, _, vae = e.Reserved()
		check("encode", n.Encode(side, side), vae)
	}
}

// imageValues is how many keys and values all layers have for one token of a picture.
func imageValues(n footprint.Networks) (values int) {
	for _, channels := range sd1.CrossAttentions(int64(n.UNetWidth)) {
		values += 2 * int(channels)
	}
	return values
}

// TestForetoldTiles: where the memory is foretold to be too small for a whole picture,
// the VAE takes it in tiles, or says that it must not.
func TestForetoldTiles(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	in := inference.LatentInput{Latent: make([]float32, 4*16*66), H: 16, W: 66}
	in.Tiles = inference.TileAlways
	want, err := e.Decode(t.Context(), in)
	require.NoError(t, err)
	_, _, tile := e.Reserved()
	info := e.Info()
	e.SetMemory((info.WeightBytes + footprint.Scratch + info.Networks.Decode(16, 66)) * 10 / 9 * 99 / 100)
	in.Tiles = inference.TileAuto
	got, err := e.Decode(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, _, reserved := e.Reserved()
	require.Equal(t, tile, reserved)
	in.Tiles = inference.TileNever
	_, err = e.Decode(t.Context(), in)
	require.Equal(t, fault.Exhausted, fault.CodeOf(err))
	require.ErrorContains(t, err, "in one piece")
}
