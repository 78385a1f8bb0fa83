package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sdworker/internal/atomicfile"
	"sdworker/internal/bench"
	"sdworker/internal/cli"
	"sdworker/models/catalog"
)

// baselineProgram is what make baseline builds: the unpatched engine's own
// generate_image.
const baselineProgram = "third_party/build/baseline/baseline"

// benchOptions are the flags of worker bench.
type benchOptions struct {
	Width    int           `env:"WIDTH" envDefault:"256" doc:"of the whole picture, pixels"`
	Height   int           `env:"HEIGHT" envDefault:"256" doc:"of the whole picture, pixels"`
	Steps    int           `env:"STEPS" envDefault:"4" doc:"of the whole picture"`
	Batch    int           `env:"BATCH" envDefault:"1" doc:"pictures at the same time, also in a step of --profile"`
	Budget   time.Duration `env:"BUDGET" envDefault:"3s" doc:"time for each figure, roughly"`
	Peers    bool          `env:"PEERS" doc:"compare with PyTorch and OpenVINO instead, by scripts/bench-peers"`
	Profile  bool          `env:"PROFILE" doc:"tell where the time goes instead, by operation"`
	Sides    []int         `env:"SIDES" envDefault:"256,512" doc:"of the pictures of --peers and --profile, pixels"`
	Rounds   int           `env:"ROUNDS" envDefault:"3" doc:"of --peers, in each of which every program has its turn"`
	Baseline string        `env:"BASELINE" doc:"program to compare with; without it the one that make baseline builds, if it exists; none = no comparison"`
	Chart    string        `env:"CHART" doc:"SVG file that gets a drawing of the figures"`
	Before   string        `env:"BEFORE" doc:"what an earlier build printed with --json, for the drawing"`
	JSON     bool          `env:"JSON" doc:"print it as JSON"`
}

func (o *benchOptions) Validate() []error {
	var errs []error
	for name, n := range map[string]int{"--width": o.Width, "--height": o.Height} {
		if n < 8 || n%8 != 0 {
			errs = append(errs, fmt.Errorf("%s is %d, it must be a multiple of 8", name, n))
		}
	}
	for _, n := range o.Sides {
		if n < 64 || n%64 != 0 {
			errs = append(errs, fmt.Errorf("--sides has %d, it must be a multiple of 64", n))
		}
	}
	for name, n := range map[string]int{"--steps": o.Steps, "--batch": o.Batch, "--rounds": o.Rounds} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%s is %d, it must be at least 1", name, n))
		}
	}
	if o.Profile && (o.Peers || o.Chart != "") {
		errs = append(errs, errors.New("--profile goes neither with --peers nor with --chart"))
	}
	if o.Before != "" && o.Chart == "" {
		errs = append(errs, errors.New("--before needs --chart"))
	}
	return errs
}

// baseline is the command of the program to compare with, nil for none.
func (o *benchOptions) baseline() []string {
	switch o.Baseline {
	case "none":
		return nil
	case "":
		if _, err := os.Stat(baselineProgram); err != nil {
			return nil
		}
		return []string{baselineProgram}
	default:
		return []string{o.Baseline}
	}
}

var benchVerb = &verb{
	Name: "bench", Short: "measure the engine on this machine",
	Long: `Figures: opening the checkpoint, a step with guidance at 64x64 and 256x256, VAE
decode, whole pictures, peak memory. With --peers it compares with PyTorch and
OpenVINO, with --profile it tells where the time goes. Subcommands measure the
rest: bench load, bench lora, bench throughput, bench http, bench memory, bench runpod.`,
	Verbs:    []*verb{benchLoadVerb, benchLoRAVerb, benchThroughputVerb, benchHTTPVerb, benchMemoryVerb, benchRunPodVerb},
	Examples: []string{"worker bench --model model.safetensors --steps 2"},
	New:      func() cli.Command[*program] { return new(benchCommand) },
}

// benchCommand is one run of worker bench.
type benchCommand struct {
	options benchOptions
	common  common
}

// Settings are those of the command.
func (c *benchCommand) Settings() []cli.Settings {
	return append([]cli.Settings{{Title: "Measurement:", Target: &c.options}}, c.common.settings()...)
}

// Run measures the engine.
func (c *benchCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	checkpoint, err := c.common.checkpoint(p)
	if err != nil {
		return err
	}
	switch {
	case c.options.Profile:
		return c.profile(ctx, p, checkpoint)
	case c.options.Peers:
		return c.peers(ctx, p, checkpoint)
	}
	before, err := earlier[bench.EngineReport](c.options.Before)
	if err != nil {
		return err
	}
	r, err := bench.Engine(ctx, bench.EngineOptions{
		Checkpoint: checkpoint, Open: p.opener(&c.common, p.logger(&c.common.log)), Width: c.options.Width, Height: c.options.Height,
		Steps: c.options.Steps, Batch: c.options.Batch, Budget: c.options.Budget, Baseline: c.options.baseline(), Progress: p.Err,
	})
	if err != nil {
		return err
	}
	if err := writeChart(c.options.Chart, r.Chart(before)); err != nil {
		return err
	}
	if c.options.JSON {
		return printJSON(p.Out, r)
	}
	printEngineReport(p.Out, r)
	return nil
}

// earlier reads what another build printed as JSON; nil without a file.
func earlier[Report any](path string) (*Report, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s is no report of worker bench --json: %w", path, err)
	}
	return &r, nil
}

// writeChart writes a chart to a file if one was asked for.
func writeChart(path string, chart io.WriterTo) error {
	if path == "" {
		return nil
	}
	var text bytes.Buffer
	if _, err := chart.WriteTo(&text); err != nil {
		return err
	}
	return atomicfile.Write(path, text.Bytes())
}

// checkpoint is the path of the chosen model.
func (c *common) checkpoint(p *program) (string, error) {
	listed := catalog.New(c.models.config(p.Environ, c.engine.Model))
	if err := listed.Refresh(); err != nil {
		log := p.logger(&c.log)
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	found, err := listed.Resolve(c.engine.Model)
	return found.Path, err
}

func printMachine(w io.Writer, m bench.Machine) {
	fmt.Fprintf(w, "machine         %s, %d cores, %d MiB, load %s, %s, %s\n", m.CPU, m.Cores, m.MemoryMiB, m.Load, m.OS, m.Go)
}

func printEngineReport(w io.Writer, r *bench.EngineReport) {
	printMachine(w, r.Machine)
	fmt.Fprintf(w, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	fmt.Fprintf(w, "checkpoint      %s, %d MiB of weights\n", r.Engine.Checkpoint, r.Engine.WeightBytes>>20)
	for _, line := range []struct {
		name   string
		series bench.Series
	}{
		{"open", r.Open},
		{"encode prompt", r.Encode},
		{"CFG step 64", r.Step64},
		{"CFG step 256", r.Step256},
		{"VAE decode 256", r.Decode256},
		{fmt.Sprintf("%d picture(s) of %dx%d, %d steps", r.Picture.Batch, r.Picture.Width, r.Picture.Height, r.Picture.Steps), r.Picture.Series},
	} {
		fmt.Fprintf(w, "%-15s %s\n", line.name, spread(line.series))
	}
	if b := r.Baseline; b != nil {
		fmt.Fprintf(w, "%-15s %s (open %.3f s)\n", "the same, "+b.Command[0], spread(b.Picture), b.Open)
		fmt.Fprintf(w, "%-15s %.2f times as fast\n", "this program", b.Speedup)
	} else {
		fmt.Fprintln(w, "baseline        none: make baseline builds the engine's own pipeline to compare with")
	}
	fmt.Fprintf(w, "peak memory     %d MiB\n", r.PeakMemory>>20)
}

func spread(s bench.Series) string {
	return fmt.Sprintf("%.4f s (%.4f to %.4f, %d runs)", s.Median, s.Min, s.Max, s.Runs)
}
