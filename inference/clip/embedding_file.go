package clip

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxEmbeddingFile is far more than the largest embedding that fits a chunk, in bytes.
const maxEmbeddingFile = 64 << 20

// ErrNoEmbedding says that an image carries no embedding, as previews do not.
var ErrNoEmbedding = errors.New("the image carries no embedding")

// tensor is an array of numbers in a file, last axis fastest.
type tensor struct {
	shape  []int
	values []float32
}

// fileContent is what an embedding file says, whatever its format.
type fileContent struct {
	name    string // "" when the file's name counts
	tensors map[string]tensor

	step                       *int
	checkpoint, checkpointName *string
}

// ReadEmbedding reads a textual inversion embedding from a file: .safetensors, .pt and .bin
// of PyTorch (since version 1.6), and .png with the embedding in a text chunk. The name is
// the file's without extension; a PNG may carry another.
//
// The file must hold one tensor, or clip_l and clip_g of an SDXL embedding, whose Values
// are left out. For an image without embedding the error is [ErrNoEmbedding].
func ReadEmbedding(path string) (*Embedding, error) {
	e, err := readEmbedding(path)
	if err != nil {
		return nil, fmt.Errorf("embedding %s: %w", filepath.Base(path), err)
	}
	return e, nil
}

func readEmbedding(path string) (*Embedding, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxEmbeddingFile {
		return nil, fmt.Errorf("%d bytes are too many for an embedding; is it a model?", info.Size())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var content fileContent
	name, extension := splitName(path)
	switch extension {
	case ".safetensors":
		content.tensors, err = readSafetensors(raw)
	case ".pt", ".bin":
		content, err = readTorch(raw)
	case ".png":
		if _, inner := splitName(name); inner == ".preview" {
			return nil, ErrNoEmbedding
		}
		content, err = readPNG(raw)
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
		e.Values = t.values
	}
	return e, nil
}

// vectors reads the shape as [count, width]; a single axis is one vector.
func (t tensor) vectors() (count, width int, err error) {
	switch len(t.shape) {
	case 1:
		count, width = 1, t.shape[0]
	case 2:
		count, width = t.shape[0], t.shape[1]
	}
	if count < 1 || width < 1 {
		return 0, 0, fmt.Errorf("a tensor of shape %v is no list of vectors", t.shape)
	}
	return count, width, nil
}
