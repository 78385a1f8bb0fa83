package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
	"sdworker/inference"
	"sdworker/internal/bench"
	"sdworker/models"
)

// baselineProgram is what make baseline builds: the unpatched engine's own
// generate_image.
const baselineProgram = "third_party/build/baseline/baseline"

// peersProgram runs the networks in another framework, which is its argument.
const peersProgram = "scripts/bench-peers"

var peersFrameworks = []string{"pytorch", "openvino"}

// benchOptions are the flags of worker bench.
type benchOptions struct {
	Width    int           `env:"WIDTH" envDefault:"256" doc:"of the whole picture, pixels"`
	Height   int           `env:"HEIGHT" envDefault:"256" doc:"of the whole picture, pixels"`
	Steps    int           `env:"STEPS" envDefault:"4" doc:"of the whole picture"`
	Batch    int           `env:"BATCH" envDefault:"1" doc:"pictures at the same time"`
	Budget   time.Duration `env:"BUDGET" envDefault:"3s" doc:"time for each figure, roughly"`
	Peers    bool          `env:"PEERS" doc:"compare with PyTorch and OpenVINO instead, by scripts/bench-peers"`
	Sides    []int         `env:"SIDES" envDefault:"256,512" doc:"of the pictures that --peers compares, pixels"`
	Rounds   int           `env:"ROUNDS" envDefault:"3" doc:"of --peers, in each of which every program has its turn"`
	Baseline string        `env:"BASELINE" doc:"program to compare with, without it the one that make baseline builds, if there, none = none"`
	JSON     bool          `env:"JSON" doc:"print it as JSON"`
}

func (o *benchOptions) validate() []error {
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
	name: "bench", short: "measure the engine on this machine",
	long: `Figures: opening the checkpoint, a step with guidance at 64x64 and 256x256, VAE
decode, whole pictures, peak memory. Subcommands measure the rest: bench load,
bench lora, bench http, bench runpod.`,
	verbs: []*verb{benchLoadVerb, benchLoRAVerb, benchHTTPVerb, benchRunPodVerb},
	settings: func() []settings {
		return append([]settings{{title: "Measurement:", target: new(benchOptions)}}, new(common).settings()...)
	},
	run: func(ctx context.Context, p *program, c *call) error {
		var o benchOptions
		var cfg common
		if err := c.load(p.environ, append([]settings{{target: &o}}, cfg.settings()...)...); err != nil {
			return err
		}
		checkpoint, err := cfg.checkpoint(p)
		if err != nil {
			return err
		}
		if o.Peers {
			return benchPeers(ctx, p, &o, checkpoint, p.opener(&cfg, p.logger(&cfg.log)), cfg.engine.Threads)
		}
		r, err := bench.Engine(ctx, bench.EngineOptions{
			Checkpoint: checkpoint, Open: p.opener(&cfg, p.logger(&cfg.log)), Width: o.Width, Height: o.Height,
			Steps: o.Steps, Batch: o.Batch, Budget: o.Budget, Baseline: o.baseline(), Progress: p.err,
		})
		if err != nil {
			return err
		}
		if o.JSON {
			return printJSON(p.out, r)
		}
		printEngineReport(p.out, r)
		return nil
	},
}

// benchPeers compares the engine with other programs.
func benchPeers(ctx context.Context, p *program, o *benchOptions, checkpoint string, open inference.OpenFunc, threads int) error {
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	options := bench.PeersOptions{Checkpoint: checkpoint, Open: open, Sides: o.Sides, Rounds: o.Rounds, Progress: p.err}
	for _, framework := range peersFrameworks {
		options.Commands = append(options.Commands, []string{peersProgram, framework, "--threads", strconv.Itoa(threads)})
	}
	r, err := bench.Peers(ctx, options)
	if err != nil {
		return err
	}
	if o.JSON {
		return printJSON(p.out, r)
	}
	printMachine(p.out, r.Machine)
	fmt.Fprintf(p.out, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
	for _, peer := range r.Peers {
		fmt.Fprintf(p.out, "%-15s %s, %s\n", peer.Name, peer.Version, peer.Notes)
	}
	fmt.Fprintf(p.out, "\n%-38s %22s", "shortest of the runs, processor time", "this program")
	for _, peer := range r.Peers {
		fmt.Fprintf(p.out, " %30s", peer.Name)
	}
	fmt.Fprintln(p.out)
	for _, row := range r.Rows {
		fmt.Fprintf(p.out, "%-38s %9.3f s, %8.3f s", fmt.Sprintf("%s, %dx%d", row.Name, row.Width, row.Height), row.Own.Seconds.Min, row.Own.CPU)
		for _, f := range row.Peers {
			fmt.Fprintf(p.out, " %9.3f s, %8.3f s, %5.2fx", f.Seconds.Min, f.CPU, f.Ratio)
		}
		fmt.Fprintln(p.out)
	}
	return nil
}

// checkpoint is the path of the chosen model.
func (c *common) checkpoint(p *program) (string, error) {
	catalog := models.NewCatalog(c.models.config(p.environ, c.engine.Model))
	if err := catalog.Refresh(); err != nil {
		log := p.logger(&c.log)
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	found, err := catalog.Resolve(c.engine.Model)
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

// reportOptions are the flags of the commands that only print a report.
type reportOptions struct {
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var benchLoadVerb = &verb{
	name: "load", short: "compare opening a checkpoint with reading its file",
	settings: func() []settings {
		return append([]settings{{title: "Output:", target: new(reportOptions)}}, new(common).settings()...)
	},
	run: func(ctx context.Context, p *program, c *call) error {
		var o reportOptions
		var cfg common
		if err := c.load(p.environ, append([]settings{{target: &o}}, cfg.settings()...)...); err != nil {
			return err
		}
		checkpoint, err := cfg.checkpoint(p)
		if err != nil {
			return err
		}
		r, err := bench.Load(ctx, checkpoint, p.opener(&cfg, p.logger(&cfg.log)))
		if err != nil {
			return err
		}
		if o.JSON {
			return printJSON(p.out, r)
		}
		printMachine(p.out, r.Machine)
		fmt.Fprintf(p.out, "%-15s %s, %d MiB\n", "file", r.File, r.Bytes>>20)
		for _, line := range []struct {
			name  string
			times bench.LoadTimes
		}{{"cold cache", r.Cold}, {"warm cache", r.Warm}} {
			t := line.times
			fmt.Fprintf(p.out, "%-15s read %.3f s (%.2f GB/s), open %.3f s (%.2f GB/s), %.0f %% of the plain read\n",
				line.name, t.Read, t.ReadGBps, t.Open, t.OpenGBps, 100*t.Share)
		}
		return nil
	},
}

// benchLoRAOptions are the flags of worker bench lora.
type benchLoRAOptions struct {
	Rank   int64         `env:"RANK" envDefault:"128" doc:"of the factors"`
	Budget time.Duration `env:"BUDGET" envDefault:"3s" doc:"time for each kind, roughly"`
	Kind   string        `env:"KIND" doc:"only the kinds whose names begin so, such as DoRA; empty = all"`
	Folder string        `env:"FOLDER" doc:"where the adapter files are kept, to be measured by other programs; empty = nowhere"`
	JSON   bool          `env:"JSON" doc:"print it as JSON"`
}

func (o *benchLoRAOptions) validate() []error {
	if o.Rank < 1 || o.Rank > 1024 {
		return []error{fmt.Errorf("--rank is %d, it must be 1 to 1024", o.Rank)}
	}
	return nil
}

var benchLoRAVerb = &verb{
	name: "lora", short: "measure applying adapters of every kind to all layers",
	long: `Writes adapters of random values, one of each kind, and applies, changes and
removes them. Figures are seconds with the files in the page cache; reading the
file alone is measured beside them.`,
	settings: func() []settings {
		return append([]settings{{title: "Measurement:", target: new(benchLoRAOptions)}}, new(common).settings()...)
	},
	run: func(ctx context.Context, p *program, c *call) error {
		var o benchLoRAOptions
		var cfg common
		if err := c.load(p.environ, append([]settings{{target: &o}}, cfg.settings()...)...); err != nil {
			return err
		}
		checkpoint, err := cfg.checkpoint(p)
		if err != nil {
			return err
		}
		width, err := models.UNetWidth(checkpoint)
		if err != nil {
			return err
		}
		r, err := bench.LoRA(ctx, bench.LoRAOptions{
			Checkpoint: checkpoint, Width: width, Open: p.opener(&cfg, p.logger(&cfg.log)), Rank: o.Rank, Budget: o.Budget, Kind: o.Kind, Folder: o.Folder, Progress: p.err,
		})
		if err != nil {
			return err
		}
		if o.JSON {
			return printJSON(p.out, r)
		}
		printMachine(p.out, r.Machine)
		fmt.Fprintf(p.out, "engine          %s on %s\n", r.Engine.EngineVersion, r.Engine.Device)
		fmt.Fprintf(p.out, "%-24s %6s %6s  %8s %8s %8s %8s  %8s %10s\n", fmt.Sprintf("rank %d", r.Rank), "layers", "MiB", "read s", "apply s", "change s", "remove s", "CPU read", "CPU change")
		for _, k := range r.Kinds {
			fmt.Fprintf(p.out, "%-24s %6d %6d  %8.3f %8.3f %8.3f %8.3f  %8.3f %10.3f\n", k.Kind, k.Layers, k.Bytes>>20, k.Read.Min, k.Apply.Min, k.Change.Min, k.Remove.Min, k.ReadCPU.Min, k.ChangeCPU.Min)
		}
		return nil
	},
}

// benchHTTPOptions are the flags of worker bench http.
type benchHTTPOptions struct {
	Requests int  `env:"REQUESTS" envDefault:"200" doc:"for each figure"`
	Small    int  `env:"SMALL_REQUESTS" envDefault:"10000" doc:"small requests between two looks at memory"`
	Width    int  `env:"WIDTH" envDefault:"512" doc:"of the pictures, pixels"`
	Height   int  `env:"HEIGHT" envDefault:"512" doc:"of the pictures, pixels"`
	JSON     bool `env:"JSON" doc:"print it as JSON"`
}

func (o *benchHTTPOptions) validate() []error {
	if least := slices.Max(bench.HTTPClients); o.Requests < least {
		return []error{fmt.Errorf("--requests is %d, it must be at least %d", o.Requests, least)}
	}
	return nil
}

var benchHTTPVerb = &verb{
	name: "http", short: "measure what the HTTP API costs when pictures cost nothing",
	settings: func() []settings { return []settings{{title: "Measurement:", target: new(benchHTTPOptions)}} },
	run: func(ctx context.Context, p *program, c *call) error {
		var o benchHTTPOptions
		if err := c.load(p.environ, settings{target: &o}); err != nil {
			return err
		}
		r, err := bench.HTTP(ctx, bench.HTTPOptions{Width: o.Width, Height: o.Height, Requests: o.Requests, Small: o.Small})
		if err != nil {
			return err
		}
		if o.JSON {
			return printJSON(p.out, r)
		}
		printMachine(p.out, r.Machine)
		fmt.Fprintf(p.out, "%-15s %.2f ms for %dx%d\n", "PNG encoding", r.PNG, r.Width, r.Height)
		for _, l := range r.Loads {
			fmt.Fprintf(p.out, "%-15s %.2f ms a request of 64x64, %.2f ms of %dx%d, PNG included\n", fmt.Sprintf("%d client(s)", l.Clients), l.Small, l.Picture, r.Width, r.Height)
		}
		fmt.Fprintf(p.out, "%-15s %.3f ms\n", "GET progress", r.Progress)
		fmt.Fprintf(p.out, "%-15s %d KiB, %d KiB after %d requests more\n", "heap", r.Small.Before, r.Small.After, r.Small.Requests)
		return nil
	},
}

// benchRunPodOptions are the flags of worker bench runpod.
type benchRunPodOptions struct {
	Jobs int  `env:"JOBS" envDefault:"200" doc:"in each of the two phases"`
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var benchRunPodVerb = &verb{
	name: "runpod", short: "measure what the RunPod worker adds to a job that costs nothing",
	settings: func() []settings { return []settings{{title: "Measurement:", target: new(benchRunPodOptions)}} },
	run: func(ctx context.Context, p *program, c *call) error {
		var o benchRunPodOptions
		if err := c.load(p.environ, settings{target: &o}); err != nil {
			return err
		}
		echo := func(_ context.Context, job runpod.Job) (any, error) { return job.Input, nil }
		r, err := runpodtest.Measure(ctx, runpodtest.MeasureOptions{Jobs: o.Jobs}, func(ctx context.Context, environ map[string]string) error {
			cfg, err := runpod.LoadConfig(environ)
			if err != nil {
				return err
			}
			return runpod.Start(ctx, echo, cfg)
		})
		if err != nil {
			return err
		}
		if o.JSON {
			return printJSON(p.out, r)
		}
		printMachine(p.out, bench.ThisMachine())
		fmt.Fprintf(p.out, "%-20s %.1f ms\n", "start to first take", r.FirstTake)
		for _, line := range []struct {
			name string
			q    runpodtest.Quantiles
		}{{"overhead, idle", r.Idle}, {"overhead, loaded", r.Loaded}, {"idle gap", r.Gap}} {
			fmt.Fprintf(p.out, "%-20s median %.2f ms, 95%% below %.2f ms, at most %.2f ms\n", line.name, line.q.Median, line.q.P95, line.q.Max)
		}
		fmt.Fprintf(p.out, "%-20s %.0f jobs/s\n", "throughput", r.JobsPerSecond)
		if r.LongestPause > 0 {
			fmt.Fprintf(p.out, "%-20s at most %.0f ms, one is due every %.0f ms\n", "pause of heartbeats", r.LongestPause, r.PingInterval)
		}
		for _, v := range r.Violations {
			fmt.Fprintf(p.out, "%-20s %s\n", "violation", v)
		}
		return nil
	},
}
