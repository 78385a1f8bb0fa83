package clip_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/formats/embedding"
	"sdworker/inference/clip"
	"sdworker/inference/prompt"
)

func names(embeddings []*embedding.Embedding) []string {
	var names []string
	for _, e := range embeddings {
		names = append(names, e.Name)
	}
	return names
}

func TestEmbeddings(t *testing.T) {
	sdxl := &embedding.Embedding{Name: "big", Vectors: 1, Shape: 2048}
	later := counted("cat", 5)
	set := clip.NewEmbeddings(counted("dog", 1), counted("cat", 1), sdxl, counted("Bird", 1), later)
	require.Equal(t, []string{"Bird", "cat", "dog"}, names(set.Loaded()))
	require.Equal(t, []string{"big"}, names(set.Skipped()))
	require.Same(t, later, set.Loaded()[1])
}

func TestEmbeddingInPrompt(t *testing.T) {
	set := clip.NewEmbeddings(counted("cat", 1), counted("cat dog", 3), counted("Easy-Negative", 2))
	for _, tc := range []struct {
		text string
		want []int32 // the tokens in use
		used []string
	}{
		{"cat", []int32{49408}, []string{"cat"}},
		{"cat dog", []int32{49408, 49409, 49410}, []string{"cat dog"}},
		{"CAT  Dog", []int32{49408, 49409, 49410}, []string{"cat dog"}},
		{"cat, cat dog cat", []int32{49408, 267, 49409, 49410, 49411, 49408}, []string{"cat", "cat dog"}},
		{"easy - negative", []int32{49408, 49409}, []string{"Easy-Negative"}},
		{"(cat:1.5) (cat)", []int32{49408, 49408}, []string{"cat"}},
		{"catdog", clip.Tokenize("catdog"), nil},
		{"cat (dog)", append([]int32{49408}, clip.Tokenize("dog")...), []string{"cat"}},
	} {
		t.Run(tc.text, func(t *testing.T) {
			batch, err := clip.Encode([]string{tc.text}, clip.Options{Embeddings: set})
			require.NoError(t, err)
			chunk := batch.Texts[0].Chunks[0]
			require.Equal(t, tc.want, chunk.IDs[1:1+chunk.Tokens])
			require.Equal(t, tc.used, names(batch.Used))
			rows := 0
			for _, e := range batch.Used {
				require.Equal(t, e.Values, batch.Vectors[rows*clip.Width:(rows+e.Vectors)*clip.Width])
				rows += e.Vectors
			}
			require.Len(t, batch.Vectors, rows*clip.Width)
		})
	}
}

// An embedding after the last comma of a full chunk moves to the next one with
// its vectors.
func TestEmbeddingMovesWithItsWords(t *testing.T) {
	set := clip.NewEmbeddings(counted("cat", 3))
	text := strings.Repeat("a ", 60) + ", cat " + strings.Repeat("b ", 20)
	batch, err := clip.Encode([]string{text}, clip.Options{Embeddings: set, CommaBacktrack: 20})
	require.NoError(t, err)
	chunks := batch.Texts[0].Chunks
	require.Len(t, chunks, 2)
	require.Equal(t, 61, chunks[0].Tokens)
	require.NotContains(t, chunks[0].IDs, int32(clip.VocabularySize))
	require.Equal(t, []int32{49408, 49409, 49410}, chunks[1].IDs[1:4])
}

func TestEmbeddingTooLong(t *testing.T) {
	set := clip.NewEmbeddings(counted("fits", 75), counted("long", 76))
	batch, err := clip.Encode([]string{"a fits b"}, clip.Options{Embeddings: set})
	require.NoError(t, err)
	require.Len(t, batch.Texts[0].Chunks, 3)
	_, err = clip.Encode([]string{"a long b"}, clip.Options{Embeddings: set})
	require.ErrorContains(t, err, "76 vectors")
}

func TestEncodeWeightError(t *testing.T) {
	_, err := clip.Encode([]string{"fine", "(a:1..2)"}, clip.Options{})
	var weight *prompt.WeightError
	require.ErrorAs(t, err, &weight)
	_, err = clip.Encode([]string{"(a:1..2)"}, clip.Options{Emphasis: clip.EmphasisNone})
	require.NoError(t, err)
}

// The chunks hold the tokens of the text, in order and with nothing lost, whatever the
// commas and the option.
func TestChunksKeepTokens(t *testing.T) {
	set := clip.NewEmbeddings(counted("emb", 9))
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for _, w := range rapid.SliceOfN(rapid.SampledFrom([]string{"cat", "dog", ",", ",", "emb"}), 0, 300).Draw(t, "words") {
			text.WriteString(w + " ")
		}
		backtrack := rapid.IntRange(0, 80).Draw(t, "backtrack")
		batch, err := clip.Encode([]string{text.String()}, clip.Options{CommaBacktrack: backtrack, Embeddings: set})
		require.NoError(t, err)
		var got []int32
		for i, chunk := range batch.Texts[0].Chunks {
			require.Equal(t, int32(clip.Begin), chunk.IDs[0])
			require.Equal(t, int32(clip.End), chunk.IDs[clip.ChunkLength-1])
			for _, id := range chunk.IDs[1+chunk.Tokens:] {
				require.Equal(t, int32(clip.End), id)
			}
			require.True(t, chunk.Tokens > 0 || i == 0)
			got = append(got, chunk.IDs[1:1+chunk.Tokens]...)
		}
		require.Equal(t, expand(clip.Tokenize(text.String()), clip.Tokenize("emb"), 9), got)
	})
}

// expand replaces each run of name by the ids of count embedding vectors.
func expand(ids, name []int32, count int) []int32 {
	var out []int32
	for i := 0; i < len(ids); {
		if i+len(name) <= len(ids) && slices.Equal(ids[i:i+len(name)], name) {
			for row := range count {
				out = append(out, clip.VocabularySize+int32(row))
			}
			i += len(name)
			continue
		}
		out = append(out, ids[i])
		i++
	}
	return out
}
