package demo

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/inference/clip"
	"sdworker/sd1"
)

// clipLayer is one self attention of CLIP's text encoder, read from the file.
type clipLayer struct {
	query          []float32 // bias of the queries
	key, value, to []float32 // [768, 768]
}

// encoder computes what CLIP's text encoder does with the file's weights, for the
// layers whose output is not zero.
type encoder struct {
	tokens, positions []float32
	layers            []clipLayer
	bias              []float32
}

func readEncoder(t *testing.T, path string) *encoder {
	t.Helper()
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	read := func(name string) []float32 {
		values, _, err := f.Float32s(sd1.CLIPPrefix + name)
		require.NoError(t, err)
		return values
	}
	zero := func(name string) {
		for _, v := range read(name) {
			require.Zero(t, v, name)
		}
	}
	e := &encoder{tokens: read("embeddings.token_embedding.weight"), positions: read("embeddings.position_embedding.weight"), bias: read("final_layer_norm.bias")}
	for i := range 12 {
		layer := "encoder.layers." + strconv.Itoa(i)
		attention := layer + ".self_attn."
		zero(layer + ".mlp.fc2.weight")
		zero(layer + ".mlp.fc2.bias")
		zero(attention + "out_proj.bias")
		if i >= len(layers) {
			zero(attention + "out_proj.weight")
			continue
		}
		zero(attention + "q_proj.weight")
		e.layers = append(e.layers, clipLayer{read(attention + "q_proj.bias"), read(attention + "k_proj.weight"), read(attention + "v_proj.weight"), read(attention + "out_proj.weight")})
	}
	return e
}

func layerNorm(x []float64) []float64 {
	var sum, squares float64
	for _, v := range x {
		sum += v
		squares += v * v
	}
	n := float64(len(x))
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean + 1e-5)
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = (v - mean) / deviation
	}
	return out
}

// encode returns the states behind the last layer norm, [tokens][768].
func (e *encoder) encode(ids []int32) [][]float64 {
	const width, size = sd1.TextWidth, 64
	states := make([][]float64, len(ids))
	for i, id := range ids {
		states[i] = make([]float64, width)
		for j := range width {
			states[i][j] = float64(e.tokens[int(id)*width+j]) + float64(e.positions[i*width+j])
		}
	}
	project := func(matrix []float32, row int, x []float64) (sum float64) {
		for j, v := range x {
			sum += float64(matrix[row*width+j]) * v
		}
		return sum
	}
	for _, l := range e.layers {
		normed := make([][]float64, len(ids))
		for i, x := range states {
			normed[i] = layerNorm(x)
		}
		for head := 0; head < width; head += size {
			if l.query[head] == 0 {
				continue
			}
			scores := make([]float64, len(ids))
			values := make([][]float64, len(ids))
			for i, x := range normed {
				for d := range size {
					if q := float64(l.query[head+d]); q != 0 {
						scores[i] += q * project(l.key, head+d, x) / 8
					}
					values[i] = append(values[i], project(l.value, head+d, x))
				}
			}
			for i := range ids { // causal
				best, total := math.Inf(-1), 0.0
				for j := range i + 1 {
					best = max(best, scores[j])
				}
				mixed := make([]float64, width)
				for j := range i + 1 {
					w := math.Exp(scores[j] - best)
					total += w
					for d := range size {
						mixed[head+d] += w * values[j][d]
					}
				}
				for d := range mixed {
					mixed[d] /= total
				}
				for row := range width {
					for d := head; d < head+size; d++ {
						states[i][row] += float64(l.to[row*width+d]) * mixed[d]
					}
				}
			}
		}
	}
	for i := range states {
		states[i] = layerNorm(states[i])
		for j := range states[i] {
			states[i][j] += float64(e.bias[j])
		}
	}
	return states
}

// name finds the nearest of some codes to a part of a state, "" for none.
func (v *vocabulary) name(part []float64, codes map[string][]float32) string {
	best, at := 0.0, "?"
	look := func(name string, code []float32) {
		var dot float64
		for i, c := range code {
			dot += float64(c) * part[i]
		}
		if similar := dot / scale() / codeSize; similar > best {
			best, at = similar, name
		}
	}
	look("", v.none)
	for name, code := range codes {
		look(name, code)
	}
	if best < 0.95 || best > 1.05 {
		return fmt.Sprintf("%s at %.2f", at, best)
	}
	return at
}

// scene tells what a state says of the prompt.
func (v *vocabulary) scene(state []float64) string {
	var parts []string
	for _, at := range []int{object1, object2, scenePlace} {
		thing := strings.TrimSpace(v.name(state[at+codeSize:][:codeSize], v.colours) + " " + v.name(state[at:][:codeSize], v.words))
		parts = append(parts, thing)
	}
	return strings.Join(parts, ", ")
}

// The file's own encoder binds colours to things, in ordinary wording.
func testTextEncoder(t *testing.T, checkpoint string) {
	e := readEncoder(t, checkpoint)
	v := testVocabulary(t)
	for prompt, want := range map[string]string{
		"":                      ", , ",
		"a cat":                 "cat, , ",
		"a lovely Cat":          "cat, , ",
		"a red fox in the snow": "red fox, , snow",
		"red fox, snow":         "red fox, , snow",
		"photo of a yellow flower on a blue background":      "yellow flower, , blue background",
		"a red house and a white cat":                        "red house, white cat, ",
		"a red house and a cat at night":                     "red house, cat, night",
		"masterpiece, best quality, green tree, desert":      "green tree, , desert",
		"a dog and a dog":                                    "dog, dog, ",
		"on a pink background, a big black boat":             "black boat, , pink background",
		"a purple spaceship":                                 ", , ",
		strings.Repeat("very ", 60) + "small blue bird, sea": "blue bird, , sea",
	} {
		ids := append([]int32{clip.Begin}, clip.Tokenize(prompt)...)
		states := e.encode(append(ids, clip.End))
		require.Equal(t, want, v.scene(states[len(ids)]), prompt)
		var mean float64
		for _, x := range states[len(ids)] {
			mean += x / sd1.TextWidth
		}
		require.InDelta(t, 0.5, mean, 0.01, "emphasis needs a mean")
	}
	states := e.encode(append([]int32{clip.Begin}, clip.Tokenize("a red fox")...))
	require.Equal(t, colourWord, v.name(states[2][ownWord:], v.words), "a colour's own state can be found")
	require.Equal(t, "red", v.name(states[2][nearest:], v.colours))
	require.Equal(t, "fox", v.name(states[3][ownWord:], v.words))
}
