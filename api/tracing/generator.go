package tracing

import (
	"context"
	"path/filepath"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"sdworker/inference"
	"sdworker/inference/imageio"
)

// Observe traces what gen does for requests and jobs that are traced.
func (t *Tracing) Observe(gen inference.Generator) inference.Generator {
	if t == nil {
		return gen
	}
	return &traced{gen, t}
}

// traced is a generator whose calls are spans, with a span below for each phase.
type traced struct {
	inference.Generator
	t *Tracing
}

func (g *traced) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	ctx, s := g.t.tracer().Start(ctx, req.Kind(), trace.WithAttributes(g.t.about(req)...))
	p := &phases{t: g.t, ctx: ctx}
	res, err := g.Generator.Generate(ctx, req, p.of(hooks))
	p.end()
	if res != nil {
		s.SetAttributes(
			attribute.Int("sdworker.images", len(res.Images)), attribute.Bool("sdworker.interrupted", res.Interrupted),
			attribute.Int("sdworker.unet.calls", res.Company.Calls), attribute.Int("sdworker.unet.rows", res.Company.Rows),
			attribute.Float64("sdworker.company.wait_seconds", res.Company.Wait),
		)
	}
	finish(s, err)
	return res, err
}

func (g *traced) Upscale(ctx context.Context, req *inference.UpscaleRequest, hooks inference.Hooks) (imageio.RGB, error) {
	ctx, s := g.t.tracer().Start(ctx, "upscale", trace.WithAttributes(
		attribute.Int("sdworker.width", req.Image.W), attribute.Int("sdworker.height", req.Image.H), attribute.Float64("sdworker.scale", req.Scale)))
	m, err := g.Generator.Upscale(ctx, req, hooks)
	finish(s, err)
	return m, err
}

func (g *traced) Load(ctx context.Context, files inference.Files, hooks inference.Hooks) error {
	ctx, s := g.t.tracer().Start(ctx, "load", trace.WithAttributes(attribute.String("sdworker.checkpoint", filepath.Base(files.Checkpoint))))
	err := g.Generator.Load(ctx, files, hooks)
	finish(s, err)
	return err
}

// about is what a span tells of a request.
func (t *Tracing) about(req *inference.Request) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.Int("sdworker.width", req.Width), attribute.Int("sdworker.height", req.Height),
		attribute.Int("sdworker.steps", req.Steps), attribute.Int("sdworker.batch_size", req.BatchSize), attribute.Int("sdworker.batch_count", req.BatchNum),
		attribute.String("sdworker.sampler", req.Sampler), attribute.String("sdworker.scheduler", req.Scheduler),
		attribute.String("sdworker.checkpoint", filepath.Base(req.Files.Checkpoint)), attribute.Bool("sdworker.hires", req.Hires != nil),
	}
	if t.prompts {
		list = append(list, attribute.String("sdworker.prompt", req.Prompt), attribute.String("sdworker.negative_prompt", req.NegativePrompt))
	}
	return list
}

// phases are the spans of a job's phases, one after another.
type phases struct {
	t       *Tracing
	ctx     context.Context //nolint:containedctx // of the call, while it lasts
	current trace.Span      // nil before the first
	phase   inference.Phase
	pass    int
}

// spanNames are the phases as spans are called.
var spanNames = map[inference.Phase]string{
	inference.PhaseLoading:   "load",
	inference.PhaseEncoding:  "encode prompt",
	inference.PhaseSampling:  "sample",
	inference.PhaseDecoding:  "decode",
	inference.PhaseUpscaling: "upscale",
}

// of lets hooks tell of phases, too.
func (p *phases) of(hooks inference.Hooks) inference.Hooks {
	report := hooks.Progress
	hooks.Progress = func(now inference.Progress) { // on the job's goroutine
		if name := spanNames[now.Phase]; name != "" && (p.current == nil || now.Phase != p.phase || now.Job != p.pass && now.Step == 0) {
			p.end()
			p.phase, p.pass = now.Phase, now.Job
			_, p.current = p.t.tracer().Start(p.ctx, name)
		}
		if report != nil {
			report(now)
		}
	}
	return hooks
}

func (p *phases) end() {
	if p.current != nil {
		p.current.End()
	}
	p.current = nil
}
