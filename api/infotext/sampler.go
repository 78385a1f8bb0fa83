package infotext

import (
	"slices"

	"sdworker/inference/sampler"
)

// infoOf describes a sampler; an unknown one uses no option.
func infoOf(name string) sampler.Info {
	info, _ := sampler.Find(name)
	return info
}

func usesScheduler(name string) bool {
	info, err := sampler.Find(name)
	return err == nil && info.UsesScheduler()
}

// eta is the value in effect for a sampler.
func (p Params) eta(name string) float64 {
	switch {
	case p.Eta != nil:
		return *p.Eta
	case infoOf(name).Eta == sampler.EtaTCD:
		return p.Request.Settings.EtaTCD
	case usesScheduler(name):
		return p.Sampling.EtaAncestral
	}
	return p.Sampling.EtaDDIM
}

// defaultEtaTCD is the default of option eta_tcd.
var defaultEtaTCD = sampler.DefaultOptions().EtaTCD

// setArguments records what a sampler took from request and options and is not at
// its default (A1111 modules/sd_samplers_common.py).
func (p Params) setArguments(t *table, name string) {
	info, eta, s := infoOf(name), p.eta(name), p.Sampling
	switch info.Eta {
	case sampler.EtaAncestral:
		t.set("Eta", when(eta != 1, eta))
	case sampler.EtaDDIM:
		t.set("Eta DDIM", nonZero(eta))
	case sampler.EtaTCD:
		t.set("Eta TCD", when(eta != defaultEtaTCD, eta))
	case sampler.NoEta:
	}
	if info.Churns {
		t.set("Sigma churn", nonZero(s.SChurn))
		t.set("Sigma tmin", nonZero(s.STmin))
		t.set("Sigma tmax", nonZero(s.STmax))
	}
	if info.ScalesNoise {
		t.set("Sigma noise", when(s.SNoise != 1, s.SNoise))
	}
}

// scheduleLabel is the label of the scheduler that makes the sigmas of a pass; it
// is empty when the model's plain sigmas are used or the sampler has none.
func scheduleLabel(samplerName, requested string) string {
	if !usesScheduler(samplerName) {
		return ""
	}
	if requested == "" || requested == sampler.Automatic {
		requested = infoOf(samplerName).Scheduler
	}
	s, ok := sampler.FindScheduler(requested)
	if !ok || s.Label == sampler.Automatic {
		return ""
	}
	return s.Label
}

// takesRho reports whether a scheduler has a rho and this one is not its own.
func takesRho(label string, rho float64) bool {
	s, ok := sampler.FindScheduler(label)
	return ok && s.HasRho() && rho != s.DefaultRho
}

// samplingEntries are the keys that A1111 adds while it samples and decodes.
func (p Params) samplingEntries(t *table, schedule string) {
	s, r, o := p.Sampling, p.Request, p.Request.Settings
	fromNoise := r.Init == nil // the first pass is text-to-image
	extraNoise := when(o.ExtraNoise > 0, o.ExtraNoise)
	t.set("Downcast alphas_cumprod", when(o.DowncastAlphas, true))
	t.set("Noise Schedule", when(o.ZeroTerminalSNR, "Zero Terminal SNR"))
	if r.Init != nil {
		t.set("Noise multiplier", when(r.Init.NoiseMultiplier != 1, r.Init.NoiseMultiplier))
	}
	discards := !infoOf(r.Sampler).DiscardNextToLast
	labels := []string{schedule}
	if p.Hires != nil {
		discards = discards || !infoOf(p.Hires.sampler(p)).DiscardNextToLast
		labels = append(labels, p.Hires.schedule(p))
	}
	t.set("Discard penultimate sigma", when(o.DiscardNextToLast && discards, true))
	if schedule != "" {
		t.set("Schedule type", schedule)
	}
	if slices.ContainsFunc(labels, func(label string) bool { return label != "" }) {
		t.set("Schedule min sigma", nonZero(o.SigmaMin))
		t.set("Schedule max sigma", nonZero(o.SigmaMax))
	}
	if slices.ContainsFunc(labels, func(label string) bool { return takesRho(label, o.Rho) }) {
		t.set("Schedule rho", nonZero(o.Rho))
	}
	t.set("SGM noise multiplier", when(o.SGMNoiseMultiplier && fromNoise && usesScheduler(r.Sampler), true))
	t.set("Extra noise", when(!fromNoise, extraNoise))
	p.setArguments(t, r.Sampler)
	if refiner := p.Refiner; refiner != nil {
		t.set("Refiner switch by sampling steps", when(p.RefinerBySteps, true))
		t.set("Hires refiner", when(p.HiresRefiner != "", p.HiresRefiner))
		t.set("Refiner", refiner.Checkpoint)
		t.set("Refiner switch at", optional(refiner.SwitchAt))
	}
	t.set("Pad conds", when(s.PadConds, true))
	t.set("Pad conds v0", when(s.PadCondsV0, true))
	if p.Hires != nil {
		t.set("VAE Encoder", vae(s.VAEEncoder))
		t.set("Extra noise", extraNoise)
		p.setArguments(t, p.Hires.sampler(p))
	}
	t.set("VAE Decoder", vae(s.VAEDecoder))
	t.set("CFG Rescale", nonZero(o.CFGRescale))
	t.set("Step cache", nonZero(o.StepCache))
}

// splitSampler gives the names of today for a sampler that may carry its
// scheduler, as before v1.9. A name with a scheduler wins over the key, a
// scheduler that is the sampler's own is Automatic, and an unknown sampler is the
// first one.
func splitSampler(name, scheduler string) (samplerName, label string) {
	info, err := sampler.Find(name)
	if err != nil {
		return sampler.ParseLegacy(name)
	}
	s, ok := sampler.FindScheduler(scheduler)
	if !ok || s.Name == info.Scheduler {
		return info.Name, sampler.Automatic
	}
	return info.Name, s.Label
}
