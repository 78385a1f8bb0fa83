// Package convert rewrites model files as safetensors: out of PyTorch pickles and folders
// of diffusers, in half precision, without what only training needs, with another VAE
// inside. Values are streamed; the memory in use does not depend on the size of the file.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/internal/atomicfile"
	"sdworker/models"
	"sdworker/sd1"
)

// Options of a conversion.
type Options struct {
	DType    safetensors.DType       // type of all floating point values: F16, BF16, F32; "" keeps them
	Prune    bool                    // keep only what makes pictures: no EMA copy, no optimizer state
	VAE      string                  // path of a VAE file that replaces the checkpoint's own; "" keeps it
	Progress func(done, total int64) // bytes written, called from several goroutines; may be nil
}

// Result of a conversion.
type Result struct {
	Tensors int
	Dropped int   // tensors of the source that are not in it
	Bytes   int64 // of the new file
}

// item is one tensor of the new file and where its values come from.
type item struct {
	from io.ReaderAt
	old  formats.Tensor
	name string
	to   safetensors.DType
}

func (i item) oldType() safetensors.DType { return safetensors.DType(i.old.DType) }

// Write converts the file src, or a folder of diffusers, into dst, which may be the same
// path. Nothing is visible under dst before it is complete. Errors are *fault.Error; a value
// that the new type cannot hold is Invalid.
func Write(ctx context.Context, src, dst string, o Options) (Result, error) {
	switch o.DType {
	case "", safetensors.F16, safetensors.BF16, safetensors.F32:
	default:
		return Result{}, fault.Errorf(fault.Invalid, "convert", "type %s cannot be written; use F16, BF16 or F32 (quantized types are written as GGUF by the engine)", o.DType)
	}
	from, err := openParts(src)
	if err != nil {
		return Result{}, err
	}
	defer from.close()
	items, err := from.plan(o)
	if err != nil {
		return Result{}, err
	}
	kept := len(items)
	if o.VAE != "" {
		vae, file, err := openVAE(from, o.VAE)
		if err != nil {
			return Result{}, err
		}
		defer file.Close()
		items, kept = bake(items, vae, file, o)
	}
	if len(items) == 0 {
		return Result{}, fault.Errorf(fault.Invalid, "convert", "nothing of %s would be left", src)
	}
	if from.folder {
		items = append(items, from.marks()...)
		if err := from.fits(items); err != nil {
			return Result{}, err
		}
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.name, b.name) })
	h, err := layout(from.metadata, items)
	if err != nil {
		return Result{}, failed(src, err)
	}
	if err := write(ctx, dst, h, items, o.Progress); err != nil {
		return Result{}, err
	}
	return Result{Tensors: len(items), Dropped: from.tensors() - kept, Bytes: h.DataStart + h.DataSize()}, nil
}

// parts are the files that a model comes in.
type parts struct {
	path     string
	folder   bool // of diffusers
	kind     models.Kind
	metadata map[string]string
	markers  []string // tensors without values that the new file gets
	files    []part
}

// part is one file and what is put before the names of its tensors.
type part struct {
	*models.Info
	file   *os.File
	prefix string
}

func openParts(path string) (parts, error) {
	if models.IsPipeline(path) {
		return openPipeline(path)
	}
	all := parts{path: path}
	if err := all.add(path, ""); err != nil {
		return parts{}, err
	}
	all.kind, all.metadata = all.files[0].Kind, all.files[0].Metadata
	return all, nil
}

func (p *parts) add(path, prefix string) error {
	info, file, err := open(path)
	if err == nil {
		p.files = append(p.files, part{info, file, prefix})
	}
	return err
}

func (p *parts) close() {
	for _, f := range p.files {
		f.file.Close()
	}
}

func (p *parts) tensors() int {
	n := 0
	for _, f := range p.files {
		n += len(f.Tensors)
	}
	return n
}

func open(path string) (*models.Info, *os.File, error) {
	info, err := models.Inspect(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Format.Decoded() {
		return nil, nil, fault.Errorf(fault.Invalid, "convert", "%s is a GGUF file; only safetensors and PyTorch files are converted here", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, failed(path, err)
	}
	return info, file, nil
}

// plan lists what stays of the files.
func (p *parts) plan(o Options) ([]item, error) {
	var items []item
	for _, f := range p.files {
		for _, t := range f.Tensors {
			name := currentName(f.prefix + t.Name)
			if p.folder {
				name = sd1.CheckpointName(name)
			}
			if o.Prune && p.kind == models.Checkpoint && !needed(name) {
				continue
			}
			if t.Strided {
				return nil, fault.Errorf(fault.Invalid, "convert", "tensor %s of %s does not store its values in order, which is not converted here", t.Name, f.Path)
			}
			items = append(items, item{from: f.file, old: t, name: name, to: target(t, o.DType)})
		}
	}
	return items, nil
}

func target(t formats.Tensor, wanted safetensors.DType) safetensors.DType {
	old := safetensors.DType(t.DType)
	if wanted == "" || !old.IsFloat() {
		return old
	}
	return wanted
}

// currentName renames the text encoder of files from 2022, which lack one level
// in its names.
func currentName(name string) string {
	const old = "cond_stage_model.transformer."
	for _, part := range []string{"embeddings.", "encoder.", "final_layer_norm."} {
		if rest, ok := strings.CutPrefix(name, old+part); ok {
			return sd1.CLIPPrefix + part + rest
		}
	}
	return name
}

// needed tells the parts of a checkpoint that make pictures, and the marks by
// which programs know a v-prediction model.
func needed(name string) bool {
	for _, prefix := range []string{"model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "unet.", "vae.", "text_encoder.", "te."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "v_pred" || name == "ztsnr"
}

func openVAE(checkpoint parts, path string) (*models.Info, *os.File, error) {
	if checkpoint.kind != models.Checkpoint {
		return nil, nil, fault.Errorf(fault.Invalid, "convert", "%s is no checkpoint, so no VAE can be baked into it", checkpoint.path)
	}
	info, err := models.Check(path, models.VAE, models.CheckOptions{AllowPickle: true})
	if err != nil {
		return nil, nil, err
	}
	if _, ok := info.Lookup("decoder.conv_in.weight"); !ok || !info.Format.Decoded() {
		return nil, nil, fault.Errorf(fault.Invalid, "convert", "%s uses other names or another format than VAE files do; a safetensors file with the original names is needed", path)
	}
	return open(path)
}

// bake puts a VAE in the place of the checkpoint's, of which some items are kept.
func bake(items []item, vae *models.Info, from io.ReaderAt, o Options) (all []item, kept int) {
	items = slices.DeleteFunc(items, func(i item) bool { return strings.HasPrefix(i.name, sd1.VAEPrefix) })
	kept = len(items)
	for _, t := range vae.Tensors {
		if strings.HasPrefix(t.Name, "loss.") || strings.HasPrefix(t.Name, "model_ema.") {
			continue // training leftovers of the published VAE files
		}
		items = append(items, item{from: from, old: t, name: sd1.VAEPrefix + t.Name, to: target(t, o.DType)})
	}
	return items, kept
}

// layout makes the header. Hashes in the metadata would not be true any more.
func layout(metadata map[string]string, items []item) (*safetensors.Header, error) {
	meta := map[string]string{"format": "pt"}
	for k, v := range metadata {
		if !strings.HasPrefix(k, "sshs_") && k != "modelspec.hash_sha256" {
			meta[k] = v
		}
	}
	list := make([]safetensors.Tensor, len(items))
	for i, it := range items {
		list[i] = safetensors.Tensor{Name: it.name, DType: it.to, Shape: it.old.Shape}
	}
	return safetensors.Layout(meta, list)
}

// blockValues is how many values are converted at a time.
const blockValues = 1 << 20

// block is a part of one tensor.
type block struct {
	item  int
	first int64 // value within the tensor
}

func write(ctx context.Context, dst string, h *safetensors.Header, items []item, progress func(done, total int64)) (err error) {
	out, err := atomicfile.Create(dst)
	if err != nil {
		return failed(dst, err)
	}
	defer func() {
		out.Discard()
		if err != nil {
			err = failed(dst, err)
		}
	}()
	if _, err := h.WriteTo(out); err != nil {
		return err
	}
	blocks := make(chan block)
	workers, ctx := errgroup.WithContext(ctx)
	workers.Go(func() error {
		defer close(blocks)
		for i, t := range h.Tensors {
			for first := int64(0); first < t.Elements(); first += blockValues {
				if ctx.Err() != nil { // a select may choose the worker that waits, too
					return ctx.Err()
				}
				select {
				case blocks <- block{i, first}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	var done atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() error {
			var c converter
			for b := range blocks {
				n, err := c.copy(out.File, h, items[b.item], h.Tensors[b.item], b.first)
				if err != nil {
					return err
				}
				if total := done.Add(n); progress != nil {
					progress(total, h.DataSize())
				}
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	return out.Commit()
}

// converter holds the buffers of one worker.
type converter struct {
	raw    [8 * blockValues]byte
	values [blockValues]float32
}

// copy writes one block of a tensor and returns its bytes.
func (c *converter) copy(out *os.File, h *safetensors.Header, it item, t safetensors.Tensor, first int64) (int64, error) {
	n := min(blockValues, t.Elements()-first)
	raw := c.raw[:n*it.oldType().Size()]
	if k, err := it.from.ReadAt(raw, it.old.Offset+first*it.oldType().Size()); k < len(raw) {
		return 0, fmt.Errorf("read %s: %w", it.old.Name, err)
	}
	if it.to != it.oldType() {
		values := c.values[:n]
		if err := safetensors.Decode(values, raw, it.oldType()); err != nil {
			return 0, fmt.Errorf("%s: %w", it.old.Name, err)
		}
		raw = c.raw[:n*it.to.Size()]
		overflows, err := safetensors.Encode(raw, values, it.to)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", it.old.Name, err)
		}
		if overflows > 0 {
			return 0, fault.Errorf(fault.Invalid, "convert", "tensor %s has values that %s cannot hold; convert to BF16 or F32", it.old.Name, it.to)
		}
	}
	if _, err := out.WriteAt(raw, h.DataStart+t.Offset+first*it.to.Size()); err != nil {
		return 0, err
	}
	return int64(len(raw)), nil
}

func failed(path string, err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &fault.Error{Code: fault.Canceled, Op: "convert", Msg: "the conversion was stopped", Err: err}
	}
	return &fault.Error{Code: fault.Internal, Op: "convert", Msg: "cannot convert " + path, Err: err}
}
