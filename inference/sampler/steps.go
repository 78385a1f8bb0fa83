package sampler

// maxStrength is the denoising strength above which all steps run anyway.
const maxStrength = 0.999

// Img2ImgSteps is the step arithmetic of a run that starts from a picture.
type Img2ImgSteps struct {
	Schedule int // steps of the whole schedule
	Encode   int // index, from its end, of the noise level that the picture gets: A1111's t_enc
}

// Executed is the number of steps that run, and that progress counts.
func (s Img2ImgSteps) Executed() int { return s.Encode + 1 }

// FirstSigma is the index of the first sigma used. Below zero it counts from the
// end, as in Python.
func (s Img2ImgSteps) FirstSigma() int { return s.Schedule - s.Encode - 1 }

// PlanImg2Img computes how many of the asked steps run for a denoising strength
// of 0..1. With fix (option img2img_fix_steps) or an explicit count (the hires
// pass; 0 = none) that many steps run, taken from the end of a longer schedule;
// otherwise the strength is the share of the steps that run.
func PlanImg2Img(steps int, strength float64, fix bool, explicit int) Img2ImgSteps {
	if !fix && explicit == 0 {
		return Img2ImgSteps{Schedule: steps, Encode: int(min(strength, maxStrength) * float64(steps))}
	}
	if explicit > 0 {
		steps = explicit
	}
	plan := Img2ImgSteps{Encode: steps - 1}
	if strength > 0 {
		plan.Schedule = int(float64(steps) / min(strength, maxStrength))
	}
	return plan
}
