package clip

import (
	"cmp"
	"slices"
	"strings"

	"sdworker/formats/embedding"
	"sdworker/sd1"
)

// Width is the number of values of a token's vector in the text encoder.
const Width = sd1.TextWidth

// Embeddings is a set of embeddings that prompts can name. It does not change.
type Embeddings struct {
	byToken map[int32][]named
	loaded  []*embedding.Embedding
	skipped []*embedding.Embedding
}

// named is an embedding with the tokens of its name.
type named struct {
	tokens []int32
	*embedding.Embedding
}

// NewEmbeddings makes a set. Of two embeddings of one name the later counts. Those whose
// vectors have another width than the text encoder's are kept aside, see
// [Embeddings.Skipped].
func NewEmbeddings(embeddings ...*embedding.Embedding) *Embeddings {
	set := &Embeddings{byToken: map[int32][]named{}}
	for i, e := range embeddings {
		if slices.ContainsFunc(embeddings[i+1:], func(later *embedding.Embedding) bool { return replacedBy(e, later) }) {
			continue
		}
		if e.Shape != Width {
			set.skipped = append(set.skipped, e)
			continue
		}
		set.loaded = append(set.loaded, e)
		if tokens := Tokenize(e.Name); len(tokens) > 0 {
			set.byToken[tokens[0]] = append(set.byToken[tokens[0]], named{tokens, e})
		}
	}
	for _, candidates := range set.byToken {
		slices.SortStableFunc(candidates, func(a, b named) int { return len(b.tokens) - len(a.tokens) })
	}
	byName := func(a, b *embedding.Embedding) int {
		return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	}
	slices.SortStableFunc(set.loaded, byName)
	slices.SortStableFunc(set.skipped, byName)
	return set
}

// replacedBy reports whether a later embedding takes the place of e in a set.
func replacedBy(e, later *embedding.Embedding) bool {
	return later.Name == e.Name && (later.Shape == Width) == (e.Shape == Width)
}

// Loaded returns the embeddings that prompts can name, sorted by name.
func (s *Embeddings) Loaded() []*embedding.Embedding { return s.loaded }

// Skipped returns the embeddings made for other models, sorted by name.
func (s *Embeddings) Skipped() []*embedding.Embedding { return s.skipped }

// find returns the embedding whose name the tokens start with, the longest name if there
// are several, and the number of tokens of the name.
func (s *Embeddings) find(tokens []int32) (e *embedding.Embedding, length int) {
	if s == nil {
		return nil, 0
	}
	for _, candidate := range s.byToken[tokens[0]] {
		if n := len(candidate.tokens); n <= len(tokens) && slices.Equal(candidate.tokens, tokens[:n]) {
			return candidate.Embedding, n
		}
	}
	return nil, 0
}
