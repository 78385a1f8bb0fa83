//go:build cgo && sdcpp

package sdcpp_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet/depth"
	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/internal/vectors"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// TestDepthVectors compares Depth Anything with transformers; see testdata/record_depth.py.
// The authors' names of the same tensors give the same picture.
func TestDepthVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/depth.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Version depth.Version
			H, W    int
			Want    vectors.Float32s
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	original := authorsFile(t, model(t, synth.Depth))
	for _, tc := range file.Cases {
		in := inference.DepthInput{Model: model(t, synth.Depth), Version: tc.Version, Positions: depth.Aligned, Pixels: waves(3 * tc.H * tc.W), H: tc.H, W: tc.W}
		got, err := e.Depth(t.Context(), in)
		require.NoError(t, err)
		worst := enginetest.RelativeError(tc.Want, got)
		t.Logf("version %d, %dx%d: relative error %.1e", tc.Version, tc.W, tc.H, worst)
		require.Less(t, worst, within(2e-3))
		in.Model = original
		same, err := e.Depth(t.Context(), in)
		require.NoError(t, err)
		require.Less(t, enginetest.RelativeError(got, same), 1e-5)
	}
	_, err = e.Depth(t.Context(), inference.DepthInput{Model: original, Version: depth.V1, Pixels: make([]float32, 3*70*71), H: 70, W: 71})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	_, err = e.Depth(t.Context(), inference.DepthInput{Model: model(t, synth.VAE), Version: depth.V1, Pixels: make([]float32, 3*70*70), H: 70, W: 70})
	require.ErrorContains(t, err, "holds a VAE, not a Depth Anything network")
}

// authorsFile writes a file of transformers' names with those of the authors.
func authorsFile(t *testing.T, from string) string {
	t.Helper()
	f, err := safetensors.Open(from)
	require.NoError(t, err)
	defer f.Close()
	names := strings.NewReplacer(
		"backbone.embeddings.cls_token", "pretrained.cls_token", "backbone.embeddings.position_embeddings", "pretrained.pos_embed",
		"backbone.embeddings.patch_embeddings.projection", "pretrained.patch_embed.proj", "backbone.layernorm", "pretrained.norm",
		"backbone.encoder.layer.", "pretrained.blocks.", "attention.output.dense", "attn.proj", "layer_scale1.lambda1", "ls1.gamma",
		"layer_scale2.lambda1", "ls2.gamma",
		"neck.convs.0", "depth_head.scratch.layer1_rn", "neck.convs.1", "depth_head.scratch.layer2_rn", "neck.convs.2", "depth_head.scratch.layer3_rn",
		"neck.convs.3", "depth_head.scratch.layer4_rn",
		"neck.fusion_stage.layers.0", "depth_head.scratch.refinenet4", "neck.fusion_stage.layers.1", "depth_head.scratch.refinenet3",
		"neck.fusion_stage.layers.2", "depth_head.scratch.refinenet2", "neck.fusion_stage.layers.3", "depth_head.scratch.refinenet1",
		"residual_layer", "resConfUnit", "convolution", "conv",
		"head.conv1", "depth_head.scratch.output_conv1", "head.conv2", "depth_head.scratch.output_conv2.0", "head.conv3", "depth_head.scratch.output_conv2.2")
	values := map[string][]byte{}
	shapes := map[string][]int64{}
	for _, x := range f.Tensors {
		raw := make([]byte, x.Size)
		_, err := f.Raw(x).ReadAt(raw, 0)
		require.NoError(t, err)
		name := names.Replace(x.Name)
		if rest, ok := strings.CutPrefix(name, "neck.reassemble_stage.layers."); ok {
			digit, leaf, _ := strings.Cut(rest, ".")
			if part, ok := strings.CutPrefix(leaf, "projection."); ok {
				name = "depth_head.projects." + digit + "." + part
			} else {
				name = "depth_head.resize_layers." + digit + "." + strings.TrimPrefix(leaf, "resize.")
			}
		}
		if before, leaf, ok := strings.Cut(name, "attention.attention."); ok { // query, key and value are one
			part, leaf, _ := strings.Cut(leaf, ".")
			name = before + "attn.qkv." + leaf
			at := slices.Index([]string{"query", "key", "value"}, part)
			if values[name] == nil {
				values[name] = make([]byte, 3*len(raw))
				shapes[name] = slices.Clone(x.Shape)
				shapes[name][0] *= 3
			}
			copy(values[name][at*len(raw):], raw)
			continue
		}
		name = strings.Replace(name, ".projection.", ".out_conv.", 1)
		values[name], shapes[name] = raw, x.Shape
	}
	var list []safetensors.Tensor
	for name, shape := range shapes {
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F16, Shape: shape})
	}
	return modelstest.WriteData(t, filepath.Join(t.TempDir(), "depth_anything_vits14.safetensors"), nil, values, list...)
}
