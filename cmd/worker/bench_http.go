package main

import (
	"context"
	"fmt"
	"slices"

	"sdworker/internal/bench"
	"sdworker/internal/cli"
)

// benchHTTPOptions are the flags of worker bench http.
type benchHTTPOptions struct {
	Requests int  `env:"REQUESTS" envDefault:"200" doc:"for each figure"`
	Small    int  `env:"SMALL_REQUESTS" envDefault:"10000" doc:"small requests between two looks at memory"`
	Width    int  `env:"WIDTH" envDefault:"512" doc:"of the pictures, pixels"`
	Height   int  `env:"HEIGHT" envDefault:"512" doc:"of the pictures, pixels"`
	JSON     bool `env:"JSON" doc:"print it as JSON"`
}

func (o *benchHTTPOptions) Validate() []error {
	if least := slices.Max(bench.HTTPClients); o.Requests < least {
		return []error{fmt.Errorf("--requests is %d, it must be at least %d", o.Requests, least)}
	}
	return nil
}

var benchHTTPVerb = &verb{
	Name: "http", Short: "measure what the HTTP API costs when pictures cost nothing",
	Examples: []string{"worker bench http"},
	New:      func() cli.Command[*program] { return new(benchHTTPCommand) },
}

// benchHTTPCommand is one run of worker bench http.
type benchHTTPCommand struct {
	options benchHTTPOptions
}

// Settings are those of the command.
func (c *benchHTTPCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Measurement:", Target: &c.options}}
}

// Run measures the HTTP API.
func (c *benchHTTPCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	r, err := bench.HTTP(ctx, bench.HTTPOptions{Width: c.options.Width, Height: c.options.Height, Requests: c.options.Requests, Small: c.options.Small})
	if err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printMachine(p.Out, r.Machine)
	fmt.Fprintf(p.Out, "%-15s %.2f ms for %dx%d\n", "PNG encoding", r.PNG, r.Width, r.Height)
	for _, l := range r.Loads {
		fmt.Fprintf(p.Out, "%-15s %.2f ms a request of 64x64, %.2f ms of %dx%d, PNG included\n", fmt.Sprintf("%d client(s)", l.Clients), l.Small, l.Picture, r.Width, r.Height)
	}
	fmt.Fprintf(p.Out, "%-15s %.3f ms\n", "GET progress", r.Progress)
	fmt.Fprintf(p.Out, "%-15s %d KiB, %d KiB after %d requests more\n", "heap", r.Small.Before, r.Small.After, r.Small.Requests)
	return nil
}
