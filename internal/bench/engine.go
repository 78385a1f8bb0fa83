package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"sdworker/inference"
)

// EngineOptions say what is measured. Zero values mean the defaults named here.
type EngineOptions struct {
	Checkpoint string
	Open       inference.OpenFunc
	Width      int           // of the whole picture, pixels; 256
	Height     int           // 256
	Steps      int           // of the whole picture; 4
	Batch      int           // pictures at the same time; 1
	Budget     time.Duration // for each figure, roughly; 3 s
	Baseline   []string      // command of a program to compare with, see Baseline; nil for none
	Progress   io.Writer     // told what is being measured; nil for nobody
}

func (o *EngineOptions) setDefaults() {
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Width, 256}, {&o.Height, 256}, {&o.Steps, 4}, {&o.Batch, 1}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Budget == 0 {
		o.Budget = 3 * time.Second
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
}

// EngineReport is what Engine measured. A CFG step is one batched UNet call with
// the conditional and the unconditional half.
type EngineReport struct {
	Machine    Machine              `json:"machine"`
	Engine     inference.EngineInfo `json:"engine"`
	Open       Series               `json:"open"`
	Encode     Series               `json:"encode_prompt"`
	Step64     Series               `json:"cfg_step_64"`
	Step256    Series               `json:"cfg_step_256"`
	Decode256  Series               `json:"vae_decode_256"`
	Picture    Picture              `json:"picture"`
	Baseline   *Comparison          `json:"baseline,omitempty"`
	PeakMemory int64                `json:"peak_memory_bytes"` // of this process
}

// Picture is the cost of whole pictures.
type Picture struct {
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Steps  int    `json:"steps"`
	Batch  int    `json:"batch"`
	Series Series `json:"seconds"` // of one batch
}

// Engine measures the networks and whole pictures.
func Engine(ctx context.Context, o EngineOptions) (*EngineReport, error) {
	o.setDefaults()
	r := &EngineReport{Machine: ThisMachine()}
	say := func(what string) { fmt.Fprintln(o.Progress, "measuring", what) }

	say("open")
	var engine inference.Engine
	var err error
	r.Open, err = repeat(ctx, 0, func(ctx context.Context) error {
		if engine != nil {
			if err := engine.Close(); err != nil {
				return err
			}
		}
		engine, err = o.Open(ctx, o.Checkpoint, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { engine.Close() }()
	r.Engine = engine.Info()
	for _, m := range []struct {
		name string
		into *Series
		run  func(context.Context) error
	}{
		{"prompt", &r.Encode, func(ctx context.Context) error { return encodePrompt(ctx, engine) }},
		{"a CFG step at 64x64", &r.Step64, step(engine, 64, 1)},
		{"a CFG step at 256x256", &r.Step256, step(engine, 256, 1)},
		{"VAE decode at 256x256", &r.Decode256, decode(engine, 256)},
	} {
		say(m.name)
		if *m.into, err = repeat(ctx, o.Budget, m.run); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if err := engine.Close(); err != nil {
		return nil, err
	}
	say("whole pictures")
	if err := pictures(ctx, &o, r); err != nil {
		return nil, err
	}
	r.PeakMemory = PeakMemory()
	return r, nil
}

func encodePrompt(ctx context.Context, e inference.Engine) error {
	_, err := e.EncodeText(ctx, inference.TextInput{Chunks: make([][inference.ChunkTokens]int32, 2), Skip: 1})
	return err
}

// step is one UNet call of two rows for each of the pictures, as a step with guidance is.
func step(e inference.Engine, side, pictures int) func(context.Context) error {
	cells, rows := side/inference.LatentScale, 2*pictures
	in := inference.UNetInput{
		Latent: ramp(rows * e.Info().UNetChannels * cells * cells), H: cells, W: cells,
		Timestep: slices.Repeat([]float32{500}, rows), Context: ramp(rows * inference.ChunkTokens * inference.TextWidth),
	}
	return func(ctx context.Context) error {
		_, err := e.PredictNoise(ctx, in)
		return err
	}
}

func decode(e inference.Engine, side int) func(context.Context) error {
	cells := side / inference.LatentScale
	in := inference.LatentInput{Latent: ramp(inference.LatentChannels * cells * cells), H: cells, W: cells}
	return func(ctx context.Context) error {
		_, err := e.Decode(ctx, in)
		return err
	}
}

// ramp is a tensor of values between -1 and 1; speed does not depend on them as
// long as they are finite and not all equal.
func ramp(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i%200-100) / 100
	}
	return v
}

// pictures measures whole pictures, and those of the baseline in turn with them,
// so that both meet the same machine.
func pictures(ctx context.Context, o *EngineOptions, r *EngineReport) error {
	gen := inference.NewPipeline(o.Open, inference.PipelineOptions{})
	defer gen.Close()
	req := &inference.Request{
		Prompt: "a lovely cat", Seed: 1, Sampler: "Euler a", Steps: o.Steps, CFGScale: 7,
		Width: o.Width, Height: o.Height, BatchSize: o.Batch, BatchNum: 1,
		Files: inference.Files{Checkpoint: o.Checkpoint}, Settings: inference.DefaultSettings(),
	}
	own := func() (float64, error) {
		start := time.Now()
		_, err := gen.Generate(ctx, req, inference.Hooks{})
		return time.Since(start).Seconds(), err
	}
	r.Picture = Picture{Width: o.Width, Height: o.Height, Steps: o.Steps, Batch: o.Batch}
	var other *Baseline
	if o.Baseline != nil {
		var err error
		if other, err = StartBaseline(ctx, o); err != nil {
			return err
		}
		defer other.Close()
	}
	if _, err := own(); err != nil { // warms up
		return err
	}
	var ours, theirs []float64
	for began := time.Now(); len(ours) < minRuns || len(ours) < maxRuns && time.Since(began) < o.Budget; {
		seconds, err := own()
		if err != nil {
			return err
		}
		ours = append(ours, seconds)
		if other != nil {
			if seconds, err = other.Picture(); err != nil {
				return err
			}
			theirs = append(theirs, seconds)
		}
	}
	r.Picture.Series = summarize(ours)
	if other != nil {
		r.Baseline = &Comparison{Command: o.Baseline, Open: other.Open, Picture: summarize(theirs)}
		r.Baseline.Speedup = r.Baseline.Picture.Median / r.Picture.Series.Median
	}
	return nil
}
