package clip_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/embedding"
	"sdworker/inference/clip"
	"sdworker/internal/vectors"
)

// run is a [kind, count] pair of chunking.json.
type run struct {
	Kind  string
	Count int
}

func (r *run) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, &[]any{&r.Kind, &r.Count})
}

// counted returns an embedding whose i-th vector holds only i.
func counted(name string, count int) *embedding.Embedding {
	e := &embedding.Embedding{Name: name, Vectors: count, Shape: clip.Width}
	for i := range count {
		for range clip.Width {
			e.Values = append(e.Values, float32(i))
		}
	}
	return e
}

func TestChunking(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Tokens         []run
				CommaBacktrack int `json:"comma_padding_backtrack"`
			}
			Want []int
		}
	}
	vectors.Load(t, "chunking.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			var text []string
			var embeddings []*embedding.Embedding
			for _, r := range tc.Input.Tokens {
				switch r.Kind {
				case "embedding":
					name := strings.Repeat("x", len(embeddings)+1) + "emb"
					embeddings = append(embeddings, counted(name, r.Count))
					text = append(text, name)
				default:
					word := map[string]string{"word": "cat", "comma": ",", "break": "BREAK"}[r.Kind]
					require.NotEmpty(t, word, "kind %s", r.Kind)
					for range r.Count {
						text = append(text, word)
					}
				}
			}
			batch, err := clip.Encode([]string{strings.Join(text, " ")}, clip.Options{
				CommaBacktrack: tc.Input.CommaBacktrack,
				Embeddings:     clip.NewEmbeddings(embeddings...),
			})
			require.NoError(t, err)
			var got []int
			for _, chunk := range batch.Texts[0].Chunks {
				got = append(got, chunk.Tokens)
			}
			require.Equal(t, tc.Want, got)
		})
	}
}

func TestEmphasisNames(t *testing.T) {
	var file struct {
		Cases []struct {
			Name string
			Want []string
		}
	}
	vectors.Load(t, "lists.json", &file)
	found := false
	for _, tc := range file.Cases {
		if tc.Name == "emphasis values" {
			found = true
			require.Equal(t, tc.Want, clip.EmphasisNames())
		}
	}
	require.True(t, found)
}

func TestRecordedChunks(t *testing.T) {
	var file struct {
		Source     string
		Embeddings map[string]int
		Cases      []struct {
			Texts          []string
			Emphasis       string
			CommaBacktrack int `json:"comma_padding_backtrack"`
			Chunks         [][]struct {
				IDs     []int32
				Weights []float32
			}
			Tokens []int
			Used   []string
		}
	}
	load(t, "chunks.json", &file)
	require.NotEmpty(t, file.Cases)
	var embeddings []*embedding.Embedding
	for name, count := range file.Embeddings {
		embeddings = append(embeddings, counted(name, count))
	}
	set := clip.NewEmbeddings(embeddings...)
	for i, tc := range file.Cases {
		emphasis, err := clip.ParseEmphasis(tc.Emphasis)
		require.NoError(t, err)
		batch, err := clip.Encode(tc.Texts, clip.Options{Emphasis: emphasis, CommaBacktrack: tc.CommaBacktrack, Embeddings: set})
		require.NoError(t, err)
		require.ElementsMatch(t, tc.Used, names(batch.Used), "case %d", i)
		for j, text := range batch.Texts {
			require.Equal(t, tc.Tokens[j], text.Tokens, "case %d, text %d", i, j)
			require.Len(t, text.Chunks, len(tc.Chunks[j]), "case %d, text %d", i, j)
			for k, want := range tc.Chunks[j] {
				require.Equal(t, want.IDs, text.Chunks[k].IDs[:], "case %d, text %d, chunk %d", i, j, k)
				require.Equal(t, want.Weights, text.Chunks[k].Weights[:], "case %d, text %d, chunk %d", i, j, k)
			}
		}
	}
}

func TestTokenCount(t *testing.T) {
	for _, tc := range []struct {
		text          string
		tokens, limit int
	}{
		{"", 0, 75},
		{"cat", 1, 75},
		{strings.Repeat("cat ", 75), 75, 75},
		{strings.Repeat("cat ", 76), 76, 150},
		{"cat BREAK cat", 76, 150},
		{"cat BREAK", 75, 75},
	} {
		batch, err := clip.Encode([]string{tc.text}, clip.Options{CommaBacktrack: 20})
		require.NoError(t, err)
		require.Equal(t, tc.tokens, batch.Texts[0].Tokens, tc.text)
		require.Equal(t, tc.limit, batch.Texts[0].Limit(), tc.text)
	}
}
