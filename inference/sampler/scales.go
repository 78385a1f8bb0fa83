package sampler

// lcmData is the assumed deviation of the data in LCM's boundary scalings, and
// lcmTimestepScale the factor of the timestep there (Luo et al., "Latent
// consistency models", 2023).
const (
	lcmData          = 0.5
	lcmTimestepScale = 10
)

// scales are the preconditioning factors of one UNet call: the network sees
// in*x at timestep, the prediction is out*output + skip*x.
type scales struct {
	in, out, skip float32
	timestep      float32

	boundary                  bool // LCM mixes the result with x once more
	boundaryOut, boundarySkip float32
}

// scales returns the factors for a noise level (a timestep in the DDIM family).
func (d *denoiser) scales(level float32) scales {
	v := d.job.Prediction == Velocity
	if d.family == timesteps {
		s := scales{in: 1, out: 1, timestep: level}
		if v {
			a := d.model.alphasCumprod[int(level)]
			s.out, s.skip = sqrt(a), sqrt(1-a)
		}
		return s
	}

	variance := level*level + 1
	root := sqrt(variance)
	s := scales{in: 1 / root, out: -level, skip: 1, timestep: d.model.sigmaToT(level)}
	if d.family == latentConsistency {
		t := s.timestep * lcmTimestepScale
		square := t*t + lcmData*lcmData
		s.boundary = true
		s.boundaryOut = t / sqrt(square)
		s.boundarySkip = lcmData * lcmData / square
		return s
	}
	if v {
		s.out, s.skip = -level/root, 1/variance
	}
	return s
}

// apply turns the network's output for x into the prediction, in place.
func (s scales) apply(output, x []float32) {
	for i, v := range output {
		output[i] = v*s.out + x[i]*s.skip
	}
	if s.boundary {
		for i, v := range output {
			output[i] = s.boundaryOut*v + s.boundarySkip*x[i]
		}
	}
}
