// Package synth writes model files with the names and shapes of Stable
// Diffusion 1.5 and seeded random values, so that everything can be tested and
// measured where no real weights are at hand.
//
// Norm weights are 1, biases and embeddings 0.02*N(0,1), all other weights
// N(0,1)/sqrt(fan-in): statistics that keep every network finite and its output
// varied. The pictures are abstract. Equal options give equal bytes.
package synth

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"sdworker/formats/safetensors"
	"sdworker/internal/atomicfile"
	"sdworker/sd1"
)

// Kind is what a file holds.
type Kind string

// Kinds of synthetic files.
const (
	Checkpoint    Kind = "checkpoint"
	Inpainting    Kind = "inpainting" // a checkpoint whose UNet takes 9 channels
	LoRA          Kind = "lora"       // kohya names
	LoRADiffusers Kind = "lora-diffusers"
	VAE           Kind = "vae"
	TAESD         Kind = "taesd"
	ESRGAN        Kind = "esrgan"
	ControlNet    Kind = "controlnet"
	Embedding     Kind = "embedding"
	ImageEncoder  Kind = "image-encoder" // CLIP's
	IPAdapter     Kind = "ip-adapter"
	IPAdapterPlus Kind = "ip-adapter-plus"
	Depth         Kind = "depth" // Depth Anything, its small one
)

// Kinds lists all kinds in the order of their documentation.
func Kinds() []Kind {
	return []Kind{Checkpoint, Inpainting, LoRA, LoRADiffusers, VAE, TAESD, ESRGAN, ControlNet, Embedding, ImageEncoder, IPAdapter, IPAdapterPlus, Depth}
}

// Size chooses between the real widths and the smallest that the engine loads.
type Size string

// Sizes. Tiny has a UNet and a VAE decoder of width 32; the text encoder and
// the VAE encoder keep their width because the engine fixes it.
const (
	Tiny Size = "tiny"
	Full Size = "full"
)

// Options says what to write. The zero value is the tiny checkpoint of seed 0.
type Options struct {
	Kind     Kind
	Size     Size
	Seed     uint64
	Progress func(done, total int64) // bytes, called from several goroutines; may be nil
}

// widths of UNet and VAE decoder.
func (s Size) widths() (unet, decoder int64) {
	if s == Full {
		return sd1.UNetWidth, sd1.VAEWidth
	}
	return 32, 32
}

// encoder are the widths of CLIP's image encoder and of what acts on it; the real ones are
// those of ViT-H.
func (s Size) encoder() (e struct{ width, inner, layers, embedding, resampler int64 }) {
	if s == Full {
		e.width, e.inner, e.layers, e.embedding, e.resampler = 1280, 5120, 32, 1024, sd1.TextWidth
	} else {
		e.width, e.inner, e.layers, e.embedding, e.resampler = 128, 256, 3, 64, 128
	}
	return e
}

// build returns the parameters that o asks for, in the order of the file.
func (o Options) build() (sd1.Net, error) {
	var n sd1.Net
	width, decoder := o.Size.widths()
	switch o.Kind {
	case Checkpoint:
		n.Checkpoint(width, 4, decoder)
	case Inpainting:
		n.Checkpoint(width, 9, decoder) // latent, mask, masked latent
	case LoRA:
		n.LoRAKohya(width)
	case LoRADiffusers:
		n.LoRADiffusers(width)
	case VAE:
		n.VAE("", decoder)
	case TAESD:
		n.TAESD()
	case ESRGAN:
		blocks := 1
		if o.Size == Full {
			blocks = 23
		}
		n.ESRGAN(4, blocks)
	case ControlNet:
		n.ControlNet("control_model.", width)
	case Embedding:
		n.Embedding(4)
	case ImageEncoder:
		e := o.Size.encoder()
		n.ImageEncoder(e.width, e.inner, e.layers, e.embedding)
	case IPAdapter:
		n.IPAdapter(width, o.Size.encoder().embedding, 4)
	case IPAdapterPlus:
		e := o.Size.encoder()
		n.IPAdapterPlus(width, e.width, 16, e.resampler)
	case Depth:
		if o.Size == Full {
			n.DepthAnything(384, 12, 37, 64, [4]int64{48, 96, 192, 384})
		} else {
			n.DepthAnything(128, 8, 5, 32, [4]int64{16, 32, 64, 64})
		}
	default:
		return nil, fmt.Errorf("synth: unknown kind %q; use one of %s", o.Kind, join(Kinds()))
	}
	n.Sort()
	return n, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Kind == "" {
		o.Kind = Checkpoint
	}
	if o.Size == "" {
		o.Size = Tiny
	}
	if o.Size != Tiny && o.Size != Full {
		return o, fmt.Errorf("synth: unknown size %q; use %s or %s", o.Size, Tiny, Full)
	}
	return o, nil
}

func join(kinds []Kind) string {
	texts := make([]string, len(kinds))
	for i, k := range kinds {
		texts[i] = string(k)
	}
	return strings.Join(texts, ", ")
}

// blockBytes is the unit of work; memory in use is one block per CPU.
const blockBytes = 4 << 20

// Write makes the file at path. Nothing is visible under that name before the
// file is complete; on failure or cancellation nothing is left behind.
func Write(ctx context.Context, path string, o Options) (err error) {
	o, err = o.withDefaults()
	if err != nil {
		return err
	}
	params, err := o.build()
	if err != nil {
		return err
	}
	h, err := safetensors.Layout(o.metadata(), tensors(params))
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	defer f.Discard()
	if _, err := h.WriteTo(f); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if err := o.writeValues(ctx, f.File, h, params); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	return nil
}

func (o Options) metadata() map[string]string {
	m := map[string]string{
		"format":               "pt",
		"modelspec.title":      fmt.Sprintf("synthetic %s, %s, seed %d: random weights", o.Kind, o.Size, o.Seed),
		"modelspec.date":       "1970-01-01",
		"sdworker.synthetic":   string(o.Kind),
		"modelspec.resolution": "512x512",
	}
	if o.Kind == LoRA {
		m["ss_output_name"] = "synthetic"
		m["ss_network_dim"] = fmt.Sprint(sd1.LoRARank)
		m["ss_network_alpha"] = fmt.Sprint(sd1.LoRARank / 2)
		m["ss_base_model_version"] = "sd_v1"
	}
	return m
}

// block is a part of one tensor.
type block struct {
	tensor int
	first  int64 // byte within the tensor, a multiple of blockBytes
}

func (o Options) writeValues(ctx context.Context, f *os.File, h *safetensors.Header, params sd1.Net) error {
	blocks := make(chan block)
	workers, ctx := errgroup.WithContext(ctx)
	workers.Go(func() error {
		defer close(blocks)
		for i, t := range h.Tensors {
			for first := int64(0); first < t.Size; first += blockBytes {
				select {
				case blocks <- block{i, first}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	quantiles := newTables()
	report := o.progress(h.DataSize())
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() error {
			buf := make([]byte, min(blockBytes, h.DataSize()))
			for b := range blocks {
				t, p := h.Tensors[b.tensor], params[b.tensor]
				part := buf[:min(blockBytes, t.Size-b.first)]
				switch p.Role {
				case sd1.NormScale:
					constant(part, 1)
				case sd1.Alpha:
					constant(part, sd1.LoRARank/2)
				default:
					normal(part, quantiles.scaled(spread(p)), stream(o.Seed, t.Name), b.first/t.DType.Size())
				}
				if _, err := f.WriteAt(part, h.DataStart+t.Offset+b.first); err != nil {
					return fmt.Errorf("synth: %w", err)
				}
				report(int64(len(part)))
			}
			return nil
		})
	}
	return workers.Wait()
}

// progress returns a function that counts bytes and tells the caller.
func (o Options) progress(total int64) func(int64) {
	if o.Progress == nil {
		return func(int64) {}
	}
	var done atomic.Int64
	return func(n int64) { o.Progress(done.Add(n), total) }
}

// Parameters returns names and shapes of what Write would store, in file order.
func Parameters(o Options) ([]safetensors.Tensor, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	n, err := o.build()
	if err != nil {
		return nil, err
	}
	return tensors(n), nil
}

func tensors(n sd1.Net) []safetensors.Tensor {
	list := make([]safetensors.Tensor, len(n))
	for i, p := range n {
		list[i] = safetensors.Tensor{Name: p.Name, DType: safetensors.F16, Shape: p.Shape}
	}
	return list
}
