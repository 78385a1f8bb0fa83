// Package pyjson reads and writes JSON as Python's json module does: the same
// leniency, the same error texts and positions, integers apart from floats,
// and objects that keep the order of their keys.
//
// A value is nil, bool, int64, *big.Int, float64, string, []any or *Object.
// Append also takes int, []string, []int64, []*Object, Base64 and map[string]any,
// whose keys it sorts.
package pyjson

import "iter"

// Object is a JSON object in insertion order. A key written twice keeps its
// first place and its last value, as in a Python dict. The zero value is empty
// and ready for use; a nil Object can be read.
type Object struct {
	keys   []string
	values map[string]any
}

// Base64 is written as a JSON string that holds the bytes in standard base64.
type Base64 []byte

// NewObject returns an object of the pairs key, value, key, value ...
func NewObject(pairs ...any) *Object {
	o := &Object{values: make(map[string]any, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

// Set stores a value; a new key goes to the end.
func (o *Object) Set(key string, value any) {
	if o.values == nil {
		o.values = make(map[string]any)
	}
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// Get returns the value of key and whether there is one.
func (o *Object) Get(key string) (any, bool) {
	if o == nil {
		return nil, false
	}
	v, ok := o.values[key]
	return v, ok
}

// Delete removes a key.
func (o *Object) Delete(key string) {
	if _, ok := o.Get(key); !ok {
		return
	}
	delete(o.values, key)
	for i, k := range o.keys {
		if k == key {
			o.keys = append(o.keys[:i], o.keys[i+1:]...)
			return
		}
	}
}

// Len is the number of keys.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.keys)
}

// All walks the keys in order.
func (o *Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if o == nil {
			return
		}
		for _, k := range o.keys {
			if !yield(k, o.values[k]) {
				return
			}
		}
	}
}

// Clone returns a copy whose keys can change without touching o.
func (o *Object) Clone() *Object {
	c := NewObject()
	for k, v := range o.All() {
		c.Set(k, v)
	}
	return c
}
