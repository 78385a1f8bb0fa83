// Package torchfile reads the model files of PyTorch (.ckpt, .pt, .pth, .bin)
// without Python and without running anything that is in them: names, types and
// shapes of the tensors, and where their values lie in the file. Both the zip
// format (PyTorch 1.6 and later) and the one before are read.
package torchfile

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"sdworker/formats/safetensors"
)

// Limits that bound the work a hostile file can cause.
const (
	maxPickle  = 64 << 20 // bytes of the description
	maxTensors = safetensors.MaxTensors
	maxRank    = safetensors.MaxRank
	maxValues  = 1 << 51 // of a storage; sums and products of such numbers fit 63 bits
)

// FormatError says in one sentence why a file cannot be read.
type FormatError struct{ Reason string }

// Error returns the reason.
func (e *FormatError) Error() string { return "not a readable PyTorch file: " + e.Reason }

func malformed(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// zipMagic begins PyTorch's archive.
const zipMagic = "PK\x03\x04"

// Begins reports whether a file may be one of PyTorch's by its first bytes: an
// archive, and before that a pickle of protocol 2 to 5.
func Begins(head []byte) bool {
	return bytes.HasPrefix(head, []byte(zipMagic)) || len(head) > 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5
}

// Tensor is one tensor of a file.
type Tensor struct {
	Name    string
	DType   safetensors.DType
	Shape   []int64
	Offset  int64 // of the first value in the file
	Size    int64 // bytes of the values; they lie there in order unless Strided
	Strided bool  // the values do not lie in order, see [Tensor.Float32s]

	strides []int64 // values between neighbours of each axis, with Strided
	span    int64   // values from the first to the last in the file
}

// Contents is what a file holds.
type Contents struct {
	Tensors []Tensor          // in the order of the file's dictionary
	Notes   map[string]string // texts, numbers, True and False and lists of numbers beside the tensors, such as the step of an embedding
}

// Read reads the description in a file of the given length. What the file does
// wrong is a *FormatError; other errors come from r.
func Read(r io.ReaderAt, size int64) (*Contents, error) { return read(r, size, false) }

// ReadPlain is [Read] for files that hold nothing but tensors, texts and numbers in
// plain containers, as embeddings do: it refuses one that wants anything else called.
func ReadPlain(r io.ReaderAt, size int64) (*Contents, error) { return read(r, size, true) }

func read(r io.ReaderAt, size int64, plain bool) (*Contents, error) {
	var head [4]byte
	if _, err := r.ReadAt(head[:min(size, 4)], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(head[:]) == zipMagic {
		return readZip(r, size, plain)
	}
	return readOld(r, size, plain)
}

// storage is a run of values that tensors share.
type storage struct {
	key    string
	dtype  safetensors.DType
	numel  int64
	offset int64 // of the view within the storage named by key, in values
	width  int64 // bytes of what numel counts, 0 for an unknown class
}

// tensor is a view of a storage.
type tensor struct {
	storage        storage
	offset         int64 // in values
	shape, strides []int64
}

// storageTypes maps PyTorch's storage classes.
var storageTypes = map[string]safetensors.DType{
	"FloatStorage": safetensors.F32, "HalfStorage": safetensors.F16, "BFloat16Storage": safetensors.BF16, "DoubleStorage": safetensors.F64,
	"LongStorage": safetensors.I64, "IntStorage": safetensors.I32, "ShortStorage": safetensors.I16, "CharStorage": safetensors.I8,
	"ByteStorage": safetensors.U8, "BoolStorage": safetensors.Bool,
	"ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128", "QInt8Storage": "QI8", "QUInt8Storage": "QU8", "QInt32Storage": "QI32",
}

// width is the bytes of a value, also of the types that only PyTorch has, 0 for an
// unknown one.
func width(d safetensors.DType) int64 {
	switch d {
	case "QI8", "QU8":
		return 1
	case "QI32":
		return 4
	case "C64":
		return 8
	case "C128":
		return 16
	default:
		return d.Size()
	}
}

// reference reads ("storage", class, key, place, number of values[, view]), and
// ("module", class, file, source), as the format before PyTorch 1.6 names classes
// of torch.nn such as ParameterDict: the class, whose source nobody runs here.
func reference(v any) (any, error) {
	t, ok := v.(tuple)
	if ok && len(t) == 4 && t[0] == "module" {
		return t[1], nil
	}
	if !ok || len(t) < 5 || t[0] != "storage" {
		return nil, malformed("it refers to something that is no storage")
	}
	class, _ := t[1].(global)
	key, okKey := t[2].(string)
	numel, okNumel := t[4].(int64)
	if !okKey || !okNumel || numel < 0 || numel > maxValues {
		return nil, malformed("it refers to a storage without name or size")
	}
	s := storage{key: key, dtype: storageTypes[class.name], numel: numel, width: width(storageTypes[class.name])}
	if class.name == "UntypedStorage" { // counted in bytes
		s.width = 1
	}
	if len(t) > 5 {
		if view, ok := t[5].(tuple); ok && len(view) == 3 {
			offset, ok := view[1].(int64)
			size, ok2 := view[2].(int64)
			if !ok || !ok2 || offset < 0 || size < 0 || offset > numel-size {
				return nil, malformed("a view lies outside its storage")
			}
			s.offset, s.numel = offset, size
		}
	}
	return s, nil
}

// rebuild recognises the calls that make a tensor; ok is false for all others.
func rebuild(g global, args []any) (v any, ok bool, err error) {
	if g.module == "torch._tensor" && g.name == "_rebuild_from_type_v2" && len(args) > 2 { // a subclass such as nn.Buffer, or attributes
		inner, isClass := args[0].(global)
		of, isTuple := args[2].(tuple)
		if !isClass || !isTuple || inner.module == g.module {
			return nil, false, nil
		}
		return rebuild(inner, of)
	}
	if g.module != "torch._utils" || len(args) == 0 {
		return nil, false, nil
	}
	switch g.name {
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		return args[0], true, nil
	case "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3":
	default:
		return nil, false, nil
	}
	if len(args) < 4 {
		return nil, true, malformed("a tensor lacks its shape")
	}
	s, ok1 := args[0].(storage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := numbers(args[2])
	strides, ok4 := numbers(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(strides) || offset < 0 || offset > maxValues {
		return nil, true, malformed("a tensor is described wrongly")
	}
	if len(args) > 6 { // v3 names the type, as its storage is untyped
		if g, ok := args[6].(global); ok {
			s.dtype = dtypes[g.name]
			if n := width(s.dtype); n > 0 {
				s.numel /= n
			}
		}
	}
	return tensor{s, offset, shape, strides}, true, nil
}

// dtypes maps the names of torch.dtype.
var dtypes = map[string]safetensors.DType{
	"float32": safetensors.F32, "float16": safetensors.F16, "bfloat16": safetensors.BF16, "float64": safetensors.F64,
	"float8_e4m3fn": safetensors.F8E4M3, "float8_e5m2": safetensors.F8E5M2,
	"int64": safetensors.I64, "int32": safetensors.I32, "int16": safetensors.I16, "int8": safetensors.I8,
	"uint64": safetensors.U64, "uint32": safetensors.U32, "uint16": safetensors.U16, "uint8": safetensors.U8,
	"bool": safetensors.Bool, "complex64": "C64", "complex128": "C128",
}

func numbers(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok || len(t) > maxRank {
		return nil, false
	}
	out := make([]int64, len(t))
	for i, x := range t {
		n, ok := x.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

func readZip(r io.ReaderAt, size int64, plain bool) (*Contents, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, malformed("its archive is broken or truncated")
	}
	files := map[string]*zip.File{}
	var pickle *zip.File
	for _, f := range archive.File {
		files[f.Name] = f
		if path.Base(f.Name) == "data.pkl" && (pickle == nil || len(f.Name) < len(pickle.Name)) {
			pickle = f
		}
	}
	if pickle == nil {
		return nil, malformed("it is an archive without a description of tensors")
	}
	folder := path.Dir(pickle.Name)
	if order, ok := files[path.Join(folder, "byteorder")]; ok {
		if text, err := readEntry(order, 16); err != nil || string(text) != "little" {
			return nil, malformed("its values are not little endian")
		}
	}
	raw, err := readEntry(pickle, maxPickle)
	if err != nil {
		return nil, err
	}
	root, err := run(&counter{Reader: bufio.NewReader(strings.NewReader(string(raw))), end: int64(len(raw))}, plain, reference)
	if err != nil {
		return nil, err
	}
	return contents(root, func(s storage) (at, bytes int64, err error) {
		f, ok := files[path.Join(folder, "data", s.key)]
		if !ok {
			return 0, 0, malformed("the values of storage %q are missing", s.key)
		}
		if f.Method != zip.Store {
			return 0, 0, malformed("its values are compressed")
		}
		at, err = f.DataOffset()
		if err != nil {
			return 0, 0, malformed("its archive is broken")
		}
		return at, int64(min(f.UncompressedSize64, math.MaxInt64)), nil
	}, size)
}

func readEntry(f *zip.File, limit int64) ([]byte, error) {
	in, err := f.Open()
	if err != nil {
		return nil, malformed("its archive is broken")
	}
	defer in.Close()
	raw, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, malformed("its archive is broken: %v", err)
	}
	if int64(len(raw)) > limit {
		return nil, malformed("its description is larger than %d bytes", limit)
	}
	return raw, nil
}

// run executes one pickle, of which persistent reads the references.
func run(c *counter, plain bool, persistent func(any) (any, error)) (any, error) {
	m := &machine{r: c, memo: map[uint32]any{}, persistent: persistent, plain: plain}
	v, err := m.run()
	if err != nil {
		if _, ok := errors.AsType[*FormatError](err); ok {
			return nil, err
		}
		return nil, malformed("%v", err)
	}
	return v, nil
}

// magic begins the old format, as PyTorch's torch/serialization.py spells it:
// 0x1950a86a20f9469cfc6c.
const magic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// readOld reads the format before PyTorch 1.6: pickles of magic number, protocol,
// machine, tree and storage keys, then every storage behind its length.
func readOld(r io.ReaderAt, size int64, plain bool) (*Contents, error) {
	end := min(size, maxPickle)
	c := &counter{Reader: bufio.NewReader(io.NewSectionReader(r, 0, end)), end: end}
	widths := map[string]int64{} // also of storages that no tensor here uses: all lie one behind the other
	withWidths := func(v any) (any, error) {
		v, err := reference(v)
		if s, ok := v.(storage); ok {
			widths[s.key] = s.width
		}
		return v, err
	}
	var parts [5]any
	for i := range parts {
		v, err := run(c, plain, withWidths)
		if err != nil {
			return nil, err
		}
		parts[i] = v
		if i == 0 && v != magic {
			return nil, malformed("it is a pickle, but not one of PyTorch")
		}
	}
	keys, ok := parts[4].(*list)
	if !ok {
		return nil, malformed("its list of storages is missing")
	}
	type place struct{ at, bytes int64 }
	places := map[string]place{}
	at := c.pos
	for _, k := range keys.items {
		key, ok := k.(string)
		width := widths[key]
		var length [8]byte
		if _, err := r.ReadAt(length[:], at); err != nil || !ok {
			return nil, malformed("it is truncated")
		}
		n := int64(binary.LittleEndian.Uint64(length[:]))
		at += 8
		if n < 0 || width == 0 && n > 0 || width > 0 && n > (size-at)/width {
			return nil, malformed("it is truncated")
		}
		places[key] = place{at, n * width}
		at += n * width
	}
	return contents(parts[3], func(s storage) (int64, int64, error) {
		p, ok := places[s.key]
		if !ok {
			return 0, 0, malformed("the values of storage %q are missing", s.key)
		}
		return p.at, p.bytes, nil
	}, size)
}

// contents lists the tensors of the dictionary that counts, with their places.
func contents(root any, locate func(storage) (at, bytes int64, err error), size int64) (*Contents, error) {
	d, err := choose(root)
	if err != nil {
		return nil, err
	}
	out := &Contents{Notes: notes(root)}
	seen := map[string]bool{}
	for i, k := range d.keys {
		name, ok := k.(string)
		t, isTensor := d.values[i].(tensor)
		if !ok || !isTensor || seen[name] {
			continue
		}
		seen[name] = true
		if len(out.Tensors) == maxTensors {
			return nil, malformed("more than %d tensors", maxTensors)
		}
		placed, err := place(name, t, locate, size)
		if err != nil {
			return nil, err
		}
		out.Tensors = append(out.Tensors, placed)
	}
	return out, nil
}

// place finds the values of a tensor and checks that they are there.
func place(name string, t tensor, locate func(storage) (int64, int64, error), size int64) (Tensor, error) {
	out := Tensor{Name: name, DType: t.storage.dtype, Shape: t.shape}
	width := width(t.storage.dtype)
	if width == 0 { // nobody can read it, which matters only to who needs it
		out.DType = "unknown"
		return out, nil
	}
	at, bytes, err := locate(t.storage)
	if err != nil {
		return Tensor{}, err
	}
	values, reach := int64(1), int64(1)
	for i, v := range slices.Backward(t.shape) {
		side := v
		if side > 1 && t.strides[i] != values {
			out.Strided = true
		}
		if side > 0 && (values > maxValues/side || t.strides[i] > maxValues/side) {
			return Tensor{}, malformed("tensor %.100q has an impossible shape", name)
		}
		values *= side
		reach += max(side-1, 0) * t.strides[i]
	}
	if values == 0 {
		reach = 0
	}
	first := t.storage.offset + t.offset
	if (first+reach)*width > bytes || bytes > size-at {
		return Tensor{}, malformed("it is truncated: tensor %.100q lies outside its storage", name)
	}
	out.Offset, out.Size, out.span = at+first*width, values*width, reach
	if out.Strided {
		out.strides = t.strides
	}
	return out, nil
}

// Float32s reads the values of a floating point type from the file that the tensor
// was found in, in the order of its shape, last axis fastest. A Strided tensor may
// have more of them than the file: who trusts no file looks at Size first.
func (t Tensor) Float32s(r io.ReaderAt) ([]float32, error) {
	stored, err := safetensors.ReadFloat32s(r, t.Offset, t.span, t.DType)
	if err != nil {
		return nil, fmt.Errorf("tensor %.100q: %w", t.Name, err)
	}
	if !t.Strided {
		return stored, nil
	}
	values := make([]float32, t.Size/t.DType.Size())
	index, at := make([]int64, len(t.Shape)), int64(0)
	for i := range values {
		values[i] = stored[at]
		for axis, side := range slices.Backward(t.Shape) {
			index[axis]++
			at += t.strides[axis]
			if index[axis] < side {
				break
			}
			at -= side * t.strides[axis]
			index[axis] = 0
		}
	}
	return values, nil
}

// notes are the small values beside the tensors at the top of the tree, and those
// that ultralytics keeps of a training one level below, such as train_args.imgsz.
func notes(root any) map[string]string {
	d, ok := asDict(root)
	if !ok {
		return nil
	}
	out := map[string]string{}
	d.notes(out, "")
	if args, ok := d.get("train_args"); ok {
		if d, ok := asDict(args); ok {
			d.notes(out, "train_args.")
		}
	}
	return out
}

// numbers is a list of numbers alone as JSON.
func (l *list) numbers() (string, bool) {
	const most = 1024
	if len(l.items) == 0 || len(l.items) > most {
		return "", false
	}
	var texts []string
	for _, v := range l.items {
		switch v := v.(type) {
		case int64:
			texts = append(texts, strconv.FormatInt(v, 10))
		case float64:
			texts = append(texts, strconv.FormatFloat(v, 'g', -1, 64))
		default:
			return "", false
		}
	}
	return "[" + strings.Join(texts, ",") + "]", true
}

func (d *dict) notes(out map[string]string, prefix string) {
	for i, k := range d.keys {
		name, ok := k.(string)
		if !ok {
			continue
		}
		switch v := d.values[i].(type) {
		case string:
			out[prefix+name] = v
		case int64:
			out[prefix+name] = strconv.FormatInt(v, 10)
		case bool:
			out[prefix+name] = map[bool]string{true: "True", false: "False"}[v]
		case *list:
			if text, ok := v.numbers(); ok {
				out[prefix+name] = text
			}
		}
	}
}
