package clip

import (
	"fmt"
	"slices"

	"sdworker/formats/embedding"
	"sdworker/inference/prompt"
)

const (
	// ChunkTokens is the number of places for a prompt's tokens in a chunk.
	ChunkTokens = 75
	// ChunkLength is the number of tokens of a chunk with [Begin] and [End].
	ChunkLength = ChunkTokens + 2
)

// Options say how a text becomes chunks.
type Options struct {
	Emphasis   Emphasis
	Embeddings *Embeddings // nil for none

	// CommaBacktrack is how many tokens before the end of a full chunk its last comma may
	// stand to have the chunk end there. 0 ends a chunk anywhere.
	CommaBacktrack int
}

// Chunk is one input of the text encoder.
type Chunk struct {
	IDs     [ChunkLength]int32
	Weights [ChunkLength]float32 // 1 for Begin, End and padding
	Tokens  int                  // places in use between Begin and End
}

// emptyChunk has no tokens.
var emptyChunk = func() (c Chunk) {
	for i := range c.IDs {
		c.IDs[i], c.Weights[i] = End, 1
	}
	c.IDs[0] = Begin
	return c
}()

// Text is one encoded text.
type Text struct {
	Chunks []Chunk // at least one
	Tokens int     // as AUTOMATIC1111 counts them: 75 for each chunk but the last
}

// Limit returns the number of tokens for which the chunks have room, the second number
// of a token counter: 75, 150 and so on.
func (t Text) Limit() int {
	return max(1, (t.Tokens+ChunkTokens-1)/ChunkTokens) * ChunkTokens
}

// Batch is what [Encode] makes of several texts.
type Batch struct {
	Texts   []Text                 // all with the same number of chunks
	Vectors []float32              // [m, Width]: row i is the vector of token id VocabularySize + i
	Used    []*embedding.Embedding // embeddings that occur, in the order of first use
}

// Encode cuts texts into chunks. The texts are those of one timetable, see
// prompt.Schedule: they get the same number of chunks, with empty ones for the shorter.
//
// Tokens fill a chunk up to 75. A token that finds it full moves to the next chunk, and
// with it what follows the last comma, if that is no longer than CommaBacktrack allows.
// The word BREAK ends a chunk. The vectors of one embedding stay in one chunk.
//
// It fails for a weight that is no number, with a *prompt.WeightError, and for an
// embedding of more than 75 vectors.
func Encode(texts []string, options Options) (*Batch, error) {
	e := encoder{Options: options, rows: map[*embedding.Embedding]int32{}}
	batch := &Batch{Texts: make([]Text, len(texts))}
	longest := 0
	for i, text := range texts {
		encoded, err := e.encode(text)
		if err != nil {
			return nil, err
		}
		batch.Texts[i] = encoded
		longest = max(longest, len(encoded.Chunks))
	}
	for i := range batch.Texts {
		chunks := &batch.Texts[i].Chunks
		for len(*chunks) < longest {
			*chunks = append(*chunks, emptyChunk)
		}
	}
	batch.Vectors, batch.Used = e.vectors, e.used
	return batch, nil
}

// encoder holds what the texts of a batch share.
type encoder struct {
	Options
	rows    map[*embedding.Embedding]int32 // token id of an embedding's first vector
	vectors []float32
	used    []*embedding.Embedding
}

func (e *encoder) encode(text string) (Text, error) {
	spans := []prompt.Span{{Text: text, Weight: 1}}
	if e.Emphasis != EmphasisNone {
		var err error
		if spans, err = prompt.ParseAttention(text); err != nil {
			return Text{}, err
		}
	}
	c := chunker{backtrack: e.CommaBacktrack, comma: -1}
	for _, span := range spans {
		if span.IsBreak() {
			c.close()
			continue
		}
		weight := float32(span.Weight)
		tokens := Tokenize(span.Text)
		for len(tokens) > 0 {
			c.makeRoom(tokens[0])
			embedding, length := e.Embeddings.find(tokens)
			if embedding == nil {
				c.add(tokens[0], weight)
				tokens = tokens[1:]
				continue
			}
			if embedding.Vectors > ChunkTokens {
				return Text{}, fmt.Errorf("embedding %s has %d vectors, more than the %d tokens of a chunk: do not use it in a prompt",
					embedding.Name, embedding.Vectors, ChunkTokens)
			}
			c.addRun(e.row(embedding), embedding.Vectors, weight)
			tokens = tokens[length:]
		}
	}
	return c.finish(), nil
}

// row returns the token id of an embedding's first vector.
func (e *encoder) row(of *embedding.Embedding) int32 {
	id, ok := e.rows[of]
	if !ok {
		id = VocabularySize + int32(len(e.vectors)/Width)
		e.rows[of] = id
		e.vectors = append(e.vectors, of.Values...)
		e.used = append(e.used, of)
	}
	return id
}

// comma is the token of a comma that stands alone or ends a word.
const comma = 267

// chunker fills chunks.
type chunker struct {
	backtrack int
	text      Text
	ids       []int32 // of the open chunk
	weights   []float32
	comma     int // index of its last comma, -1 for none
}

// makeRoom closes the open chunk if it is full, before the given token. A comma is noted
// first, so that one which opens a chunk does not count as a comma of that chunk.
func (c *chunker) makeRoom(next int32) {
	full := len(c.ids) == ChunkTokens
	if next == comma {
		c.comma = len(c.ids)
	} else if full && c.backtrack != 0 && c.comma >= 0 && ChunkTokens-c.comma <= c.backtrack {
		ids, weights := slices.Clone(c.ids[c.comma+1:]), slices.Clone(c.weights[c.comma+1:])
		c.ids, c.weights = c.ids[:c.comma+1], c.weights[:c.comma+1]
		c.close()
		c.ids, c.weights = append(c.ids, ids...), append(c.weights, weights...)
		return
	}
	if full {
		c.close()
	}
}

func (c *chunker) add(id int32, weight float32) {
	c.ids = append(c.ids, id)
	c.weights = append(c.weights, weight)
}

// addRun adds the ids first, first+1 and so on, all in one chunk.
func (c *chunker) addRun(first int32, count int, weight float32) {
	if len(c.ids)+count > ChunkTokens {
		c.close()
	}
	for i := range count {
		c.add(first+int32(i), weight)
	}
}

// close ends the open chunk, empty or not.
func (c *chunker) close() {
	chunk := emptyChunk
	copy(chunk.IDs[1:], c.ids)
	copy(chunk.Weights[1:], c.weights)
	chunk.Tokens = len(c.ids)
	c.text.Chunks = append(c.text.Chunks, chunk)
	c.text.Tokens += ChunkTokens
	c.ids, c.weights, c.comma = c.ids[:0], c.weights[:0], -1
}

// finish ends the last chunk, unless it is empty and there are others.
func (c *chunker) finish() Text {
	if tokens := len(c.ids); tokens > 0 || len(c.text.Chunks) == 0 {
		c.close()
		c.text.Tokens += tokens - ChunkTokens
	}
	return c.text
}
