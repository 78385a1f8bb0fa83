package clip

import "container/heap"

// appendWord appends the tokens of one word: its bytes, merged in the order of the
// vocabulary's merges, the leftmost of equals first, for as long as one applies.
//
// The candidates wait in a heap, so that a word of a million letters is no burden.
func (v *vocabulary) appendWord(ids []int32, word string) []int32 {
	last := len(word) - 1
	w := merging{vocabulary: v, symbols: make([]symbol, len(word))}
	for i := range len(word) {
		w.symbols[i] = symbol{id: v.bytes[word[i]], previous: i - 1, next: i + 1}
	}
	w.symbols[last].id += wordEnd
	for i := range last {
		w.propose(i)
	}
	heap.Init(&w.candidates)
	for len(w.candidates) > 0 {
		c := heap.Pop(&w.candidates).(candidate)
		w.merge(c)
	}
	for i := 0; i < len(w.symbols); i = w.symbols[i].next {
		ids = append(ids, w.symbols[i].id)
	}
	return ids
}

// merging is the state of one word: a linked list of symbols over the positions of its
// bytes. The first symbol stays at position 0.
type merging struct {
	*vocabulary
	symbols    []symbol
	candidates candidates
}

type symbol struct {
	id             int32 // -1 once merged into the symbol before it
	previous, next int
}

// candidate says that the symbol at a position and the next one make symbol id.
type candidate struct {
	id int32
	at int
}

// propose appends the pair that starts at position i to the candidates if it can merge.
func (w *merging) propose(i int) (proposed bool) {
	id, ok := w.pairAt(i)
	if ok {
		w.candidates = append(w.candidates, candidate{id: id, at: i})
	}
	return ok
}

func (w *merging) pairAt(i int) (id int32, ok bool) {
	s := w.symbols[i]
	if s.id < 0 || s.next == len(w.symbols) {
		return 0, false
	}
	id, ok = w.merged[symbolPair{s.id, w.symbols[s.next].id}]
	return id, ok
}

// merge carries a candidate out unless one of its symbols was merged meanwhile.
func (w *merging) merge(c candidate) {
	if id, ok := w.pairAt(c.at); !ok || id != c.id {
		return
	}
	left := &w.symbols[c.at]
	right := &w.symbols[left.next]
	left.id, right.id = c.id, -1
	left.next = right.next
	if left.next < len(w.symbols) {
		w.symbols[left.next].previous = c.at
	}
	if w.propose(c.at) {
		heap.Fix(&w.candidates, len(w.candidates)-1)
	}
	if left.previous >= 0 && w.propose(left.previous) {
		heap.Fix(&w.candidates, len(w.candidates)-1)
	}
}

// candidates is a heap whose first element merges first.
type candidates []candidate

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c candidates) Less(i, j int) bool {
	return c[i].id < c[j].id || c[i].id == c[j].id && c[i].at < c[j].at
}
func (c *candidates) Push(x any) { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}
