package adapter

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile"
)

// Tensor is one tensor of a file.
type Tensor struct {
	Name  string
	DType safetensors.DType
	Shape []int64
	Raw   int64 // position of the first value in the file

	// strided is set where the values do not lie in order.
	strided *torchfile.Tensor
}

// Values returns the product of the shape.
func (t *Tensor) Values() int64 {
	n := int64(1)
	for _, side := range t.Shape {
		n *= side
	}
	return n
}

// Float32s reads the values of a tensor of floats from the file that it was found in.
func (t *Tensor) Float32s(from io.ReaderAt) ([]float32, error) {
	r := reader{math: Plain{}, from: from, arena: new(Arena)}
	return r.floats(t), r.err
}

// Limits of what is read: far beyond a layer of Stable Diffusion 1.x, the largest of
// which has 38 million values.
const maxValues = 1 << 27

// File is what an adapter file says it changes.
type File struct {
	Changes  []*Change          // at most one for each tensor of the checkpoint, in the order of their names
	Unused   []Unused           // modules that nothing can be done with
	Bundles  map[string]*Bundle // textual inversions inside, by name
	Modules  int                // for which the file has tensors
	metadata *trainerNotes
	shared   map[string]*Tensor // by modules
}

// Unused is a module that takes no part, with the reason as an end of a sentence
// that begins with its number: "3 of 264 ...".
type Unused struct{ Module, Reason string }

// Bundle is a textual inversion inside an adapter file.
type Bundle struct {
	Name    string
	Tensors map[string]*Tensor // by the names that a file of its own would have
}

// Reasons why modules take no part.
const (
	reasonUnknown    = "are for layers that Stable Diffusion 1.x does not have"
	reasonSecondText = "are for a text encoder that Stable Diffusion 1.x does not have"
	reasonKind       = "are of a kind that is not known"
	reasonIncomplete = "lack a part"
	reasonFit        = "do not fit each other"
	reasonShape      = "have another shape than the layer"
	reasonBias       = "change a bias that the layer does not have"
	reasonWidth      = "are textual inversions for another text encoder"
	reasonTooLarge   = "are too large"
	reasonType       = "have values of a type that is not read here"
)

// OpenSafetensors reads the description of a safetensors file of the given length.
func OpenSafetensors(r io.ReaderAt, size int64) (*File, error) {
	h, err := safetensors.ReadHeader(r, size)
	if err != nil {
		return nil, err
	}
	list := make([]*Tensor, len(h.Tensors))
	for i, t := range h.Tensors {
		list[i] = &Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Raw: h.DataStart + t.Offset}
	}
	return Parse(list, h.Metadata), nil
}

// OpenTorch reads the description of a PyTorch file; nothing in it is run.
func OpenTorch(r io.ReaderAt, size int64) (*File, error) {
	c, err := torchfile.Read(r, size)
	if err != nil {
		return nil, err
	}
	list := make([]*Tensor, len(c.Tensors))
	for i, t := range c.Tensors {
		list[i] = &Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Raw: t.Offset}
		if t.Strided {
			list[i].strided = &t
		}
	}
	return Parse(list, nil), nil
}

// module gathers the tensors of one module, which may come under several spellings.
type module struct {
	name  string // as the file spells it
	text  bool
	parts map[string]*Tensor
}

const bundlePrefix = "bundle_emb."

// Parse finds out what the tensors of a file change. Metadata is that of a
// safetensors file.
func Parse(tensors []*Tensor, metadata map[string]string) *File {
	f := &File{Bundles: map[string]*Bundle{}, shared: map[string]*Tensor{}, metadata: readNotes(metadata)}
	found := map[string]*module{} // by the checkpoint's name
	unknown := map[string]string{}
	for _, t := range tensors {
		if t.Values() == 0 || isCounter(t.Name) {
			continue
		}
		if rest, ok := strings.CutPrefix(t.Name, bundlePrefix); ok {
			f.bundle(rest, t)
			continue
		}
		if end := sharedTensor(t.Name); end != "" {
			f.shared[end] = t
			continue
		}
		if module, reason, ok := otherTuner(t.Name); ok {
			unknown[module] = reason
			continue
		}
		name, role, ok := splitName(t.Name)
		if !ok {
			name, _, _ = strings.Cut(t.Name, ".")
			unknown[name] = reasonKind
			continue
		}
		target, text, ok := findModule(name)
		switch {
		case !ok && text:
			unknown[name] = reasonSecondText
		case !ok:
			unknown[name] = reasonUnknown
		case t.Values() > maxValues:
			unknown[name] = reasonTooLarge
		case t.DType.Size() == 0: // such as the blocks of GGUF
			unknown[name] = reasonType
		default:
			m := found[target]
			if m == nil {
				m = &module{name, text, map[string]*Tensor{}}
				found[target] = m
			}
			m.parts[role] = t
			f.metadata.ownBlocks = f.metadata.ownBlocks || role == "oft_R" && len(t.Shape) == 2 && t.Shape[0] > 1
		}
	}
	f.Modules = len(found) + len(unknown)
	for name, reason := range unknown {
		f.Unused = append(f.Unused, Unused{name, reason})
	}
	for target, m := range found {
		changes, reason := f.changes(target, m)
		if reason != "" {
			f.Unused = append(f.Unused, Unused{m.name, reason})
		}
		f.Changes = append(f.Changes, changes...)
	}
	slices.SortFunc(f.Changes, func(a, b *Change) int { return strings.Compare(a.Tensor, b.Tensor) })
	slices.SortFunc(f.Unused, func(a, b Unused) int { return strings.Compare(a.Module, b.Module) })
	return f
}

// bundle keeps a tensor of a textual inversion: NAME.string_to_param.* or NAME.clip_l.
func (f *File) bundle(rest string, t *Tensor) {
	name, part, ok := strings.Cut(rest, ".")
	if !ok || name == "" {
		return
	}
	if f.Bundles[name] == nil {
		f.Bundles[name] = &Bundle{name, map[string]*Tensor{}}
	}
	f.Bundles[name].Tensors[part] = t
}

// Vectors reads the vectors of a textual inversion, each of the given width. The
// error is an *UnfitError where they are not of that width.
func (b *Bundle) Vectors(from io.ReaderAt, width int64) ([]float32, error) {
	var found []*Tensor
	for _, only := range []string{"string_to_param.", ""} {
		for name, t := range b.Tensors {
			if strings.HasPrefix(name, only) && t.DType.IsFloat() {
				found = append(found, t)
			}
		}
		if len(found) > 0 {
			break
		}
	}
	const most = 75 // vectors fit a prompt's chunk
	if len(found) != 1 || len(found[0].Shape) == 0 || found[0].Shape[len(found[0].Shape)-1] != width || found[0].Values() > most*width {
		return nil, unfit(reasonWidth)
	}
	return found[0].Float32s(from)
}

// Summary says in one sentence which modules take no part and why, "" if all do.
func (f *File) Summary(more ...Unused) string {
	all := slices.Concat(f.Unused, more)
	if len(all) == 0 {
		return ""
	}
	counts := map[string]int{}
	var reasons []string
	for _, u := range all {
		if counts[u.Reason] == 0 {
			reasons = append(reasons, u.Reason)
		}
		counts[u.Reason]++
	}
	slices.SortStableFunc(reasons, func(a, b string) int { return counts[b] - counts[a] })
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%d %s", counts[reason], reason)
	}
	return fmt.Sprintf("%d of its %d modules were left out: %s (the first is %.100s)", len(all), max(f.Modules, len(all)), strings.Join(reasons, ", "), all[0].Module)
}
