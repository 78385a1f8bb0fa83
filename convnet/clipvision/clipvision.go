// Package clipvision describes the image encoder of CLIP as Hugging Face's transformers
// store it (CLIPVisionModelWithProjection): what a picture shows as vectors.
package clipvision

import (
	"strconv"

	"sdworker/convnet"
)

const (
	// Side is the width and height in pixels of the pictures that the encoder takes.
	Side = 224
	// patch is the side of the squares that become tokens.
	patch   = 14
	tokens  = (Side/patch)*(Side/patch) + 1
	epsilon = 1e-5
	// Every encoder that adapters were made for has as many heads, whatever its width.
	heads = 16
)

// Model is an encoder. Its network takes a picture [3,224,224] with the channels' means
// and deviations of CLIP taken out, and gives the hidden states of the last layer but one
// [Tokens,Width] and the embedding [Embedding].
type Model struct {
	Net                      *convnet.Net
	Tokens, Width, Embedding int
}

// Is tells whether a file holds an image encoder, by its tensors' names.
func Is(has func(name string) bool) bool {
	return has("vision_model.embeddings.patch_embedding.weight") && has("visual_projection.weight")
}

// Build reads the architecture off a file's tensors. A problem is a predicate to put
// behind the file's name.
func Build(shapes convnet.Shapes) (*Model, string) {
	b := convnet.New(shapes, 3)
	b.Half()
	const name = "vision_model."
	width := b.Dim(name+"embeddings.class_embedding", 0)
	if width%heads != 0 {
		b.Fail("has an encoder of width %d, which is no multiple of its %d heads", width, heads)
	}
	x := b.Patches(0, name+"embeddings.patch_embedding", patch)
	x = b.Append(b.Array(name+"embeddings.class_embedding", 1, width, width), x)
	x = b.Add(x, b.Array(name+"embeddings.position_embedding.weight", tokens, width, tokens, width))
	x = b.LayerNorm(x, name+"pre_layrnorm", epsilon)
	layers := b.Count(name + "encoder.layers.")
	if layers < 2 {
		b.Fail("has an encoder of %d layers", layers)
	}
	states := x
	for i := range layers {
		states, x = x, layer(b, x, name+"encoder.layers."+strconv.Itoa(i)+".")
	}
	pooled := b.LayerNorm(b.Take(x, 0, 1), name+"post_layernorm", epsilon)
	embedding := b.Linear(pooled, "visual_projection")
	net, problem := b.Build(states, embedding)
	if problem != "" {
		return nil, problem
	}
	return &Model{Net: net, Tokens: tokens, Width: width, Embedding: b.Channels(embedding)}, ""
}

// layer is one layer of the encoder.
func layer(b *convnet.Builder, x int, name string) int {
	y := b.LayerNorm(x, name+"layer_norm1", epsilon)
	q, k, v := b.Linear(y, name+"self_attn.q_proj"), b.Linear(y, name+"self_attn.k_proj"), b.Linear(y, name+"self_attn.v_proj")
	x = b.Add(x, b.Linear(b.Attention(q, k, v, heads), name+"self_attn.out_proj"))
	y = b.GELU(b.Linear(b.LayerNorm(x, name+"layer_norm2", epsilon), name+"mlp.fc1"))
	return b.Add(x, b.Linear(y, name+"mlp.fc2"))
}
