package adapter

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"strings"

	"sdworker/formats/safetensors"
)

// Kind is a way of making a change.
type Kind string

// Kinds.
const (
	LoRA  Kind = "LoRA" // with a Tucker core LoCon
	LoHa  Kind = "LoHa"
	LoKr  Kind = "LoKr"
	GLoRA Kind = "GLoRA"
	IA3   Kind = "IA3"
	OFT   Kind = "OFT"
	BOFT  Kind = "BOFT"
	Full  Kind = "full difference"
	// As PEFT trains them: rotations of inputs, and factors.
	InputOFT  Kind = "OFT of PEFT"
	InputBOFT Kind = "BOFT of PEFT"
	Factors   Kind = "IA3 of PEFT"
	upOnly    Kind = "bias of the up factor"
	Stored    Kind = "whole weight" // PEFT's modules_to_save
)

// Change is what a file does to one tensor of the checkpoint.
type Change struct {
	Tensor string // name in the checkpoint
	Module string // name in the file
	Kind   Kind
	Text   bool // belongs to the text encoder

	Optional bool // follows from a change of the weight where the layer has such a tensor

	parts map[string]*Tensor
	notes *trainerNotes
}

// Decomposed tells whether the change is a DoRA, which trains the length of the
// weight apart from its direction.
func (c *Change) Decomposed() bool {
	return c.Kind != upOnly && (c.parts["dora_scale"] != nil || c.parts[magnitude] != nil)
}

// UnfitError says why a change cannot be made, as an end of a sentence like
// Unused.Reason. Other errors of this package come from the reader.
type UnfitError struct{ Reason string }

func (e *UnfitError) Error() string { return "adapters that " + e.Reason }

func unfit(reason string) error { return &UnfitError{reason} }

// changes finds out what the tensors of a module do; reason is "" unless nothing can
// be done with them.
func (f *File) changes(target string, m *module) (list []*Change, reason string) {
	has := func(roles ...string) bool {
		for _, r := range roles {
			if m.parts[r] == nil {
				return false
			}
		}
		return true
	}
	add := func(leaf string, kind Kind, parts map[string]*Tensor) {
		list = append(list, &Change{Tensor: target + leaf, Module: m.name, Kind: kind, Text: m.text, parts: parts, notes: f.metadata})
	}
	weight := func(kind Kind) { add(".weight", kind, m.parts) }
	first := func(a, b bool) bool { return a || b }
	switch {
	case has(loraUp) || has(loraDown):
		if !has(loraUp, loraDown) {
			return nil, reasonIncomplete
		}
		weight(LoRA)
		if has(upBias) {
			add(".bias", upOnly, m.parts)
		}
	case has("hada_w1_a") || has("hada_w2_a"):
		if !has("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b") || has("hada_t1") != has("hada_t2") {
			return nil, reasonIncomplete
		}
		weight(LoHa)
	case has("lokr_w1") || has("lokr_w1_a") || has("lokr_w2") || has("lokr_w2_a"):
		if !first(has("lokr_w1"), has("lokr_w1_a", "lokr_w1_b")) || !first(has("lokr_w2"), has("lokr_w2_a", "lokr_w2_b")) {
			return nil, reasonIncomplete
		}
		if has("lokr_t1") {
			return nil, reasonKind
		}
		weight(LoKr)
	case has("a1") || has("b1"):
		if !has("a1", "a2", "b1", "b2") {
			return nil, reasonIncomplete
		}
		weight(GLoRA)
	case has("oft_blocks"):
		switch len(m.parts["oft_blocks"].Shape) {
		case 3:
			weight(OFT)
		case 4:
			weight(BOFT)
		default:
			return nil, reasonFit
		}
	case has("oft_diag"):
		weight(OFT)
	case has("weight", "on_input"):
		weight(IA3)
	case has("oft_R"):
		weight(InputOFT)
	case has("boft_R"):
		weight(InputBOFT)
	case has("ia3_l"):
		weight(Factors)
		if !ofInputs(m.parts["ia3_l"]) {
			add(".bias", Factors, m.parts)
			list[len(list)-1].Optional = true
		}
	case has("diff"):
		weight(Full)
	case has("w_norm"):
		add(".weight", Full, map[string]*Tensor{"diff": m.parts["w_norm"]})
	}
	if list == nil {
		for _, tuner := range tuners {
			if !has(tuner.roles[0]) {
				continue
			}
			if !has(tuner.roles...) {
				return nil, reasonIncomplete
			}
			maps.Copy(m.parts, f.shared)
			weight(tuner.kind)
			if tuner.kind == RoAd { // what a layer puts out is turned
				add(".bias", RoAd, m.parts)
				list[len(list)-1].Optional = true
			}
		}
	}
	for _, role := range []string{"b_norm", "diff_b", "beft_bias"} {
		if has(role) {
			add(".bias", Full, map[string]*Tensor{"diff": m.parts[role]})
		}
	}
	if list == nil && strings.Contains(m.name, ".") { // IA3 of LyCORIS, with weights too, has none in its names
		for _, role := range []string{"weight", "bias"} {
			if has(role) {
				add("."+role, Stored, map[string]*Tensor{"stored": m.parts[role]})
			}
		}
	}
	if list == nil {
		return nil, reasonKind
	}
	return list, ""
}

// Problem looks at what needs no weight to be seen: ranks that differ. It returns
// "" or an end of a sentence like Unused.Reason.
func (c *Change) Problem() string {
	if c.Kind != LoRA {
		return ""
	}
	up, down, mid := c.parts[loraUp], c.parts[loraDown], c.parts[loraMid]
	if len(up.Shape) < 2 || len(down.Shape) < 2 || mid == nil && up.Shape[1] != down.Shape[0] {
		return reasonFit
	}
	return ""
}

// reader reads the tensors of one change into an arena.
type reader struct {
	math  Math
	from  io.ReaderAt
	arena *Arena
	err   error
}

// floats reads a tensor of any type as float32, in order.
func (r *reader) floats(t *Tensor) []float32 {
	n := int(t.Values())
	out := r.arena.Floats(n)
	if r.err != nil {
		return out
	}
	if t.strided != nil {
		values, err := t.strided.Float32s(r.from)
		if err == nil && len(values) != n {
			err = fmt.Errorf("tensor %.100q has %d values, not %d", t.Name, len(values), n)
		}
		r.err = err
		copy(out, values)
		return out
	}
	r.read(out, t, 0, r.arena)
	return out
}

// part returns a function that gives the values [from, to) of a tensor, which may use
// its arena. Values that lie in order are read only then, to be used while they are in
// the processor's cache.
func (r *reader) part(t *Tensor) func(from, to int, ar *Arena) []float32 {
	if t.strided != nil {
		all := r.floats(t)
		return func(from, to int, _ *Arena) []float32 { return all[from:to] }
	}
	return func(from, to int, ar *Arena) []float32 {
		out := ar.Floats(to - from)
		if r.err == nil {
			r.read(out, t, from, ar)
		}
		return out
	}
}

// read fills out with values of a tensor from one on.
func (r *reader) read(out []float32, t *Tensor, first int, ar *Arena) {
	size := int(t.DType.Size())
	raw := ar.Bytes(len(out) * size)
	if _, err := r.from.ReadAt(raw, t.Raw+int64(first*size)); err != nil {
		r.err = fmt.Errorf("tensor %.100q: %w", t.Name, err)
		return
	}
	if t.DType.IsFloat() {
		r.err = r.math.Decode(out, raw, t.DType)
		return
	}
	for i := range out {
		out[i] = float32(integer(raw[i*size:], t.DType))
	}
}

// integer reads one whole number.
func integer(raw []byte, t safetensors.DType) int64 {
	switch t {
	case safetensors.Bool, safetensors.U8:
		return int64(raw[0])
	case safetensors.I8:
		return int64(int8(raw[0]))
	case safetensors.U16:
		return int64(binary.LittleEndian.Uint16(raw))
	case safetensors.I16:
		return int64(int16(binary.LittleEndian.Uint16(raw)))
	case safetensors.U32:
		return int64(binary.LittleEndian.Uint32(raw))
	case safetensors.I32:
		return int64(int32(binary.LittleEndian.Uint32(raw)))
	default:
		return int64(binary.LittleEndian.Uint64(raw))
	}
}

// ints reads whole numbers exactly, also those stored as floats.
func (r *reader) ints(t *Tensor) []int64 {
	out := make([]int64, t.Values())
	if t.strided != nil || t.DType.IsFloat() {
		for i, v := range r.floats(t) {
			out[i] = int64(v)
		}
		return out
	}
	raw := r.arena.Bytes(len(out) * int(t.DType.Size()))
	if _, err := r.from.ReadAt(raw, t.Raw); err != nil && r.err == nil {
		r.err = fmt.Errorf("tensor %.100q: %w", t.Name, err)
		return out
	}
	for i := range out {
		out[i] = integer(raw[i*int(t.DType.Size()):], t.DType)
	}
	return out
}

// scalar reads a number, or returns the default where the file has none.
func (c *Change) scalar(r *reader, role string, otherwise float64) float64 {
	t := c.parts[role]
	if t == nil {
		return otherwise
	}
	if values := r.floats(t); len(values) > 0 {
		return float64(values[0])
	}
	return otherwise
}

// factor is what the product of the factors is multiplied with: the file's scale,
// alpha through rank, or the strength in the notes of PEFT.
func (c *Change) factor(r *reader, rank int64) float64 {
	factor := 1.0
	switch {
	case c.parts["scale"] != nil:
		factor = c.scalar(r, "scale", 1)
	case (c.Kind == LoHa || c.Kind == LoKr) && c.parts["alpha"] == nil: // PEFT's, of whole matrices too
		factor = c.notes.of(c.Text).otherStrength(plainModule(c.Module))
	case rank == 0:
	case c.parts["alpha"] != nil:
		factor = c.scalar(r, "alpha", 1) / float64(rank)
	case c.Kind == LoRA || c.Kind == upOnly: // AdaLoRA too
		factor, _ = c.notes.strength(plainModule(c.Module), c.Text, rank)
	}
	return factor * c.scalar(r, "scalar", 1)
}

// plainModule is the name that PEFT's patterns are written for: that of the module
// within its network.
func plainModule(name string) string {
	for _, prefix := range []string{"base_model.model.", "unet.", "text_encoder."} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}
