package sdapi

import (
	"context"
	"math"
	"slices"

	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

const loopbackName = "loopback"

// loopbackArgs are the arguments of the script "Loopback".
var loopbackArgs = []scriptArg{
	{label: "Loops", value: int64(4), minimum: int64(1), max: int64(32), step: int64(1)},
	{label: "Final denoising strength", value: 0.5, minimum: int64(0), max: int64(1), step: 0.01},
	{label: "Denoising strength curve", value: "Linear", choices: []string{"Aggressive", "Linear", "Lazy"}},
	{label: "Append interrogated prompt at each iteration", value: "None", choices: []string{"None", "CLIP", "DeepBooru"}},
}

// loopbackTexts are the arguments that texts tell.
var loopbackTexts = []argText{{"Final denoising strength", 1}, {"Denoising curve", 2}}

// loops is one loopback: img2img of its own pictures.
type loops struct {
	call   *call
	count  int
	final  float64 // denoising strength
	shown  any     // as sent
	curve  string
	repeat int // batches, each from the first picture on
}

func (c *call) readLoops() (*loops, error) {
	l := &loops{call: c, repeat: c.req.BatchNum}
	count, err := c.scriptArg(0, schema.Integer, int64(4))
	if err != nil {
		return nil, err
	}
	final, err := c.scriptArg(1, schema.Number, 0.5)
	if err != nil {
		return nil, err
	}
	curve, err := c.scriptArg(2, schema.String, "Linear")
	if err != nil {
		return nil, err
	}
	append_, err := c.scriptArg(3, schema.String, "None")
	if err != nil {
		return nil, err
	}
	if append_ != "None" {
		c.note("loopback: pictures are not interrogated; the prompt stays as it is")
	}
	if c.req.Settings.ColorCorrection {
		c.note("loopback: colours are corrected by the picture before, not by the first one")
	}
	l.shown, l.curve = final, curve.(string)
	switch v := final.(type) {
	case float64:
		l.final = v
	case int64:
		l.final = float64(v)
	}
	if !(l.final >= 0 && l.final <= 1) {
		return nil, crash("ValueError", "the final denoising strength of loopback must be 0 to 1")
	}
	if n := count.(int64); n < 1 || n > inference.MaxImages {
		return nil, crash("ValueError", "loopback takes 1 to %d loops", inference.MaxImages)
	}
	l.count = int(count.(int64))
	return l, c.checkImages(l.count*l.repeat, 1, 0, 0)
}

// strength is the denoising strength of a loop, 0 the first.
func (l *loops) strength(loop int) float64 {
	first := l.call.req.DenoisingStrength
	if l.count == 1 || loop == 0 {
		return first
	}
	progress := float64(loop) / float64(l.count-1)
	switch l.curve {
	case "Aggressive":
		progress = math.Sin(progress * math.Pi * 0.5)
	case "Lazy":
		progress = 1 - math.Cos(progress*math.Pi*0.5)
	}
	return first + (l.final-first)*progress
}

// loopback makes the script "Loopback" (scripts/loopback.py).
func loopback(ctx context.Context, c *call, place *inference.Place, job inference.Job) (*outcome, error) {
	l, err := c.readLoops()
	if err != nil {
		return nil, err
	}
	c.leadTexts = entries(loopbackTexts, l.shown, l.curve)
	one := *c
	one.req = l.step(0, 0, c.req.Init.Images[:1]).req
	if err := one.takeResult(ctx, l.count*l.repeat); err != nil {
		return nil, err
	}
	if c.opts.Bool("return_grid") {
		if err := takeGrids(ctx, l.count*l.repeat, 0, &one); err != nil {
			return nil, err
		}
	}
	made := &outcome{}
	err = place.Do(ctx, job, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		s := series{gen: gen, hooks: hooks, jobs: l.count * l.repeat}
		seed := c.req.Seed
		for range l.repeat {
			runs, err := l.chain(ctx, &s, &seed)
			if err != nil {
				return err
			}
			if l.repeat > 1 && len(runs) == l.count {
				runs = runs[l.count-1:] // with several batches only the ends count
			} else if l.repeat > 1 {
				runs = nil
			}
			made.runs = append(made.runs, runs...)
			if hooks.Control.Interrupted() {
				break
			}
		}
		return nil
	})
	made.arrange = c.addLoops
	return made, err
}

// chain makes the loops of one batch.
func (l *loops) chain(ctx context.Context, s *series, seed *int64) ([]run, error) {
	var runs []run
	image := l.call.req.Init.Images[:1]
	for i := range l.count {
		step := l.step(i, *seed, image)
		res, err := s.generate(ctx, step.req)
		if err != nil {
			return nil, err
		}
		if res.Interrupted || res.Skipped || len(res.Images) == 0 {
			break
		}
		runs = append(runs, run{step, res})
		image = []imageio.RGB{res.Images[0].Pixels}
		*seed = res.Images[0].Seed + 1
	}
	return runs, nil
}

// step is the call of one loop.
func (l *loops) step(i int, seed int64, image []imageio.RGB) *call {
	step, req, init := *l.call, *l.call.req, *l.call.req.Init
	init.Images = image
	if init.Mask != nil && i > 0 {
		const original = 1
		mask := *init.Mask
		mask.Fill = original
		init.Mask = &mask
	}
	req.Init, req.Seed, req.BatchSize, req.BatchNum = &init, seed, 1, 1
	req.DenoisingStrength = l.strength(i)
	step.req = &req
	step.notes = nil
	return &step
}

// addLoops puts all pictures side by side before them, with option return_grid.
func (c *call) addLoops(out *output) {
	if len(out.images) < 2 || !c.opts.Bool("return_grid") {
		return
	}
	grid := gridtext.Image(out.pixels(), 1, c.gridStyle().Background)
	out.images = slices.Insert(out.images, 0, encodable{pixels: grid})
	out.infotexts = slices.Insert(out.infotexts, 0, out.infotexts[0])
	out.firstImage = 1
}
