package sampler_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

type scheduleCase struct {
	Kind, ID string

	// model_sigmas
	Variant       string
	Index         []int
	AlphasCumprod []float64 `json:"alphas_cumprod"`
	LogSigmas     []float64 `json:"log_sigmas"`
	SigmaMin      float64   `json:"sigma_min"`
	SigmaMax      float64   `json:"sigma_max"`
	SumSigmas     float64   `json:"sum_sigmas_float64"`

	// sigma_to_t, t_to_sigma
	Quantize, LCM bool
	T             []float64

	// sigmas, lcm_sigmas
	Sampler   string
	Scheduler *string
	Steps     int
	Function  string
	Discard   bool `json:"discard_penultimate"`
	Sigmas    []float64
	Options   map[string]any
	Img2Img   *stepsRow

	// timesteps
	Count     int
	Timesteps []int

	Rows []stepsRow // img2img_steps
}

type stepsRow struct {
	Steps         int
	Strength      float64 `json:"denoising_strength"`
	Fix           bool    `json:"img2img_fix_steps"`
	Explicit      *int    `json:"explicit_steps"`
	ScheduleSteps int     `json:"schedule_steps"`
	TEnc          int     `json:"t_enc"`
}

func (r stepsRow) plan() sampler.Img2ImgSteps {
	explicit := 0
	if r.Explicit != nil {
		explicit = *r.Explicit
	}
	return sampler.PlanImg2Img(r.Steps, r.Strength, r.Fix, explicit)
}

func TestSchedules(t *testing.T) {
	var file struct{ Cases []scheduleCase }
	vectors.Load(t, "numeric/schedules.json", &file)
	require.NotEmpty(t, file.Cases)
	checks := map[string]func(*testing.T, scheduleCase){
		"model_sigmas":  checkModel,
		"sigma_to_t":    checkSigmaToT,
		"t_to_sigma":    checkTToSigma,
		"sigmas":        checkSigmas,
		"lcm_sigmas":    checkSigmas,
		"timesteps":     checkTimesteps,
		"img2img_steps": checkStepsRows,
	}
	for _, tc := range file.Cases {
		t.Run(tc.ID, func(t *testing.T) {
			require.Contains(t, checks, tc.Kind)
			checks[tc.Kind](t, tc)
		})
	}
}

func (tc scheduleCase) model(t *testing.T) sampler.Model {
	o := sampler.DefaultOptions()
	o.Quantize = tc.Quantize
	switch tc.Variant {
	case "", "default":
	case "zero_terminal_snr":
		o.ZeroTerminalSNR = true
	case "downcast_alphas_cumprod":
		o.DowncastAlphas = true
	default:
		t.Fatalf("a case has the variant %q, which this test does not know", tc.Variant)
	}
	name := "Euler"
	if tc.LCM {
		name = "LCM"
	}
	info, err := sampler.Find(name)
	require.NoError(t, err)
	return sampler.ModelOf(info, o)
}

// scheduleTolerance is relative. PyTorch's square root and logarithm are not
// correctly rounded on the CPU.
const scheduleTolerance = 5e-6

// requireSigmas compares within scheduleTolerance.
func requireSigmas(t *testing.T, want []float64, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i, w := range want {
		require.InDelta(t, w, got[i], scheduleTolerance*w, "sigma %d", i)
	}
}

func checkModel(t *testing.T, tc scheduleCase) {
	m := tc.model(t)
	for k, i := range tc.Index {
		require.InEpsilon(t, tc.AlphasCumprod[k], m.AlphasCumprod()[i], scheduleTolerance, "alpha %d", i)
		// Near alpha 1 a sigma amplifies the rounding of the alpha.
		tolerance := scheduleTolerance + 0x1p-23/(1-tc.AlphasCumprod[k])
		require.InEpsilon(t, tc.Sigmas[k], m.Levels()[i], tolerance, "sigma %d", i)
		require.InDelta(t, tc.LogSigmas[k], m.LogLevels()[i], tolerance, "log sigma %d", i)
	}
	var sum float64
	for _, s := range m.Levels() {
		sum += float64(s)
	}
	require.InEpsilon(t, tc.SumSigmas, sum, scheduleTolerance)
}

func checkSigmaToT(t *testing.T, tc scheduleCase) {
	m := tc.model(t)
	for i, sigma := range tc.Sigmas {
		require.InDelta(t, tc.T[i], m.SigmaToT(float32(sigma)), 1e-3)
	}
}

func checkTToSigma(t *testing.T, tc scheduleCase) {
	m := tc.model(t)
	var got []float32
	for _, at := range tc.T {
		got = append(got, m.TToSigma(float32(at)))
	}
	requireSigmas(t, tc.Sigmas, got)
}

func checkSigmas(t *testing.T, tc scheduleCase) {
	info, err := sampler.Find(tc.Sampler)
	require.NoError(t, err)
	o := sampler.DefaultOptions()
	for key, value := range tc.Options {
		setOption(t, &o, key, value)
	}
	scheduler := ""
	if tc.Scheduler != nil {
		scheduler = *tc.Scheduler
	}
	require.Equal(t, tc.Discard, info.DiscardNextToLast || o.DiscardNextToLast)
	if tc.Function != "model" {
		require.Equal(t, tc.Function, sampler.Resolve(info, scheduler).Name)
	}
	steps := tc.Steps
	if tc.Img2Img != nil {
		tc.Img2Img.Steps = tc.Steps
		checkSteps(t, *tc.Img2Img)
		steps = tc.Img2Img.plan().Schedule
	}
	got, err := sampler.Sigmas(info, scheduler, steps, o)
	require.NoError(t, err)
	if tc.Img2Img != nil {
		got = sampler.Tail(got, tc.Img2Img.plan())
	}
	requireSigmas(t, tc.Sigmas, got)
}

// setOption sets an option by its A1111 name.
func setOption(t *testing.T, o *sampler.Options, key string, value any) {
	t.Helper()
	number, _ := value.(float64)
	flag, _ := value.(bool)
	switch key {
	case "eta":
		o.Eta, o.EtaDDIM = number, number
	case "s_min_uncond":
		o.SMinUncond = number
	case "s_churn":
		o.SChurn = number
	case "s_tmin":
		o.STmin = number
	case "s_tmax":
		o.STmax = number // null, infinity, is 0 here
	case "s_noise":
		o.SNoise = number
	case "rho":
		o.Rho = number
	case "sigma_min":
		o.SigmaMin = number
	case "sigma_max":
		o.SigmaMax = number
	case "use_old_karras_scheduler_sigmas":
		o.OldKarrasSigmas = flag
	case "always_discard_next_to_last_sigma":
		o.DiscardNextToLast = flag
	case "enable_quantization":
		o.Quantize = flag
	case "sgm_noise_multiplier":
		o.SGMNoiseMultiplier = flag
	case "img2img_fix_steps":
		o.FixSteps = flag
	case "img2img_extra_noise":
		o.ExtraNoise = number
	case "uni_pc_variant":
		o.UniPC.Variant = value.(string)
	case "uni_pc_skip_type":
		o.UniPC.SkipType = value.(string)
	case "uni_pc_order":
		o.UniPC.Order = int(number)
	case "uni_pc_lower_order_final":
		o.UniPC.LowerOrderFinal = flag
	default:
		t.Fatalf("a case has the option %q, which this test does not know", key)
	}
}

func checkTimesteps(t *testing.T, tc scheduleCase) {
	got := sampler.EvenTimesteps(tc.Steps, sampler.DefaultOptions())
	require.Len(t, got, tc.Count)
	require.Equal(t, tc.Timesteps, got)
}

func checkStepsRows(t *testing.T, tc scheduleCase) {
	require.NotEmpty(t, tc.Rows)
	for _, row := range tc.Rows {
		checkSteps(t, row)
	}
}

func checkSteps(t *testing.T, row stepsRow) {
	plan := row.plan()
	require.Equal(t, row.ScheduleSteps, plan.Schedule, "%+v", row)
	require.Equal(t, row.TEnc, plan.Encode, "%+v", row)
}

func TestDDIMTimesteps(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input int
			Want  struct {
				Length      int
				First, Last []int
			}
		}
	}
	vectors.Load(t, "ddim_timesteps.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := sampler.EvenTimesteps(tc.Input, sampler.DefaultOptions())
			require.Len(t, got, tc.Want.Length)
			require.Equal(t, tc.Want.First, got[:len(tc.Want.First)])
			require.Equal(t, tc.Want.Last, got[len(got)-len(tc.Want.Last):])
		})
	}
}

func TestPlanImg2Img(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input stepsRow
			Want  struct {
				ScheduleSteps int `json:"schedule_steps"`
				TEnc          int `json:"t_enc"`
				Executed      int
				FirstSigma    int `json:"first_sigma_index"`
			}
		}
	}
	vectors.Load(t, "steps.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			plan := tc.Input.plan()
			require.Equal(t, tc.Want.ScheduleSteps, plan.Schedule)
			require.Equal(t, tc.Want.TEnc, plan.Encode)
			require.Equal(t, tc.Want.Executed, plan.Executed())
			require.Equal(t, tc.Want.FirstSigma, plan.FirstSigma())
		})
	}
}

// list is a file whose wants are compared as JSON.
type list struct {
	Cases []struct {
		Name  string
		Input *string
		Want  json.RawMessage
	}
}

func TestSamplersList(t *testing.T) {
	var file list
	vectors.Load(t, "samplers_list.json", &file)
	var listed []sampler.Info
	for _, info := range sampler.All() {
		if !info.Later {
			listed = append(listed, info)
		}
	}
	require.Len(t, file.Cases, len(listed))
	for i, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			info := listed[i]
			got, err := json.Marshal(map[string]any{"name": info.Name, "aliases": info.Aliases, "options": info.Options()})
			require.NoError(t, err)
			require.JSONEq(t, string(tc.Want), string(got))
			found, err := sampler.Find(info.Name)
			require.NoError(t, err)
			require.Equal(t, info.Name, found.Name)
		})
	}
}

func TestSchedulersList(t *testing.T) {
	var file list
	vectors.Load(t, "schedulers_list.json", &file)
	var listed []sampler.Scheduler
	for _, s := range sampler.Schedulers() {
		if !s.Later {
			listed = append(listed, s)
		}
	}
	require.Len(t, file.Cases, len(listed))
	for i, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			s := listed[i]
			got, err := json.Marshal(map[string]any{
				"name": s.Name, "label": s.Label, "aliases": s.Aliases,
				"default_rho": s.DefaultRho, "need_inner_model": s.NeedsModel,
			})
			require.NoError(t, err)
			require.JSONEq(t, string(tc.Want), string(got))
		})
	}
}

func TestParseLegacy(t *testing.T) {
	var file list
	vectors.Load(t, "legacy_samplers.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			name := ""
			if tc.Input != nil {
				name = *tc.Input
			}
			got := map[string]string{}
			got["sampler"], got["scheduler"] = sampler.ParseLegacy(name)
			raw, err := json.Marshal(got)
			require.NoError(t, err)
			require.JSONEq(t, string(tc.Want), string(raw))
		})
	}
}

func TestParseLegacyCutsUniformFirst(t *testing.T) {
	name, scheduler := sampler.ParseLegacy("Euler SGM Uniform")
	require.Equal(t, "DPM++ 2M", name) // "Euler SGM" is no sampler
	require.Equal(t, "Uniform", scheduler)
}

func TestFindRefusesAliasesAndOtherCase(t *testing.T) {
	for _, name := range []string{"k_euler", "euler", "DPM++ 2M Karras", ""} {
		_, err := sampler.Find(name)
		var unknown *sampler.UnknownError
		require.ErrorAs(t, err, &unknown)
		require.Equal(t, name, unknown.Name)
	}
}

func FuzzParseLegacy(f *testing.F) {
	for _, name := range []string{"", "Euler", "DPM++ 2M SDE Karras", "Euler SGM Uniform", " Karras", "Karras Karras"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		samplerName, scheduler := sampler.ParseLegacy(name)
		_, err := sampler.Find(samplerName)
		require.NoError(t, err)
		_, ok := sampler.FindScheduler(scheduler)
		require.True(t, ok)
	})
}
