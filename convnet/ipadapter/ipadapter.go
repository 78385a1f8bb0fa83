// Package ipadapter describes IP-Adapters (Ye et al. 2023) for Stable Diffusion 1.x: what
// a UNet's cross attention sees of a picture beside the text.
package ipadapter

import (
	"fmt"
	"strconv"
	"strings"

	"sdworker/convnet"
)

// Layers is the number of a UNet's cross attentions. Files number them as diffusers does:
// those of the encoder, of the decoder, then the one in the middle.
const Layers = 16

// Middle is where an order from the UNet's input to its output has the layer that files
// have last.
const Middle = 6

const (
	proj       = "image_proj."
	headWidth  = 64 // of the resampler
	epsilon    = 1e-5
	bothInOne  = 2 // keys and values are one matrix
	lastTokens = 1 << 10
)

// Model is an adapter. Its network takes lines of Width features, one of an embedding or
// all of the hidden states, and gives keys and values [Tokens,channels] of each layer in
// turn.
type Model struct {
	Net      *convnet.Net
	Hidden   bool // it takes hidden states, not the embedding
	Width    int
	Tokens   int         // that come out
	Channels [Layers]int // of each layer
}

// Values is how many numbers the keys and values of all layers have together.
func (m *Model) Values() int {
	n := 0
	for _, channels := range m.Channels {
		n += 2 * m.Tokens * channels
	}
	return n
}

// Takes tells whether the adapter is for an encoder of hidden states of a width and of
// an embedding.
func (m *Model) Takes(width, embedding int) bool {
	if m.Hidden {
		return m.Width == width
	}
	return m.Width == embedding
}

// Is tells whether a name is one of an adapter's tensors.
func Is(name string) bool {
	return strings.HasPrefix(name, "ip_adapter.") && (strings.HasSuffix(name, ".to_k_ip.weight") || strings.HasSuffix(name, ".to_v_ip.weight"))
}

// TextWidth is the width of the text states of the checkpoints that an adapter is for, 0
// where the file does not say it.
func TextWidth(shapes convnet.Shapes) int64 {
	if shape := shapes[key(0, "k")]; len(shape) == 2 {
		return shape[1]
	}
	return 0
}

func key(layer int, part string) string {
	return fmt.Sprintf("ip_adapter.%d.to_%s_ip.weight", 2*layer+1, part)
}

// Build reads the architecture off a file's tensors. A problem is a predicate to put
// behind the file's name.
func Build(shapes convnet.Shapes) (*Model, string) {
	b := convnet.New(shapes, 1)
	m := &Model{}
	var seen int
	switch {
	case b.Has(proj + "perceiver_resampler.proj_in.weight"), b.Has(proj+"proj.0.weight") && !b.Has(proj+"proj.3.weight"):
		return nil, "is an IP-Adapter for FaceID, which needs a face recognition network (InsightFace) that is not built in; " +
			"use ip-adapter-plus-face_sd15, which needs none"
	case b.Has(proj + "latents"):
		seen = m.resampler(b)
	case b.Has(proj + "proj.3.weight"):
		seen = m.perceptron(b)
	case b.Has(proj + "proj.weight"):
		seen = m.linear(b)
	default:
		return nil, "is an IP-Adapter of an unknown kind"
	}
	var outputs []int
	for i := range Layers {
		m.Channels[i] = b.Dim(key(i, "k"), 0)
		k, v := b.Linear(seen, strings.TrimSuffix(key(i, "k"), ".weight")), b.Linear(seen, strings.TrimSuffix(key(i, "v"), ".weight"))
		if b.Channels(k) != b.Channels(v) {
			b.Fail("has %d keys and %d values in layer %d", b.Channels(k), b.Channels(v), i)
		}
		outputs = append(outputs, k, v)
	}
	net, problem := b.Build(outputs...)
	if problem != "" {
		return nil, problem
	}
	m.Net = net
	return m, ""
}

// linear is the first kind: a few tokens of a picture's embedding.
func (m *Model) linear(b *convnet.Builder) int {
	m.Width, m.Tokens = b.Dim(proj+"proj.weight", 1), b.Dim(proj+"proj.weight", 0)/max(b.Dim(key(0, "k"), 1), 1)
	x := b.Linear(b.Lines(0, m.Width), proj+"proj")
	return b.LayerNorm(b.Fold(x, m.Tokens), proj+"norm", epsilon)
}

// perceptron ("full") sees as many tokens as the encoder gives.
func (m *Model) perceptron(b *convnet.Builder) int {
	m.Hidden, m.Width, m.Tokens = true, b.Dim(proj+"proj.0.weight", 1), 257
	x := b.GELU(b.Linear(b.Lines(0, m.Width), proj+"proj.0"))
	return b.LayerNorm(b.Linear(x, proj+"proj.2"), proj+"proj.3", epsilon)
}

// resampler ("plus") asks the encoder's hidden states for a number of tokens.
func (m *Model) resampler(b *convnet.Builder) int {
	m.Hidden, m.Width, m.Tokens = true, b.Dim(proj+"proj_in.weight", 1), b.Dim(proj+"latents", 1)
	width := b.Dim(proj+"latents", 2)
	if m.Tokens > lastTokens {
		b.Fail("has %d tokens", m.Tokens)
	}
	latents := b.Array(proj+"latents", m.Tokens, width, 1, m.Tokens, width)
	x := b.Linear(b.Lines(0, m.Width), proj+"proj_in")
	for i := range b.Count(proj + "layers.") {
		name := proj + "layers." + strconv.Itoa(i) + "."
		latents = b.Add(perceive(b, x, latents, name+"0."), latents)
		y := b.Linear(b.LayerNorm(latents, name+"1.0", epsilon), name+"1.1")
		latents = b.Add(b.Linear(b.GELU(y), name+"1.3"), latents)
	}
	return b.LayerNorm(b.Linear(latents, proj+"proj_out"), proj+"norm_out", epsilon)
}

// perceive is the attention of a resampler: tokens look at the picture and at themselves.
func perceive(b *convnet.Builder, x, latents int, name string) int {
	y := b.LayerNorm(latents, name+"norm2", epsilon)
	all := b.Append(b.LayerNorm(x, name+"norm1", epsilon), y)
	inner := b.Dim(name+"to_kv.weight", 0) / bothInOne
	k, v := b.LinearPart(all, name+"to_kv", 0, inner, bothInOne*inner), b.LinearPart(all, name+"to_kv", inner, inner, bothInOne*inner)
	return b.Linear(b.Attention(b.Linear(y, name+"to_q"), k, v, max(inner/headWidth, 1)), name+"to_out")
}
