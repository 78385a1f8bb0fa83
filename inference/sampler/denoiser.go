package sampler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sdworker/inference/latent"
)

// ErrNaN reports a UNet output without a single number, which no later step can
// mend. Half precision on hardware that overflows is the usual cause.
var ErrNaN = errors.New("the UNet produced only NaN: try a higher precision or another checkpoint")

// errStopped ends a loop after Job.Stop.
var errStopped = errors.New("stopped")

// denoiser is A1111's CFGDenoiser: one guided prediction for all images.
type denoiser struct {
	job    *Job
	family family
	model  *noiseModel
	size   int // values of one image

	batch  Batch
	images []int        // those that the current call predicts
	parts  [][]weighted // of each of them
	inputs []float32    // x before scaling, mask applied
	last   []float32    // prediction of the first part of each prompt

	masks     bool        // parts have masks
	averages  [][]float32 // of Options.Projection, for each image; nil before its first call
	perturbed int         // calls that Options.Perturbation acted in

	cache    *stepCache // nil: each call predicts all images
	steps    int        // steps that the loop makes
	reported int        // steps reported so far
}

// weighted is one prompt row of an image.
type weighted struct {
	row    int
	weight float64
	mask   []float32 // of Part, where it acts
}

func newDenoiser(job *Job, info Info) *denoiser {
	n := job.RNG.Len()
	hasMask := func(p Part) bool { return p.Mask != nil }
	return &denoiser{
		masks:  slices.ContainsFunc(job.Prompts, func(parts []Part) bool { return slices.ContainsFunc(parts, hasMask) }),
		job:    job,
		family: info.family,
		model:  modelOf(info, job.Options),
		size:   n / len(job.Prompts),
		inputs: make([]float32, n),
		last:   make([]float32, n),
		cache:  newStepCache(job, info),
	}
}

// predict sets dst to the guided prediction for x: the denoised latent at level
// sigma, or, for the DDIM family, eps at the timestep that level then is.
func (d *denoiser) predict(ctx context.Context, dst, x []float32, level float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.job.Stop != nil && d.job.Stop() {
		return errStopped
	}

	copy(d.inputs, x)
	blendsInput := d.family == timesteps
	if blendsInput {
		d.blend(d.inputs, level)
	}
	skip := d.skipsNegative(level)
	scales := d.scales(level)
	d.serve(dst, level, scales, skip)
	if p := d.job.Predictions; p != nil {
		p.All += len(d.job.Prompts)
		p.Reused += len(d.job.Prompts) - len(d.images)
	}
	if len(d.images) > 0 {
		if err := d.call(ctx, dst, level, scales, skip); err != nil {
			return err
		}
	}
	if !blendsInput {
		d.blend(dst, level)
	}
	d.batch.Call++
	return nil
}

// serve sets dst for the images that the cache has a prediction for and lists the
// others in d.images.
func (d *denoiser) serve(dst []float32, level float32, s scales, skipNegative bool) {
	d.images = d.images[:0]
	usable := d.cache != nil && inForce(d.reported, d.steps)
	for i := range d.job.Prompts {
		if usable {
			d.layOut([]int{i}, skipNegative)
			d.fill(s)
			if d.cache.serves(i, d.image(d.batch.X, 0), d.batch.Rows, d.otherInputs()) {
				d.fromPicture(d.image(dst, i), i, d.cache.images[i].result, level)
				continue
			}
		}
		d.images = append(d.images, i)
	}
}

// fromPicture sets dst to the prediction for the input of an image that the given
// picture implies, the inverse of toPicture.
func (d *denoiser) fromPicture(dst []float32, image int, picture []float32, level float32) {
	if d.family == timesteps {
		d.model.impliedNoise(dst, d.image(d.inputs, image), picture, level)
	} else {
		copy(dst, picture)
	}
}

// toPicture sets dst to the picture without noise that a prediction for the input
// of an image leads to.
func (d *denoiser) toPicture(dst []float32, image int, prediction []float32, level float32) {
	if d.family == timesteps {
		d.model.predictOriginal(dst, d.image(d.inputs, image), prediction, level)
	} else {
		copy(dst, prediction)
	}
}

// otherInputs is Job.Inputs for this call; predictions with and without masks differ, too.
func (d *denoiser) otherInputs() (bits uint64) {
	if d.job.Inputs != nil {
		bits = d.job.Inputs(&d.batch)
	}
	if d.masked() {
		bits ^= 1 << 63
	}
	return bits
}

// masked reports whether masks of parts act in this call.
func (d *denoiser) masked() bool {
	return d.masks && (d.job.MaskSteps == 0 || d.batch.Step < d.job.MaskSteps)
}

// call sets dst to the guided predictions of the network for d.images.
func (d *denoiser) call(ctx context.Context, dst []float32, level float32, scales scales, skip bool) error {
	d.layOut(d.images, skip)
	d.fill(scales)
	out, err := d.job.UNet(ctx, &d.batch)
	if err != nil {
		return err
	}
	if len(out) != len(d.batch.X) {
		return fmt.Errorf("sampler: the UNet returned %d values for %d", len(out), len(d.batch.X))
	}
	if allNaN(out) {
		return ErrNaN
	}
	for i, row := range d.batch.Rows {
		scales.apply(d.image(out, i), d.image(d.inputs, row.Image))
	}
	var negative []float32
	if !skip {
		negative = out[len(out)-len(d.images)*d.size:]
	}
	d.show(out, negative, level)

	all := len(d.images) == len(d.job.Prompts)
	guided := dst
	if !all {
		guided = make([]float32, len(d.images)*d.size)
	}
	switch {
	case skip:
		guide(guided, out, d.size, d.parts, nil, 1)
	default:
		d.guideWithin(guided, out, negative, level)
	}
	if scale := d.perturbation(); scale > 0 {
		d.perturb(guided, out, scale)
		d.perturbed++
	}
	if !all {
		for i, image := range d.images {
			copy(d.image(dst, image), d.image(guided, i))
		}
	}
	if d.cache != nil {
		d.keep(dst, level, scales, skip)
	}
	return nil
}

// show sets d.last for d.images.
func (d *denoiser) show(out, negative []float32, level float32) {
	var whole []float32
	if d.masked() {
		whole = make([]float32, len(d.images)*d.size)
		guide(whole, out, d.size, d.parts, negative, 1)
	}
	for i, image := range d.images {
		predicted := d.image(out, d.parts[i][0].row)
		if whole != nil {
			predicted = d.image(whole, i)
		}
		d.toPicture(d.image(d.last, image), image, predicted, level)
	}
}

// keep hands the new predictions to the cache.
func (d *denoiser) keep(dst []float32, level float32, s scales, skipNegative bool) {
	picture := make([]float32, d.size)
	for _, image := range d.images {
		d.layOut([]int{image}, skipNegative)
		d.fill(s)
		d.toPicture(picture, image, d.image(dst, image), level)
		d.cache.keep(image, d.image(d.batch.X, 0), picture, d.batch.Rows, d.otherInputs())
	}
}

// image returns row i of a tensor.
func (d *denoiser) image(x []float32, i int) []float32 { return x[i*d.size : (i+1)*d.size] }

// blend puts back what the mask keeps, at a sigma or timestep.
func (d *denoiser) blend(x []float32, level float32) {
	switch in := d.job.Img2Img; {
	case in == nil || in.Mask == nil:
	case in.Soft != nil:
		in.Soft.Blend(x, in.Latent, in.Mask, d.job.RNG.Config().Shape.C, level)
	default:
		latent.Blend(x, in.Latent, in.Mask)
	}
}

// perturbation is the scale of Options.Perturbation for this call.
func (d *denoiser) perturbation() float64 {
	return d.job.Options.Perturbation.at(d.perturbed, d.batch.Step, d.batch.Steps)
}

// skipsNegative applies s_min_uncond: only every other call, so that a higher
// threshold does not hurt.
func (d *denoiser) skipsNegative(level float32) bool {
	return skipsNegative(d.batch.Call, level, d.job.Options.SMinUncond)
}

func skipsNegative(call int, level float32, threshold float64) bool {
	return call%2 == 1 && threshold > 0 && float64(level) < threshold
}

// layOut lists the rows of this call for some images: all parts of all prompts,
// then the negative prompts.
func (d *denoiser) layOut(images []int, skipNegative bool) {
	call, masked := d.batch.Call, d.masked()
	rows := d.batch.Rows[:0]
	d.parts = d.parts[:0]
	for _, i := range images {
		var list []weighted
		for _, p := range d.job.Prompts[i] {
			part := weighted{row: len(rows), weight: p.Weight}
			if masked {
				part.mask = p.Mask
			}
			list = append(list, part)
			rows = append(rows, Row{Image: i, Cond: p.Schedule.at(call), Kind: Prompt})
		}
		d.parts = append(d.parts, list)
	}
	if d.perturbation() > 0 {
		for _, row := range rows {
			row.Kind = Perturbed
			rows = append(rows, row)
		}
	}
	if !skipNegative {
		for _, i := range images {
			rows = append(rows, Row{Image: i, Cond: d.job.Negatives[i].at(call), Kind: Negative})
		}
	}
	d.batch.Rows = rows
}

// fill copies the inputs of all rows, scaled.
func (d *denoiser) fill(s scales) {
	n := len(d.batch.Rows)
	d.batch.X = resize(d.batch.X, n*d.size)
	d.batch.Timestep = resize(d.batch.Timestep, n)
	for i, row := range d.batch.Rows {
		d.batch.Timestep[i] = s.timestep
		dst := d.image(d.batch.X, i)
		for k, v := range d.image(d.inputs, row.Image) {
			dst[k] = v * s.in
		}
	}
}

// resize returns a slice of length n that reuses the memory of s where it can.
func resize(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// predictOriginal sets dst to the latent without noise that eps implies.
func (m *noiseModel) predictOriginal(dst, x, eps []float32, timestep float32) {
	a := m.alphasCumprod[int(timestep)]
	noise, signal := sqrt(1-a), sqrt(a)
	for i := range dst {
		dst[i] = (x[i] - noise*eps[i]) / signal
	}
}

// impliedNoise sets dst to the eps in x that makes picture what is without it, the
// inverse of predictOriginal.
func (m *noiseModel) impliedNoise(dst, x, picture []float32, timestep float32) {
	a := m.alphasCumprod[int(timestep)]
	noise, signal := sqrt(1-a), sqrt(a)
	for i := range dst {
		dst[i] = (x[i] - signal*picture[i]) / noise
	}
}

// allNaN looks at one value of healthy output.
func allNaN(x []float32) bool {
	for _, v := range x {
		if v == v {
			return false
		}
	}
	return len(x) > 0
}
