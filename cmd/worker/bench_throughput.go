package main

import (
	"context"
	"fmt"

	"sdworker/internal/bench"
	"sdworker/internal/cli"
)

// benchThroughputOptions are the flags of worker bench throughput.
type benchThroughputOptions struct {
	Sides    []int  `env:"SIDES" envDefault:"64,256" doc:"sides of the pictures in pixels, separated by commas"`
	Clients  []int  `env:"CLIENTS" envDefault:"1,2,4,8" doc:"how many ask at the same time, separated by commas"`
	Steps    int    `env:"STEPS" envDefault:"8" doc:"of a picture"`
	Pictures int    `env:"PICTURES" envDefault:"1" doc:"that each client asks for in a round, one after another"`
	Rounds   int    `env:"ROUNDS" envDefault:"3" doc:"of both ways in turn"`
	Chart    string `env:"CHART" doc:"SVG file that gets a drawing of throughput and latency against clients"`
	JSON     bool   `env:"JSON" doc:"print it as JSON"`
}

func (o *benchThroughputOptions) Validate() []error {
	var errs []error
	for _, side := range o.Sides {
		if side < 8 || side%8 != 0 {
			errs = append(errs, fmt.Errorf("--sides has %d, sides must be multiples of 8", side))
		}
	}
	for _, n := range o.Clients {
		if n < 1 || n > maxBatchJobs {
			errs = append(errs, fmt.Errorf("--clients has %d, it must be 1 to %d", n, maxBatchJobs))
		}
	}
	for name, n := range map[string]int{"--steps": o.Steps, "--pictures": o.Pictures, "--rounds": o.Rounds} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%s is %d, it must be at least 1", name, n))
		}
	}
	return errs
}

var benchThroughputVerb = &verb{
	Name: "throughput", Short: "measure how many pictures several clients get, with and without sharing",
	Long: `Clients ask at the same time, in rounds: once the jobs run one after another, once
they share the steps of the UNet as under serve. Figures: pictures a second of the
best round, latency of all jobs and of the first one, and how the ways compare,
round by round.`,
	Examples: []string{"worker bench throughput --model model.safetensors"},
	New:      func() cli.Command[*program] { return new(benchThroughputCommand) },
}

// benchThroughputCommand is one run of worker bench throughput.
type benchThroughputCommand struct {
	options benchThroughputOptions
	common  common
}

// Settings are those of the command.
func (c *benchThroughputCommand) Settings() []cli.Settings {
	return append([]cli.Settings{{Title: "Measurement:", Target: &c.options}}, c.common.settings()...)
}

// Run measures the throughput.
func (c *benchThroughputCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	checkpoint, err := c.common.checkpoint(p)
	if err != nil {
		return err
	}
	r, err := bench.Throughput(ctx, bench.ThroughputOptions{
		Checkpoint: checkpoint, Open: p.opener(&c.common, p.logger(&c.common.log)), CallCells: c.common.engine.callCells(gpuMemory),
		Sides: c.options.Sides, Clients: c.options.Clients, Steps: c.options.Steps, Pictures: c.options.Pictures, Rounds: c.options.Rounds,
		Progress: p.Err,
	})
	if err != nil {
		return err
	}
	if err := writeChart(c.options.Chart, r.Curves()); err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, r.Machine)
	fmt.Fprintf(p.Out, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	fmt.Fprintf(p.Out, "%-9s %7s  %-10s %11s %9s %9s %9s %9s\n", fmt.Sprintf("%d steps", r.Steps), "clients", "", "pictures/s", "p50 s", "p95 s", "first s", "rows/call")
	for _, l := range r.Loads {
		for _, line := range []struct {
			name string
			flow bench.Flow
		}{{"in turn", l.InTurn}, {"shared", l.Shared}} {
			f := line.flow
			fmt.Fprintf(p.Out, "%-9s %7d  %-10s %11.3f %9.3f %9.3f %9.3f %9.1f\n", fmt.Sprintf("%dx%d", l.Side, l.Side), l.Clients, line.name, f.PerSecond, f.P50, f.P95, f.First, f.RowsPerCall)
		}
		fmt.Fprintf(p.Out, "%-17s  %-10s %.2f times the pictures (%.2f to %.2f), the first job takes %.2f times as long (%.2f to %.2f)\n", "", "ratio",
			l.Speedup.Median, l.Speedup.Min, l.Speedup.Max, l.FirstCost.Median, l.FirstCost.Min, l.FirstCost.Max)
	}
	return nil
}
