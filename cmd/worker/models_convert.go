package main

import (
	"context"
	"fmt"
	"strings"

	"sdworker/models/convert"
	"sdworker/models/safetensors"
)

// convertOptions are the flags of worker models convert.
type convertOptions struct {
	DType string `env:"DTYPE" envDefault:"f16" doc:"type of the values: f16, bf16, f32, or keep"`
	Prune bool   `env:"PRUNE" envDefault:"true" doc:"leave out what only training needs, such as the EMA copy"`
	VAE   string `env:"VAE" doc:"VAE file that replaces the checkpoint's own"`
	Quiet bool   `env:"QUIET" doc:"print nothing"`
}

var dtypes = map[string]safetensors.DType{"f16": safetensors.F16, "bf16": safetensors.BF16, "f32": safetensors.F32, "keep": ""}

func (o *convertOptions) validate() []error {
	if _, ok := dtypes[strings.ToLower(o.DType)]; !ok {
		return []error{fmt.Errorf("--dtype %q is none of f16, bf16, f32 and keep", o.DType)}
	}
	return nil
}

var modelsConvertVerb = &verb{
	name: "convert", args: "SOURCE FILE", short: "rewrite a model file as safetensors: half precision, pruned, with another VAE",
	long: `SOURCE is a safetensors file or a PyTorch file (.ckpt, .pt, .pth); nothing inside
a PyTorch file is run. FILE may be SOURCE itself: it is replaced when the new one
is complete.`,
	settings: func() []settings { return []settings{{title: "File:", target: new(convertOptions)}} },
	run: func(ctx context.Context, p *program, c *call) error {
		var o convertOptions
		if err := c.load(p.environ, settings{target: &o}); err != nil {
			return err
		}
		if len(c.args) != 2 {
			return usagef("source and file must be named, %d names are given", len(c.args))
		}
		done, err := convert.Write(ctx, c.args[0], c.args[1], convert.Options{
			DType: dtypes[strings.ToLower(o.DType)], Prune: o.Prune, VAE: o.VAE,
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && !o.Quiet {
			fmt.Fprintf(p.err, "wrote %s: %d MiB, %d tensors, %d left out\n", c.args[1], done.Bytes>>20, done.Tensors, done.Dropped)
		}
		return err
	},
}
