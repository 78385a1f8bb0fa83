package main

import (
	"context"
	"fmt"
	"strings"

	"sdworker/fault"
	"sdworker/internal/cli"
	"sdworker/models"
)

// verifyOptions are the flags of worker models verify.
type verifyOptions struct {
	SHA256 string `env:"SHA256" doc:"digest that the file must have"`
}

func (o *verifyOptions) Validate() []error {
	o.SHA256 = strings.ToLower(o.SHA256)
	return digestErrors(o.SHA256)
}

var modelsVerifyVerb = &verb{
	Name: "verify", Args: "[FILE ...]", Short: "check that model files are whole and fit, and print their digests",
	Long:     "Without a FILE all files of the model folders are checked.",
	Examples: []string{"worker models verify", "worker models verify model.safetensors"},
	New:      func() cli.Command[*program] { return new(verifyCommand) },
}

// verifyCommand is one run of worker models verify.
type verifyCommand struct {
	options verifyOptions
	modelsCommand
}

// Settings are those of the command.
func (c *verifyCommand) Settings() []cli.Settings {
	return append([]cli.Settings{{Title: "Digest:", Target: &c.options}}, c.settings()...)
}

// Run prints a line for each file.
func (c *verifyCommand) Run(ctx context.Context, p *program, call *cli.Call) error {
	if c.options.SHA256 != "" && len(call.Args) != 1 {
		return cli.Usagef("--sha256 is for one file, %d are named", len(call.Args))
	}
	var files []placed
	for _, path := range call.Args {
		files = append(files, placed{path: path})
	}
	if len(files) == 0 {
		listed := c.catalog(p)
		for _, kind := range models.Kinds() {
			for _, f := range listed.List(kind) {
				if !f.Picture() {
					files = append(files, placed{f.Path, kind})
				}
			}
		}
	}
	bad := 0
	for _, file := range files {
		verdict, err := c.verifyOne(ctx, file)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			bad++
			verdict = "bad  " + printable(fault.Message(err)) // which names the file
		}
		fmt.Fprintln(p.Out, verdict)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files cannot be used", bad, len(files))
	}
	return nil
}

// placed is a file to verify, with the kind that its folder is for, "" for any.
type placed struct {
	path string
	kind models.Kind
}

// verifyOne reads a whole file and returns the line that says that it is good.
func (c *verifyCommand) verifyOne(ctx context.Context, file placed) (string, error) {
	r, err := models.Verify(ctx, file.path, c.options.SHA256)
	if err != nil {
		return "", err
	}
	allowed := models.CheckOptions{AllowPickle: c.models.AllowPickle}
	if file.kind == "" {
		err = r.Info.Usable(allowed)
	} else {
		err = r.Info.Fits(file.kind, allowed)
	}
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("ok   %s  %s", r.SHA256, printable(file.path))
	if r.Bad > 0 {
		line += fmt.Sprintf("  (%d values are not finite, the first in %s)", r.Bad, printable(r.FirstBad))
	}
	if family, ok := models.ForeignVAE(r.SHA256); ok {
		line += "  (the VAE of " + family + ", which paints wrong colours here)"
	}
	return line, nil
}
