package clip

import "fmt"

// Emphasis is the option that says what attention weights do.
type Emphasis int

// Values of the option.
const (
	EmphasisOriginal Emphasis = iota // hidden states times weight, then scaled back to their mean
	EmphasisNoNorm                   // hidden states times weight
	EmphasisIgnore                   // weights are dropped
	EmphasisNone                     // weights, brackets and BREAK are literal text
)

// emphasisNames are the values of the option, in the order in which it lists them.
var emphasisNames = []struct {
	name     string
	emphasis Emphasis
}{
	{"None", EmphasisNone},
	{"Ignore", EmphasisIgnore},
	{"Original", EmphasisOriginal},
	{"No norm", EmphasisNoNorm},
}

// EmphasisNames lists the values of the option.
func EmphasisNames() []string {
	names := make([]string, len(emphasisNames))
	for i, e := range emphasisNames {
		names[i] = e.name
	}
	return names
}

// ParseEmphasis reads a value of the option. An unknown one means Original and an error.
func ParseEmphasis(name string) (Emphasis, error) {
	for _, e := range emphasisNames {
		if e.name == name {
			return e.emphasis, nil
		}
	}
	return EmphasisOriginal, fmt.Errorf("emphasis %q is none of %q", name, EmphasisNames())
}

func (e Emphasis) String() string {
	for _, n := range emphasisNames {
		if n.emphasis == e {
			return n.name
		}
	}
	return fmt.Sprintf("Emphasis(%d)", int(e))
}

// Apply weighs the hidden states of one chunk index in place. hidden is [texts, ChunkLength,
// width]: what the text encoder gave for the i-th chunk of all texts of a timetable;
// chunks are these i-th chunks.
//
// Original takes its mean over all texts together, each as often as the timetable shows it,
// so a text changes with the others of its timetable. repeats says how often that is
// when the caller encodes equal texts only once; nil means once each.
func (e Emphasis) Apply(hidden []float32, chunks []Chunk, repeats []int) {
	if e == EmphasisIgnore || e == EmphasisNone || neutral(chunks) {
		return
	}
	before := weightedMean(hidden, len(chunks), repeats)
	width := len(hidden) / (len(chunks) * ChunkLength)
	for i := range chunks {
		for j, weight := range chunks[i].Weights {
			start := (i*ChunkLength + j) * width
			scale(hidden[start:start+width], weight)
		}
	}
	if e == EmphasisOriginal {
		scale(hidden, float32(before)/float32(weightedMean(hidden, len(chunks), repeats)))
	}
}

func neutral(chunks []Chunk) bool {
	for i := range chunks {
		for _, weight := range chunks[i].Weights {
			if weight != 1 {
				return false
			}
		}
	}
	return true
}

// weightedMean returns the mean of all values, those of each of n equal parts counted
// repeats times.
func weightedMean(values []float32, n int, repeats []int) float64 {
	var sum, count float64
	size := len(values) / n
	for i := range n {
		var part float64
		for _, v := range values[i*size : (i+1)*size] {
			part += float64(v)
		}
		times := 1.0
		if repeats != nil {
			times = float64(repeats[i])
		}
		sum += times * part
		count += times * float64(size)
	}
	return sum / count
}

func scale(values []float32, factor float32) {
	if factor == 1 {
		return
	}
	for i := range values {
		values[i] *= factor
	}
}
