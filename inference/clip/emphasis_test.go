package clip_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/clip"
)

func TestParseEmphasis(t *testing.T) {
	for _, name := range clip.EmphasisNames() {
		e, err := clip.ParseEmphasis(name)
		require.NoError(t, err)
		require.Equal(t, name, e.String())
	}
	e, err := clip.ParseEmphasis("original")
	require.ErrorContains(t, err, `"original"`)
	require.Equal(t, clip.EmphasisOriginal, e)
}

// hiddenStates returns states of width 2 in which every value is value.
func hiddenStates(values ...float32) []float32 {
	var hidden []float32
	for _, v := range values {
		for range clip.ChunkLength * 2 {
			hidden = append(hidden, v)
		}
	}
	return hidden
}

// weighted returns the first chunks of texts.
func weighted(t *testing.T, texts ...string) []clip.Chunk {
	t.Helper()
	batch, err := clip.Encode(texts, clip.Options{})
	require.NoError(t, err)
	var chunks []clip.Chunk
	for _, text := range batch.Texts {
		chunks = append(chunks, text.Chunks[0])
	}
	return chunks
}

func TestEmphasisApply(t *testing.T) {
	const tokens = clip.ChunkLength
	for _, tc := range []struct {
		name     string
		emphasis clip.Emphasis
		texts    []string
		repeats  []int
		states   []float32 // one value per text
		want     []float32 // values of the token of weight 3 or 1, and of padding, for each text
	}{
		{"ignore", clip.EmphasisIgnore, []string{"(cat:3)"}, nil, []float32{1}, []float32{1, 1}},
		{"none", clip.EmphasisNone, []string{"(cat:3)"}, nil, []float32{1}, []float32{1, 1}},
		{"no norm", clip.EmphasisNoNorm, []string{"(cat:3)"}, nil, []float32{2}, []float32{6, 2}},
		{"neutral weights", clip.EmphasisOriginal, []string{"cat"}, nil, []float32{2}, []float32{2, 2}},
		{
			"original", clip.EmphasisOriginal,
			[]string{"(cat:3)"},
			nil,
			[]float32{1},
			[]float32{3 * tokens / (tokens + 2.), tokens / (tokens + 2.)},
		},
		{
			"original over two texts", clip.EmphasisOriginal,
			[]string{"(cat:3)", "cat"},
			nil,
			[]float32{1, 1},
			[]float32{3 * 2 * tokens / (2*tokens + 2.), 2 * tokens / (2*tokens + 2.), 2 * tokens / (2*tokens + 2.), 2 * tokens / (2*tokens + 2.)},
		},
		{
			"original with repeats", clip.EmphasisOriginal,
			[]string{"(cat:3)", "cat"},
			[]int{3, 1},
			[]float32{1, 1},
			[]float32{3 * 4 * tokens / (4*tokens + 6.), 4 * tokens / (4*tokens + 6.), 4 * tokens / (4*tokens + 6.), 4 * tokens / (4*tokens + 6.)},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hidden := hiddenStates(tc.states...)
			tc.emphasis.Apply(hidden, weighted(t, tc.texts...), tc.repeats)
			for i := range tc.texts {
				require.InEpsilon(t, tc.want[2*i], hidden[i*tokens*2+2], 1e-6, "first token of text %d", i)
				require.InEpsilon(t, tc.want[2*i+1], hidden[i*tokens*2+10], 1e-6, "padding of text %d", i)
				require.InEpsilon(t, tc.want[2*i+1], hidden[i*tokens*2], 1e-6, "begin of text %d", i)
			}
		})
	}
}

// Texts encoded once with repeats are weighed as if each were encoded as often.
func TestEmphasisRepeats(t *testing.T) {
	once := hiddenStates(1, 2)
	clip.EmphasisOriginal.Apply(once, weighted(t, "(a:0.5)", "b (c)"), []int{2, 1})
	all := hiddenStates(1, 2, 1)
	clip.EmphasisOriginal.Apply(all, weighted(t, "(a:0.5)", "b (c)", "(a:0.5)"), nil)
	require.InDeltaSlice(t, all[:len(once)], once, 1e-6)
}

func TestPadLast(t *testing.T) {
	short := []float32{1, 2, 3, 4}
	require.Equal(t, []float32{1, 2, 3, 4, 3, 4, 3, 4}, clip.PadLast(short, 2, 4))
	require.Equal(t, short, clip.PadLast(short, 2, 2))
	require.Equal(t, short, clip.PadLast(short, 2, 1))
}

func TestPadEmpty(t *testing.T) {
	require.Equal(t, []float32{1, 2, 8, 9}, clip.PadEmpty([]float32{1, 2}, []float32{8, 9}, 2, 2))
	require.Equal(t, []float32{1, 2, 8, 9, 8, 9}, clip.PadEmpty([]float32{1, 2}, []float32{8, 9}, 2, 3))
	require.Equal(t, []float32{1, 2}, clip.PadEmpty([]float32{1, 2}, []float32{8, 9}, 2, 1))
}
