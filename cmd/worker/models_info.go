package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/internal/cli"
	"sdworker/models"
)

// infoOptions are the flags of worker models info.
type infoOptions struct {
	Tensors bool `env:"TENSORS" doc:"list the tensors, too"`
	JSON    bool `env:"JSON" doc:"print it as JSON"`
}

var modelsInfoVerb = &verb{
	Name: "info", Args: "FILE ...", Short: "tell what model files hold, from their headers",
	Examples: []string{"worker models info model.safetensors"},
	New:      func() cli.Command[*program] { return new(infoCommand) },
}

// infoCommand is one run of worker models info.
type infoCommand struct {
	options infoOptions
}

// Settings are those of the command.
func (c *infoCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Output:", Target: &c.options}}
}

// Run prints what the files hold.
func (c *infoCommand) Run(_ context.Context, p *program, call *cli.Call) error {
	if len(call.Args) == 0 {
		return cli.Usagef("no file is named")
	}
	var errs []error
	for _, path := range call.Args {
		info, err := models.Inspect(path)
		if err == nil {
			err = p.printInfo(info, c.options)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
		return printJSON(p.Out, all)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(p.Out, "%-9s %s\n", name, fmt.Sprintf(format, args...))
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
