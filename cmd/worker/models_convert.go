package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/inference/sdcpp"
	"sdworker/internal/cli"
	"sdworker/models/convert"
)

// convertOptions are the flags of worker models convert.
type convertOptions struct {
	DType string `env:"DTYPE" envDefault:"f16" doc:"type of the values: f16, bf16, f32 or keep; in a .gguf file f16, f32, q8_0, q5_1, q5_0, q4_1 or q4_0"`
	Prune bool   `env:"PRUNE" envDefault:"true" doc:"leave out what only training needs, such as the EMA copy"`
	VAE   string `env:"VAE" doc:"VAE file that replaces the checkpoint's own"`
	Quiet bool   `env:"QUIET" doc:"print nothing"`
}

var (
	dtypes = map[string]safetensors.DType{"f16": safetensors.F16, "bf16": safetensors.BF16, "f32": safetensors.F32, "keep": ""}
	// ggufTypes are named as ggml names them.
	ggufTypes = []string{"f16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"}
)

func (o *convertOptions) Validate() []error {
	o.DType = strings.ToLower(o.DType)
	if _, ok := dtypes[o.DType]; !ok && !slices.Contains(ggufTypes, o.DType) {
		return []error{fmt.Errorf("--dtype %q is none of f16, bf16, f32 and keep, nor of %s for a .gguf file", o.DType, strings.Join(ggufTypes, ", "))}
	}
	return nil
}

// gguf tells whether a file is written by the engine, and refuses what neither
// writer makes of it.
func (o *convertOptions) gguf(file string) (bool, error) {
	_, plain := dtypes[o.DType]
	switch is := formats.OfName(file) == formats.GGUF; {
	case is && !slices.Contains(ggufTypes, o.DType):
		return false, cli.Usagef("--dtype %s is not for a .gguf file, which takes %s", o.DType, strings.Join(ggufTypes, ", "))
	case !is && !plain:
		return false, cli.Usagef("--dtype %s needs a file whose name ends in .gguf", o.DType)
	default:
		return is, nil
	}
}

var modelsConvertVerb = &verb{
	Name: "convert", Args: "SOURCE FILE", Short: "rewrite a model: half precision, pruned, with another VAE, quantized, in one file",
	Long: `SOURCE is a safetensors file or a PyTorch file (.ckpt, .pt, .pth); nothing inside
a PyTorch file is run. It may be a folder of diffusers (with a model_index.json), whose
UNet, text encoder and VAE become one file. FILE is written as safetensors, or by the engine as GGUF if
its name ends so. It may be SOURCE itself: it is replaced when the new one is
complete. Quantized files are smaller on disk only: the engine makes 16 bits of each
value again when it loads them, which takes longer than reading 16 bits.`,
	Examples: []string{"worker models convert old.ckpt model.safetensors"},
	New:      func() cli.Command[*program] { return new(convertCommand) },
}

// convertCommand is one run of worker models convert.
type convertCommand struct {
	program *program
	options convertOptions
	log     logSettings
}

// Settings are those of the command.
func (c *convertCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "File:", Target: &c.options}, {Title: "Log:", Target: &c.log, Environment: true}}
}

// Run writes the new file.
func (c *convertCommand) Run(ctx context.Context, p *program, call *cli.Call) error {
	if len(call.Args) != 2 {
		return cli.Usagef("source and file must be named, %d names are given", len(call.Args))
	}
	c.program = p
	o, src, dst := &c.options, call.Args[0], call.Args[1]
	gguf, err := o.gguf(dst)
	if err != nil {
		return err
	}
	write := c.safetensors
	if gguf {
		write = c.gguf
	}
	done, err := write(ctx, src, dst)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil && !o.Quiet {
		fmt.Fprintf(c.program.Err, "wrote %s: %d MiB, %d tensors, %d of the source left out\n", printable(dst), done.Bytes>>20, done.Tensors, done.Dropped)
	}
	return err
}

func (c *convertCommand) safetensors(ctx context.Context, src, dst string) (convert.Result, error) {
	return convert.Write(ctx, src, dst, convert.Options{DType: dtypes[c.options.DType], Prune: c.options.Prune, VAE: c.options.VAE})
}

// gguf gives the engine a copy that holds only what the new file will have,
// whatever the source holds.
func (c *convertCommand) gguf(ctx context.Context, src, dst string) (convert.Result, error) {
	dir, err := os.MkdirTemp(filepath.Dir(dst), ".convert-")
	if err != nil {
		return convert.Result{}, err
	}
	defer os.RemoveAll(dir)
	plain := filepath.Join(dir, "plain.safetensors")
	done, err := convert.Write(ctx, src, plain, convert.Options{Prune: c.options.Prune, VAE: c.options.VAE})
	if err != nil {
		return done, err
	}
	if err := sdcpp.Quantize(ctx, plain, dst, c.options.DType, c.program.logger(&c.log)); err != nil {
		return done, err
	}
	info, err := os.Stat(dst)
	if err == nil {
		done.Bytes = info.Size()
	}
	return done, err
}
