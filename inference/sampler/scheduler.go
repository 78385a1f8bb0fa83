package sampler

import "slices"

// Automatic is the label that stands for a sampler's own scheduler. Only this
// spelling does: the name "automatic" is a scheduler too, the plain sigmas of
// the model.
const Automatic = "Automatic"

// Scheduler describes one way to space the sigmas of a run.
type Scheduler struct {
	Name       string
	Label      string
	Aliases    []string // used by legacy names only
	DefaultRho float64  // -1 where there is no rho
	NeedsModel bool     // spaces timesteps of the model rather than sigmas
	Later      bool     // came with v1.10: accepted in requests, not in v1.9.3's list

	sigmas func(in scheduleInput, n int) []float32
}

// noRho marks a scheduler that has no rho.
const noRho = -1

// HasRho reports whether option rho acts on the scheduler.
func (s Scheduler) HasRho() bool { return s.DefaultRho != noRho }

// karrasRho is the rho that Karras et al. (2022) recommend.
const karrasRho = 7

// schedulers are in A1111's order. No function means plain model sigmas.
var schedulers = []Scheduler{
	{Name: "automatic", Label: Automatic, DefaultRho: noRho},
	{Name: "uniform", Label: "Uniform", DefaultRho: noRho, NeedsModel: true, sigmas: modelSigmas},
	{Name: "karras", Label: "Karras", DefaultRho: karrasRho, sigmas: karrasSigmas},
	{Name: "exponential", Label: "Exponential", DefaultRho: noRho, sigmas: exponentialSigmas},
	{Name: "polyexponential", Label: "Polyexponential", DefaultRho: 1, sigmas: polyexponentialSigmas},
	{Name: "sgm_uniform", Label: "SGM Uniform", Aliases: []string{"SGMUniform"}, DefaultRho: noRho, NeedsModel: true, sigmas: sgmUniformSigmas},
	{Name: "kl_optimal", Label: "KL Optimal", DefaultRho: noRho, Later: true, sigmas: klOptimalSigmas},
	{Name: "align_your_steps", Label: "Align Your Steps", DefaultRho: noRho, Later: true, sigmas: alignYourStepsSigmas},
	{Name: "simple", Label: "Simple", DefaultRho: noRho, NeedsModel: true, Later: true, sigmas: simpleSigmas},
	{Name: "normal", Label: "Normal", DefaultRho: noRho, NeedsModel: true, Later: true, sigmas: normalSigmas},
	{Name: "ddim", Label: "DDIM", DefaultRho: noRho, NeedsModel: true, Later: true, sigmas: ddimSigmas},
	{Name: "beta", Label: "Beta", DefaultRho: noRho, NeedsModel: true, Later: true, sigmas: betaSigmas},
}

// Schedulers returns all schedulers in A1111's order, those of v1.10 last.
func Schedulers() []Scheduler { return slices.Clone(schedulers) }

// SchedulerLabels are the labels of all schedules, in the same order.
func SchedulerLabels() []string {
	labels := make([]string, len(schedulers))
	for i, s := range schedulers {
		labels[i] = s.Label
	}
	return labels
}

// FindScheduler finds a scheduler by its exact name or label, which one request
// field accepts alike.
func FindScheduler(nameOrLabel string) (Scheduler, bool) {
	for _, s := range schedulers {
		if s.Name == nameOrLabel || s.Label == nameOrLabel {
			return s, true
		}
	}
	return Scheduler{}, false
}

// resolveScheduler applies A1111's rule: "" means Automatic, Automatic means the
// sampler's own, and a name that is unknown or has no function means the plain
// sigmas of the model.
func resolveScheduler(info Info, nameOrLabel string) Scheduler {
	if nameOrLabel == "" || nameOrLabel == Automatic {
		nameOrLabel = info.Scheduler
	}
	if s, ok := FindScheduler(nameOrLabel); ok && s.sigmas != nil {
		return s
	}
	return Scheduler{Name: "automatic", Label: Automatic, DefaultRho: noRho, sigmas: modelSigmas}
}
