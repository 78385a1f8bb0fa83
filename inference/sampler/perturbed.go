package sampler

// Perturbation is perturbed-attention guidance (Ahn et al., "Self-Rectifying Diffusion
// Sampling with Perturbed-Attention Guidance", 2024) as Forge has it: away from what the
// network predicts for the prompt without self-attention in its middle.
type Perturbation struct {
	Scale       float64 // 0 = off
	Attenuation float64 // share of Scale that each call takes away, 0..1
	Start, End  float64 // part of the run in which it acts, 0..1
}

// at is the scale at a step, after so many calls that it acted in; 0 for none.
func (p *Perturbation) at(calls, step, steps int) float64 {
	if !within(p.Start, p.End, step, steps) {
		return 0
	}
	return max(0, p.Scale-float64(calls)*p.Scale*p.Attenuation)
}

// within reports whether a step lies in a part of the run, both ends included.
func within(start, end float64, step, steps int) bool {
	at := float64(step) / float64(max(steps-1, 1))
	return at >= start && at <= end
}

// perturb adds scale times what the prompt has more than its perturbed rows.
func (d *denoiser) perturb(dst, out []float32, scale float64) {
	prompts := 0
	for _, list := range d.parts {
		prompts += len(list)
	}
	for i, list := range d.parts {
		image := d.image(dst, i)
		for _, p := range list {
			factor := float32(p.weight * scale)
			row, degraded := d.image(out, p.row), d.image(out, p.row+prompts)
			if p.mask != nil {
				addMasked(image, row, degraded, p.mask, factor)
				continue
			}
			for k := range image {
				image[k] += (row[k] - degraded[k]) * factor
			}
		}
	}
}
