//go:build cgo && sdcpp

package sdcpp_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/hypernet"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/internal/vectors"
	"sdworker/models/synth"
)

// TestUNetVectors compares what acts inside of the UNet with diffusers; see
// testdata/record_unet.py. Half precision in the weights gives differences of 1e-4 to 3e-4 of the
// largest value.
func TestUNetVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/unet.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Name         string
			H, W         int
			Latent, Want vectors.Float32s
			Timestep     []float32
			FreeU        []float64
			Staged       [2]any // version, and the values of each stage
			Perturbed    []float32
			Hypernets    [][2]any
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	networks := map[string]*hypernet.Network{}
	context := make([]float32, 3*inference.ChunkTokens*inference.TextWidth)
	for i := range context {
		x := float64(i)
		context[i] = float32(math.Sin(x*0.37) + math.Cos(x*x*1e-5))
	}
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			in := inference.UNetInput{Latent: tc.Latent, H: tc.H, W: tc.W, Timestep: tc.Timestep, Context: context, Perturbed: tc.Perturbed}
			if f := tc.FreeU; f != nil {
				in.FreeU = inference.SimpleFreeU(int(f[0]), f[1], f[2], f[3], f[4])
			}
			if version, ok := tc.Staged[0].(float64); ok {
				in.FreeU.Version = int(version)
				for i, values := range tc.Staged[1].([]any) {
					in.FreeU.Stages[i] = stageOf(values.([]any))
				}
			}
			var list []inference.Hypernet
			for _, h := range tc.Hypernets {
				name := h[0].(string)
				if networks[name] == nil {
					networks[name], err = hypernet.Read(filepath.Join("../../formats/hypernet/testdata", name))
					require.NoError(t, err)
				}
				list = append(list, inference.Hypernet{Network: networks[name], Strength: h[1].(float64)})
			}
			require.NoError(t, e.SetHypernets(t.Context(), list))
			got, err := e.PredictNoise(t.Context(), in)
			require.NoError(t, err)
			want := tc.Want
			require.Len(t, got, len(want))
			most, worst := 0.0, 0.0
			for i, v := range want {
				most = max(most, math.Abs(float64(v)))
				worst = max(worst, math.Abs(float64(v-got[i])))
			}
			t.Logf("%.1e of the largest value", worst/most)
			require.Less(t, worst/most, within(1e-3))
		})
	}
}

// stageOf reads backbone, low, offset, width, cutoff and high of a stage of sd-webui-freeu.
func stageOf(v []any) inference.FreeUStage {
	f := func(i int) float64 { return v[i].(float64) }
	w := inference.FreeUWindow{From: math.Mod(f(2), 1), Closed: true}
	if w.To = w.From + f(3); w.To > 1 {
		w.From, w.To, w.Inverted = w.To-1, w.From, true
	}
	return inference.FreeUStage{Backbone: f(0), Window: w, SkipLow: f(1), SkipHigh: f(5), Cutoff: f(4)}
}

// A ControlNet acts where its region is, and as it does without one where that is all.
func TestControlRegion(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	in := inference.UNetInput{Latent: make([]float32, 4*16*16), H: 16, W: 16, Timestep: []float32{500}, Context: make([]float32, inference.ChunkTokens*inference.TextWidth)}
	for i := range in.Latent {
		in.Latent[i] = float32(math.Sin(float64(i)))
	}
	predict := func(region func(y, x int) float32) []float32 {
		unit := inference.ControlInput{Model: model(t, synth.ControlNet), Hint: make([]float32, 3*128*128), Rows: []float32{1}, Layers: make([]float32, inference.ControlLayers)}
		for i := range unit.Layers {
			unit.Layers[i] = 1
		}
		if region != nil {
			for _, size := range inference.RegionSizes(16, 16) {
				for y := range size[0] {
					for x := range size[1] {
						unit.Region = append(unit.Region, region(y*16/size[0], x*16/size[1]))
					}
				}
			}
		}
		in.Control = []inference.ControlInput{unit}
		out, err := e.PredictNoise(t.Context(), in)
		require.NoError(t, err)
		return out
	}
	everywhere := predict(nil)
	require.Equal(t, everywhere, predict(func(int, int) float32 { return 1 }))
	nowhere, half := predict(func(int, int) float32 { return 0 }), predict(func(_, x int) float32 { return float32(x / 8) })
	in.Control[0].Region, in.Control[0].Layers = nil, make([]float32, inference.ControlLayers)
	without, err := e.PredictNoise(t.Context(), in)
	require.NoError(t, err)
	require.InDeltaSlice(t, without, nowhere, 1e-5)
	require.Greater(t, enginetest.RelativeError(everywhere, half), 1e-2)
	require.Greater(t, enginetest.RelativeError(without, half), 1e-2)
}
