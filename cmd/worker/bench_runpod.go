package main

import (
	"context"
	"fmt"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
	"sdworker/internal/bench"
	"sdworker/internal/cli"
)

// benchRunPodOptions are the flags of worker bench runpod.
type benchRunPodOptions struct {
	Jobs int  `env:"JOBS" envDefault:"200" doc:"in each of the two phases"`
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var benchRunPodVerb = &verb{
	Name: "runpod", Short: "measure what the RunPod worker adds to a job that costs nothing",
	Examples: []string{"worker bench runpod"},
	New:      func() cli.Command[*program] { return new(benchRunPodCommand) },
}

// benchRunPodCommand is one run of worker bench runpod.
type benchRunPodCommand struct {
	options benchRunPodOptions
}

// Settings are those of the command.
func (c *benchRunPodCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Measurement:", Target: &c.options}}
}

// Run measures the RunPod worker.
func (c *benchRunPodCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	echo := func(_ context.Context, job runpod.Job) (any, error) { return job.Input, nil }
	r, err := runpodtest.Measure(ctx, runpodtest.MeasureOptions{Jobs: c.options.Jobs}, func(ctx context.Context, environ map[string]string) error {
		cfg, err := runpod.LoadConfig(environ)
		if err != nil {
			return err
		}
		return runpod.Start(ctx, echo, cfg)
	})
	if err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, bench.ThisMachine())
	fmt.Fprintf(p.Out, "%-20s %.1f ms\n", "start to first take", r.FirstTake)
	for _, line := range []struct {
		name string
		q    runpodtest.Quantiles
	}{{"overhead, idle", r.Idle}, {"overhead, loaded", r.Loaded}, {"idle gap", r.Gap}} {
		fmt.Fprintf(p.Out, "%-20s median %.2f ms, 95%% below %.2f ms, at most %.2f ms\n", line.name, line.q.Median, line.q.P95, line.q.Max)
	}
	fmt.Fprintf(p.Out, "%-20s %.0f jobs/s\n", "throughput", r.JobsPerSecond)
	if r.LongestPause > 0 {
		fmt.Fprintf(p.Out, "%-20s at most %.0f ms, one is due every %.0f ms\n", "pause of heartbeats", r.LongestPause, r.PingInterval)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(p.Out, "%-20s %s\n", "violation", v)
	}
	return nil
}
