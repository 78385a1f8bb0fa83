package embedding_test

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/embedding"
	"sdworker/sd1"
)

// The files of testdata follow the formats by hand, without PyTorch. Their i-th
// number is i mod k / 8 - 1.
func pattern(count, start, k int) []float32 {
	values := make([]float32, count*sd1.TextWidth)
	for i := range values {
		values[i] = float32((start+i)%k)/8 - 1
	}
	return values
}

func TestRead(t *testing.T) {
	step := func(n int) *int { return &n }
	text := func(s string) *string { return &s }
	for _, tc := range []struct {
		file string
		want embedding.Embedding
	}{
		{"single.safetensors", embedding.Embedding{Name: "single", Vectors: 3, Shape: 768, Values: pattern(3, 0, 16)}},
		{"bfloat.safetensors", embedding.Embedding{Name: "bfloat", Vectors: 1, Shape: 768, Values: pattern(1, 0, 16)}},
		{"sdxl.safetensors", embedding.Embedding{Name: "sdxl", Vectors: 2, Shape: 2048}},
		{"notes.pt", embedding.Embedding{
			Name: "notes", Vectors: 2, Shape: 768, Values: pattern(2, 0, 16),
			Step: step(1500), Checkpoint: text("6ce0161689"), CheckpointName: text("v1-5-pruned-emaonly"),
		}},
		{"parameters.pt", embedding.Embedding{Name: "parameters", Vectors: 1, Shape: 768, Values: pattern(1, 768, 16)}},
		{"concept.bin", embedding.Embedding{Name: "concept", Vectors: 1, Shape: 768, Values: pattern(1, 0, 32)}},
		{"transposed.bin", embedding.Embedding{Name: "transposed", Vectors: 2, Shape: 768, Values: pattern(2, 0, 16)}},
		{"old.pt", embedding.Embedding{Name: "old", Vectors: 1, Shape: 768, Values: pattern(1, 0, 16), Step: step(99)}},
		{"image.png", embedding.Embedding{Name: "carried", Vectors: 1, Shape: 768, Values: pattern(1, 0, 16), Step: step(7)}},
		{"packed.png", embedding.Embedding{Name: "carried", Vectors: 1, Shape: 768, Values: pattern(1, 0, 16), Step: step(7)}},        // zTXt by Pillow
		{"international.png", embedding.Embedding{Name: "carried", Vectors: 1, Shape: 768, Values: pattern(1, 0, 16), Step: step(7)}}, // packed iTXt by Pillow
	} {
		t.Run(tc.file, func(t *testing.T) {
			got, err := embedding.Read(filepath.Join("testdata", tc.file))
			require.NoError(t, err)
			require.Equal(t, &tc.want, got)
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for file, message := range map[string]string{
		"two.safetensors": "holds 2 tensors",
		"evil.pt":         "wants to call",
		"preview.png":     embedding.ErrNone.Error(),
		"absent.pt":       "no such file",
	} {
		t.Run(file, func(t *testing.T) {
			_, err := embedding.Read(filepath.Join("testdata", file))
			require.ErrorContains(t, err, message)
			require.ErrorContains(t, err, file)
		})
	}
	for name, content := range map[string]string{
		"x.preview.PNG":     "never read",
		"note.txt":          "words",
		"empty.safetensors": "",
		"long.safetensors":  "\xff\xff\xff\xff\xff\xff\xff\xff{}",
		"cut.pt":            "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
		"outside.safetensors": "\x40\x00\x00\x00\x00\x00\x00\x00" +
			`{"a":{"dtype":"F32","shape":[1,768],"data_offsets":[0,3072]}}   `,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			_, err := embedding.Read(path)
			require.ErrorContains(t, err, name)
		})
	}
}

// writeTorch writes a PyTorch file of 1536 numbers of type float32. The pickle is
// string_to_param, a dictionary, whose entries refer to them by makeTensor.
func writeTorch(t *testing.T, entries string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.pt")
	f, err := os.Create(path)
	require.NoError(t, err)
	archive := zip.NewWriter(f)
	for name, content := range map[string]string{
		"x/data.pkl": "(dS'string_to_param'\n(d" + entries + "s.",
		"x/data/0":   strings.Repeat("\x00\x00\x80\x3f", 1536),
	} {
		w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		require.NoError(t, err)
		_, err = io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, f.Close())
	return path
}

// makeTensor is the pickle of an entry, a tensor [rows, 768] whose rows are stride numbers
// apart.
func makeTensor(name string, rows, stride int) string {
	return fmt.Sprintf("S'%s'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI1536\ntQ"+
		"I0\n(I%d\nI768\nt(I%d\nI1\ntI00\nNtRs", name, rows, stride)
}

func TestReadPyTorch(t *testing.T) {
	for name, tc := range map[string]struct {
		entries string
		vectors int
		message string
	}{
		"whole":              {entries: makeTensor("*", 2, 768), vectors: 2},
		"one row twice":      {entries: makeTensor("*", 2, 0), vectors: 2},
		"one row very often": {entries: makeTensor("*", 1<<40, 0), message: "too large"},
		"beyond its numbers": {entries: makeTensor("*", 3, 768), message: "outside its storage"},
		"two tensors":        {entries: makeTensor("a", 1, 768) + makeTensor("b", 1, 768), message: "holds 2 tensors"},
		"none":               {message: "holds 0 tensors"},
		"a call beside":      {entries: makeTensor("*", 2, 768) + "S'b'\ncposix\nsystem\n(S'true'\ntRs", message: "wants to call"},
		"an old call":        {entries: makeTensor("*", 2, 768) + "S'b'\n(S'true'\niposix\nsystem\ns", message: "wants to call"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := embedding.Read(writeTorch(t, tc.entries))
			if tc.message != "" {
				require.ErrorContains(t, err, tc.message)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.vectors, e.Vectors)
			require.Len(t, e.Values, tc.vectors*sd1.TextWidth)
		})
	}
}

// A damaged file gives an error or an embedding, never a panic.
func FuzzRead(f *testing.F) {
	extensions := []string{".safetensors", ".pt", ".png"}
	files, err := os.ReadDir("testdata")
	require.NoError(f, err)
	for _, file := range files {
		if file.IsDir() {
			continue // the inputs of earlier runs
		}
		raw, err := os.ReadFile(filepath.Join("testdata", file.Name()))
		require.NoError(f, err)
		for i, extension := range extensions {
			if strings.HasSuffix(strings.Replace(file.Name(), ".bin", ".pt", 1), extension) {
				f.Add(raw, i)
			}
		}
	}
	path := filepath.Join(f.TempDir(), "fuzzed")
	f.Fuzz(func(t *testing.T, raw []byte, kind int) {
		path := path + extensions[uint(kind)%uint(len(extensions))]
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		e, err := embedding.Read(path)
		require.Equal(t, err != nil, e == nil)
	})
}
