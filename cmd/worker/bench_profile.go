package main

import (
	"context"
	"fmt"
	"io"

	"sdworker/inference"
	"sdworker/internal/bench"
)

// profile tells where the time goes.
func (c *benchCommand) profile(ctx context.Context, p *program, checkpoint string) error {
	r, err := bench.Profile(ctx, bench.ProfileOptions{
		Checkpoint: checkpoint, Open: p.opener(&c.common, p.logger(&c.common.log)), Sides: c.options.Sides, Batch: c.options.Batch, Progress: p.Err,
	})
	if err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, r.Machine)
	fmt.Fprintf(p.Out, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	if r.Peak > 0 {
		fmt.Fprintf(p.Out, "peak            %.0f GFLOP/s in f32\n", r.Peak/1e9)
	}
	for _, n := range r.Networks {
		printNetworkProfile(p.Out, n, r.Peak)
	}
	return nil
}

// printNetworkProfile prints the kinds of operations, and below each the shapes that
// matter. peak is what the processor can do at most, 0 if that is not known.
func printNetworkProfile(w io.Writer, n bench.NetworkProfile, peak float64) {
	total := 0.0
	for _, k := range n.Kinds {
		total += k.Seconds
	}
	fmt.Fprintf(w, "\n%-62s %5s %9s %6s %9s %8s %8s\n", fmt.Sprintf("%s, %dx%d: %.3f s", n.Name, n.Width, n.Height, total),
		"calls", "s", "share", "CPU s", "GFLOP/s", "of peak")
	line := func(name string, op inference.Operation) {
		fmt.Fprintf(w, "%-62s %5d %9.4f %5.1f%% %9.4f", name, op.Calls, op.Seconds, 100*op.Seconds/total, op.CPU)
		if op.FLOPs > 0 {
			rate := op.FLOPs / op.Seconds
			fmt.Fprintf(w, " %8.1f", rate/1e9)
			if peak > 0 {
				fmt.Fprintf(w, " %7.0f%%", 100*rate/peak)
			}
		}
		fmt.Fprintln(w)
	}
	for _, k := range n.Kinds {
		line(k.Kind, k)
		for _, op := range n.Operations {
			if op.Kind == k.Kind && op.Seconds > total/100 {
				line("    "+op.Shape, op)
			}
		}
	}
}
