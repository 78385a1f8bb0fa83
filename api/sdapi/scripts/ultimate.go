package scripts

import (
	"context"
	"iter"
	"math"
	"slices"

	"sdworker/api/budget"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/tileplan"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

const ultimateName = "ultimate sd upscale"

// Choices of the script's arguments, in its order.
var (
	targetSizes = []string{"From img2img2 settings", "Custom size", "Scale from image size"}
	redraws     = []string{"Linear", "Chess", "None"}
	seamFixes   = []string{"None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections"}
)

// ultimateArgs are the arguments of the script in the order of its run().
var ultimateArgs = []generation.ScriptArg{
	{Label: "", Value: ""},
	{Label: "Tile width", Value: int64(512), Minimum: int64(0), Max: int64(2048), Step: int64(64)},
	{Label: "Tile height", Value: int64(0), Minimum: int64(0), Max: int64(2048), Step: int64(64)},
	{Label: "Mask blur", Value: int64(8), Minimum: int64(0), Max: int64(64), Step: int64(1)},
	{Label: "Padding", Value: int64(32), Minimum: int64(0), Max: int64(512), Step: int64(1)},
	{Label: "Width", Value: int64(64), Minimum: int64(0), Max: int64(128), Step: int64(1)},
	{Label: "Denoise", Value: 0.35, Minimum: int64(0), Max: int64(1), Step: 0.01},
	{Label: "Padding", Value: int64(16), Minimum: int64(0), Max: int64(128), Step: int64(1)},
	{Label: "Upscaler", Value: "None", Choices: generation.BuiltinUpscalers},
	{Label: "Upscaled", Value: true},
	{Label: "Type", Value: "Linear", Choices: redraws},
	{Label: "Seams fix", Value: false},
	{Label: "Mask blur", Value: int64(4), Minimum: int64(0), Max: int64(64), Step: int64(1)},
	{Label: "Type", Value: "None", Choices: seamFixes},
	{Label: "Target size type", Value: targetSizes[0], Choices: targetSizes},
	{Label: "Custom width", Value: int64(2048), Minimum: int64(64), Max: int64(8192), Step: int64(64)},
	{Label: "Custom height", Value: int64(2048), Minimum: int64(64), Max: int64(8192), Step: int64(64)},
	{Label: "Scale", Value: int64(2), Minimum: int64(1), Max: int64(16), Step: 0.01},
}

// ultimate is one run of "Ultimate SD upscale": the init image is enlarged, and its
// tiles, then the seams between them, are painted in place, one after another.
type ultimate struct {
	call      *generation.Call
	plan      tileplan.Plan
	upscaler  string
	seamNoise float64 // denoising strength of the seams
	save      [2]bool // the picture of the tiles, that of the seams
}

func readUltimate(c *generation.Call) (*ultimate, error) {
	r := argReader{call: c}
	names := c.Service.UpscalerNames()
	tileW, tileH := r.whole(1), r.whole(2)
	if tileW <= 0 {
		tileW = tileH
	}
	if tileH <= 0 {
		tileH = tileW
	}
	u := &ultimate{call: c, seamNoise: r.number(6), upscaler: names[r.choice(8, names)], save: [2]bool{r.flag(9), r.flag(11)}}
	u.plan = tileplan.Plan{
		TileW: tileW, TileH: tileH, Blur: r.whole(3), Padding: r.whole(4), Redraw: tileplan.Redraw(r.choice(10, redraws)),
		SeamWidth: r.whole(5), SeamPadding: r.whole(7), SeamBlur: r.whole(12), Seams: tileplan.Seams(r.choice(13, seamFixes)),
	}
	source := c.Req.Init.Images[0]
	switch u.plan.W, u.plan.H = c.Width, c.Height; r.choice(14, targetSizes) {
	case 1:
		u.plan.W, u.plan.H = r.whole(15), r.whole(16)
	case 2:
		scaled := func(side int) int { return int(math.Ceil(min(float64(side)*r.number(17), 1e6)/64)) * 64 }
		u.plan.W, u.plan.H = scaled(source.W), scaled(source.H)
	}
	if r.err != nil {
		return nil, r.err
	}
	return u, u.check()
}

// check refuses plans that make no sense, and those that are too large for any machine.
func (u *ultimate) check() error {
	p := u.plan
	refuse := func(format string, args ...any) error {
		return fault.FieldError("script_args", "Ultimate SD upscale: "+format, args...)
	}
	switch {
	case min(p.W, p.H) < inference.LatentScale || max(p.W, p.H) > inference.MaxSide:
		return refuse("the picture would have %dx%d pixels, want %d to %d a side", p.W, p.H, inference.LatentScale, inference.MaxSide)
	case min(p.TileW, p.TileH) < inference.LatentScale || max(p.TileW, p.TileH) > inference.MaxSide:
		return refuse("tiles have %dx%d pixels, want %d to %d a side", p.TileW, p.TileH, inference.LatentScale, inference.MaxSide)
	case min(p.Padding, p.Blur, p.SeamPadding, p.SeamBlur, p.SeamWidth) < 0 || max(p.Padding, p.Blur, p.SeamPadding, p.SeamBlur, p.SeamWidth) > 1024:
		return refuse("paddings, blurs and the width of seams are 0 to 1024 pixels")
	case p.Seams == tileplan.BandPass && p.SeamWidth < 1:
		return refuse("bands over seams need a width")
	case !(u.seamNoise >= 0 && u.seamNoise <= 1):
		return refuse("the denoising strength of seams is %g, want 0 to 1", u.seamNoise)
	}
	if tiles, seams := p.Counts(); tiles+seams > inference.MaxImages {
		return refuse("there would be %d tiles and seams, want at most %d", tiles+seams, inference.MaxImages)
	}
	sizes := [][2]int{}
	size := func(w, h int) { sizes = append(sizes, [2]int{w, h}) }
	if p.Redraw != tileplan.NoRedraw {
		size(p.JobSize())
	}
	if p.Seams != tileplan.NoSeams {
		size(p.SeamSize(false))
		size(p.SeamSize(true))
	}
	for _, s := range sizes {
		if min(s[0], s[1]) < inference.LatentScale || max(s[0], s[1]) > inference.MaxSide {
			return refuse("a part of %dx%d pixels cannot be painted, want %d to %d a side", s[0], s[1], inference.LatentScale, inference.MaxSide)
		}
		if err := u.call.Service.Config.Queue.Generator().Status().Engine.Admit(s[0], s[1], inference.ControlNets(u.call.Req.Control)); err != nil {
			return err
		}
	}
	return nil
}

// enlarge brings the init image to the size of the plan.
func (u *ultimate) enlarge(ctx context.Context, gen inference.Generator, hooks inference.Hooks) (imageio.RGB, error) {
	m := u.call.Req.Init.Images[0]
	model, err := u.call.Service.Upscaler(u.upscaler)
	if err != nil {
		return m, err
	}
	if model != nil {
		ratio := float64(max(u.plan.W, u.plan.H)) / float64(max(m.W, m.H))
		for _, factor := range tileplan.Factors(int(math.Ceil(ratio))) {
			if max(m.W, m.H)*factor > generation.MaxExtrasSide {
				break // an odd way to the size; Lanczos makes the rest
			}
			model.Image, model.Scale = m, float64(factor)
			if m, err = gen.Upscale(ctx, model, hooks); err != nil {
				return m, err
			}
		}
	}
	return m.Resize(u.plan.W, u.plan.H, imageio.Lanczos), nil
}

// ultimateTexts are the arguments that infotexts record.
var ultimateTexts = []generation.ArgText{
	{Key: "Ultimate SD upscale upscaler", Arg: 8},
	{Key: "Ultimate SD upscale tile_width", Arg: 1},
	{Key: "Ultimate SD upscale tile_height", Arg: 2},
	{Key: "Ultimate SD upscale mask_blur", Arg: 3},
	{Key: "Ultimate SD upscale padding", Arg: 4},
}

// ultimateUpscale makes the script "Ultimate SD upscale".
func ultimateUpscale(ctx context.Context, c *generation.Call, place *inference.Place, job inference.Job) (*generation.Outcome, error) {
	u, err := readUltimate(c)
	if err != nil {
		return nil, err
	}
	pictures := 1
	if u.plan.Seams != tileplan.NoSeams {
		pictures = 2
	}
	if err := budget.TakeResult(ctx, pictures, u.plan.W, u.plan.H); err != nil {
		return nil, err
	}
	c.Width, c.Height = u.plan.W, u.plan.H // of the pictures, in info and texts
	c.LeadTexts = generation.Entries(ultimateTexts, u.upscaler, u.plan.TileW, u.plan.TileH, u.plan.Blur, u.plan.Padding)
	made := &generation.Outcome{Save: u.save[:pictures]}
	err = place.Do(ctx, job, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		m, err := u.enlarge(ctx, gen, hooks)
		if err != nil {
			return err
		}
		tiles, seams := u.plan.Counts()
		s := &generation.Series{Gen: gen, Hooks: hooks, Jobs: tiles + seams}
		one := *c.Req
		one.BatchSize, one.BatchNum = 1, 1
		tiled, err := u.paint(ctx, s, u.plan.Tiles(), m, &one)
		if err != nil {
			return err
		}
		made.Runs = append(made.Runs, *tiled)
		if pictures == 1 {
			return nil
		}
		one.DenoisingStrength = u.seamNoise
		mended, err := u.paint(ctx, s, u.plan.SeamSteps(), tiled.Result.Images[0].Pixels, &one)
		if err != nil {
			return err
		}
		made.Runs = append(made.Runs, *mended)
		return nil
	})
	return made, err
}

// paint makes steps one after another, each from the picture that the one before has left.
// After an interrupt it returns what there is.
func (u *ultimate) paint(ctx context.Context, s *generation.Series, steps iter.Seq[tileplan.Step], m imageio.RGB, base *inference.Request) (*generation.Run, error) {
	shown := *u.call
	shown.Notes = nil
	shown.Req = base
	out := &inference.Result{}
	for step := range steps {
		if s.Hooks.Control.Interrupted() {
			break
		}
		one := u.step(step, m, base)
		res, err := s.Generate(ctx, one.Req)
		if err != nil {
			return nil, err
		}
		addResult(u.call, out, res)
		if len(res.Images) > 0 {
			m = res.Images[0].Pixels
		}
		shown.Req = one.Req
		shown.Notes = one.Notes
	}
	if s.Hooks.Control.Interrupted() {
		out.Interrupted = true
	}
	out.Images = []inference.Image{{Pixels: m, Seed: base.Seed, Subseed: base.Subseed}}
	return &generation.Run{Call: &shown, Result: out}, nil
}

// step is the call of one tile. ADetailer's units have the size of the tile unless they
// set their own.
func (u *ultimate) step(step tileplan.Step, m imageio.RGB, base *inference.Request) *generation.Call {
	one, req, init := *u.call, *base, *base.Init
	round := one.In.Flag("mask_round", false) && one.Soft == nil
	init.Images = []imageio.RGB{m}
	init.Width, init.Height = step.W, step.H
	init.Mask = &inference.Mask{
		Image: step.Mask, Invert: one.In.WholeOr("inpainting_mask_invert", 0) != 0, Round: round, Fill: generation.KeepMasked,
		BlurX: step.Blur, BlurY: step.Blur, OnlyMasked: true, Padding: step.Padding, Soft: one.Soft,
	}
	req.Init, req.Width, req.Height = &init, imageio.FloorToLatent(step.W), imageio.FloorToLatent(step.H)
	req.Details = slices.Clone(req.Details)
	for i := range req.Details {
		if d := &req.Details[i]; !d.OwnSize {
			d.Width, d.Height = step.W, step.H
		}
	}
	one.Req, one.Notes = &req, nil
	return &one
}
