package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"

	"sdworker/internal/bench"
)

// peersProgram runs the networks in another framework, which is its argument.
const peersProgram = "scripts/bench-peers"

var peersFrameworks = []string{"pytorch", "openvino"}

// peers compares the engine with other programs.
func (c *benchCommand) peers(ctx context.Context, p *program, checkpoint string) error {
	threads := c.common.engine.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	options := bench.PeersOptions{
		Checkpoint: checkpoint, Open: p.opener(&c.common, p.logger(&c.common.log)), Sides: c.options.Sides, Rounds: c.options.Rounds, Progress: p.Err,
	}
	for _, framework := range peersFrameworks {
		options.Commands = append(options.Commands, []string{peersProgram, framework, "--threads", strconv.Itoa(threads)})
	}
	before, err := earlier[bench.PeersReport](c.options.Before)
	if err != nil {
		return err
	}
	r, err := bench.Peers(ctx, options)
	if err != nil {
		return err
	}
	if err := writeChart(c.options.Chart, r.Chart(before)); err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printPeersReport(p.Out, r)
	return nil
}

func printPeersReport(w io.Writer, r *bench.PeersReport) {
	printMachine(w, r.Machine)
	fmt.Fprintf(w, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	for _, peer := range r.Peers {
		fmt.Fprintf(w, "%-15s %s, %s\n", peer.Name, peer.Version, peer.Notes)
	}
	fmt.Fprintf(w, "\n%-38s %22s", "shortest of the runs, processor time", "this program")
	for _, peer := range r.Peers {
		fmt.Fprintf(w, " %30s", peer.Name)
	}
	fmt.Fprintln(w)
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%-38s %9.3f s, %8.3f s", fmt.Sprintf("%s, %dx%d", row.Name, row.Width, row.Height), row.Own.Seconds.Min, row.Own.CPU)
		for _, f := range row.Peers {
			fmt.Fprintf(w, " %9.3f s, %8.3f s, %5.2fx", f.Seconds.Min, f.CPU, f.Ratio)
		}
		fmt.Fprintln(w)
	}
}
