package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sdworker/models"
	"sdworker/models/synth"
)

func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// infoOptions are the flags of worker models info.
type infoOptions struct {
	Tensors bool `env:"TENSORS" doc:"list the tensors, too"`
	JSON    bool `env:"JSON" doc:"print it as JSON"`
}

var modelsInfoVerb = &verb{
	name: "info", args: "FILE ...", short: "tell what model files hold, from their headers",
	settings: func() []settings { return []settings{{title: "Output:", target: new(infoOptions)}} },
	run: func(_ context.Context, p *program, c *call) error {
		var o infoOptions
		if err := c.load(p.environ, settings{target: &o}); err != nil {
			return err
		}
		if len(c.args) == 0 {
			return usagef("no file is named")
		}
		for _, path := range c.args {
			info, err := models.Inspect(path)
			if err != nil {
				return err
			}
			if err := p.printInfo(info, o); err != nil {
				return err
			}
		}
		return nil
	},
}

func (p *program) printInfo(info *models.Info, o infoOptions) error {
	if o.JSON {
		shown := *info
		if !o.Tensors {
			shown.Tensors = nil
		}
		return p.printJSON(shown)
	}
	fmt.Fprintf(p.out, "file      %s\n", info.Path)
	fmt.Fprintf(p.out, "holds     %s, %s, %s\n", info.Kind, info.Arch, info.Format)
	fmt.Fprintf(p.out, "size      %d bytes, %d tensors, %d values, mostly %s\n", info.Bytes, len(info.Tensors), info.Values, info.DType)
	if info.VPrediction {
		fmt.Fprintln(p.out, "predicts  v")
	}
	if verdict := info.Fits(info.Kind, models.CheckOptions{AllowPickle: true}); verdict != nil {
		fmt.Fprintf(p.out, "usable    no: %v\n", verdict)
	} else {
		fmt.Fprintln(p.out, "usable    yes")
	}
	for _, key := range slices.Sorted(maps.Keys(info.Metadata)) {
		value := info.Metadata[key]
		if len(value) > 100 {
			value = value[:100] + "..."
		}
		fmt.Fprintf(p.out, "metadata  %s = %s\n", key, strings.ReplaceAll(value, "\n", " "))
	}
	if o.Tensors {
		for _, t := range info.Tensors {
			fmt.Fprintf(p.out, "tensor    %s %s %v\n", t.Name, t.DType, t.Shape)
		}
	}
	return nil
}

// verifyOptions are the flags of worker models verify.
type verifyOptions struct {
	SHA256 string `env:"SHA256" doc:"digest that the file must have"`
}

var modelsVerifyVerb = &verb{
	name: "verify", args: "[FILE ...]", short: "check that model files are whole and fit, and print their digests",
	long: "Without a FILE all files of the model folders are checked.",
	settings: func() []settings {
		return append([]settings{{title: "Digest:", target: new(verifyOptions)}}, new(modelsCommand).settings()...)
	},
	run: func(ctx context.Context, p *program, c *call) error {
		var m modelsCommand
		var o verifyOptions
		if err := c.load(p.environ, append([]settings{{target: &o}}, m.settings()...)...); err != nil {
			return err
		}
		return m.verify(ctx, p, o, c.args)
	},
}

func (m *modelsCommand) verify(ctx context.Context, p *program, o verifyOptions, paths []string) error {
	if o.SHA256 != "" && len(paths) != 1 {
		return usagef("--sha256 is for one file, %d are named", len(paths))
	}
	if len(paths) == 0 {
		catalog := m.catalog(p)
		for _, kind := range kinds {
			for _, f := range catalog.List(kind) {
				paths = append(paths, f.Path)
			}
		}
	}
	bad := 0
	for _, path := range paths {
		digest, err := m.verifyOne(ctx, path, o)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			bad++
			fmt.Fprintf(p.out, "bad  %s: %v\n", path, err)
			continue
		}
		fmt.Fprintf(p.out, "ok   %s  %s\n", digest, path)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files cannot be used", bad, len(paths))
	}
	return nil
}

func (m *modelsCommand) verifyOne(ctx context.Context, path string, o verifyOptions) (digest string, err error) {
	info, err := models.Inspect(path)
	if err != nil {
		return "", err
	}
	if err := info.Fits(info.Kind, models.CheckOptions{AllowPickle: m.models.AllowPickle}); err != nil {
		return "", err
	}
	digest, err = models.Digest(ctx, path)
	if err == nil && o.SHA256 != "" && !strings.EqualFold(digest, o.SHA256) {
		err = fmt.Errorf("the sha256 is %s, wanted %s: fetch the file again", digest, o.SHA256)
	}
	return digest, err
}

// synthOptions are the flags of worker models synth.
type synthOptions struct {
	Size  string `env:"SIZE" envDefault:"tiny" doc:"tiny or full"`
	Kind  string `env:"KIND" envDefault:"checkpoint" doc:"checkpoint, inpainting, lora, lora-diffusers, vae, taesd, esrgan, controlnet or embedding"`
	Seed  uint64 `env:"SEED" envDefault:"0" doc:"of the random values"`
	Quiet bool   `env:"QUIET" doc:"print nothing"`
}

var modelsSynthVerb = &verb{
	name: "synth", args: "FILE", short: "write a model file of random values, for tests and benchmarks",
	settings: func() []settings { return []settings{{title: "File:", target: new(synthOptions)}} },
	run: func(ctx context.Context, p *program, c *call) error {
		var o synthOptions
		if err := c.load(p.environ, settings{target: &o}); err != nil {
			return err
		}
		if len(c.args) != 1 {
			return usagef("one file must be named, %d are", len(c.args))
		}
		return o.write(ctx, p, c.args[0])
	},
}

func (o *synthOptions) validate() []error {
	var errs []error
	if o.Size != string(synth.Tiny) && o.Size != string(synth.Full) {
		errs = append(errs, fmt.Errorf("--size %q is neither tiny nor full", o.Size))
	}
	if !slices.Contains(synth.Kinds(), synth.Kind(o.Kind)) {
		errs = append(errs, fmt.Errorf("--kind %q is none of %v", o.Kind, synth.Kinds()))
	}
	return errs
}

func (o *synthOptions) write(ctx context.Context, p *program, path string) error {
	began := time.Now()
	err := synth.Write(ctx, path, synth.Options{Kind: synth.Kind(o.Kind), Size: synth.Size(o.Size), Seed: o.Seed})
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if err == nil && !o.Quiet {
		fmt.Fprintf(p.err, "wrote %s in %s: random values, pictures made with it are abstract\n", path, time.Since(began).Round(time.Millisecond))
	}
	return err
}
