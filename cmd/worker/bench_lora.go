package main

import (
	"context"
	"fmt"
	"time"

	"sdworker/internal/bench"
	"sdworker/internal/cli"
	"sdworker/models"
)

// benchLoRAOptions are the flags of worker bench lora.
type benchLoRAOptions struct {
	Rank   int64         `env:"RANK" envDefault:"128" doc:"of the factors"`
	Budget time.Duration `env:"BUDGET" envDefault:"3s" doc:"time for each kind, roughly"`
	Kind   string        `env:"KIND" doc:"only the kinds whose names begin so, such as DoRA; empty = all"`
	Folder string        `env:"FOLDER" doc:"where the adapter files are kept, to be measured by other programs; empty = nowhere"`
	JSON   bool          `env:"JSON" doc:"print it as JSON"`
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
removes them. Figures are seconds with the files in the page cache; reading the
file alone is measured beside them.`,
	New: func() cli.Command[*program] { return new(benchLoRACommand) },
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
		Checkpoint: checkpoint, Width: width, Open: p.opener(&c.common, p.logger(&c.common.log)), Rank: c.options.Rank, Budget: c.options.Budget, Kind: c.options.Kind, Folder: c.options.Folder, Progress: p.Err,
	})
	if err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, r.Machine)
	fmt.Fprintf(p.Out, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	fmt.Fprintf(p.Out, "%-24s %6s %6s  %8s %8s %8s %8s  %8s %10s\n", fmt.Sprintf("rank %d", r.Rank), "layers", "MiB", "read s", "apply s", "change s", "remove s", "CPU read", "CPU change")
	for _, k := range r.Kinds {
		fmt.Fprintf(p.Out, "%-24s %6d %6d  %8.3f %8.3f %8.3f %8.3f  %8.3f %10.3f\n", k.Kind, k.Layers, k.Bytes>>20, k.Read.Min, k.Apply.Min, k.Change.Min, k.Remove.Min, k.ReadCPU.Min, k.ChangeCPU.Min)
	}
	return nil
}
