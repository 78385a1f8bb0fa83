package sampler

import "math"

// tcdLevels is the number of timesteps that trajectory consistency models and
// LoRAs are distilled for.
const tcdLevels = 50

// tcdTimesteps lists the training timesteps of a run, ascending: evenly spread
// among the levels, from the last one down, as diffusers' TCDScheduler does. Runs
// of more steps than there are levels take from all timesteps.
func tcdTimesteps(steps int) []int {
	levels := tcdLevels
	if steps > levels {
		levels = trainingSteps
	}
	steps = min(steps, levels)
	ts := make([]int, steps)
	for i := range ts {
		below := int(math.Floor(float64(i) * (float64(levels) / float64(steps))))
		ts[steps-1-i] = (levels-below)*(trainingSteps/levels) - 1
	}
	return ts
}

// tcd is strategic stochastic sampling, algorithm 4 of Zheng et al., "Trajectory
// consistency distillation" (2024): each step goes down along the prediction to a
// timestep s below the next one and back up with fresh noise. Gamma of the paper,
// here Options.EtaTCD, is how far below: 0 adds no noise, 1 is LCM's way.
func tcd(r *run) error {
	b := r.buffers(2)
	eps, noise := b[0], b[1]
	gamma := min(max(r.options.EtaTCD, 0), 1)
	alphas := r.model.alphasCumprod
	for i := range r.timesteps {
		index := len(r.timesteps) - 1 - i
		t, next := r.timesteps[index], 0
		if index > 0 {
			next = r.timesteps[index-1]
		}
		if err := r.predict(eps, r.x, float32(t)); err != nil {
			return err
		}
		s := int(float32(1-gamma) * float32(next))
		level := timestepLevel{signal: sqrt(alphas[t]), noise: sqrt(1 - alphas[t]), below: alphas[s]}
		level.stepBelow(r.x, r.x, eps, 0)
		if gamma > 0 && index > 0 {
			r.noise(noise, float32(t), float32(next))
			kept := alphas[next] / alphas[s]
			scale(r.x, sqrt(kept))
			addScaled(r.x, noise, sqrt(1-kept))
		}
		r.report(i)
	}
	return nil
}
