package clip

import (
	"cmp"
	"slices"
	"strings"
)

// Width is the number of values of a token's vector in the text encoder.
const Width = 768

// Embedding is a textual inversion embedding: vectors that a name in a prompt stands for.
type Embedding struct {
	Name    string
	Vectors int       // places it takes in a chunk
	Shape   int       // values of one vector; only embeddings of [Width] can be used
	Values  []float32 // [Vectors, Shape]

	// What the training program noted in the file, nil where it did not.
	Step           *int
	Checkpoint     *string // short hash of the checkpoint
	CheckpointName *string
}

// Embeddings is a set of embeddings that prompts can name. It does not change.
type Embeddings struct {
	byToken map[int32][]named
	loaded  []*Embedding
	skipped []*Embedding
}

// named is an embedding with the tokens of its name.
type named struct {
	tokens []int32
	*Embedding
}

// NewEmbeddings makes a set. Of two embeddings of one name the later counts. Those whose
// vectors have another width than the text encoder's are kept aside, see
// [Embeddings.Skipped].
func NewEmbeddings(embeddings ...*Embedding) *Embeddings {
	set := &Embeddings{byToken: map[int32][]named{}}
	for i, e := range embeddings {
		if slices.ContainsFunc(embeddings[i+1:], e.replacedBy) {
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
	byName := func(a, b *Embedding) int { return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) }
	slices.SortStableFunc(set.loaded, byName)
	slices.SortStableFunc(set.skipped, byName)
	return set
}

// replacedBy reports whether a later embedding takes the place of e in a set.
func (e *Embedding) replacedBy(later *Embedding) bool {
	return later.Name == e.Name && (later.Shape == Width) == (e.Shape == Width)
}

// Loaded returns the embeddings that prompts can name, sorted by name.
func (s *Embeddings) Loaded() []*Embedding { return s.loaded }

// Skipped returns the embeddings made for other models, sorted by name.
func (s *Embeddings) Skipped() []*Embedding { return s.skipped }

// find returns the embedding whose name the tokens start with, the longest name if there
// are several, and the number of tokens of the name.
func (s *Embeddings) find(tokens []int32) (e *Embedding, length int) {
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
