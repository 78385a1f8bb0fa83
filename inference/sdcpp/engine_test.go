//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "sdcpp")
	if err != nil {
		panic(err)
	}
	modelFolder = folder
	code := m.Run()
	os.RemoveAll(folder)
	if n := sdcpp.Live(); code == 0 && n != 0 {
		println("engines left open:", n)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

var (
	modelFolder string
	modelFiles  sync.Map // synth.Kind to func() (string, error)
)

// model returns a tiny synthetic file, written at first use.
func model(tb testing.TB, kind synth.Kind) string {
	tb.Helper()
	write, _ := modelFiles.LoadOrStore(kind, sync.OnceValues(func() (string, error) {
		path := filepath.Join(modelFolder, string(kind)+".safetensors")
		return path, synth.Write(context.Background(), path, synth.Options{Kind: kind, Size: synth.Tiny})
	}))
	path, err := write.(func() (string, error))()
	require.NoError(tb, err)
	return path
}

func open(tb testing.TB, o sdcpp.Options) *sdcpp.Engine {
	tb.Helper()
	o.Log = zerolog.New(zerolog.NewTestWriter(tb)).Level(zerolog.WarnLevel)
	o.Device = os.Getenv("SDWORKER_TEST_DEVICE")
	e, err := sdcpp.Open(tb.Context(), o)
	require.NoError(tb, err)
	return e
}

func TestEngine(t *testing.T) {
	for name, tc := range map[string]struct {
		kind      synth.Kind
		attention sdcpp.Attention
		graphs    bool
	}{
		"text to image":   {kind: synth.Checkpoint},
		"fused attention": {kind: synth.Checkpoint, attention: sdcpp.AttentionFused},
		"as on a GPU":     {kind: synth.Checkpoint, attention: sdcpp.AttentionFused, graphs: true},
		"inpainting":      {kind: synth.Inpainting},
	} {
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, enginetest.Suite{
				Open: func(tb testing.TB) inference.Engine {
					return open(tb, sdcpp.Options{Checkpoint: model(tb, tc.kind), Attention: tc.attention, GPUGraphs: tc.graphs})
				},
				LoRA:       model(t, synth.LoRA),
				VAE:        model(t, synth.VAE),
				TAESD:      model(t, synth.TAESD),
				ESRGAN:     model(t, synth.ESRGAN),
				ControlNet: model(t, synth.ControlNet),
				Tolerance:  1e-2,
			})
		})
	}
}
