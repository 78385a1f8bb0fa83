package sampler

// Options are the settings of A1111 that shape a run. DefaultOptions holds its
// defaults; the zero value is not useful.
type Options struct {
	Eta     float64 // noise of ancestral and SDE samplers, 0..1
	EtaDDIM float64 // noise of DDIM, 0..1
	EtaTCD  float64 // noise of TCD, 0..1; gamma of its paper

	SChurn float64 // noise added before each step of Euler, Heun and DPM2
	STmin  float64 // lowest sigma that gets it
	STmax  float64 // highest sigma that gets it; 0 means any
	SNoise float64 // factor of the noise added

	// SMinUncond drops the negative prompt from every other UNet call below this
	// sigma (this timestep for DDIM, PLMS and UniPC); 0 never does.
	SMinUncond float64

	// StepCache lets a step reuse the last prediction of an image while that is
	// expected to change by less than this share, 0..1; 0 never does. See
	// docs/performance.md for what it saves.
	StepCache float64

	// CFGRescale brings the contrast of guided predictions back to that of the prompt
	// alone, 0 (not at all) to 1.
	CFGRescale   float64
	Thresholding Thresholding
	Projection   Projection
	ZeroStar     bool // CFG-Zero*: the negative prompt is scaled to what it shares with the prompt
	Perturbation Perturbation

	SigmaMin, SigmaMax, Rho float64 // of the schedulers that have them; 0 = their own

	OldKarrasSigmas    bool // use_old_karras_scheduler_sigmas: sigmas 0.1 to 10
	DiscardNextToLast  bool // always_discard_next_to_last_sigma
	SGMNoiseMultiplier bool // sgm_noise_multiplier: start noise * sqrt(1+sigma^2)
	Quantize           bool // enable_quantization: whole timesteps only

	ZeroTerminalSNR bool // sd_noise_schedule "Zero Terminal SNR"
	DowncastAlphas  bool // use_downcasted_alpha_bar: levels in half precision

	FixSteps   bool    // img2img_fix_steps: run as many steps as asked
	ExtraNoise float64 // img2img_extra_noise, added to the noised picture

	BetaAlpha, BetaBeta float64 // shapes of the Beta scheduler

	UniPC UniPCOptions
}

// UniPCOptions are the settings of the UniPC sampler.
type UniPCOptions struct {
	Variant         string // bh1, bh2 or vary_coeff
	SkipType        string // time_uniform, time_quadratic or logSNR
	Order           int    // 1 or more; runs with fewer steps lower it
	LowerOrderFinal bool   // the last steps use lower orders
}

// DefaultOptions returns A1111's defaults.
func DefaultOptions() Options {
	return Options{
		Eta:       1,
		EtaTCD:    0.3, // of diffusers' TCDScheduler
		SNoise:    1,
		BetaAlpha: 0.6,
		BetaBeta:  0.6,
		UniPC:     UniPCOptions{Variant: "bh1", SkipType: "time_uniform", Order: 3, LowerOrderFinal: true},
	}
}
