package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sdworker/internal/cli"
	"sdworker/models/demo"
	"sdworker/models/synth"
)

// synthOptions are the flags of worker models synth.
type synthOptions struct {
	Size  string `env:"SIZE" doc:"of random values: tiny or full (default tiny)"`
	Kind  string `env:"KIND" envDefault:"checkpoint" doc:"of random values: checkpoint, inpainting, lora, lora-diffusers, vae, taesd, esrgan, controlnet, embedding, image-encoder, ip-adapter, ip-adapter-plus or depth; of the model that draws cartoons: demo, demo-embedding, demo-lora, demo-controlnet, or demo-family for a models folder with all of them"`
	Seed  uint64 `env:"SEED" doc:"of random values (default 0)"`
	Quiet bool   `env:"QUIET" doc:"print nothing"`
}

// demoFamily as a kind is a folder with every kind of package demo.
const demoFamily = "demo-family"

var modelsSynthVerb = &verb{
	Name: "synth", Args: "FILE", Short: "write a model file: random values, for tests and benchmarks, or the demo model",
	Examples: []string{
		"worker models synth --size full random.safetensors",
		"worker models synth --kind demo demo.safetensors",
		"worker models synth --kind demo-family models",
	},
	New: func() cli.Command[*program] { return new(synthCommand) },
}

// synthCommand is one run of worker models synth.
type synthCommand struct {
	options synthOptions
}

// Settings are those of the command.
func (c *synthCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "File:", Target: &c.options}}
}

// Run writes the file.
func (c *synthCommand) Run(ctx context.Context, p *program, call *cli.Call) error {
	o := &c.options
	if len(call.Args) != 1 {
		return cli.Usagef("one file must be named, %d are", len(call.Args))
	}
	if _, seed := call.Given["SEED"]; o.demo() && (seed || o.Size != "") {
		return cli.Usagef("--kind %s has neither --size nor --seed: there is one demo model", o.Kind)
	}
	return o.write(ctx, p, call.Args[0])
}

func (o *synthOptions) demo() bool {
	return o.Kind == demoFamily || slices.Contains(demo.Kinds(), demo.Kind(o.Kind))
}

func (o *synthOptions) Validate() []error {
	var errs []error
	if !slices.Contains([]string{"", string(synth.Tiny), string(synth.Full)}, o.Size) {
		errs = append(errs, fmt.Errorf("--size %q is neither tiny nor full", o.Size))
	}
	if !o.demo() && !slices.Contains(synth.Kinds(), synth.Kind(o.Kind)) {
		errs = append(errs, fmt.Errorf("--kind %q is none of %v, %v and %s", o.Kind, synth.Kinds(), demo.Kinds(), demoFamily))
	}
	return errs
}

func (o *synthOptions) write(ctx context.Context, p *program, path string) error {
	began := time.Now()
	what := "random values, pictures made with it are abstract"
	var err error
	switch {
	case o.Kind == demoFamily:
		what, err = "a toy that draws cartoons, with its family", demo.Place{Root: path}.Write(ctx)
	case o.demo():
		what, err = "a toy that draws cartoons", demo.Write(ctx, demo.Kind(o.Kind), path)
	default:
		err = synth.Write(ctx, path, synth.Options{Kind: synth.Kind(o.Kind), Size: synth.Size(o.Size), Seed: o.Seed})
	}
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if err == nil && !o.Quiet {
		fmt.Fprintf(p.Err, "wrote %s in %s: %s\n", path, time.Since(began).Round(time.Millisecond), what)
	}
	return err
}
