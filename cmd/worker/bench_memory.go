package main

import (
	"context"
	"fmt"
	"io"

	"sdworker/inference"
	"sdworker/inference/footprint"
	"sdworker/internal/cli"
	"sdworker/sd1"
)

// benchMemoryOptions are the flags of worker bench memory.
type benchMemoryOptions struct {
	GPU      bool  `env:"GPU" doc:"of a GPU, whose VAE keeps a matrix of all pairs of cells"`
	Sides    []int `env:"SIDES" envDefault:"512,768,1024,2048" doc:"of square pictures, pixels"`
	Batches  []int `env:"BATCHES" envDefault:"1,4,8" doc:"pictures at the same time"`
	Controls int   `env:"CONTROLS" envDefault:"1" doc:"ControlNets in the column that has some"`
}

func (o *benchMemoryOptions) Validate() []error {
	var errs []error
	for _, n := range o.Sides {
		if n < sd1.LatentScale || n > inference.MaxSide || n%sd1.LatentScale != 0 {
			errs = append(errs, fmt.Errorf("--sides has %d, it must be a multiple of %d up to %d", n, sd1.LatentScale, inference.MaxSide))
		}
	}
	for _, n := range o.Batches {
		if n < 1 || n > inference.MaxImages {
			errs = append(errs, fmt.Errorf("--batches has %d, it must be 1 to %d", n, inference.MaxImages))
		}
	}
	if o.Controls < 1 || o.Controls > inference.MaxControlUnits {
		errs = append(errs, fmt.Errorf("--controls is %d, it must be 1 to %d", o.Controls, inference.MaxControlUnits))
	}
	return errs
}

var benchMemoryVerb = &verb{
	Name: "memory", Short: "print how much memory pictures take, by size and number",
	Long: `The figures are those by which the program itself foretells memory: what the
networks need for a call beside the weights, with guidance and a prompt of 75 tokens.`,
	Examples: []string{"worker bench memory", "worker bench memory --gpu --sides 512,640 --batches 1,2"},
	New:      func() cli.Command[*program] { return new(benchMemoryCommand) },
}

// benchMemoryCommand is one run of worker bench memory.
type benchMemoryCommand struct{ options benchMemoryOptions }

// Settings are those of the command.
func (c *benchMemoryCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Pictures:", Target: &c.options}}
}

// Run prints the table.
func (c *benchMemoryCommand) Run(_ context.Context, p *program, _ *cli.Call) error {
	c.options.table(p.Out)
	return nil
}

// table is Markdown, for docs/resources.md.
func (o *benchMemoryOptions) table(w io.Writer) {
	n := footprint.Networks{Pairs: o.GPU}
	fmt.Fprintf(w, "| picture | at a time | sampling, MiB | with %d ControlNet, MiB | decode in one piece, MiB | encode (img2img), MiB |\n|---|---|---|---|---|---|\n", o.Controls)
	for _, side := range o.Sides {
		cells := side / sd1.LatentScale
		for _, batch := range o.Batches {
			unet := func(controls int) int64 {
				return n.UNet(2*batch, cells, cells, sd1.ChunkTokens, controls, 0) + footprint.Scratch
			}
			fmt.Fprintf(w, "| %dx%d | %d | %d | %d | %d | %d |\n", side, side, batch,
				unet(0)>>20, unet(o.Controls)>>20, (n.Decode(cells, cells)+footprint.Scratch)>>20, (n.Encode(cells, cells)+footprint.Scratch)>>20)
		}
	}
}
