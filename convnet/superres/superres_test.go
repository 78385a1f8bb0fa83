package superres_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet"
	"sdworker/convnet/superres"
	"sdworker/formats/torchfile"
	"sdworker/internal/vectors"
)

// The networks give what spandrel's definitions of them give.
func TestEnlargesAsTheOriginals(t *testing.T) {
	raw, err := os.ReadFile("testdata/enlarged.json")
	require.NoError(t, err)
	var recorded struct {
		Height, Width int
		Picture       vectors.Float32s
		Cases         []struct {
			File   string
			Factor int
			Want   vectors.Float32s
		}
	}
	require.NoError(t, json.Unmarshal(raw, &recorded))
	require.NotEmpty(t, recorded.Cases)
	for _, c := range recorded.Cases {
		t.Run(c.File, func(t *testing.T) {
			raw, err := os.ReadFile("testdata/" + c.File)
			require.NoError(t, err)
			file, err := torchfile.Read(bytes.NewReader(raw), int64(len(raw)))
			require.NoError(t, err)
			shapes, tensors := convnet.Shapes{}, map[string]torchfile.Tensor{}
			for _, x := range file.Tensors {
				shapes[x.Name], tensors[x.Name] = x.Shape, x
			}
			m, problem := superres.Build(shapes)
			require.Empty(t, problem)
			require.Equal(t, c.Factor, m.Factor)
			weights, err := m.Net.Load(func(name string) ([]float32, error) { return tensors[name].Float32s(bytes.NewReader(raw)) })
			require.NoError(t, err)
			got, want := m.Net.Evaluate(weights, recorded.Picture, recorded.Height, recorded.Width)[0], c.Want
			require.Len(t, got, len(want))
			var largest float64
			for _, v := range want {
				largest = max(largest, math.Abs(float64(v)))
			}
			require.InDeltaSlice(t, want, got, 2e-4*largest)
		})
	}
}

func TestRefusedUpscalers(t *testing.T) {
	rrdb := func(in int64, more convnet.Shapes) convnet.Shapes {
		s := convnet.Shapes{"conv_first.weight": {8, in, 3, 3}, "body.0.rdb1.conv1.weight": {4, 8, 3, 3}}
		maps.Copy(s, more)
		return s
	}
	for name, c := range map[string]struct {
		shapes convnet.Shapes
		want   string
	}{
		"unknown":       {convnet.Shapes{"a": {1}}, "is an upscaler of an unknown kind"},
		"incomplete":    {rrdb(3, nil), "is incomplete: tensor body.0.rdb1.conv2.weight is missing"},
		"odd channels":  {rrdb(7, nil), "has a tensor conv_first.weight of shape [8 7 3 3]"},
		"compact of 1":  {convnet.Shapes{"body.0.weight": {8, 3, 3, 3}, "body.1.weight": {8}, "body.2.weight": {1, 8, 3, 3}, "body.2.bias": {1}}, "which make no picture"},
		"compact of 6":  {convnet.Shapes{"body.0.weight": {8, 3, 3, 3}, "body.1.weight": {8}, "body.2.weight": {108, 8, 3, 3}, "body.2.bias": {108}}, "enlarges by 6"},
		"compact of 13": {convnet.Shapes{"body.0.weight": {8, 3, 3, 3}, "body.1.weight": {8}, "body.2.weight": {13, 8, 3, 3}, "body.2.bias": {13}}, "has a last layer of 13 channels"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problem := superres.Build(c.shapes)
			require.Contains(t, problem, c.want)
		})
	}
}
