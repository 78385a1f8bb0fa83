package demo

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"sdworker/formats/safetensors"
	"sdworker/internal/atomicfile"
	"sdworker/sd1"
)

// file is a safetensors file in half precision under construction. Tensors that
// nobody sets are holes, which take no room on most disks.
type file struct {
	f      *os.File
	header *safetensors.Header
	writes *errgroup.Group
	ctx    context.Context //nolint:containedctx // lives as long as one call of create
}

// create makes a file of the given tensors at path, whose values fill sets. Nothing
// is visible under that name before the file is complete.
func create(ctx context.Context, path string, n sd1.Net, metadata map[string]string, fill func(*file) error) (err error) {
	n.Sort()
	list := make([]safetensors.Tensor, len(n))
	for i, p := range n {
		list[i] = safetensors.Tensor{Name: p.Name, DType: safetensors.F16, Shape: p.Shape}
	}
	h, err := safetensors.Layout(metadata, list)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer f.Discard()
	if _, err := h.WriteTo(f); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := f.Truncate(h.DataStart + h.DataSize()); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	out := &file{f: f.File, header: h}
	out.writes, out.ctx = errgroup.WithContext(ctx)
	out.writes.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range n {
		if p.Role == sd1.NormScale {
			if err := out.set(p.Name, tensor{p.Shape, slices.Repeat([]float32{1}, int(p.Shape[0]))}); err != nil {
				return err
			}
		}
	}
	if err := out.writes.Wait(); err != nil { // before others of the same name
		return err
	}
	out.writes, out.ctx = errgroup.WithContext(ctx)
	out.writes.SetLimit(runtime.GOMAXPROCS(0))
	if err := fill(out); err != nil {
		_ = out.writes.Wait()
		return err
	}
	if err := out.writes.Wait(); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// set stores a tensor, which belongs to the file from now on.
func (o *file) set(name string, t tensor) error {
	place, ok := o.header.Lookup(name)
	if !ok || !slices.Equal(place.Shape, t.shape) {
		return fmt.Errorf("demo: %s has the shape %v, its place is of %v", name, t.shape, place.Shape)
	}
	if err := context.Cause(o.ctx); err != nil {
		return err
	}
	o.writes.Go(func() error {
		return o.write(place, 0, halves(t.values))
	})
	return nil
}

// setRows stores a table in parts of some rows each; rows fills dst from the given
// row on.
func (o *file) setRows(name string, rows func(dst []byte, from int)) error {
	place, ok := o.header.Lookup(name)
	if !ok || len(place.Shape) != 2 {
		return fmt.Errorf("demo: there is no place for the table %s", name)
	}
	const part = 1024
	row := int(place.Shape[1]) * 2
	for from := 0; from < int(place.Shape[0]); from += part {
		if err := context.Cause(o.ctx); err != nil {
			return err
		}
		o.writes.Go(func() error {
			raw := make([]byte, min(part, int(place.Shape[0])-from)*row)
			rows(raw, from)
			return o.write(place, int64(from*row), raw)
		})
	}
	return nil
}

func (o *file) write(place safetensors.Tensor, at int64, raw []byte) error {
	if _, err := o.f.WriteAt(raw, o.header.DataStart+place.Offset+at); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}
