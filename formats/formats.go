// Package formats holds the one table of the containers that tensors come in: the
// names and first bytes of their files, their readers, and what the engine can make
// weights of. Each reader has a package below this one.
package formats

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"sdworker/formats/gguf"
	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile"
)

// Format is the container of a file, "" for none that is known.
type Format string

// Formats.
const (
	Safetensors Format = "safetensors"
	GGUF        Format = "gguf"
	Pickle      Format = "pickle" // of PyTorch
)

// Use says what a file is looked for as. AUTOMATIC1111 looks for other extensions in
// each of its folders.
type Use uint

// Uses.
const (
	Checkpoint Use = 1 << iota
	Embedding
	Network // LoRA, VAE, ControlNet, upscaler, preview decoder

	anyUse = Checkpoint | Embedding | Network
)

// row is what the program knows of a container.
type row struct {
	format     Format
	extensions map[string]Use // in lower case, with the dot
	begins     func(head []byte) bool
	read       func(r io.ReaderAt, size int64) (Contents, error)
	malformed  func(error) bool // whether an error of read is about the content of the file
	engine     []string         // types of values that the engine can make weights of
	decoded    bool             // values are numbers that safetensors.Decode understands
}

var plainTypes = []string{"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"}

var table = []row{
	{
		format: Safetensors, extensions: map[string]Use{".safetensors": anyUse},
		begins: safetensors.Begins, read: readSafetensors, malformed: isA[*safetensors.FormatError],
		engine: plainTypes, decoded: true,
	},
	{
		format: GGUF, extensions: map[string]Use{".gguf": Checkpoint | Network},
		begins: gguf.Begins, read: readGGUF, malformed: func(err error) bool { return errors.Is(err, gguf.ErrFormat) },
		engine: []string{
			"F16", "BF16", "F32", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
			"IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "IQ1_M",
		},
	},
	{
		format: Pickle, extensions: map[string]Use{".ckpt": Checkpoint | Network, ".pt": Embedding | Network, ".pth": Network, ".bin": Embedding | Network},
		begins: torchfile.Begins, read: readPickle, malformed: isA[*torchfile.FormatError],
		engine: plainTypes, decoded: true,
	},
}

func (f Format) row() row {
	return table[slices.IndexFunc(table, func(r row) bool { return r.format == f })]
}

// OfName is the format that a file of this name usually has. The extension only says
// which files are looked at: what they are, [OfContent] tells.
func OfName(name string) Format { return OfNameFor(anyUse, name) }

// OfNameFor is [OfName] for files that are looked for as use, "" for names that are
// not.
func OfNameFor(use Use, name string) Format {
	ext := strings.ToLower(filepath.Ext(name))
	for _, r := range table {
		if r.extensions[ext]&use != 0 {
			return r.format
		}
	}
	return ""
}

// Stem cuts the extension off a name as Python's splitext does, to which leading dots
// are part of the name.
func Stem(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || strings.Trim(name[:dot], ".") == "" {
		return name
	}
	return name[:dot]
}

// OfContent is the format of a file by its first bytes, at least 9 of them.
func OfContent(head []byte) Format {
	for _, r := range table {
		if r.begins(head) {
			return r.format
		}
	}
	return ""
}

// EngineReads reports whether the engine can make weights of a type of values.
func (f Format) EngineReads(dtype string) bool { return slices.Contains(f.row().engine, dtype) }

// Decoded reports whether the values of such files are plain numbers, which package
// safetensors decodes, and not blocks that only the engine understands.
func (f Format) Decoded() bool { return f.row().decoded }

// Tensor is one tensor of a file, whatever the container.
type Tensor struct {
	Name    string
	DType   string  // as the container calls it: "F16", "Q8_0"
	Shape   []int64 // slowest axis first
	Offset  int64   // of the first value in the file
	Bytes   int64
	Strided bool // the values do not lie in order, which PyTorch files allow
}

// Values returns the product of the shape.
func (t Tensor) Values() int64 {
	n := int64(1)
	for _, side := range t.Shape {
		n *= side
	}
	return n
}

// Contents are the tensors of a file and the texts beside them.
type Contents struct {
	Tensors  []Tensor          // in file order
	Metadata map[string]string // nil when there is none
}

// Read reads and verifies everything but the values of a file of size bytes. See
// [IsMalformed] for its errors.
func (f Format) Read(r io.ReaderAt, size int64) (Contents, error) { return f.row().read(r, size) }

// IsMalformed reports whether an error of [Format.Read] is about the content of the
// file. Its text is then a predicate: "not a valid ... file: why".
func IsMalformed(err error) bool {
	return slices.ContainsFunc(table, func(r row) bool { return r.malformed(err) })
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func readSafetensors(r io.ReaderAt, size int64) (Contents, error) {
	h, err := safetensors.ReadHeader(r, size)
	if err != nil {
		return Contents{}, err
	}
	c := Contents{Metadata: h.Metadata}
	for _, t := range h.Tensors {
		c.Tensors = append(c.Tensors, Tensor{Name: t.Name, DType: string(t.DType), Shape: t.Shape, Offset: h.DataStart + t.Offset, Bytes: t.Size})
	}
	return c, nil
}

func readGGUF(r io.ReaderAt, size int64) (Contents, error) {
	h, err := gguf.ReadHeader(r, size)
	if err != nil {
		return Contents{}, err
	}
	c := Contents{Metadata: h.Metadata}
	for _, t := range h.Tensors {
		c.Tensors = append(c.Tensors, Tensor{Name: t.Name, DType: t.Type, Shape: t.Shape, Offset: h.DataStart + t.Offset, Bytes: t.Size})
	}
	return c, nil
}

func readPickle(r io.ReaderAt, size int64) (Contents, error) {
	p, err := torchfile.Read(r, size)
	if err != nil {
		return Contents{}, err
	}
	c := Contents{Metadata: p.Notes}
	for _, t := range p.Tensors {
		c.Tensors = append(c.Tensors, Tensor{Name: t.Name, DType: string(t.DType), Shape: t.Shape, Offset: t.Offset, Bytes: t.Size, Strided: t.Strided})
	}
	return c, nil
}
