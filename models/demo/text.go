package demo

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"sdworker/formats/safetensors"
	"sdworker/inference/clip"
	"sdworker/sd1"
)

// The text encoder is constructed, not trained. It reads a prompt as a scene: the
// first object, the object after a separator such as "and" or a comma, and the
// place, each with its colour.
//
// The state of every token holds a code of its word, a code of its colour, and flags
// that say what kind of word it is; all have the same length and mean 0, so that each
// layer norm is a known factor. Layer 0 copies to each token the colour of the nearest
// word at or before it that has one or rules one out, and notes whether an object came
// before. Layer 1 notes whether a separator came after an object. Layer 2 copies word
// and colour of the two objects and of the place to all tokens behind them. All other
// layers and all feed-forwards add nothing.
//
// Emphasis multiplies the states of the words that it names and no others. So that
// (red:1.4) can be told from red, every colour has the word code colourWord: by it the
// cross attention finds the colour's own state and reads how long that is.

// Where things lie in the 768 values of a token's state.
const (
	codeSize = 32

	ownWord    = 0
	ownColour  = 32
	nearest    = 64 // colour that layer 0 found
	object1    = 128
	object2    = 192
	scenePlace = 256
	flags      = 320
	position   = 340
	separated  = 348 // found by layer 1, as a flag
	objectSeen = 350 // found by layer 0, as a flag
	spare      = 384 // up to the end; nobody reads it
)

// flag is what a word is. Flag f lies at flags+2f as +1 or -1, and mirrored after it.
type flag int

const (
	isObject flag = iota
	isColour
	isBarrier // ends the reach of a colour
	isPlace
	isSeparator // a second object may follow
	isBegin
	flagCount
)

func (f flag) at() int { return flags + 2*int(f) }

// positionRadius is the radius of the arc on which positions lie, positionArc its
// length in radians.
const (
	positionRadius = 4.0
	positionArc    = 0.5
)

// scale is what the last layer norm multiplies codes by.
func scale() float64 { return 1 / layerDeviations()[3] }

// layerDeviations are those of the states before layers 0, 1 and 2 and before the
// last layer norm.
func layerDeviations() (s [4]float64) {
	energy := 2.0*codeSize + 2*float64(flagCount) + 2*positionRadius*positionRadius + sd1.TextWidth - spare
	for i, added := range []float64{0, codeSize + 2, 2, 6 * codeSize} {
		energy += added
		s[i] = math.Sqrt(float64(energy/sd1.TextWidth) + 1e-5)
	}
	return s
}

// colourWord names the word code that all colours share.
const colourWord = "colour"

// vocabulary is what the model knows.
type vocabulary struct {
	none    []float32            // code of no word and of no colour
	words   map[string][]float32 // codes of objects and places
	colours map[string][]float32
	hidden  string // an object that no prompt can spell
	synonyms
}

// synonyms are the spellings of everything known.
type synonyms struct {
	Objects    map[string][]string `json:"objects"`
	Places     map[string][]string `json:"places"`
	Colours    map[string][]string `json:"colours"`
	Separators []string            `json:"separators"`
	Barriers   []string            `json:"barriers"`
}

func (s *stored) vocabulary() (*vocabulary, error) {
	v := &vocabulary{hidden: s.Metadata("text.hidden")}
	if err := s.Decode("text.synonyms", &v.synonyms); err != nil {
		return nil, err
	}
	none, err := s.read("text.none")
	if err != nil {
		return nil, err
	}
	v.none = none.values
	if v.words, err = s.codes("text.words"); err != nil {
		return nil, err
	}
	v.colours, err = s.codes("text.colours")
	return v, err
}

// codes reads a table of codes, the names of whose rows are in the metadata.
func (s *stored) codes(key string) (map[string][]float32, error) {
	var names []string
	if err := s.Decode(key, &names); err != nil {
		return nil, err
	}
	t, err := s.read(key)
	if err != nil {
		return nil, err
	}
	if len(t.values) != codeSize*len(names) {
		return nil, fmt.Errorf("demo: %s: %d names do not fit %s of shape %v", s.Name, len(names), key, t.shape)
	}
	codes := map[string][]float32{}
	for i, name := range names {
		codes[name] = t.values[i*codeSize:][:codeSize]
	}
	return codes, nil
}

// token is what the encoder knows of one token.
type token struct {
	flags        [flagCount]bool
	word, colour []float32 // codes
}

// tokens returns what is known of the words that mean something, by token id. A
// spelling of several tokens cannot be known.
func (v *vocabulary) tokens() map[int32]*token {
	known := map[int32]*token{}
	at := func(id int32, f flag) *token {
		t := known[id]
		if t == nil {
			t = &token{word: v.none, colour: v.none}
			known[id] = t
		}
		t.flags[f] = true
		return t
	}
	each := func(spellings []string, f flag, set func(*token)) {
		for _, word := range spellings {
			if ids := clip.Tokenize(word); len(ids) == 1 {
				set(at(ids[0], f))
			}
		}
	}
	for name, spellings := range v.Objects {
		each(spellings, isObject, func(t *token) { t.word = v.words[name] })
	}
	for name, spellings := range v.Places {
		each(spellings, isPlace, func(t *token) { t.word = v.words[name] })
	}
	for name, spellings := range v.Colours {
		each(spellings, isColour, func(t *token) { t.word, t.colour = v.words[colourWord], v.colours[name] })
	}
	each(v.Separators, isSeparator, func(*token) {})
	each(v.Barriers, isBarrier, func(*token) {})
	at(clip.Begin, isBarrier).flags[isBegin] = true
	at(clip.End, isBarrier)
	return known
}

// vector is the token embedding.
func (t *token) vector() []float32 {
	v := make([]float32, sd1.TextWidth)
	copy(v[ownWord:], t.word)
	copy(v[ownColour:], t.colour)
	for f := range flagCount {
		sign := float32(-1)
		if t.flags[f] {
			sign = 1
		}
		v[f.at()], v[f.at()+1] = sign, -sign
	}
	for i := spare; i < len(v); i += 2 {
		v[i], v[i+1] = 1, -1
	}
	return v
}

// tokenTable writes rows of the token embedding table in half precision.
type tokenTable struct {
	known map[int32][]byte
	other []byte
}

func (v *vocabulary) tokenTable() *tokenTable {
	t := &tokenTable{known: map[int32][]byte{}, other: halves((&token{word: v.none, colour: v.none}).vector())}
	for id, word := range v.tokens() {
		t.known[id] = halves(word.vector())
	}
	return t
}

// halves are values in half precision as a file holds them.
func halves(values []float32) []byte {
	raw := make([]byte, 2*len(values))
	for i, v := range values {
		if v != 0 {
			binary.LittleEndian.PutUint16(raw[2*i:], safetensors.FloatToHalf(v))
		}
	}
	return raw
}

// rows fills dst with whole rows from the given one on.
func (t *tokenTable) rows(dst []byte, from int) {
	for id := from; len(dst) > 0; id++ {
		row, ok := t.known[int32(id)]
		if !ok {
			row = t.other
		}
		dst = dst[copy(dst, row):]
	}
}

// attentionLayer is a self attention of the encoder under construction.
type attentionLayer struct {
	deviation           float64 // see layerDeviations
	query               []float32
	key, value, outward []float32 // [768, 768]
}

// head makes attention head h look at the token with the highest score: sharp for
// each unit of a flag of +1, minus as much for -1, and step for each position further
// on. copies are pairs of places in the states, from and to, and how many values.
func (l *attentionLayer) head(h int, score map[int]float64, step float64, copies ...[3]int) {
	const (
		width    = sd1.TextWidth
		size     = 64  // of a head
		sharp    = 800 // more than all steps of a prompt
		distance = positionRadius * positionArc / float64(clip.ChunkLength)
	)
	at := h * size
	l.query[at] = 8 // attention divides by the root of the head's size
	for place, s := range score {
		l.key[at*width+place] = float32(float64(sharp*s) * l.deviation)
	}
	l.key[at*width+position] = float32(float64(step/distance) * l.deviation)
	for _, c := range copies {
		from, to, n := c[0], c[1], c[2]
		for i := range n {
			l.value[(at+i)*width+from+i] = float32(l.deviation)
			l.outward[(to+i)*width+at+i] = 1
		}
		at += n
	}
}

// step is by how much a nearer token is preferred to the next one.
const step = 8

// layers construct the attention of each layer that does something.
var layers = []func(*attentionLayer){
	func(l *attentionLayer) {
		l.head(0, map[int]float64{isColour.at(): 1, isBarrier.at(): 1}, step, [3]int{ownColour, nearest, codeSize})
		l.head(1, map[int]float64{isObject.at(): 1, isBegin.at(): 0.5}, 0, [3]int{isObject.at(), objectSeen, 2})
	},
	func(l *attentionLayer) {
		l.head(0, map[int]float64{isSeparator.at(): 1, objectSeen: 1, isBegin.at(): 1.5}, 0, [3]int{isSeparator.at(), separated, 2})
	},
	func(l *attentionLayer) {
		l.head(0, map[int]float64{isObject.at(): 1, isBegin.at(): 0.5}, -step, thing(object1)...)
		l.head(1, map[int]float64{isObject.at(): 1, separated: 1, isBegin.at(): 1.5}, -step, thing(object2)...)
		l.head(2, map[int]float64{isPlace.at(): 1, isBegin.at(): 0.5}, -step, thing(scenePlace)...)
	},
}

// thing copies word and colour of the token that a head finds.
func thing(to int) [][3]int {
	return [][3]int{{ownWord, to, codeSize}, {nearest, to + codeSize, codeSize}}
}

// textEncoder sets the text encoder.
func (e *expansion) textEncoder(v *vocabulary) error {
	const width = sd1.TextWidth
	tensors := map[string]tensor{}
	for i, construct := range layers {
		l := attentionLayer{layerDeviations()[i], make([]float32, width), make([]float32, width*width), make([]float32, width*width), make([]float32, width*width)}
		construct(&l)
		name := "encoder.layers." + strconv.Itoa(i) + ".self_attn."
		tensors[name+"q_proj.bias"] = tensor{[]int64{width}, l.query}
		tensors[name+"k_proj.weight"] = tensor{[]int64{width, width}, l.key}
		tensors[name+"v_proj.weight"] = tensor{[]int64{width, width}, l.value}
		tensors[name+"out_proj.weight"] = tensor{[]int64{width, width}, l.outward}
	}

	positions := make([]float32, clip.ChunkLength*width)
	for i := range clip.ChunkLength {
		sine, cosine := sineCosine(float64(positionArc*float64(i)) / clip.ChunkLength)
		x, y := float32(positionRadius*sine), float32(positionRadius*cosine)
		copy(positions[i*width+position:], []float32{x, -x, y, -y})
	}
	tensors["embeddings.position_embedding.weight"] = tensor{[]int64{clip.ChunkLength, width}, positions}

	// Emphasis restores the mean of all states (A1111, sd_emphasis.py), so that must
	// not be 0.
	bias := make([]float32, width)
	for i := spare; i < width; i++ {
		bias[i] = 1
	}
	tensors["final_layer_norm.bias"] = tensor{[]int64{width}, bias}
	for name, t := range tensors {
		if err := e.out.set(sd1.CLIPPrefix+name, t); err != nil {
			return err
		}
	}
	return e.out.setRows(sd1.CLIPPrefix+"embeddings.token_embedding.weight", v.tokenTable().rows)
}
