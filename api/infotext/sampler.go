package infotext

import "sdworker/inference/sampler"

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
