//go:build cgo && sdcpp

package sdcpp_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// The engine takes what models.Check lets pass, and refuses the rest with the same
// sentence.
func TestTheEngineAgreesWithTheJudge(t *testing.T) {
	root := t.TempDir()
	with := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer with.Close()
	latent := inference.LatentInput{Latent: make([]float32, 4), H: 1, W: 1}
	for _, c := range modelstest.Cases(t) {
		if c.Kind == models.Embedding { // which the engine does not read
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			path := c.Write(t, root)
			err := use(t, with, c, path, latent)
			if c.NoNumbers { // what is made with it is refused where it is used
				require.ErrorContains(t, err, noNumbers)
				return
			}
			if c.Problem == "" {
				require.NoError(t, err)
				return
			}
			_, judged := models.Check(path, c.Kind, models.CheckOptions{})
			require.Equal(t, fault.Message(judged), fault.Message(err))
		})
	}
}

// noNumbers is said of a result, or of a LoRA, with values that are no numbers.
const noNumbers = "no numbers"

// numbers is an error where a result has none.
func numbers(values []float32, err error) error {
	if err == nil && slices.ContainsFunc(values, func(v float32) bool { return math.IsNaN(float64(v)) }) {
		return errors.New(noNumbers)
	}
	return err
}

// use does with a file what it is for.
func use(t *testing.T, e *sdcpp.Engine, c modelstest.Case, path string, latent inference.LatentInput) error {
	t.Helper()
	switch c.Kind {
	case models.VAE:
		if err := e.SetVAE(t.Context(), path); err != nil {
			return err
		}
		out, err := e.Decode(t.Context(), latent)
		require.NoError(t, err)
		require.NoError(t, e.SetVAE(t.Context(), ""))
		return numbers(out, nil)
	case models.Upscaler:
		_, _, err := e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: path}, make([]float32, 3), 1, 1)
		return err
	case models.Preview:
		_, err := e.DecodePreview(t.Context(), path, latent.Latent, 1, 1)
		return err
	case models.ControlNet:
		return numbers(e.PredictNoise(t.Context(), inference.UNetInput{
			Latent: make([]float32, 4*64), H: 8, W: 8, Timestep: []float32{1}, Context: make([]float32, 77*768),
			Control: []inference.ControlInput{{Model: path, Hint: make([]float32, 3*64*64), Rows: []float32{1}, Layers: make([]float32, inference.ControlLayers)}},
		}))
	case models.LoRA: // never an error: the picture is made without it, and a note
		reports, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: path, UNet: 1, TextEncoder: 1}})
		require.NoError(t, err)
		reason, left := strings.CutPrefix(reports[0].Note, "left out: the file ")
		require.True(t, left, reports[0].Note)
		return fault.Errorf(fault.Invalid, "lora", "%s %s", path, reason)
	default: // a checkpoint
		own, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: path, Device: "cpu", Log: zerolog.Nop()})
		if err != nil {
			return err
		}
		defer own.Close()
		require.Equal(t, c.VPrediction, own.Info().VPrediction)
		require.Equal(t, c.ZeroTerminalSNR, own.Info().ZeroTerminalSNR)
		require.Equal(t, c.NoVAE, own.Info().NoVAE)
		_, err = own.Decode(t.Context(), latent)
		if c.NoVAE {
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			return nil
		}
		if err != nil {
			return err
		}
		return numbers(own.EncodeText(t.Context(), inference.TextInput{Chunks: make([][inference.ChunkTokens]int32, 1), Skip: 1}))
	}
}
