package infotext

import "sdworker/inference/sampler"

// etaKind says under which name a sampler records its eta.
type etaKind int

const (
	noEta etaKind = iota
	ancestral
	ddim
)

// recorded says which arguments of a sampler get into the text: its eta, the
// three churn values of samplers with one, and the noise factor (A1111
// modules/sd_samplers_kdiffusion.py and the signatures of k-diffusion).
type recorded struct {
	eta           etaKind
	churn, sNoise bool
}

var arguments = map[string]recorded{
	"DPM++ SDE":         {eta: ancestral, sNoise: true},
	"DPM++ 2M SDE":      {eta: ancestral, sNoise: true},
	"DPM++ 2M SDE Heun": {eta: ancestral, sNoise: true},
	"DPM++ 2S a":        {eta: ancestral, sNoise: true},
	"DPM++ 3M SDE":      {eta: ancestral, sNoise: true},
	"Euler a":           {eta: ancestral},
	"Euler":             {churn: true, sNoise: true},
	"Heun":              {churn: true, sNoise: true},
	"DPM2":              {churn: true, sNoise: true},
	"DPM2 a":            {eta: ancestral, sNoise: true},
	"DPM fast":          {eta: ancestral, sNoise: true},
	"DPM adaptive":      {eta: ancestral},
	"DDIM":              {eta: ddim},
}

// eta is the value in effect for a sampler.
func (p Params) eta(name string) float64 {
	switch {
	case p.Eta != nil:
		return *p.Eta
	case usesSigmas(name):
		return p.Sampling.EtaAncestral
	}
	return p.Sampling.EtaDDIM
}

func (p Params) setEta(t *table, name string) {
	eta := p.eta(name)
	switch kind := arguments[name].eta; {
	case kind == ancestral && eta != 1:
		t.set("Eta", eta)
	case kind == ddim && eta != 0:
		t.set("Eta DDIM", eta)
	}
}

func usesSigmas(name string) bool {
	info, err := sampler.Find(name)
	return err == nil && info.UsesScheduler()
}

func usesENSD(name string) bool {
	info, err := sampler.Find(name)
	return err == nil && info.UsesENSD
}

// scheduleLabel is the label of the scheduler that makes the sigmas of a pass; it
// is empty when the model's plain sigmas are used or the sampler has none.
func scheduleLabel(samplerName, requested string) string {
	info, err := sampler.Find(samplerName)
	if err != nil || !info.UsesScheduler() {
		return ""
	}
	if requested == "" || requested == sampler.Automatic {
		requested = info.Scheduler
	}
	s, ok := sampler.FindScheduler(requested)
	if !ok || s.Label == sampler.Automatic {
		return ""
	}
	return s.Label
}
