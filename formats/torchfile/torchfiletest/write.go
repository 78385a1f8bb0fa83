// Package torchfiletest writes files as torch.save does, for tests that need them large,
// many or wrong.
package torchfiletest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Tensor is a tensor of a file that holds a flat dictionary.
type Tensor struct {
	Name    string
	Storage string  // class of PyTorch, such as HalfStorage
	Shape   []int64 // slowest axis first
	Strides []int64 // values between neighbours of each axis; nil where they lie in order
	Values  int64   // how many the storage has
	Data    io.Reader
	Of      string // name of an earlier tensor whose storage this one shares; it has no Data
}

// Write writes the archive of the present format.
func Write(w io.Writer, tensors ...Tensor) error {
	var p bytes.Buffer
	p.WriteString("\x80\x02ccollections\nOrderedDict\n)R(")
	for _, t := range tensors {
		text(&p, t.Name)
		p.WriteString("ctorch._utils\n_rebuild_tensor_v2\n((")
		text(&p, "storage")
		p.WriteString("ctorch\n" + t.Storage + "\n")
		text(&p, t.key())
		text(&p, "cpu")
		number(&p, t.Values)
		p.WriteString("tQK\x00")
		strides := t.Strides
		if strides == nil {
			strides = inOrder(t.Shape)
		}
		for _, list := range [][]int64{t.Shape, strides} {
			p.WriteByte('(')
			for _, n := range list {
				number(&p, n)
			}
			p.WriteByte('t')
		}
		p.WriteString("\x89ccollections\nOrderedDict\n)RtR")
	}
	p.WriteString("u.")

	z := zip.NewWriter(w)
	file := func(name string, from io.Reader) error {
		f, err := z.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
		if err == nil {
			_, err = io.Copy(f, from)
		}
		return err
	}
	if err := file("data.pkl", &p); err != nil {
		return err
	}
	for _, t := range tensors {
		if t.Of != "" {
			continue
		}
		if err := file("data/"+t.key(), t.Data); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
	}
	return z.Close()
}

// key names the storage.
func (t Tensor) key() string {
	if t.Of != "" {
		return t.Of
	}
	return t.Name
}

func inOrder(shape []int64) []int64 {
	out := make([]int64, len(shape))
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		out[i] = n
		n *= shape[i]
	}
	return out
}

func text(p *bytes.Buffer, s string) {
	p.WriteByte('X')
	p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	p.WriteString(s)
}

// number is a whole number of up to 8 bytes.
func number(p *bytes.Buffer, n int64) {
	p.WriteString("\x8a\x08")
	p.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}
