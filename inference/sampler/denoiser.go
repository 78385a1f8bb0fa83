package sampler

import (
	"context"
	"errors"
	"fmt"

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
	parts  [][]weighted // of each image in the current call
	inputs []float32    // x before scaling, mask applied
	last   []float32    // prediction of the first part of each prompt
}

// weighted is one prompt row of an image.
type weighted struct {
	row    int
	weight float64
}

func newDenoiser(job *Job, info Info) *denoiser {
	n := job.RNG.Len()
	return &denoiser{
		job:    job,
		family: info.family,
		model:  modelOf(info, job.Options),
		size:   n / len(job.Prompts),
		parts:  make([][]weighted, len(job.Prompts)),
		inputs: make([]float32, n),
		last:   make([]float32, n),
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
		d.blend(d.inputs)
	}
	skip := d.skipsNegative(level)
	d.layOut(skip)
	scales := d.scales(level)
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

	d.remember(out, level)
	switch {
	case d.job.edits():
		guideEdit(dst, out, d.job.CFGScale, *d.job.ImageCFGScale)
	case skip:
		guide(dst, out, d.size, d.parts, nil, 1)
	default:
		guide(dst, out, d.size, d.parts, out[len(out)-len(dst):], d.job.CFGScale)
	}
	if !blendsInput {
		d.blend(dst)
	}
	d.batch.Call++
	return nil
}

// image returns row i of a tensor.
func (d *denoiser) image(x []float32, i int) []float32 { return x[i*d.size : (i+1)*d.size] }

func (d *denoiser) blend(x []float32) {
	if in := d.job.Img2Img; in != nil && in.Mask != nil {
		latent.Blend(x, in.Latent, in.Mask)
	}
}

// skipsNegative applies s_min_uncond: only every other call, so that a higher
// threshold does not hurt.
func (d *denoiser) skipsNegative(level float32) bool {
	return skipsNegative(d.batch.Call, level, d.job.Options.SMinUncond) && !d.job.edits()
}

func skipsNegative(call int, level float32, threshold float64) bool {
	return call%2 == 1 && threshold > 0 && float64(level) < threshold
}

// layOut lists the rows of this call: all parts of all images, then the negative
// prompts.
func (d *denoiser) layOut(skipNegative bool) {
	call := d.batch.Call
	rows := d.batch.Rows[:0]
	for i, parts := range d.job.Prompts {
		d.parts[i] = d.parts[i][:0]
		for _, p := range parts {
			d.parts[i] = append(d.parts[i], weighted{len(rows), p.Weight})
			rows = append(rows, Row{Image: i, Cond: p.Schedule.at(call), Kind: Prompt})
		}
	}
	if !skipNegative {
		kinds := []RowKind{Negative}
		if d.job.edits() {
			kinds = append(kinds, NegativeNoImage)
		}
		for _, kind := range kinds {
			for i, s := range d.job.Negatives {
				rows = append(rows, Row{Image: i, Cond: s.at(call), Kind: kind})
			}
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

// remember keeps the picture that the first part of each prompt predicts.
func (d *denoiser) remember(out []float32, level float32) {
	for i, parts := range d.parts {
		first := d.image(out, parts[0].row)
		if d.family == timesteps {
			d.model.predictOriginal(d.image(d.last, i), d.image(d.inputs, i), first, level)
		} else {
			copy(d.image(d.last, i), first)
		}
	}
}

// predictOriginal sets dst to the latent without noise that eps implies.
func (m *noiseModel) predictOriginal(dst, x, eps []float32, timestep float32) {
	a := m.alphasCumprod[int(timestep)]
	noise, signal := sqrt(1-a), sqrt(a)
	for i := range dst {
		dst[i] = (x[i] - noise*eps[i]) / signal
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
