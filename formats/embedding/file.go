package embedding

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile"
)

// maxFile is far more than the largest embedding that fits a chunk, in bytes.
const maxFile = 64 << 20

// ErrNone says that an image carries no embedding, as previews do not.
var ErrNone = errors.New("the image carries no embedding")

// ErrNoNumbers says that an embedding has values that are infinite or not a number, which
// would spoil every picture.
var ErrNoNumbers = errors.New("holds values that are no numbers")

// tensor is an array of numbers in a file, last axis fastest.
type tensor struct {
	shape  []int64
	values func() ([]float32, error) // reads them
}

// fileContent is what an embedding file says, whatever its format.
type fileContent struct {
	name    string // "" when the file's name counts
	tensors map[string]tensor

	step                       *int
	checkpoint, checkpointName *string
}

// Read reads a textual inversion embedding from a file: .safetensors, .pt and .bin
// of PyTorch, and .png with the embedding in a text chunk. The name is the file's without
// extension; a PNG may carry another.
//
// The file must hold one tensor, or clip_l and clip_g of an SDXL embedding, whose Values
// are left out. For an image without embedding the error is [ErrNone], for values that are not finite [ErrNoNumbers].
func Read(path string) (*Embedding, error) {
	e, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("embedding %s: %w", filepath.Base(path), err)
	}
	return e, nil
}

func read(path string) (*Embedding, error) {
	f, size, err := formats.OpenSmall(path, maxFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var content fileContent
	name, extension := splitName(path)
	switch format := formats.OfNameFor(formats.Embedding, path); {
	case format == formats.Safetensors:
		content, err = readSafetensors(f, size)
	case format == formats.Pickle:
		content, err = readTorch(f, size)
	case IsPicture(path):
		content, err = readPNG(f)
	case extension == ".png":
		return nil, ErrNone
	default:
		err = fmt.Errorf("%s files hold no embeddings: use .safetensors, .pt, .bin or .png", extension)
	}
	if err != nil {
		return nil, err
	}
	e, err := content.embedding()
	if err != nil {
		return nil, err
	}
	for _, v := range e.Values {
		if v-v != 0 { // NaN, as of an infinity
			return nil, ErrNoNumbers
		}
	}
	if e.Name == "" {
		e.Name = name
	}
	return e, nil
}

// splitName returns the name of a file without its extension, and that in lower case.
func splitName(path string) (name, extension string) {
	name, extension = filepath.Base(path), filepath.Ext(path)
	return strings.TrimSuffix(name, extension), strings.ToLower(extension)
}

// readSafetensors finds the tensors of a safetensors file.
func readSafetensors(r io.ReaderAt, size int64) (fileContent, error) {
	header, err := safetensors.ReadHeader(r, size)
	if err != nil {
		return fileContent{}, err
	}
	content := fileContent{tensors: map[string]tensor{}}
	for _, t := range header.Tensors {
		content.tensors[t.Name] = tensor{t.Shape, func() ([]float32, error) {
			return safetensors.ReadFloat32s(r, header.DataStart+t.Offset, t.Elements(), t.DType)
		}}
	}
	return content, nil
}

// readTorch finds the tensors and the notes of a PyTorch file. Training programs write a
// dictionary of which string_to_param holds one tensor by its placeholder, with notes
// beside it, or a dictionary of one tensor by its name. Whole numbers, such as the token of
// a placeholder, are no vectors.
func readTorch(r io.ReaderAt, size int64) (fileContent, error) {
	file, err := torchfile.ReadPlain(r, size)
	if err != nil {
		return fileContent{}, err
	}
	content := fileContent{tensors: map[string]tensor{}}
	for _, t := range file.Tensors {
		if t.DType.IsFloat() {
			content.tensors[t.Name] = tensor{t.Shape, func() ([]float32, error) { return t.Float32s(r) }}
		}
	}
	if step, err := strconv.Atoi(file.Notes["step"]); err == nil {
		content.step = &step
	}
	if s, ok := file.Notes["sd_checkpoint"]; ok {
		content.checkpoint = &s
	}
	if s, ok := file.Notes["sd_checkpoint_name"]; ok {
		content.checkpointName = &s
	}
	return content, nil
}

func (c fileContent) embedding() (*Embedding, error) {
	e := &Embedding{Name: c.name, Step: c.step, Checkpoint: c.checkpoint, CheckpointName: c.checkpointName}
	g, hasG := c.tensors["clip_g"]
	l, hasL := c.tensors["clip_l"]
	if hasG && hasL {
		var err error
		var widthL int
		if e.Vectors, e.Shape, err = g.vectors(); err != nil {
			return nil, err
		}
		if _, widthL, err = l.vectors(); err != nil {
			return nil, err
		}
		e.Shape += widthL
		return e, nil
	}
	if len(c.tensors) != 1 {
		return nil, fmt.Errorf("it holds %d tensors, not one", len(c.tensors))
	}
	for _, t := range c.tensors {
		var err error
		if e.Vectors, e.Shape, err = t.vectors(); err != nil {
			return nil, err
		}
		if e.Values, err = t.values(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// vectors reads the shape as [count, width]; a single axis is one vector.
func (t tensor) vectors() (count, width int, err error) {
	var n, w int64
	switch len(t.shape) {
	case 1:
		n, w = 1, t.shape[0]
	case 2:
		n, w = t.shape[0], t.shape[1]
	}
	if n < 1 || w < 1 {
		return 0, 0, fmt.Errorf("a tensor of shape %v is no list of vectors", t.shape)
	}
	if n > maxFile/4/w { // a view can repeat what its file holds once
		return 0, 0, fmt.Errorf("a tensor of shape %v is too large for an embedding", t.shape)
	}
	return int(n), int(w), nil
}
