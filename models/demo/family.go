package demo

import (
	"context"
	"fmt"
	"strings"

	"sdworker/models/demo/compact"
	"sdworker/sd1"
)

// Kind is a file of the family.
type Kind string

// Kinds of files.
const (
	Checkpoint Kind = "demo"
	Embedding  Kind = "demo-embedding" // a character that no word names
	LoRA       Kind = "demo-lora"      // a style
	ControlNet Kind = "demo-controlnet"
)

// Kinds lists them in the order of their documentation.
func Kinds() []Kind { return []Kind{Checkpoint, Embedding, LoRA, ControlNet} }

// Write makes a file of the family at path. The checkpoint is a safetensors file of
// about 430 MiB, much of which is a hole. Nothing is visible under that name before it
// is complete; on failure or cancellation nothing is left behind.
func Write(ctx context.Context, kind Kind, path string) error {
	switch kind {
	case Checkpoint:
		return writeCheckpoint(ctx, path)
	case Embedding:
		return writeEmbedding(ctx, path)
	case LoRA:
		return writeLoRA(ctx, path)
	case ControlNet:
		return writeControlNet(ctx, path)
	}
	return fmt.Errorf("demo: unknown kind %q; use one of %s", kind, join(Kinds()))
}

func join(kinds []Kind) string {
	texts := make([]string, len(kinds))
	for i, k := range kinds {
		texts[i] = string(k)
	}
	return strings.Join(texts, ", ")
}

// stored is a file of trained weights.
type stored struct{ *compact.File }

// tensor is one tensor, of the stored file or of the one that is written.
type tensor struct {
	shape  []int64
	values []float32
}

func open(name string) (*stored, error) {
	raw, err := weights.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	f, err := compact.Open(name, raw)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return &stored{f}, nil
}

func (s *stored) read(name string) (tensor, error) {
	t, err := s.Read(name)
	if err != nil {
		return tensor{}, fmt.Errorf("demo: %w", err)
	}
	return tensor{t.Shape, t.Values}, nil
}

// model opens the stored weights of the checkpoint.
func model() (*stored, error) { return open("demo.weights") }

func writeCheckpoint(ctx context.Context, path string) error {
	s, err := model()
	if err != nil {
		return err
	}
	o, err := s.options("unet", "encoder", "decoder")
	if err != nil {
		return err
	}
	words, err := s.vocabulary()
	if err != nil {
		return err
	}
	var net sd1.Net
	net.Checkpoint(int64(o["unet"].wide), 4, int64(o["decoder"].wide))
	return create(ctx, path, net, metadata(Checkpoint, "a tiny model that draws cartoons"), func(f *file) error {
		e := &expansion{stored: s, widths: o, out: f}
		for _, part := range []func() error{func() error { return e.textEncoder(words) }, e.networks, e.whiten, e.end} {
			if err := part(); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeEmbedding writes the vector of the object that no word names. The network
// learnt to draw it from its code; a trained embedding would find the same vector.
func writeEmbedding(ctx context.Context, path string) error {
	s, err := model()
	if err != nil {
		return err
	}
	v, err := s.vocabulary()
	if err != nil {
		return err
	}
	word := &token{word: v.words[v.hidden], colour: v.none, flags: [flagCount]bool{isObject: true}}
	if word.word == nil {
		return fmt.Errorf("demo: %s has no code for %q", s.Name, v.hidden)
	}
	var net sd1.Net
	net.Embedding(1)
	return create(ctx, path, net, metadata(Embedding, "draws a "+v.hidden), func(f *file) error {
		return f.set(net[0].Name, tensor{net[0].Shape, word.vector()})
	})
}

// openForUNet opens what changes the UNet, and tells how wide that is made.
func openForUNet(name string) (*stored, map[string]width, error) {
	s, err := open(name)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.options("unet")
	return s, o, err
}

// writeControlNet writes a network that guides the UNet by outlines.
func writeControlNet(ctx context.Context, path string) error {
	s, o, err := openForUNet("demo-controlnet.weights")
	if err != nil {
		return err
	}
	var net sd1.Net
	net.ControlNet("control_model.", int64(o["unet"].wide))
	return create(ctx, path, net, metadata(ControlNet, "outlines, as the preprocessor canny finds them"), func(f *file) error {
		e := &expansion{stored: s, widths: o, out: f}
		if err := e.networks(); err != nil {
			return err
		}
		return e.end()
	})
}

// writeLoRA writes a LoRA in kohya's form.
func writeLoRA(ctx context.Context, path string) error {
	s, o, err := openForUNet("demo-lora.weights")
	if err != nil {
		return err
	}
	var net sd1.Net
	tensors := map[string]tensor{}
	for _, name := range s.Names() {
		narrow, err := s.read(name)
		if err != nil {
			return err
		}
		t, err := o["unet"].adapter(name, narrow)
		if err != nil {
			return fmt.Errorf("demo: %s: %s: %w", s.Name, name, err)
		}
		tensors[name] = t
		net = append(net, sd1.Param{Name: name, Shape: t.shape, Role: sd1.Weight})
	}
	m := metadata(LoRA, "moonlight, a style")
	m["ss_network_module"], m["ss_base_model_version"] = "networks.lora", "sd_v1"
	return create(ctx, path, net, m, func(f *file) error {
		for name, t := range tensors {
			if err := f.set(name, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// metadata is what the header of a file says about itself.
func metadata(kind Kind, title string) map[string]string {
	return map[string]string{
		"format":                "pt",
		"modelspec.title":       string(kind) + ": " + title,
		"modelspec.description": "a toy that comes with sdworker; it knows a few objects, colours and places",
		"modelspec.license":     "MIT",
		"modelspec.date":        "1970-01-01",
		"modelspec.resolution":  fmt.Sprintf("%dx%d", Side, Side),
		"sdworker.demo":         string(kind),
	}
}
