package models

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

// Format is the container of a file.
type Format string

// Formats.
const (
	Safetensors Format = "safetensors"
	GGUF        Format = "gguf"
	Pickle      Format = "pickle" // of PyTorch
)

// contents are the tensors of a file and the texts beside them.
type contents struct {
	tensors  []Tensor
	metadata map[string]string
}

// format is what the program knows of a container. Extensions are in lower case; a
// file is recognised by its first bytes, the extension only says which files are
// looked at.
type format struct {
	name       Format
	extensions []string
	is         func(head []byte) bool
	read       func(r io.ReaderAt, size int64) (contents, error)
	engine     []string // types of values that the engine can make weights of
}

// formats is the one list of containers.
var formats = []format{
	{
		Safetensors, []string{".safetensors"}, isSafetensors, readSafetensors,
		[]string{"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"},
	},
	{
		GGUF, []string{".gguf"}, func(head []byte) bool { return strings.HasPrefix(string(head), gguf.Magic) }, readGGUF,
		[]string{
			"F16", "BF16", "F32", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
			"IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "IQ1_M",
		},
	},
	{
		Pickle, []string{".ckpt", ".pt", ".pth", ".bin"}, isPickle, readPickle,
		[]string{"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"},
	},
}

func (f Format) table() format {
	return formats[slices.IndexFunc(formats, func(t format) bool { return t.name == f })]
}

// Weighs tells whether the engine can make weights of a type of values.
func (f Format) Weighs(dtype string) bool { return slices.Contains(f.table().engine, dtype) }

// extensionFormat is the format that files of a name usually have, "" for names
// of no model.
func extensionFormat(name string) Format {
	ext := strings.ToLower(filepath.Ext(name))
	for _, f := range formats {
		if slices.Contains(f.extensions, ext) {
			return f.name
		}
	}
	return ""
}

// IsModelName tells whether a file's name has the extension of a model file.
func IsModelName(name string) bool { return extensionFormat(name) != "" }

// isPickleName tells the files that only pickle-reading configurations list.
func isPickleName(name string) bool { return extensionFormat(name) == Pickle }

// hasExtension tells whether files of a name are looked for in the folders of a
// kind, as A1111 does.
func hasExtension(name string, kind Kind) bool {
	format, ext := extensionFormat(name), strings.ToLower(filepath.Ext(name))
	switch kind {
	case Checkpoint:
		return (format == Safetensors || format == GGUF || ext == ".ckpt") && !strings.HasSuffix(stem(strings.ToLower(name)), ".vae")
	case Embedding:
		return format == Safetensors || ext == ".pt" || ext == ".bin"
	default:
		return format != "" && ext != ".bin"
	}
}

func readSafetensors(r io.ReaderAt, size int64) (contents, error) {
	h, err := safetensors.ReadHeader(r, size)
	if err != nil {
		return contents{}, contentErrorOf(err)
	}
	c := contents{metadata: h.Metadata}
	for _, t := range h.Tensors {
		c.tensors = append(c.tensors, Tensor{Name: t.Name, DType: string(t.DType), Shape: t.Shape, Offset: h.DataStart + t.Offset, Bytes: t.Size})
	}
	return c, nil
}

func readGGUF(r io.ReaderAt, size int64) (contents, error) {
	h, err := gguf.ReadHeader(r, size)
	if err != nil {
		return contents{}, contentErrorOf(err)
	}
	c := contents{metadata: h.Metadata}
	for _, t := range h.Tensors {
		c.tensors = append(c.tensors, Tensor{Name: t.Name, DType: t.Type, Shape: t.Shape, Offset: h.DataStart + t.Offset, Bytes: t.Size})
	}
	return c, nil
}

func readPickle(r io.ReaderAt, size int64) (contents, error) {
	p, err := torchfile.Read(r, size)
	if err != nil {
		return contents{}, contentErrorOf(err)
	}
	c := contents{metadata: p.Notes}
	for _, t := range p.Tensors {
		c.tensors = append(c.tensors, Tensor{Name: t.Name, DType: string(t.DType), Shape: t.Shape, Offset: t.Offset, Bytes: t.Size, Strided: t.Strided})
	}
	return c, nil
}

// contentError is a verdict about the content of a file, a predicate to put
// behind its name.
type contentError struct {
	sentence string
	cause    error
}

func (e *contentError) Error() string { return "the file " + e.sentence }
func (e *contentError) Unwrap() error { return e.cause }

func contentErrorOf(err error) error {
	var tensors *safetensors.FormatError
	var torch *torchfile.FormatError
	if errors.As(err, &tensors) || errors.As(err, &torch) || errors.Is(err, gguf.ErrFormat) {
		return &contentError{"is " + err.Error(), err}
	}
	return err
}
