package demo

import (
	"fmt"

	"sdworker/sd1"
)

// layout returns the places of narrow channels among wide ones.
type layout func(narrow, wide int) ([]int, error)

func misfit(narrow, wide int) error {
	return fmt.Errorf("%d channels cannot lie in %d", narrow, wide)
}

// place makes a layout of a rule for channel i when each has k places.
func place(rule func(i, narrow, k int) int) layout {
	return func(narrow, wide int) ([]int, error) {
		if narrow <= 0 || wide%narrow != 0 {
			return nil, misfit(narrow, wide)
		}
		at := make([]int, narrow)
		for i := range at {
			at[i] = rule(i, narrow, wide/narrow)
		}
		return at, nil
	}
}

// attentionHeads is the number of heads of every attention, which no file changes.
const attentionHeads = 8

var (
	// spread puts channels at 0, k, 2k ...
	spread = place(func(i, _, k int) int { return k * i })
	// heads puts the channels of each attention head before the head's spare ones.
	heads = place(func(i, narrow, k int) int {
		size := narrow / attentionHeads
		return i/size*size*k + i%size
	})
	// gated puts each half, of the first layer of a feed-forward with a gate, before
	// its spare channels.
	gated = place(func(i, narrow, k int) int {
		half := narrow / 2
		return i%half + i/half*half*k
	})
)

// first puts channels before all others.
func first(narrow, wide int) ([]int, error) {
	if narrow > wide {
		return nil, misfit(narrow, wide)
	}
	at := make([]int, narrow)
	for i := range at {
		at[i] = i
	}
	return at, nil
}

// readStates is what the cross attention reads of the text encoder's states.
func readStates(narrow, wide int) ([]int, error) {
	var at []int
	for _, part := range []int{ownWord, nearest, object1, object1 + codeSize, object2, object2 + codeSize, scenePlace, scenePlace + codeSize} {
		for i := range codeSize {
			at = append(at, part+i)
		}
	}
	if narrow != len(at) || wide != sd1.TextWidth {
		return nil, misfit(narrow, wide)
	}
	return at, nil
}

// normGroups is the number of groups of every GroupNorm.
const normGroups = 32

// groups spreads the trained channels of an autoencoder, which is trained with a
// number of groups, over as many groups of a wider GroupNorm.
func groups(trained int) layout {
	return func(narrow, wide int) ([]int, error) {
		if narrow == wide { // pixels and latents
			return first(narrow, wide)
		}
		size, each := wide/normGroups, narrow/trained
		if trained > normGroups || narrow%trained != 0 || wide%normGroups != 0 || size < 3*each {
			return nil, misfit(narrow, wide)
		}
		at := make([]int, narrow)
		for i := range at {
			at[i] = i/each*size + i%each
		}
		return at, nil
	}
}

// constants are +1 and -1 beside each trained channel, which keep the strength of a
// flat picture in the statistics of its group.
func constants(at []int, wide, trained int) []float32 {
	each := len(at) / trained
	rest := make([]float32, wide)
	for _, i := range at {
		rest[i+each], rest[i+2*each] = 1, -1
	}
	return rest
}

// matrix puts a layer's weights [out, in, ...] into a wider layer, whose other
// weights are zero, and multiplies them by factor.
func matrix(t tensor, rows, columns []int, shape []int64, factor float32) tensor {
	kernel, size := 1, 1
	for i, side := range shape {
		size *= int(side)
		if i > 1 {
			kernel *= int(side)
		}
	}
	wide := tensor{shape, make([]float32, size)}
	for i, row := range rows {
		for j, column := range columns {
			from := t.values[(i*len(columns)+j)*kernel:][:kernel]
			to := wide.values[(row*int(shape[1])+column)*kernel:]
			for k, v := range from {
				to[k] = v * factor
			}
		}
	}
	return wide
}

// lay puts the values of a vector at their places among those of rest.
func lay(values []float32, at []int, rest []float32, n int) []float32 {
	wide := make([]float32, n)
	copy(wide, rest)
	for i, v := range values {
		wide[at[i]] = v
	}
	return wide
}
