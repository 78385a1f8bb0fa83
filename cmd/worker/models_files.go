package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/models"
	"sdworker/models/demo"
	"sdworker/models/synth"
)

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
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
		var errs []error
		for _, path := range c.args {
			info, err := models.Inspect(path)
			if err == nil {
				err = p.printInfo(info, o)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	},
}

// fileInfo is what models info --json prints of a file.
type fileInfo struct {
	*models.Info
	Tensors    []formats.Tensor `json:",omitempty"` // when asked for
	Components []models.Component
	Training   *models.Training `json:",omitempty"` // of a LoRA
	Usable     bool
	Problem    string `json:",omitempty"` // why it is not usable
}

func newFileInfo(info *models.Info, o infoOptions) *fileInfo {
	out := &fileInfo{Info: info, Components: info.Components(), Usable: true}
	if err := info.Usable(models.CheckOptions{AllowPickle: true}); err != nil {
		out.Usable, out.Problem = false, fault.Message(err)
	}
	if o.Tensors {
		out.Tensors = info.Tensors
	}
	if info.Kind == models.LoRA {
		t := info.Training()
		out.Training = &t
	}
	return out
}

func (p *program) printInfo(info *models.Info, o infoOptions) error {
	all := newFileInfo(info, o)
	if o.JSON {
		return printJSON(p.out, all)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(p.out, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("file", "%s", printable(info.Path))
	line("holds", "%s, %s, %s", info.Kind, info.Arch, info.Format)
	line("size", "%d bytes, %d tensors, %d values, mostly %s", info.Bytes, len(info.Tensors), info.Values, info.DType)
	if info.Kind == models.Checkpoint {
		for _, c := range all.Components {
			line("part", "%s: %d tensors, %d values", c.Name, c.Tensors, c.Values)
		}
	}
	if info.VPrediction {
		line("predicts", "v")
	}
	if info.ZeroTerminalSNR {
		line("trained", "with zero terminal SNR")
	}
	if info.Kind == models.Checkpoint && !info.HasVAE() {
		line("needs", "a VAE, which it has none of: option sd_vae, or one beside it")
	}
	if info.Synthetic() {
		line("made by", "worker models synth: random values")
	}
	if info.Demo() {
		line("made by", "worker models synth: the demo model, a toy that draws cartoons")
	}
	if all.Usable {
		line("usable", "yes")
	} else {
		line("usable", "no: %s", printable(all.Problem))
	}
	if all.Training != nil {
		printTraining(line, all.Training)
	}
	for _, key := range slices.Sorted(maps.Keys(info.Metadata)) {
		line("metadata", "%s = %s", printable(key), printable(shortened(info.Metadata[key])))
	}
	for _, t := range all.Tensors {
		line("tensor", "%s %s %v", printable(t.Name), t.DType, t.Shape)
	}
	return nil
}

// printTraining prints the hints that a LoRA gives.
func printTraining(line func(name, format string, args ...any), t *models.Training) {
	if t.Rank > 0 {
		line("rank", "%d", t.Rank)
	}
	if t.Alpha > 0 {
		line("alpha", "%g", t.Alpha)
	}
	var changes []string
	if t.UNetPart {
		changes = append(changes, "unet")
	}
	if t.TextPart {
		changes = append(changes, "text encoder")
	}
	line("changes", "%s", strings.Join(changes, ", "))
	for _, hint := range []struct{ name, value string }{
		{"base", t.BaseModel}, {"trained", t.Resolution}, {"pictures", t.Images}, {"epochs", t.Epochs},
	} {
		if hint.value != "" {
			line(hint.name, "%s", printable(hint.value))
		}
	}
	var tags []string
	for _, tag := range t.Tags {
		tags = append(tags, fmt.Sprintf("%s (%d)", printable(tag.Text), tag.Count))
	}
	if tags != nil {
		line("tags", "%s", strings.Join(tags, ", "))
	}
}

// shortened cuts a long text off for a line of the terminal.
func shortened(s string) string {
	const most = 100
	runes := []rune(strings.ReplaceAll(s, "\n", " "))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most]) + "..."
}

// printable quotes a text from a file or a file's name that could do something to
// a terminal or to the lines of a list.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}

// verifyOptions are the flags of worker models verify.
type verifyOptions struct {
	SHA256 string `env:"SHA256" doc:"digest that the file must have"`
}

func (o *verifyOptions) validate() []error {
	o.SHA256 = strings.ToLower(o.SHA256)
	return digestErrors(o.SHA256)
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
		for _, kind := range models.Kinds() {
			for _, f := range catalog.List(kind) {
				if !f.Picture() {
					paths = append(paths, f.Path)
				}
			}
		}
	}
	bad := 0
	for _, path := range paths {
		verdict, err := m.verifyOne(ctx, path, o)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			bad++
			verdict = "bad  " + printable(fault.Message(err)) // which names the file
		}
		fmt.Fprintln(p.out, verdict)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files cannot be used", bad, len(paths))
	}
	return nil
}

// verifyOne reads a whole file and returns the line that says that it is good.
func (m *modelsCommand) verifyOne(ctx context.Context, path string, o verifyOptions) (string, error) {
	r, err := models.Verify(ctx, path, o.SHA256)
	if err != nil {
		return "", err
	}
	if err := r.Info.Usable(models.CheckOptions{AllowPickle: m.models.AllowPickle}); err != nil {
		return "", err
	}
	line := fmt.Sprintf("ok   %s  %s", r.SHA256, printable(path))
	if r.Bad > 0 {
		line += fmt.Sprintf("  (%d values are not finite, the first in %s)", r.Bad, printable(r.FirstBad))
	}
	return line, nil
}

// synthOptions are the flags of worker models synth.
type synthOptions struct {
	Size  string `env:"SIZE" doc:"of random values: tiny or full (default tiny)"`
	Kind  string `env:"KIND" envDefault:"checkpoint" doc:"of random values: checkpoint, inpainting, lora, lora-diffusers, vae, taesd, esrgan, controlnet or embedding; of the model that draws cartoons: demo, demo-embedding, demo-lora, demo-controlnet, or demo-family for a models folder with all of them"`
	Seed  uint64 `env:"SEED" doc:"of random values (default 0)"`
	Quiet bool   `env:"QUIET" doc:"print nothing"`
}

// demoFamily as a kind is a folder with every kind of package demo.
const demoFamily = "demo-family"

var modelsSynthVerb = &verb{
	name: "synth", args: "FILE", short: "write a model file: random values, for tests and benchmarks, or the demo model",
	long: `Examples: worker models synth --size full random.safetensors
          worker models synth --kind demo demo.safetensors
          worker models synth --kind demo-family models`,
	settings: func() []settings { return []settings{{title: "File:", target: new(synthOptions)}} },
	run: func(ctx context.Context, p *program, c *call) error {
		var o synthOptions
		if err := c.load(p.environ, settings{target: &o}); err != nil {
			return err
		}
		if len(c.args) != 1 {
			return usagef("one file must be named, %d are", len(c.args))
		}
		if _, seed := c.given["SEED"]; o.demo() && (seed || o.Size != "") {
			return usagef("--kind %s has neither --size nor --seed: there is one demo model", o.Kind)
		}
		return o.write(ctx, p, c.args[0])
	},
}

func (o *synthOptions) demo() bool {
	return o.Kind == demoFamily || slices.Contains(demo.Kinds(), demo.Kind(o.Kind))
}

func (o *synthOptions) validate() []error {
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
		fmt.Fprintf(p.err, "wrote %s in %s: %s\n", path, time.Since(began).Round(time.Millisecond), what)
	}
	return err
}
