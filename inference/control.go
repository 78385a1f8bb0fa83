package inference

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"sdworker/convnet/depth"
	"sdworker/fault"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/sampler"
)

// softFalloff is the factor per layer by which the ControlNet extension weakens
// a unit that yields to the prompt, counted back from the middle layer.
const softFalloff = 0.825

// controlUnit is a ControlNet unit prepared for one pass.
type controlUnit struct {
	model      string
	seen       []float32 // [3,8h,8w], what the ControlNet gets
	start, end float64
	off        bool    // does nothing to the UNet in this pass
	rows       float32 // strength of conditional rows
	layers     []float32
	condOnly   bool // leaves the unconditional rows alone
	region     []float32

	hint hint.Hint
	fix  *correction // of what the UNet predicts; nil for most preprocessors
}

// hintKey names the hint of a unit at a size.
type hintKey struct{ unit, w, h int }

// prepareControl makes the units ready for a pass of w by h pixels.
func (j *job) prepareControl(ctx context.Context, p *pass) ([]controlUnit, error) {
	w, h := p.size.w*LatentScale, p.size.h*LatentScale
	var units []controlUnit
	for i, u := range j.req.Control {
		if u.Encoder != "" {
			continue
		}
		made, err := j.hint(ctx, i, w, h)
		if err != nil {
			return nil, err
		}
		unit := newControlUnit(u, made, p.hires)
		if u.Region != nil {
			unit.region = regionMaps(*u.Region, p.size.h, p.size.w)
		}
		if unit.fix, err = j.correction(ctx, u, made, p.hires); err != nil {
			return nil, err
		}
		if made.Mask != nil && j.inpainting() {
			if err := j.concatFromHint(ctx, p, made); err != nil {
				return nil, err
			}
		}
		units = append(units, unit)
	}
	return units, nil
}

// hint makes the hint of a unit, once for each size.
func (j *job) hint(ctx context.Context, i, w, h int) (hint.Hint, error) {
	key := hintKey{i, w, h}
	if made, ok := j.hints[key]; ok {
		return made, nil
	}
	u := &j.req.Control[i]
	picture, mode, err := j.controlPicture(u)
	if err != nil {
		return hint.Hint{}, err
	}
	sliders := u.sliders()
	sliders.Seed = j.hintSeed()
	made, err := hint.Make(picture, hint.Options{
		Module:       u.Module,
		Sliders:      sliders,
		PixelPerfect: u.PixelPerfect,
		ResizeMode:   mode,
		Depth:        j.depth(ctx, u),
		Width:        w,
		Height:       h,
	})
	if err != nil {
		return hint.Hint{}, hintError(err)
	}
	if j.hints == nil {
		j.hints = map[hintKey]hint.Hint{}
	}
	j.hints[key] = made
	return made, nil
}

// hintError gives the preprocessors' own errors a code.
func hintError(err error) error {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	return &fault.Error{Code: fault.Invalid, Op: "controlnet", Field: "alwayson_scripts", Msg: err.Error()}
}

// depthSeen is what a depth network saw.
type depthSeen struct {
	in  DepthInput
	out []float32
}

// depth runs a unit's depth network. What it saw last is kept for the job's other passes.
func (j *job) depth(ctx context.Context, u *ControlUnit) hint.DepthNetwork {
	return func(version depth.Version, pixels []float32, h, w int) ([]float32, error) {
		in := DepthInput{Model: u.Network, Version: version, Pixels: pixels, H: h, W: w}
		if last := &j.lastDepth; last.in.Model != in.Model || !slices.Equal(last.in.Pixels, pixels) {
			out, err := j.eng.Depth(ctx, in)
			if err != nil {
				return nil, err
			}
			last.in, last.out = in, out
		}
		return j.lastDepth.out, nil
	}
}

// preprocess makes what the preprocessors of all units show, for itself.
func (j *job) preprocess(ctx context.Context) (maps []imageio.RGBA, err error) {
	for i := range j.req.Control {
		u := &j.req.Control[i]
		mod, known := hint.Lookup(u.Module)
		if !known {
			return nil, fault.FieldError("controlnet_module", "Module not available")
		}
		made, err := hint.Preprocess(mod, u.Image, u.sliders(), j.depth(ctx, u))
		if err != nil {
			return nil, hintError(err)
		}
		maps = append(maps, hint.ShowMask(hint.Picture{RGB: made}))
	}
	return maps, nil
}

// sliders are the parameters of the unit's preprocessor, within its bounds.
func (u *ControlUnit) sliders() hint.Sliders {
	mod, _ := hint.Lookup(u.Module)
	return mod.Bounded(hint.Sliders{Resolution: u.Resolution, A: u.ThresholdA, B: u.ThresholdB})
}

// hintSeed is what the extension seeds numpy with: the sum of the job's seeds, where
// an open variation seed counts as the seed.
func (j *job) hintSeed() uint32 {
	subseed := j.req.Subseed
	if j.req.SubseedOpen {
		subseed = j.req.Seed
	}
	return uint32(j.req.Seed + subseed)
}

// controlPicture is the picture of a unit before its preprocessor, and the mode that it
// is resized by: its own, or the init image with the job's mask and mode, cut like the
// init image where only what is masked is painted.
func (j *job) controlPicture(u *ControlUnit) (hint.Picture, int, error) {
	p, mode := hint.Picture{RGB: u.Image, Mask: u.Mask}, u.ResizeMode
	mod, _ := hint.Lookup(u.Module)
	if u.OfInit {
		if mode = j.req.Init.ResizeMode; mode == latentResize {
			mode = hint.Stretch
		}
		p.RGB = j.req.Init.Images[0]
		if mask := j.blurredMask(); mod.Masked && mask != nil {
			if mask.W != p.W || mask.H != p.H {
				return p, 0, fault.FieldError("mask", "the mask has %dx%d pixels and the init image %dx%d: ControlNet inpainting needs the same size", mask.W, mask.H, p.W, p.H)
			}
			p.Mask = mask
		}
	}
	if mod.Masked && p.Mask == nil {
		blank := imageio.NewGray(p.W, p.H)
		p.Mask = &blank
	}
	if !u.CropToMask || j.init == nil || j.init.pasteTo == nil {
		return p, mode, nil
	}
	return j.cutToMask(p, mode), mode, nil
}

// cutToMask cuts a unit's picture as an only-masked job cuts its init image.
func (j *job) cutToMask(p hint.Picture, mode int) hint.Picture {
	whole, box := j.req.Init.Mask.Image, *j.init.pasteTo
	w, h := j.req.Width, j.req.Height
	// Without an upscaler that could fail there are no errors.
	m, _ := imageio.ResizeMode(mode, p.RGB, whole.W, whole.H, nil)
	m, _ = imageio.ResizeMode(fillResize, m.Crop(box), w, h, nil)
	out := hint.Picture{RGB: m}
	if p.Mask != nil {
		mask := imageio.ResizeMaskMode(mode, *p.Mask, whole.W, whole.H)
		mask = imageio.ResizeMaskMode(fillResize, mask.Crop(box), w, h)
		out.Mask = &mask
	}
	return out
}

// controlMaps lists the hints that the request asks to see, for each unit that of the
// hires pass before that of the first one.
func (j *job) controlMaps(ctx context.Context) ([]imageio.RGBA, error) {
	var out []imageio.RGBA
	show := func(i, w, h int) error {
		made, err := j.hint(ctx, i, w, h)
		if err == nil {
			out = append(out, made.Shown())
		}
		return err
	}
	for i, u := range j.req.Control {
		if !u.ReturnMap {
			continue
		}
		if u.Encoder != "" {
			pictures, err := j.visionPictures(&u)
			if err != nil {
				return nil, err
			}
			for _, picture := range pictures {
				out = append(out, hint.ShowMask(picture))
			}
			continue
		}
		if hr := j.req.Hires; hr != nil {
			w, h := hr.Width-hr.TruncateX*LatentScale, hr.Height-hr.TruncateY*LatentScale
			if err := show(i, w, h); err != nil {
				return nil, err
			}
		}
		if err := show(i, j.req.Width, j.req.Height); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// softInHires reports whether the extension weakens the layers of a preprocessor's
// unit in every hires pass, whatever its control mode (scripts/hook.py).
func softInHires(module string) bool {
	return strings.Contains(module, "canny") || strings.Contains(module, "mlsd")
}

func newControlUnit(u ControlUnit, made hint.Hint, hires bool) controlUnit {
	c := controlUnit{
		model:    u.Model,
		hint:     made,
		seen:     made.Seen(),
		start:    u.Start,
		end:      u.End,
		off:      hires && !u.HighRes || !hires && !u.LowRes,
		rows:     float32(u.Weight),
		layers:   make([]float32, ControlLayers),
		condOnly: u.Mode == ControlModeControlNet,
	}
	if u.LayerWeights != nil {
		c.rows = 1
		for i := range c.layers {
			c.layers[i] = float32(u.LayerWeights[i])
		}
		return c
	}
	for i := range c.layers {
		c.layers[i] = 1
		if u.Mode != ControlModeBalanced || hires && softInHires(u.Module) {
			c.layers[i] = float32(math.Pow(softFalloff, float64(ControlLayers-1-i)))
		}
	}
	return c
}

// active reports whether the unit acts at this fraction of the pass.
func (c *controlUnit) active(fraction float64) bool {
	return !c.off && fraction >= c.start && fraction <= c.end
}

// input is the unit's part in a UNet call; conditional says which rows have the
// prompt.
func (c *controlUnit) input(conditional []bool) ControlInput {
	in := ControlInput{Model: c.model, Hint: c.seen, Layers: c.layers, Region: c.region, Rows: make([]float32, len(conditional))}
	for i, cond := range conditional {
		if cond || !c.condOnly {
			in.Rows[i] = c.rows
		}
	}
	return in
}

// regionMaps scales a mask to the sizes of a ControlNet's residuals, as torch's bilinear
// interpolation without antialiasing does.
func regionMaps(mask imageio.Gray, h, w int) []float32 {
	pixels := make([]float32, len(mask.Pix))
	for i, v := range mask.Pix {
		pixels[i] = float32(v) / 255
	}
	var out []float32
	for _, size := range RegionSizes(h, w) {
		out = append(out, latent.Resize(pixels, 1, mask.H, mask.W, size[0], size[1])...)
	}
	return out
}

// concatFromHint replaces the extra channels of an inpainting checkpoint by a unit's
// mask and masked picture.
func (j *job) concatFromHint(ctx context.Context, p *pass, made hint.Hint) error {
	masked := slices.Clone(made.Pixels)
	for i := range masked {
		masked[i] += made.Mask[i%len(made.Mask)] * (0.5 - masked[i]) // grey is the zero of the VAE's -1..1
	}
	encoded, err := j.encode(ctx, [][]float32{masked}, made.H, made.W)
	if err != nil {
		return err
	}
	concat := slices.Concat(largest(made.Mask, made.H, made.W, 8, 8, 0), encoded.data)
	p.concat = slices.Repeat(concat, p.size.n)
	return nil
}

// largest is the greatest value of windows of size cells that begin at multiples of
// stride less pad, which is what max_pool2d gives for values of 0 or more.
func largest(x []float32, h, w, size, stride, pad int) []float32 {
	var out []float32
	for top := -pad; top+size <= h+pad; top += stride {
		for left := -pad; left+size <= w+pad; left += stride {
			var most float32
			for y := max(top, 0); y < min(top+size, h); y++ {
				for _, v := range x[y*w+max(left, 0) : y*w+min(left+size, w)] {
					most = max(most, v)
				}
			}
			out = append(out, most)
		}
	}
	return out
}

// correction changes what the UNet predicts so that the picture it implies is like the
// unit's own: the same colours (tile_colorfix), or the same outside of the mask
// (inpaint_only). It acts on all steps, whatever the part of the run in which the
// ControlNet does.
type correction struct {
	origin []float32 // [4,h,w] the encoded picture
	h, w   int
	weight float32   // 0..1
	mask   []float32 // [h,w] of inpaint_only; nil for the colours
	radius int       // of the blur that tells colours from details
	soften float32   // of the negative prompt's details, "+sharp"; 0 = no
}

// correction prepares what a unit's preprocessor does to predictions; nil for nothing.
func (j *job) correction(ctx context.Context, u ControlUnit, made hint.Hint, hires bool) (*correction, error) {
	colour := strings.Contains(u.Module, "colorfix")
	restore := u.Module == "inpaint_only" && made.Mask != nil
	if !colour && !restore {
		return nil, nil
	}
	origin, err := j.encode(ctx, [][]float32{made.Pixels}, made.H, made.W)
	if err != nil {
		return nil, err
	}
	c := &correction{origin: origin.data, h: origin.h, w: origin.w, weight: float32(min(max(u.Weight, 0), 1))}
	if restore {
		c.mask = largest(made.Mask, made.H, made.W, 10, 8, 1)
		return c, nil
	}
	sliders := u.sliders()
	c.radius = int(sliders.A)
	if hires && u.HighRes {
		c.radius *= 2
	}
	c.origin = blurred(c.origin, c.h, c.w, c.radius)
	if strings.Contains(u.Module, "+sharp") {
		c.soften = float32(sliders.B * 0.01)
	}
	return c, nil
}

// apply changes the predictions out [rows,4,h,w] of a batch.
func (c *correction) apply(out []float32, b *sampler.Batch) {
	size := LatentChannels * c.h * c.w
	for row := range b.Rows {
		x, eps := b.X[row*size:][:size], out[row*size:][:size]
		a := sampler.SignalPower(b.Timestep[row])
		recip, recipm1 := float32(math.Sqrt(1/a)), float32(math.Sqrt(1/a-1))
		picture := make([]float32, size)
		for i := range picture {
			picture[i] = recip*x[i] - recipm1*eps[i]
		}
		c.correct(picture, b.Rows[row].Kind.Conditional())
		for i := range eps {
			eps[i] = (recip*x[i]-picture[i])/recipm1*c.weight + eps[i]*(1-c.weight)
		}
	}
}

// correct changes the picture that a row implies.
func (c *correction) correct(picture []float32, conditional bool) {
	if c.mask != nil {
		for i := range picture {
			m := c.mask[i%len(c.mask)]
			picture[i] = picture[i]*m + c.origin[i]*(1-m)
		}
		return
	}
	coarse := blurred(picture, c.h, c.w, c.radius)
	for i := range picture {
		picture[i] += c.origin[i] - coarse[i]
	}
	if c.soften != 0 && !conditional {
		for i, v := range blurred(picture, c.h, c.w, c.radius) {
			picture[i] = c.soften*v + (1-c.soften)*picture[i]
		}
	}
}

// blurred is the mean of the square of 2k+1 cells around each cell of planes [h,w],
// borders repeated.
func blurred(x []float32, h, w, k int) []float32 {
	out := make([]float32, len(x))
	across := make([]float64, h*w)
	n := float64(2*k + 1)
	for at := 0; at < len(x); at += h * w {
		plane := x[at : at+h*w]
		for y := range h {
			row := plane[y*w : (y+1)*w]
			for i := range row {
				var sum float64
				for d := -k; d <= k; d++ {
					sum += float64(row[min(max(i+d, 0), w-1)])
				}
				across[y*w+i] = sum
			}
		}
		for y := range h {
			for i := range w {
				var sum float64
				for d := -k; d <= k; d++ {
					sum += across[min(max(y+d, 0), h-1)*w+i]
				}
				out[at+y*w+i] = float32(sum / (n * n))
			}
		}
	}
	return out
}
