package formats_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats"
	"sdworker/formats/safetensors"
)

// What AUTOMATIC1111 1.9.3 looks for: modules/sd_models.py (ext_filter of list_models),
// textual_inversion.py (load_from_file), and for the others the loaders' own lists;
// .gguf is this program's. LoRAs in .bin are those of diffusers and PEFT, which 1.9.3 does
// not look for; IP-Adapters in .bin the ControlNet extension does.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name                           string
		format                         formats.Format
		checkpoint, embedding, network bool
	}{
		{"a.safetensors", formats.Safetensors, true, true, true},
		{"A.SafeTensors", formats.Safetensors, true, true, true},
		{"a.gguf", formats.GGUF, true, false, true},
		{"a.ckpt", formats.Pickle, true, false, true},
		{"a.pt", formats.Pickle, false, true, true},
		{"a.pth", formats.Pickle, false, false, true},
		{"a.bin", formats.Pickle, false, true, true},
		{"a.onnx", "", false, false, false},
		{"safetensors", "", false, false, false},
		{"", "", false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.format, formats.OfName(c.name))
			require.Equal(t, c.checkpoint, formats.OfNameFor(formats.Checkpoint, c.name) != "")
			require.Equal(t, c.embedding, formats.OfNameFor(formats.Embedding, c.name) != "")
			require.Equal(t, c.network, formats.OfNameFor(formats.Network, c.name) != "")
		})
	}
}

func TestContent(t *testing.T) {
	h, err := safetensors.Layout(nil, []safetensors.Tensor{{Name: "x", DType: safetensors.F16, Shape: []int64{2, 3}}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "x")
	file, err := os.Create(path)
	require.NoError(t, err)
	_, err = h.WriteTo(file)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 12), h.DataStart)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	for _, c := range []struct {
		path   string
		format formats.Format
		tensor formats.Tensor // the first
	}{
		{path, formats.Safetensors, formats.Tensor{Name: "x", DType: "F16", Shape: []int64{2, 3}, Offset: h.DataStart, Bytes: 12}},
		{"torchfile/testdata/embedding.pt", formats.Pickle, formats.Tensor{Name: "emb_params", DType: "F16", Shape: []int64{2, 768}, Bytes: 2 * 768 * 2}},
	} {
		raw, err := os.ReadFile(c.path)
		require.NoError(t, err)
		require.Equal(t, c.format, formats.OfContent(raw[:16]))
		got, err := c.format.Read(strings.NewReader(string(raw)), int64(len(raw)))
		require.NoError(t, err)
		if c.tensor.Offset == 0 {
			c.tensor.Offset = got.Tensors[0].Offset
		}
		require.Equal(t, c.tensor, got.Tensors[0])
		require.Equal(t, c.tensor.Bytes/map[string]int64{"F16": 2, "F32": 4}[c.tensor.DType], got.Tensors[0].Values())

		_, err = c.format.Read(strings.NewReader(string(raw[:20])), 20)
		require.Error(t, err)
		require.True(t, formats.IsMalformed(err), err.Error())
	}
	require.Equal(t, formats.GGUF, formats.OfContent([]byte("GGUF\x03\x00\x00\x00\x00")))
	require.Empty(t, formats.OfContent([]byte("<!doctype html>")))
	require.False(t, formats.IsMalformed(os.ErrNotExist))
}

func TestWhatTheEngineReads(t *testing.T) {
	require.True(t, formats.GGUF.EngineReads("Q8_0"))
	require.False(t, formats.Safetensors.EngineReads("Q8_0"))
	require.False(t, formats.Safetensors.EngineReads("I64"))
	require.False(t, formats.GGUF.Decoded())
	require.True(t, formats.Pickle.Decoded())
}
