//go:build cgo && sdcpp

package sdcpp_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// FuzzFiles changes text in the headers of model files, cuts the files short and hands
// them to an engine: it may refuse them or work with them, and it goes on as before.
// make sanitize runs it with the sanitizers.
func FuzzFiles(f *testing.F) {
	use := []struct {
		kind synth.Kind
		use  func(t *testing.T, e *sdcpp.Engine, path string) error
	}{
		{synth.LoRA, func(t *testing.T, e *sdcpp.Engine, path string) error {
			_, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: path, UNet: 1, TextEncoder: 1}})
			return err
		}},
		{synth.TAESD, func(t *testing.T, e *sdcpp.Engine, path string) error {
			_, err := e.DecodePreview(t.Context(), path, enginetest.Noise(3, inference.LatentChannels*4), 2, 2)
			return err
		}},
		{synth.ESRGAN, func(t *testing.T, e *sdcpp.Engine, path string) error {
			_, _, err := e.UpscalePixels(t.Context(), path, make([]float32, 3*4*4), 4, 4)
			return err
		}},
	}
	files := make([][]byte, len(use))
	for i, u := range use {
		data, err := os.ReadFile(model(f, u.kind))
		require.NoError(f, err)
		files[i] = data
		f.Add(uint8(i), uint16(0), []byte(nil), uint16(0))
		f.Add(uint8(i), uint16(0), []byte(nil), uint16(1))
		f.Add(uint8(i), uint16(bytes.Index(data, []byte("shape"))), []byte(`shape":[1,1,1,1,1],"x`), uint16(0))
		f.Add(uint8(i), uint16(bytes.Index(data, []byte("F16"))), []byte("F32"), uint16(0))
	}
	e := open(f, sdcpp.Options{Checkpoint: model(f, synth.Checkpoint)})
	f.Cleanup(func() { require.NoError(f, e.Close()) })
	want, err := e.PredictNoise(f.Context(), unetInput(4, 4))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, which uint8, at uint16, text []byte, cut uint16) {
		i := int(which) % len(use)
		data := bytes.Clone(files[i])
		header := data[8 : 8+binary.LittleEndian.Uint64(data)]
		copy(header[int(at)%len(header):], text)
		path := filepath.Join(t.TempDir(), "model.safetensors")
		require.NoError(t, os.WriteFile(path, data[:max(0, len(data)-int(cut))], 0o600))
		if err := use[i].use(t, e, path); err != nil {
			t.Log(err)
		}
		_, err := e.SetLoRAs(t.Context(), nil)
		require.NoError(t, err)
		got, err := e.PredictNoise(t.Context(), unetInput(4, 4))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}
