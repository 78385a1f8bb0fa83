package torchfile_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile"
)

// The files in testdata were written by PyTorch; see the README there.
func load(tb testing.TB, name string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return raw
}

func read(raw []byte) (*torchfile.Contents, error) {
	return torchfile.Read(bytes.NewReader(raw), int64(len(raw)))
}

// values decodes a tensor at the place that was found for it.
func values(t *testing.T, raw []byte, x torchfile.Tensor) []float32 {
	t.Helper()
	out, err := x.Float32s(bytes.NewReader(raw))
	require.NoError(t, err)
	return out
}

func TestCheckpointInBothFormats(t *testing.T) {
	for _, name := range []string{"zip.ckpt", "old.ckpt"} {
		t.Run(name, func(t *testing.T) {
			raw := load(t, name)
			c, err := read(raw)
			require.NoError(t, err)
			require.Equal(t, map[string]string{"epoch": "3", "pytorch-lightning_version": "1.4"}, c.Notes)
			want := []struct {
				name   string
				dtype  safetensors.DType
				shape  []int64
				values []float32
			}{
				{"a", safetensors.F32, []int64{2, 3}, []float32{-2.5, -1.5, -0.5, 0.5, 1.5, 2.5}},
				{"half", safetensors.F16, []int64{4}, []float32{1, -2, 0.5, 65504}},
				{"scalar", safetensors.BF16, []int64{}, []float32{3}},
				{"ids", safetensors.I64, []int64{3}, nil},
				{"view", safetensors.F32, []int64{3}, []float32{0.5, 1.5, 2.5}},
				{"parameter", safetensors.F32, []int64{1}, []float32{1.5}},
				{"empty", safetensors.F32, []int64{0, 4}, []float32{}},
				{"bool", safetensors.Bool, []int64{2}, nil},
			}
			require.Len(t, c.Tensors, len(want))
			for i, w := range want {
				got := c.Tensors[i]
				require.Equal(t, w.name, got.Name)
				require.Equal(t, w.dtype, got.DType)
				require.Equal(t, w.shape, got.Shape)
				require.False(t, got.Strided)
				if w.values != nil {
					require.Equal(t, w.values, values(t, raw, got), w.name)
				}
			}
			require.Equal(t, byte(7), raw[c.Tensors[3].Offset])
		})
	}
}

func TestProtocols(t *testing.T) {
	for _, name := range []string{"protocol2.pt", "protocol3.pt", "protocol4.pt", "protocol5.pt"} {
		raw := load(t, name)
		c, err := read(raw)
		require.NoError(t, err, name)
		require.Equal(t, []float32{2.5}, values(t, raw, c.Tensors[0])[5:], name)
	}
}

func TestWrappers(t *testing.T) {
	for _, c := range []struct {
		file, name string
		shape      []int64
		last       float32
		notes      map[string]string
	}{
		{"embedding.pt", torchfile.EmbeddingKey, []int64{2, 768}, 1535. / 1024, map[string]string{"name": "x", "step": "500", "sd_checkpoint": "abc123", "sd_checkpoint_name": "v1-5"}},
		{"parameterdict.pt", torchfile.EmbeddingKey, []int64{1, 768}, 767. / 1024, map[string]string{"name": "y", "step": "1"}},
		{"parameterdict-old.pt", torchfile.EmbeddingKey, []int64{1, 768}, 767. / 1024, map[string]string{"name": "y", "step": "1"}},
		{"learned_embeds.bin", "<cat>", []int64{768}, 767. / 1024, map[string]string{}},
		{"params.pth", "w", []int64{1}, 1, map[string]string{}},
	} {
		raw := load(t, c.file)
		got, err := read(raw)
		require.NoError(t, err, c.file)
		require.Len(t, got.Tensors, 1, c.file)
		require.Equal(t, c.name, got.Tensors[0].Name)
		require.Equal(t, c.shape, got.Tensors[0].Shape)
		v := values(t, raw, got.Tensors[0])
		require.InDelta(t, c.last, v[len(v)-1], 1e-3)
		require.Equal(t, c.notes, got.Notes)
	}
}

// The two dictionaries of an IP-Adapter become the names of its safetensors file.
func TestIPAdapterInTwoDictionaries(t *testing.T) {
	got, err := read(load(t, "ip-adapter.bin"))
	require.NoError(t, err)
	shapes := map[string][]int64{}
	for _, x := range got.Tensors {
		shapes[x.Name] = x.Shape
	}
	require.Equal(t, map[string][]int64{"image_proj.proj.weight": {2, 3}, "image_proj.norm.bias": {2}, "ip_adapter.1.to_k_ip.weight": {4, 2}}, shapes)
}

func TestStrided(t *testing.T) {
	raw := load(t, "strided.pt")
	c, err := read(raw)
	require.NoError(t, err)
	require.True(t, c.Tensors[0].Strided)
	require.False(t, c.Tensors[1].Strided)
	require.Equal(t, []float32{-2.5, 0.5, -1.5, 1.5, -0.5, 2.5}, values(t, raw, c.Tensors[0]))
	require.Equal(t, []float32{-2.5, -1.5, -0.5, 0.5, 1.5, 2.5}, values(t, raw, c.Tensors[1]))
}

// Tensors of kinds that nobody reads here lie beside, before and behind those that count,
// which may be of a subclass or have attributes.
func TestTensorsBesideOthers(t *testing.T) {
	for _, name := range []string{"beside.ckpt", "beside-old.ckpt"} {
		t.Run(name, func(t *testing.T) {
			raw := load(t, name)
			c, err := read(raw)
			require.NoError(t, err)
			got := map[string][]float32{}
			for _, x := range c.Tensors {
				got[x.Name] = values(t, raw, x)
			}
			require.Equal(t, map[string][]float32{"w": {1, 2, 3}, "buffer": {4, 5}, "tagged": {7, 8}}, got)
		})
	}
}

func TestOnlyFloatsAreDecoded(t *testing.T) {
	raw := load(t, "zip.ckpt")
	c, err := read(raw)
	require.NoError(t, err)
	_, err = c.Tensors[3].Float32s(bytes.NewReader(raw))
	require.ErrorContains(t, err, `tensor "ids"`)
	_, err = c.Tensors[0].Float32s(bytes.NewReader(raw[:c.Tensors[0].Offset]))
	require.ErrorIs(t, err, io.EOF)
}

// A file that asks for a command to be run is read like any other.
func TestNothingIsCalled(t *testing.T) {
	c, err := read(load(t, "evil.pt"))
	require.NoError(t, err)
	require.Len(t, c.Tensors, 1)
}

func TestPlain(t *testing.T) {
	plain := func(name string) error {
		raw := load(t, name)
		_, err := torchfile.ReadPlain(bytes.NewReader(raw), int64(len(raw)))
		return err
	}
	for _, name := range []string{"embedding.pt", "parameterdict.pt", "learned_embeds.bin", "params.pth", "protocol5.pt"} {
		require.NoError(t, plain(name), name)
	}
	require.ErrorContains(t, plain("evil.pt"), `wants to call "posix.system"`)
	require.ErrorContains(t, plain("module.pt"), `wants to call "torch.nn.modules.linear.Linear"`)
	for _, name := range []string{"zip.ckpt", "old.ckpt"} {
		require.ErrorContains(t, plain(name), "wants to call", name)
	}
}

func TestRefusals(t *testing.T) {
	zip, old := load(t, "zip.ckpt"), load(t, "old.ckpt")
	for _, c := range []struct {
		name, want string
		raw        []byte
	}{
		{"empty", "ends in the middle", nil},
		{"text", "no valid pickle", []byte("hello, this is no pickle at all")},
		{"a whole module", "Python object", load(t, "module.pt")},
		{"another pickle", "not one of PyTorch", load(t, "plain.pkl")},
		{"cut zip", "broken or truncated", zip[:len(zip)/2]},
		{"cut old", "truncated", old[:len(old)-10]},
		{"cut old description", "ends in the middle", old[:200]},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.raw)
			var format *torchfile.FormatError
			require.ErrorAs(t, err, &format)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzRead(f *testing.F) {
	names, err := filepath.Glob("testdata/*.*")
	require.NoError(f, err)
	for _, name := range names {
		f.Add(load(f, filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := read(raw)
		if err != nil {
			return
		}
		for _, x := range c.Tensors {
			if !x.Strided {
				require.LessOrEqual(t, x.Offset+x.Size, int64(len(raw)))
			}
			require.GreaterOrEqual(t, x.Offset, int64(0))
			if x.Size <= 1<<20 && x.DType.IsFloat() {
				_, err := x.Float32s(bytes.NewReader(raw))
				require.NoError(t, err)
			}
		}
	})
}

// Programs for the stack machine that are meant to hurt.
func TestHostilePickles(t *testing.T) {
	deep := bytes.Repeat([]byte("]"), 1<<20)
	for name, program := range map[string][]byte{
		"stack underflow":  []byte("\x80\x02R."),
		"mark missing":     []byte("\x80\x02t."),
		"odd items":        []byte("\x80\x02}(K\x01u."),
		"memo missing":     []byte("\x80\x02h\x07."),
		"huge text":        []byte("\x80\x02X\xff\xff\xff\x7f"),
		"negative length":  []byte("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
		"contains itself":  []byte("\x80\x02]q\x00h\x00a."),
		"deep":             append(append([]byte("\x80\x02"), deep...), '.'),
		"extension":        []byte("\x80\x02\x82\x01."),
		"bad global":       []byte("\x80\x02K\x01K\x02\x93."),
		"no end":           []byte("\x80\x02K\x01"),
		"persistent wrong": []byte("\x80\x02K\x01Q."),
		"huge storage":     []byte("(S'storage'\nctorch\nByteStorage\nS'0'\nS'cpu'\nI9223372036854775807\n(S'v'\nI9223372036854775806\nI1\nttQ."),
	} {
		_, err := read(program)
		require.Error(t, err, name)
	}
}
