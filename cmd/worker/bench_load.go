package main

import (
	"context"
	"fmt"

	"sdworker/internal/bench"
	"sdworker/internal/cli"
)

// reportOptions are the flags of the commands that only print a report.
type reportOptions struct {
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var benchLoadVerb = &verb{
	Name: "load", Short: "compare opening a checkpoint with reading its file",
	Examples: []string{"worker bench load --model model.safetensors"},
	New:      func() cli.Command[*program] { return new(benchLoadCommand) },
}

// benchLoadCommand is one run of worker bench load.
type benchLoadCommand struct {
	options reportOptions
	common  common
}

// Settings are those of the command.
func (c *benchLoadCommand) Settings() []cli.Settings {
	return append([]cli.Settings{{Title: "Output:", Target: &c.options}}, c.common.settings()...)
}

// Run measures opening a checkpoint.
func (c *benchLoadCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	checkpoint, err := c.common.checkpoint(p)
	if err != nil {
		return err
	}
	r, err := bench.Load(ctx, checkpoint, p.opener(&c.common, p.logger(&c.common.log)))
	if err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, r.Machine)
	fmt.Fprintf(p.Out, "%-15s %s, %d MiB\n", "file", r.File, r.Bytes>>20)
	for _, line := range []struct {
		name  string
		times bench.LoadTimes
	}{{"cold cache", r.Cold}, {"warm cache", r.Warm}} {
		t := line.times
		fmt.Fprintf(p.Out, "%-15s read %.3f s (%.2f GB/s), open %.3f s (%.2f GB/s), %.0f %% of the plain read\n",
			line.name, t.Read, t.ReadGBps, t.Open, t.OpenGBps, 100*t.Share)
	}
	return nil
}
