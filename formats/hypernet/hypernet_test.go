package hypernet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/hypernet"
	"sdworker/formats/torchfile/torchfiletest"
)

// The files were written by PyTorch; inference/sdcpp/testdata/record_unet.py says how,
// and TestUNetVectors shows that their values act as they should.
func TestRead(t *testing.T) {
	n, err := hypernet.Read("testdata/hypernet.pt")
	require.NoError(t, err)
	require.Equal(t, "hypernet", n.Name)
	type shape struct {
		kind    hypernet.Kind
		in, out int
	}
	var modules [][]shape
	for _, m := range n.Modules {
		var shapes []shape
		for _, l := range m.Layers {
			shapes = append(shapes, shape{l.Kind, l.In, l.Out})
			if l.Kind == hypernet.Linear {
				require.Len(t, l.Weight, l.In*l.Out)
				require.Len(t, l.Bias, l.Out)
			}
		}
		modules = append(modules, shapes)
	}
	require.Len(t, modules, 4)
	require.Equal(t, []shape{
		{hypernet.Linear, 768, 12},
		{hypernet.LeakyReLU, 12, 12},
		{hypernet.Norm, 12, 12},
		{hypernet.Linear, 12, 12},
		{hypernet.LeakyReLU, 12, 12},
		{hypernet.Norm, 12, 12},
		{hypernet.Linear, 12, 768},
		{hypernet.LeakyReLU, 768, 768},
		{hypernet.Norm, 768, 768},
	}, modules[0])
	require.Equal(t, []bool{false, true, false, true}, []bool{n.Modules[0].Values, n.Modules[1].Values, n.Modules[2].Values, n.Modules[3].Values})
	require.Equal(t, 128, n.Modules[3].Dim)

	plain, err := hypernet.Read("testdata/hypernet-plain.pt")
	require.NoError(t, err)
	require.Len(t, plain.Modules, 2)
	require.Len(t, plain.Modules[0].Layers, 3, "the last layer has no activation")
	require.Equal(t, hypernet.HardSwish, plain.Modules[0].Layers[1].Kind)
}

func TestReadRefuses(t *testing.T) {
	raw, err := os.ReadFile("testdata/hypernet-plain.pt")
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"cut short": raw[:len(raw)/2], "empty": {}, "a picture": []byte("\x89PNG\r\n\x1a\n"),
	} {
		path := filepath.Join(t.TempDir(), "x.pt")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err := hypernet.Read(path)
		require.ErrorContains(t, err, "hypernetwork x.pt: ", name)
	}
	// A few bytes that claim to be a terabyte, once by views and once by names.
	const dim = 1 << 16
	views := []torchfiletest.Tensor{
		{Name: "65536.0.linear.0.weight", Storage: "HalfStorage", Shape: []int64{2 * dim, dim}, Strides: []int64{0, 0}, Values: 1, Data: strings.NewReader("ab")},
	}
	var names []torchfiletest.Tensor
	for part := range 2 {
		for _, suffix := range []string{"0.weight", "1.weight"} {
			t := torchfiletest.Tensor{Name: fmt.Sprintf("512.%d.linear.%s", part, suffix), Storage: "HalfStorage", Values: 1024 * 512}
			t.Shape = []int64{1024, 512}
			if suffix == "1.weight" {
				t.Shape = []int64{512, 1024}
			}
			if len(names) == 0 {
				t.Data = strings.NewReader(strings.Repeat("ab", 1024*512))
			} else {
				t.Of = names[0].Name
			}
			names = append(names, t, torchfiletest.Tensor{
				Name: strings.TrimSuffix(t.Name, "weight") + "bias", Storage: "HalfStorage", Shape: t.Shape[:1], Values: t.Shape[0], Data: strings.NewReader(strings.Repeat("ab", int(t.Shape[0]))),
			})
		}
	}
	for name, tensors := range map[string][]torchfiletest.Tensor{"views": views, "names": names} {
		path := filepath.Join(t.TempDir(), "x.pt")
		f, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, torchfiletest.Write(f, tensors...))
		require.NoError(t, f.Close())
		_, err = hypernet.Read(path)
		require.ErrorContains(t, err, "has more values than the file", name)
	}
	_, err = hypernet.Read("testdata/absent.pt")
	require.ErrorIs(t, err, os.ErrNotExist)
}
