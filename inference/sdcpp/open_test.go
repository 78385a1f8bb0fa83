//go:build cgo && sdcpp

package sdcpp_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// head returns a copy of the first n bytes of a file.
func head(t *testing.T, path string, n int64) string {
	t.Helper()
	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	data := make([]byte, n)
	_, err = in.ReadAt(data, 0)
	require.NoError(t, err)
	return file(t, data)
}

func file(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func withHeader(t *testing.T, header string, body int) string {
	t.Helper()
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	data = append(data, header...)
	return file(t, append(data, make([]byte, body)...))
}

func TestOpenRefusesWhatIsNoCheckpoint(t *testing.T) {
	for name, tc := range map[string]struct {
		path string
		code fault.Code
	}{
		"absent":          {filepath.Join(t.TempDir(), "absent"), fault.NotFound},
		"folder":          {t.TempDir(), fault.Invalid},
		"no name":         {"", fault.NotFound},
		"empty":           {file(t, nil), fault.Invalid},
		"text":            {file(t, []byte("this is no model, whatever its name says\n")), fault.Invalid},
		"cut in header":   {head(t, model(t, synth.Checkpoint), 1000), fault.Invalid},
		"cut in data":     {head(t, model(t, synth.Checkpoint), 1<<20), fault.Invalid},
		"a LoRA":          {model(t, synth.LoRA), fault.Invalid},
		"a VAE":           {model(t, synth.VAE), fault.Invalid},
		"an embedding":    {model(t, synth.Embedding), fault.Invalid},
		"empty header":    {withHeader(t, "{}", 8), fault.Invalid},
		"no JSON":         {withHeader(t, "{{{{{{{{", 8), fault.Invalid},
		"JSON of a list":  {withHeader(t, "[1,2,3]", 8), fault.Invalid},
		"no shape":        {withHeader(t, `{"a":{"dtype":"F16","data_offsets":[0,8]}}`, 8), fault.Invalid},
		"wrong types":     {withHeader(t, `{"a":{"dtype":3,"shape":"x","data_offsets":null}}`, 8), fault.Invalid},
		"negative shape":  {withHeader(t, `{"a":{"dtype":"F16","shape":[-4],"data_offsets":[0,8]}}`, 8), fault.Invalid},
		"overflow":        {withHeader(t, `{"a":{"dtype":"F16","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 8), fault.Invalid},
		"offset past end": {withHeader(t, `{"a":{"dtype":"F16","shape":[4],"data_offsets":[9223372036854775800,9223372036854775808]}}`, 8), fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: tc.path, Device: "cpu"})
			require.Error(t, err)
			require.Equal(t, tc.code, fault.CodeOf(err), "%v", err)
			t.Log(err)
		})
	}
}

func TestOpenRefusesUnknownDevices(t *testing.T) {
	_, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Device: "cuda17"})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "CPU", "the devices there are")
}

func TestOpenReportsProgress(t *testing.T) {
	var last, total, calls int
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Progress: func(done, of int) {
		require.LessOrEqual(t, done, of)
		last, total = done, of
		calls++
	}})
	defer e.Close()
	require.Positive(t, calls)
	require.Equal(t, total, last)
}

func TestOpenPassesAPanicOn(t *testing.T) {
	require.PanicsWithValue(t, "in a callback", func() {
		open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Progress: func(int, int) { panic("in a callback") }})
	})
	require.Zero(t, sdcpp.Live())
}

func TestInfo(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Inpainting)})
	defer e.Close()
	info := e.Info()
	require.Equal(t, 9, info.UNetChannels)
	require.False(t, info.VPrediction)
	require.Greater(t, info.WeightBytes, int64(300<<20))
	require.NotEmpty(t, info.EngineVersion)

	build := sdcpp.Version()
	require.NotEmpty(t, build.Pin)
	require.NotEmpty(t, build.Key)
	require.NotEmpty(t, build.GGML)
	require.NotEmpty(t, build.Devices)
	require.NotEmpty(t, build.Allocator)
	require.NotEmpty(t, build.CPUFeatures)
	t.Logf("%+v", build)
}

func TestOtherFilesOfTheWrongKind(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	cut := head(t, model(t, synth.VAE), 1<<20)
	for _, path := range []string{cut, file(t, []byte("no model")), model(t, synth.LoRA)} {
		require.Equal(t, fault.Invalid, fault.CodeOf(e.SetVAE(t.Context(), path)), path)
		_, err := e.DecodePreview(t.Context(), path, make([]float32, 4), 1, 1)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
		_, _, err = e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: path}, make([]float32, 3), 1, 1)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
	}
	for _, path := range []string{cut, file(t, []byte("no model")), model(t, synth.VAE), model(t, synth.ESRGAN)} {
		reports, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: path, UNet: 1, TextEncoder: 1}})
		if err == nil {
			require.Contains(t, reports[0].Note, "left out", path)
			continue
		}
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
	}
	_, err := e.Decode(t.Context(), inference.LatentInput{Latent: make([]float32, 4), H: 1, W: 1})
	require.NoError(t, err, "the engine still works")
}
