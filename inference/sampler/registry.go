// Package sampler turns noise into a latent: the samplers, schedulers and
// guidance of AUTOMATIC1111's web UI v1.9.3 (A1111 below) around a UNet that the
// caller provides. Arithmetic is float32 in that program's order of operations,
// because its Brownian noise reacts to a single rounding of a sigma.
package sampler

import (
	"fmt"
	"slices"
)

// Info describes one sampler.
type Info struct {
	Name    string   // the exact name that requests use
	Aliases []string // shown in lists; requests may not use them

	// Scheduler is the name of the sampler's own scheduler, which Automatic
	// stands for; "" means the plain sigmas of the model.
	Scheduler string

	Later bool // unknown to v1.9.3: accepted in requests, not in its list

	SecondOrder       bool   // calls the UNet about twice a step
	UsesENSD          bool   // draws ancestral noise, which eta_noise_seed_delta moves
	BrownianNoise     bool   // draws from a Brownian path instead of the generators
	DiscardNextToLast bool   // leaves out the last sigma but one
	SolverType        string // of the SDE solver: "heun", or "" for midpoint

	// What the sampler does with the options of the same names.
	Eta         EtaOption
	Churns      bool // s_churn, s_tmin and s_tmax
	ScalesNoise bool // s_noise

	family   family
	spacing  func(steps int) []int // of the timesteps, ascending; nil is A1111's
	ownSteps bool                  // the steps are not those of the job
	loop     func(*run) error
}

// EtaOption says which option, if any, is the eta of a sampler.
type EtaOption int

// Options of eta.
const (
	NoEta        EtaOption = iota
	EtaAncestral           // Options.Eta: A1111's eta_ancestral, "Eta" in parameters, default 1
	EtaDDIM                // Options.EtaDDIM: A1111's eta_ddim, "Eta DDIM" in parameters, default 0
	EtaTCD                 // Options.EtaTCD: eta_tcd, "Eta TCD" in parameters, default 0.3
)

// family says how a sampler sees the model.
type family int

const (
	kDiffusion family = iota // denoiser of sigma
	latentConsistency
	timesteps // eps of the training timestep; ignores the scheduler
)

// infos lists the samplers in the order of A1111, whose first one is the default
// of its page, then the later ones.
var infos = []Info{
	{Name: "DPM++ 2M", Aliases: []string{"k_dpmpp_2m"}, Scheduler: "karras", loop: dpmpp2M},
	{Name: "DPM++ SDE", Aliases: []string{"k_dpmpp_sde"}, Scheduler: "karras", SecondOrder: true, BrownianNoise: true, Eta: EtaAncestral, ScalesNoise: true, loop: dpmppSDE},
	{Name: "DPM++ 2M SDE", Aliases: []string{"k_dpmpp_2m_sde"}, Scheduler: "exponential", BrownianNoise: true, Eta: EtaAncestral, ScalesNoise: true, loop: dpmpp2MSDE},
	{Name: "DPM++ 2M SDE Heun", Aliases: []string{"k_dpmpp_2m_sde_heun"}, Scheduler: "exponential", BrownianNoise: true, SolverType: "heun", Eta: EtaAncestral, ScalesNoise: true, loop: dpmpp2MSDEHeun},
	{Name: "DPM++ 2S a", Aliases: []string{"k_dpmpp_2s_a"}, Scheduler: "karras", UsesENSD: true, SecondOrder: true, Eta: EtaAncestral, ScalesNoise: true, loop: dpmpp2SAncestral},
	{Name: "DPM++ 3M SDE", Aliases: []string{"k_dpmpp_3m_sde"}, Scheduler: "exponential", DiscardNextToLast: true, BrownianNoise: true, Eta: EtaAncestral, ScalesNoise: true, loop: dpmpp3MSDE},
	{Name: "Euler a", Aliases: []string{"k_euler_a", "k_euler_ancestral"}, UsesENSD: true, Eta: EtaAncestral, loop: eulerAncestral},
	{Name: "Euler", Aliases: []string{"k_euler"}, Churns: true, ScalesNoise: true, loop: euler},
	{Name: "LMS", Aliases: []string{"k_lms"}, loop: lms},
	{Name: "Heun", Aliases: []string{"k_heun"}, SecondOrder: true, Churns: true, ScalesNoise: true, loop: heun},
	{Name: "DPM2", Aliases: []string{"k_dpm_2"}, Scheduler: "karras", DiscardNextToLast: true, SecondOrder: true, Churns: true, ScalesNoise: true, loop: dpm2},
	{Name: "DPM2 a", Aliases: []string{"k_dpm_2_a"}, Scheduler: "karras", DiscardNextToLast: true, UsesENSD: true, SecondOrder: true, Eta: EtaAncestral, ScalesNoise: true, loop: dpm2Ancestral},
	{Name: "DPM fast", Aliases: []string{"k_dpm_fast"}, UsesENSD: true, Eta: EtaAncestral, ScalesNoise: true, ownSteps: true, loop: dpmFast},
	{Name: "DPM adaptive", Aliases: []string{"k_dpm_ad"}, UsesENSD: true, Eta: EtaAncestral, ownSteps: true, loop: dpmAdaptive},
	{Name: "Restart", Aliases: []string{"restart"}, Scheduler: "karras", SecondOrder: true, loop: restart},
	{Name: "DDIM", Aliases: []string{"ddim"}, Eta: EtaDDIM, family: timesteps, loop: ddim},
	{Name: "PLMS", Aliases: []string{"plms"}, family: timesteps, loop: plms},
	{Name: "UniPC", Aliases: []string{"unipc"}, family: timesteps, loop: uniPC},
	{Name: "LCM", Aliases: []string{"k_lcm"}, family: latentConsistency, loop: lcm},
	{Name: "TCD", Aliases: []string{"tcd"}, Later: true, Eta: EtaTCD, family: timesteps, spacing: tcdTimesteps, loop: tcd},
}

// UnknownError reports a sampler name that does not exist.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no sampler is called %q: the list of samplers has the exact names", e.Name)
}

// All returns the samplers in A1111's order, the later ones last.
func All() []Info { return slices.Clone(infos) }

// Names are the names of all samplers, in the same order.
func Names() []string {
	names := make([]string, len(infos))
	for i, info := range infos {
		names[i] = info.Name
	}
	return names
}

// Find returns the sampler with exactly this name. Aliases are not names. The
// error is an *UnknownError.
func Find(name string) (Info, error) {
	for _, info := range infos {
		if info.Name == name {
			return info, nil
		}
	}
	return Info{}, &UnknownError{Name: name}
}

// Options returns the properties that GET /sdapi/v1/samplers shows; all values
// are strings there.
func (i Info) Options() map[string]string {
	options := map[string]string{}
	set := func(key, value string, on bool) {
		if on {
			options[key] = value
		}
	}
	set("scheduler", i.Scheduler, i.Scheduler != "")
	set("second_order", "True", i.SecondOrder)
	set("uses_ensd", "True", i.UsesENSD)
	set("brownian_noise", "True", i.BrownianNoise)
	set("discard_next_to_last_sigma", "True", i.DiscardNextToLast)
	set("solver_type", i.SolverType, i.SolverType != "")
	return options
}

// UsesScheduler is false for DDIM, PLMS, UniPC and TCD, which walk evenly spaced
// timesteps whatever the scheduler.
func (i Info) UsesScheduler() bool { return i.family != timesteps }

// PromptSteps is the number of UNet calls that the fractions and step numbers of
// prompt editing refer to.
func (i Info) PromptSteps(steps int) int {
	if i.SecondOrder {
		return 2 * steps
	}
	return steps
}
