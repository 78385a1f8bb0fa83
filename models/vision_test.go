package models_test

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet"
	"sdworker/convnet/clipvision"
	"sdworker/convnet/depth"
	"sdworker/convnet/ipadapter"
	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

func shapesOf(t *testing.T, kind synth.Kind, size synth.Size) convnet.Shapes {
	t.Helper()
	list, err := synth.Parameters(synth.Options{Kind: kind, Size: size})
	require.NoError(t, err)
	shapes := convnet.Shapes{}
	for _, p := range list {
		shapes[p.Name] = p.Shape
	}
	return shapes
}

// The encoder and the adapters as they are published: CLIP ViT-H, and files for a UNet of
// width 320.
func TestPublishedIPAdapters(t *testing.T) {
	shapes := shapesOf(t, synth.ImageEncoder, synth.Full)
	v, problem := clipvision.Build(shapes)
	require.Empty(t, problem)
	require.Equal(t, []int{257, 1280, 1024}, []int{v.Tokens, v.Width, v.Embedding})
	values := 0
	for _, w := range v.Net.Weights {
		values += w.Len()
	}
	require.Equal(t, 632_076_800, values, "parameters of CLIP ViT-H's image encoder")
	require.Less(t, v.Net.Bytes(), int64(2*values+2<<20), "in half precision")

	base, problem := ipadapter.Build(shapesOf(t, synth.IPAdapter, synth.Full))
	require.Empty(t, problem)
	require.Equal(t, []any{false, 4, 1024, true}, []any{base.Hidden, base.Tokens, base.Width, base.Takes(v.Width, v.Embedding)})
	plus, problem := ipadapter.Build(shapesOf(t, synth.IPAdapterPlus, synth.Full))
	require.Empty(t, problem)
	require.Equal(t, []any{true, 16, 1280, true}, []any{plus.Hidden, plus.Tokens, plus.Width, plus.Takes(v.Width, v.Embedding)})
	require.Equal(t, [ipadapter.Layers]int{320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320, 1280}, plus.Channels)

	full := shapesOf(t, synth.IPAdapter, synth.Full)
	maps.DeleteFunc(full, func(name string, _ []int64) bool { return name[:3] == "ima" })
	maps.Copy(full, convnet.Shapes{
		"image_proj.proj.0.weight": {1280, 1280}, "image_proj.proj.0.bias": {1280}, "image_proj.proj.2.weight": {768, 1280}, "image_proj.proj.2.bias": {768},
		"image_proj.proj.3.weight": {768}, "image_proj.proj.3.bias": {768},
	})
	face, problem := ipadapter.Build(full)
	require.Empty(t, problem)
	require.Equal(t, []any{true, 257, 1280}, []any{face.Hidden, face.Tokens, face.Width})
}

// Depth Anything's small network as it is published, and files that are none.
func TestPublishedDepthNetwork(t *testing.T) {
	shapes := shapesOf(t, synth.Depth, synth.Full)
	net, problem := depth.Build(shapes, depth.V1, depth.Offset, 518, 770)
	require.Empty(t, problem)
	values := int64(0)
	for _, p := range net.Params {
		n := int64(1)
		for _, side := range p.Shape {
			n *= side
		}
		values += n
	}
	require.EqualValues(t, 24_784_705-2*(64*64*9+64), values, "parameters that transformers counts, without what it does not use: a mask token and a residual layer")
	sizes := net.Sizes(518, 770)
	require.Equal(t, convnet.Size{Channels: 1, H: 518, W: 770}, sizes[net.Outputs[0]])

	for name, c := range map[string]struct {
		change func(convnet.Shapes)
		want   string
	}{
		"without its head": {func(s convnet.Shapes) { delete(s, "head.conv3.weight") }, "is incomplete: tensor head.conv3.weight is missing"},
		"of no square":     {func(s convnet.Shapes) { s["backbone.embeddings.position_embeddings"] = []int64{1, 7, 384} }, "has 7 positions, which are no square and one"},
		"of a layer": {func(s convnet.Shapes) {
			for name := range s {
				if strings.HasPrefix(name, "backbone.encoder.layer.") && !strings.HasPrefix(name, "backbone.encoder.layer.0.") {
					delete(s, name)
				}
			}
		}, "has a transformer of 1 layers"},
	} {
		t.Run(name, func(t *testing.T) {
			shapes := shapesOf(t, synth.Depth, synth.Full)
			c.change(shapes)
			_, problem := depth.Build(shapes, depth.V1, depth.Offset, 28, 28)
			require.Equal(t, c.want, problem)
		})
	}
}

func TestIPAdaptersThatDoNotRun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(convnet.Shapes)
		want   string
	}{
		"FaceID":      {func(s convnet.Shapes) { s["image_proj.proj.0.weight"] = []int64{1024, 512} }, "is an IP-Adapter for FaceID, which needs a face recognition network"},
		"FaceID plus": {func(s convnet.Shapes) { s["image_proj.perceiver_resampler.proj_in.weight"] = []int64{768, 1280} }, "is an IP-Adapter for FaceID"},
		"FaceID, its LoRA": {func(s convnet.Shapes) {
			s["ip_adapter.0.to_q_lora.down.weight"], s["image_proj.proj.0.weight"] = []int64{128, 32}, []int64{9, 9}
		}, "FaceID"},
		"SDXL":              {func(s convnet.Shapes) { s["ip_adapter.1.to_k_ip.weight"] = []int64{640, 2048} }, "is an IP-Adapter for Stable Diffusion XL; accepted is Stable Diffusion 1.x"},
		"without its layer": {func(s convnet.Shapes) { delete(s, "ip_adapter.31.to_v_ip.weight") }, "is incomplete: tensor ip_adapter.31.to_v_ip.weight is missing"},
		"of a side":         {func(s convnet.Shapes) { s["image_proj.norm.weight"] = []int64{7} }, "has a tensor image_proj.norm.weight of shape [7] where [768] is needed"},
		"of no kind":        {func(s convnet.Shapes) { delete(s, "image_proj.proj.weight") }, "is an IP-Adapter of an unknown kind"},
	} {
		t.Run(name, func(t *testing.T) {
			shapes := shapesOf(t, synth.IPAdapter, synth.Tiny)
			c.change(shapes)
			var list []safetensors.Tensor
			for name, shape := range shapes {
				list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F16, Shape: shape})
			}
			path := filepath.Join(t.TempDir(), "m.safetensors")
			modelstest.Write(t, path, nil, list...)
			_, err := models.Check(path, models.IPAdapter, models.CheckOptions{})
			require.ErrorContains(t, err, c.want)
		})
	}
}
