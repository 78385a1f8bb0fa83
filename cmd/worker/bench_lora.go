package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"sdworker/internal/bench"
	"sdworker/internal/cli"
	"sdworker/models"
)

// benchLoRAOptions are the flags of worker bench lora.
type benchLoRAOptions struct {
	Rank    int64         `env:"RANK" envDefault:"128" doc:"of the factors"`
	Budget  time.Duration `env:"BUDGET" envDefault:"3s" doc:"time for each kind, roughly"`
	Kind    string        `env:"KIND" doc:"only the kinds whose names begin so, such as DoRA; empty = all"`
	Compare string        `env:"COMPARE" doc:"another build of this program, measured in turn; empty = none"`
	Folder  string        `env:"FOLDER" doc:"where the adapter files are kept, to be measured by other programs; empty = nowhere"`
	JSON    bool          `env:"JSON" doc:"print it as JSON"`
}

func (o *benchLoRAOptions) Validate() []error {
	if o.Rank < 1 || o.Rank > 1024 {
		return []error{fmt.Errorf("--rank is %d, it must be 1 to 1024", o.Rank)}
	}
	return nil
}

var benchLoRAVerb = &verb{
	Name: "lora", Short: "measure applying adapters of every kind to all layers",
	Long: `Writes adapters of random values, one of each kind, and applies, changes and
removes them. Figures are seconds with the files in the page cache, the smallest
of several; reading the file alone is measured beside them. The bound is the time
that the products of a kind's formula take at the speed of the engine's innermost
loop. CPU is the time of all cores together, which other programs on the machine
disturb less.`,
	Examples: []string{"worker bench lora --model model.safetensors"},
	New:      func() cli.Command[*program] { return new(benchLoRACommand) },
}

// benchLoRACommand is one run of worker bench lora.
type benchLoRACommand struct {
	options benchLoRAOptions
	common  common
}

// Settings are those of the command.
func (c *benchLoRACommand) Settings() []cli.Settings {
	return append([]cli.Settings{{Title: "Measurement:", Target: &c.options}}, c.common.settings()...)
}

// Run measures adapters of every kind.
func (c *benchLoRACommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	checkpoint, err := c.common.checkpoint(p)
	if err != nil {
		return err
	}
	width, err := models.UNetWidth(checkpoint)
	if err != nil {
		return err
	}
	r, err := bench.LoRA(ctx, bench.LoRAOptions{
		Checkpoint: checkpoint, Width: width, Open: p.opener(&c.common, p.logger(&c.common.log)), Rank: c.options.Rank, Budget: c.options.Budget, Kind: c.options.Kind, Folder: c.options.Folder, Compare: c.options.Compare, Progress: p.Err,
	})
	if err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, r.Machine)
	fmt.Fprintf(p.Out, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	printLoRATimes(p.Out, r)
	return nil
}

func printLoRATimes(w io.Writer, r *bench.LoRAReport) {
	fmt.Fprintf(w, "%-24s %6s %5s %7s %7s %7s %7s %7s %8s %10s", fmt.Sprintf("rank %d", r.Rank), "layers", "MiB", "read s", "apply s", "change", "remove", "bound", "CPU read", "CPU change")
	others := slices.ContainsFunc(r.Kinds, func(k bench.LoRATimes) bool { return k.Other != nil })
	if others {
		fmt.Fprintf(w, "  %11s %7s %10s %6s", "other apply", "change", "CPU change", "ratio")
	}
	fmt.Fprintln(w)
	for _, k := range r.Kinds {
		bound := 0.0
		if r.Speed > 0 {
			bound = k.Products / r.Speed
		}
		fmt.Fprintf(w, "%-24s %6d %5d %7.3f %7.3f %7.3f %7.3f %7.3f %8.3f %10.3f", k.Kind, k.Layers, k.Bytes>>20, k.Read.Min, k.Apply.Min, k.Change.Min, k.Remove.Min, bound, k.ReadCPU.Min, k.ChangeCPU.Min)
		if o := k.Other; o != nil {
			fmt.Fprintf(w, "  %11.3f %7.3f %10.3f %6.2f", o.Apply.Min, o.Change.Min, o.ChangeCPU.Min, o.Change.Min/k.Change.Min)
		}
		fmt.Fprintln(w)
	}
	if len(r.Kinds) > 0 {
		fmt.Fprintf(w, "the first application since the checkpoint was opened: %.3f s\n", r.Kinds[0].First)
	}
}
