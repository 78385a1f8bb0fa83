package scripts

import (
	"context"
	"math"
	"slices"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/picture"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

const loopbackName = "loopback"

// loopbackArgs are the arguments of the script "Loopback".
var loopbackArgs = []generation.ScriptArg{
	{Label: "Loops", Value: int64(4), Minimum: int64(1), Max: int64(32), Step: int64(1)},
	{Label: "Final denoising strength", Value: 0.5, Minimum: int64(0), Max: int64(1), Step: 0.01},
	{Label: "Denoising strength curve", Value: "Linear", Choices: []string{"Aggressive", "Linear", "Lazy"}},
	{Label: "Append interrogated prompt at each iteration", Value: "None", Choices: []string{"None", "CLIP", "DeepBooru"}},
}

// loopbackTexts are the arguments that infotexts record.
var loopbackTexts = []generation.ArgText{{Key: "Final denoising strength", Arg: 1}, {Key: "Denoising curve", Arg: 2}}

// loops is one loopback: img2img of its own pictures.
type loops struct {
	call   *generation.Call
	count  int
	final  float64 // denoising strength
	curve  string
	repeat int // batches, each from the first picture on
}

func readLoops(c *generation.Call) (*loops, error) {
	r := argReader{call: c}
	l := &loops{call: c, count: r.whole(0), final: r.number(1), curve: r.text(2), repeat: c.Req.BatchNum}
	interrogated := r.text(3)
	if r.err != nil {
		return nil, r.err
	}
	if interrogated != "None" {
		c.Note("loopback: pictures are not interrogated; the prompt stays as it is")
	}
	if c.Req.Settings.ColorCorrection {
		c.Note("loopback: colours are corrected by the picture before, not by the first one")
	}
	if !(l.final >= 0 && l.final <= 1) {
		return nil, exception.Crash("ValueError", "the final denoising strength of loopback must be 0 to 1")
	}
	if l.count < 1 || l.count > inference.MaxImages {
		return nil, exception.Crash("ValueError", "loopback takes 1 to %d loops", inference.MaxImages)
	}
	return l, c.CheckImages(l.count*l.repeat, 1, 0, 0)
}

// strength is the denoising strength of a loop, 0 the first.
func (l *loops) strength(loop int) float64 {
	first := l.call.Req.DenoisingStrength
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
func loopback(ctx context.Context, c *generation.Call, place *inference.Place, job inference.Job) (*generation.Outcome, error) {
	l, err := readLoops(c)
	if err != nil {
		return nil, err
	}
	c.LeadTexts = generation.Entries(loopbackTexts, l.final, l.curve)
	one := *c
	one.Req = l.step(0, 0, c.Req.Init.Images[:1]).Req
	if err := one.TakeResult(ctx, l.count*l.repeat); err != nil {
		return nil, err
	}
	if c.Options.Bool("return_grid") {
		if err := generation.TakeGrids(ctx, l.count*l.repeat, 0, &one); err != nil {
			return nil, err
		}
	}
	made := &generation.Outcome{}
	err = place.Do(ctx, job, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		s := generation.Series{Gen: gen, Hooks: hooks, Jobs: l.count * l.repeat}
		seed := c.Req.Seed
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
			made.Runs = append(made.Runs, runs...)
			if hooks.Control.Interrupted() {
				break
			}
		}
		return nil
	})
	made.Arrange = func(out *generation.Output) { addLoops(c, out) }
	return made, err
}

// chain makes the loops of one batch.
func (l *loops) chain(ctx context.Context, s *generation.Series, seed *int64) ([]generation.Run, error) {
	var runs []generation.Run
	image := l.call.Req.Init.Images[:1]
	for i := range l.count {
		step := l.step(i, *seed, image)
		res, err := s.Generate(ctx, step.Req)
		if err != nil {
			return nil, err
		}
		if res.Interrupted || res.Skipped || len(res.Images) == 0 {
			break
		}
		runs = append(runs, generation.Run{Call: step, Result: res})
		image = []imageio.RGB{res.Images[0].Pixels}
		*seed = res.Images[0].Seed + 1
	}
	return runs, nil
}

// step is the call of one loop.
func (l *loops) step(i int, seed int64, image []imageio.RGB) *generation.Call {
	step, req, init := *l.call, *l.call.Req, *l.call.Req.Init
	init.Images = image
	if init.Mask != nil && i > 0 {
		const original = 1
		mask := *init.Mask
		mask.Fill = original
		init.Mask = &mask
	}
	req.Init, req.Seed, req.BatchSize, req.BatchNum = &init, seed, 1, 1
	req.DenoisingStrength = l.strength(i)
	step.Req = &req
	step.Notes = nil
	return &step
}

// addLoops puts all pictures side by side before them, with option return_grid.
func addLoops(c *generation.Call, out *generation.Output) {
	if len(out.Images) < 2 || !c.Options.Bool("return_grid") {
		return
	}
	grid := gridtext.Image(out.Pixels(), 1, c.GridStyle().Background)
	out.Images = slices.Insert(out.Images, 0, picture.Encodable{Pixels: grid})
	out.Infotexts = slices.Insert(out.Infotexts, 0, out.Infotexts[0])
	out.FirstImage = 1
}
