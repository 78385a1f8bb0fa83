package infotext_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/infotext"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
	"sdworker/internal/vectors"
)

func each[I, W any](t *testing.T, name string, check func(t *testing.T, in I, want W)) {
	t.Helper()
	var f struct {
		Cases []struct {
			Name  string
			Input I
			Want  W
		}
	}
	vectors.Load(t, name, &f)
	require.NotEmpty(t, f.Cases)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) { check(t, c.Input, c.Want) })
	}
}

// request are the fields of a txt2img or img2img request that the text tells of.
type request struct {
	Prompt            string
	NegativePrompt    string `json:"negative_prompt"`
	Steps             int
	SamplerName       string   `json:"sampler_name"`
	SamplerIndex      string   `json:"sampler_index"`
	Scheduler         *string  `json:"scheduler"`
	CFGScale          float64  `json:"cfg_scale"`
	Seed              int64    `json:"seed"`
	Subseed           int64    `json:"subseed"`
	SubseedStrength   float64  `json:"subseed_strength"`
	SeedResizeFromW   int      `json:"seed_resize_from_w"`
	SeedResizeFromH   int      `json:"seed_resize_from_h"`
	Width, Height     int      `json:",omitempty"`
	BatchSize         int      `json:"batch_size"`
	NIter             int      `json:"n_iter"`
	RestoreFaces      bool     `json:"restore_faces"`
	Tiling            *bool    `json:"tiling"`
	Eta               *float64 `json:"eta"`
	SMinUncond        *float64 `json:"s_min_uncond"`
	DenoisingStrength *float64 `json:"denoising_strength"`

	RefinerCheckpoint string   `json:"refiner_checkpoint"`
	RefinerSwitchAt   *float64 `json:"refiner_switch_at"`

	EnableHR          bool    `json:"enable_hr"`
	HRScale           float64 `json:"hr_scale"`
	HRUpscaler        *string `json:"hr_upscaler"`
	HRSecondPassSteps int     `json:"hr_second_pass_steps"`
	HRResizeX         int     `json:"hr_resize_x"`
	HRResizeY         int     `json:"hr_resize_y"`
	HRCheckpointName  string  `json:"hr_checkpoint_name"`
	HRSamplerName     *string `json:"hr_sampler_name"`
	HRScheduler       *string `json:"hr_scheduler"`
	HRPrompt          string  `json:"hr_prompt"`
	HRNegativePrompt  string  `json:"hr_negative_prompt"`

	InitImages             []string `json:"init_images"`
	Mask                   string   `json:"mask"`
	MaskBlur               *int     `json:"mask_blur"`
	MaskBlurX              int      `json:"mask_blur_x"`
	MaskBlurY              int      `json:"mask_blur_y"`
	InpaintFullRes         bool     `json:"inpaint_full_res"`
	InpaintFullResPadding  int      `json:"inpaint_full_res_padding"`
	InpaintingFill         int      `json:"inpainting_fill"`
	InpaintingMaskInvert   any      `json:"inpainting_mask_invert"`
	InitialNoiseMultiplier *float64 `json:"initial_noise_multiplier"`

	OverrideSettings map[string]any `json:"override_settings"`
}

// setting is the server that infotext.json was recorded on: its models, its short
// hashes and the options that get into a text.
var setting = struct {
	checkpoints map[string]string // name to short hash
	loras       []string
	loraHash    string
	options     map[string]any
}{
	checkpoints: map[string]string{"v1-5-pruned-emaonly": "6ce0161689", "other": "cc6cb27103"},
	loras:       []string{"foo", "bar"},
	loraHash:    "0123456789ab",
	options: map[string]any{
		"CLIP_stop_at_last_layers": 1, "eta_noise_seed_delta": 0, "randn_source": "GPU", "emphasis": "Original",
		"add_version_to_infotext": true, "add_model_hash_to_info": true, "add_model_name_to_info": true,
		"eta_ancestral": 1.0, "eta_ddim": 0.0, "s_min_uncond": 0.0, "s_churn": 0.0, "s_tmin": 0.0, "s_tmax": 0.0, "s_noise": 1.0,
		"sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0, "always_discard_next_to_last_sigma": false, "sgm_noise_multiplier": false,
		"img2img_extra_noise": 0.0, "initial_noise_multiplier": 1.0, "tiling": false, "face_restoration": false,
		"face_restoration_model": "CodeFormer", "token_merging_ratio": 0.0, "token_merging_ratio_hr": 0.0,
		"sd_vae_encode_method": "Full", "sd_vae_decode_method": "Full", "lora_add_hashes_to_infotext": true,
		"sd_model_checkpoint": "v1-5-pruned-emaonly",
	},
}

// options are the settings with a request's overrides, each in the type of its
// default.
type options map[string]any

func (o options) float(name string) float64 {
	switch v := o[name].(type) {
	case int:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

func (o options) text(name string) string { return fmt.Sprint(o[name]) }
func (o options) on(name string) bool     { return o[name] == true }

func defaults(img2img bool) request {
	r := request{
		Steps: 50, CFGScale: 7, Seed: -1, Subseed: -1, Width: 512, Height: 512, BatchSize: 1, NIter: 1,
		SeedResizeFromW: -1, SeedResizeFromH: -1, SamplerIndex: "Euler", HRScale: 2, MaskBlurX: 4, MaskBlurY: 4, InpaintFullRes: true,
	}
	if img2img {
		strength := 0.75
		r.DenoisingStrength = &strength
	}
	return r
}

// params states the facts about image i of a request.
func (r request) params(img2img bool, i int) infotext.Params {
	o := options(maps.Clone(setting.options))
	maps.Copy(o, r.OverrideSettings)
	or := func(v *float64, option string) float64 {
		if v != nil {
			return *v
		}
		return o.float(option)
	}
	req := &inference.Request{
		Prompt: r.Prompt, NegativePrompt: r.NegativePrompt, Steps: r.Steps, Sampler: r.SamplerName, CFGScale: r.CFGScale,
		SubseedStrength: r.SubseedStrength, SeedResizeW: r.SeedResizeFromW, SeedResizeH: r.SeedResizeFromH,
		Tiling: o.on("tiling"), Settings: inference.DefaultSettings(),
	}
	s := &req.Settings
	s.ClipSkip, s.ENSD, s.NoiseSource, s.Emphasis = int(o.float("CLIP_stop_at_last_layers")), int64(o.float("eta_noise_seed_delta")), o.text("randn_source"), o.text("emphasis")
	s.SMinUncond, s.SigmaMin, s.SigmaMax, s.Rho = or(r.SMinUncond, "s_min_uncond"), o.float("sigma_min"), o.float("sigma_max"), o.float("rho")
	s.DiscardNextToLast, s.SGMNoiseMultiplier, s.ExtraNoise = o.on("always_discard_next_to_last_sigma"), o.on("sgm_noise_multiplier"), o.float("img2img_extra_noise")
	if r.DenoisingStrength != nil {
		req.DenoisingStrength = *r.DenoisingStrength
	}
	p := infotext.Params{
		Request: req, Scheduler: r.Scheduler, Eta: r.Eta, Seed: r.Seed + int64(i), VariationSeed: r.Subseed + int64(i), Width: r.Width, Height: r.Height,
		Encoded:             r.encoded(),
		TokenMergingRatio:   o.float("token_merging_ratio"),
		TokenMergingRatioHR: cmp.Or(o.float("token_merging_ratio_hr"), o.float("token_merging_ratio")),
		Sampling: infotext.Sampling{
			EtaAncestral: o.float("eta_ancestral"), EtaDDIM: o.float("eta_ddim"),
			SChurn: o.float("s_churn"), STmin: o.float("s_tmin"), STmax: o.float("s_tmax"), SNoise: o.float("s_noise"),
			VAEDecoder: o.text("sd_vae_decode_method"),
		},
	}
	if req.Sampler == "" {
		req.Sampler = r.SamplerIndex
	}
	if r.SubseedStrength != 0 {
		p.Seed = r.Seed // a batch with variations keeps its seed
	}
	if r.Tiling != nil {
		req.Tiling = *r.Tiling
	}
	if r.RestoreFaces {
		p.FaceRestoration = o.text("face_restoration_model")
	}
	if o.on("add_model_hash_to_info") {
		p.ModelHash = setting.checkpoints[o.text("sd_model_checkpoint")]
	}
	if o.on("add_model_name_to_info") {
		p.Model = o.text("sd_model_checkpoint")
	}
	if r.RefinerCheckpoint != "" {
		p.Refiner = &infotext.Refiner{Checkpoint: title(r.RefinerCheckpoint), SwitchAt: r.RefinerSwitchAt}
	}
	if o.on("add_version_to_infotext") {
		p.Version = "v1.9.3"
	}
	if img2img {
		req.Init = &inference.Init{NoiseMultiplier: or(r.InitialNoiseMultiplier, "initial_noise_multiplier"), Mask: r.inpaint()}
		p.Sampling.VAEEncoder = o.text("sd_vae_encode_method")
	}
	prompts := []string{r.Prompt}
	if r.EnableHR {
		p.Hires, req.Hires = r.hires()
		prompts = append(prompts, req.Hires.Prompt)
	}
	for _, text := range prompts {
		_, networks := prompt.ExtractNetworks(text)
		for _, n := range networks {
			if n.Type == "lora" && slices.Contains(setting.loras, n.Args[0]) && o.on("lora_add_hashes_to_infotext") {
				p.Loras = append(p.Loras, infotext.Hash{Name: n.Args[0], Hash: setting.loraHash})
			}
		}
	}
	return p
}

func title(checkpoint string) string {
	return checkpoint + " [" + setting.checkpoints[checkpoint] + "]"
}

// encoded are the texts the encoder gets: all versions of both prompts.
func (r request) encoded() []string {
	var texts []string
	for _, text := range []string{r.Prompt, r.NegativePrompt} {
		for _, e := range prompt.Schedule(text, prompt.Pass{Steps: r.Steps}) {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

func (r request) hires() (*infotext.Hires, *inference.Hires) {
	h := &infotext.Hires{
		Sampler: r.HRSamplerName, Scheduler: r.HRScheduler, Scale: r.HRScale, ResizeX: r.HRResizeX, ResizeY: r.HRResizeY, Upscaler: r.HRUpscaler,
	}
	if r.HRCheckpointName != "" {
		h.Checkpoint = title(r.HRCheckpointName)
	}
	return h, &inference.Hires{Prompt: cmp.Or(r.HRPrompt, r.Prompt), NegativePrompt: cmp.Or(r.HRNegativePrompt, r.NegativePrompt), Steps: r.HRSecondPassSteps}
}

func (r request) inpaint() *inference.Mask {
	if r.Mask == "" {
		return nil
	}
	if r.MaskBlur != nil {
		r.MaskBlurX, r.MaskBlurY = *r.MaskBlur, *r.MaskBlur
	}
	inverted := r.InpaintingMaskInvert != nil && r.InpaintingMaskInvert != false && r.InpaintingMaskInvert != 0.0
	return &inference.Mask{
		Image: halfMask, Invert: inverted, BlurX: r.MaskBlurX, BlurY: r.MaskBlurY, OnlyMasked: r.InpaintFullRes,
		Padding: r.InpaintFullResPadding, Fill: r.InpaintingFill,
	}
}

// halfMask is one of which something stays, inverted or not.
var halfMask = imageio.Gray{W: 2, H: 1, Pix: []uint8{0, 255}}

func TestWriteFromRequests(t *testing.T) {
	type input struct {
		Path    string
		Request json.RawMessage
	}
	each(t, "infotext.json", func(t *testing.T, in input, want []string) {
		img2img := in.Path == "/sdapi/v1/img2img"
		r := defaults(img2img)
		require.NoError(t, json.Unmarshal(in.Request, &r))
		r.Prompt, r.NegativePrompt = prompt.StripComments(r.Prompt), prompt.StripComments(r.NegativePrompt)
		r.HRPrompt, r.HRNegativePrompt = prompt.StripComments(r.HRPrompt), prompt.StripComments(r.HRNegativePrompt)
		var got []string
		for i := range r.BatchSize * r.NIter {
			got = append(got, infotext.Write(r.params(img2img, i)))
		}
		require.Equal(t, want, got)
	})
}

func TestQuote(t *testing.T) {
	each(t, "infotext_quote.json", func(t *testing.T, in json.RawMessage, want string) {
		require.Equal(t, want, infotext.Quote(value(t, in)))
	})
}

// value decodes JSON as Python does: numbers without a fraction are integers.
func value(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v))
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil {
			return i
		}
		f, err := n.Float64()
		require.NoError(t, err)
		return f
	}
	return v
}

func TestKeyOrder(t *testing.T) {
	type position struct {
		Name, Input string
		Want        int
	}
	var f struct{ Cases []position }
	vectors.Load(t, "infotext_keys.json", &f)
	const script = "A script's key" // stands for the extra parameters
	known := map[string]bool{}
	for i, c := range f.Cases {
		if c.Input == "(extra parameters)" {
			f.Cases[i].Input = script
		}
		known[f.Cases[i].Input] = true
	}
	text := infotext.Write(everything(script))
	var keys []string
	for entry := range strings.SplitSeq(text[strings.LastIndex(text, "\n")+1:], ", ") {
		if key, _, _ := strings.Cut(entry, ": "); known[key] {
			keys = append(keys, key)
		}
	}
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) { require.Equal(t, c.Want, slices.Index(keys, c.Input)) })
	}
}

// everything are parameters that use every key outside of the extras.
func everything(script string) infotext.Params {
	settings := inference.DefaultSettings()
	settings.ClipSkip, settings.ENSD, settings.NoiseSource, settings.SMinUncond = 2, 31337, "CPU", 1
	return infotext.Params{
		Request: &inference.Request{
			Prompt: "a", NegativePrompt: "b", Steps: 1, Sampler: "Euler a", CFGScale: 7, SubseedStrength: 0.5, SeedResizeW: 64, SeedResizeH: 64,
			DenoisingStrength: 0.5, Tiling: true, Hires: &inference.Hires{}, Settings: settings,
		},
		Scheduler: new("Karras"), ImageCFGScale: new(1.5), Seed: 1, VariationSeed: 2,
		Width: 64, Height: 64, FaceRestoration: "CodeFormer", ModelHash: "6ce0161689", Model: "m", FP8Weight: "Enable", CacheFP16: new(true),
		VAEHash: "0123456789", VAE: "v", ConditionalMaskWeight: new(1.0), TokenMergingRatio: 0.5, TokenMergingRatioHR: 0.5,
		InitImageHash: "0", Scripts: []infotext.Entry{{Key: script, Value: 1}}, Hires: &infotext.Hires{Scale: 2},
		Sampling: infotext.Sampling{EtaAncestral: 1, SNoise: 1}, Version: "v1.9.3", User: "u",
	}
}

// simple are the parameters of a request that asks for little.
func simple() infotext.Params {
	return infotext.Params{
		Request: &inference.Request{Prompt: "a", Steps: 1, Sampler: "Euler", CFGScale: 7, Settings: inference.DefaultSettings()},
		Seed:    1, Width: 64, Height: 64, Sampling: infotext.Sampling{EtaAncestral: 1, SNoise: 1},
	}
}

func TestWriteRules(t *testing.T) {
	const head = "a\nSteps: 1, Sampler: Euler, CFG scale: 7.0, Seed: 1, Size: 64x64"
	tests := []struct {
		name string
		set  func(p *infotext.Params)
		want string
	}{
		{"a negative prompt of white space counts", func(p *infotext.Params) { p.Request.NegativePrompt = "\n" }, strings.Replace(head, "a\n", "a\nNegative prompt: \n\n", 1)},
		{"a key equal to its value stands alone", func(p *infotext.Params) { p.Scripts = []infotext.Entry{{"Flag", "Flag"}} }, head + ", Flag"},
		{"nil leaves a key out but keeps its place", func(p *infotext.Params) {
			p.Scripts = []infotext.Entry{{"A", nil}, {"B", 1}, {"A", 2.0}}
		}, head + ", A: 2.0, B: 1"},
		{"an unknown scheduler is printed as sent", func(p *infotext.Params) { p.Scheduler = new("zzz") }, strings.Replace(head, "Euler,", "Euler, Schedule type: zzz,", 1)},
		{"the name of a scheduler becomes its label", func(p *infotext.Params) { p.Scheduler = new("sgm_uniform") }, strings.Replace(head, "Euler,", "Euler, Schedule type: SGM Uniform,", 1)},
		{"the lower-case automatic is printed as sent", func(p *infotext.Params) { p.Scheduler = new("automatic") }, strings.Replace(head, "Euler,", "Euler, Schedule type: automatic,", 1)},
		{
			"DDIM ignores the scheduler", func(p *infotext.Params) { p.Request.Sampler, p.Scheduler = "DDIM", new("karras") },
			strings.Replace(head, "Euler,", "DDIM, Schedule type: karras,", 1),
		},
		{"a blur of two widths is left out", func(p *infotext.Params) {
			p.Request.DenoisingStrength = 1
			p.Request.Init = &inference.Init{NoiseMultiplier: 1, Mask: &inference.Mask{Image: halfMask, Invert: true, BlurX: 4, BlurY: 2, OnlyMasked: true, Padding: 32, Fill: 3}}
		}, head + ", Denoising strength: 1.0, Mask mode: Inpaint not masked, Inpaint area: Only masked, Masked area padding: 32, Masked content: latent nothing"},
		{"hashes are quoted and names cleaned", func(p *infotext.Params) {
			p.Loras = []infotext.Hash{{"x:y", "0123456789ab"}, {"z", ""}, {"xy", "ffffffffffff"}, {"w", "cdef01234567"}}
			p.Embeddings = []infotext.Hash{{"e", "aaaaaaaaaaaa"}}
		}, head + `, Lora hashes: "xy: 0123456789ab, w: cdef01234567", TI hashes: "e: aaaaaaaaaaaa"`},
		{"hires that differs in everything", func(p *infotext.Params) {
			p.Request.DenoisingStrength = 0.7
			p.Request.Hires = &inference.Hires{Prompt: "b", NegativePrompt: "c, d", Steps: 5}
			p.Hires = &infotext.Hires{Checkpoint: "other [cc6cb27103]", Sampler: new("DPM++ 2M"), ResizeX: 100, Upscaler: new("Latent")}
		}, head + `, Denoising strength: 0.7, Hires checkpoint: other [cc6cb27103], Hires sampler: DPM++ 2M, Hires prompt: b, Hires negative prompt: "c, d", ` +
			"Hires schedule type: Karras, Hires resize: 100x0, Hires steps: 5, Hires upscaler: Latent"},
		{"options of the sampling", func(p *infotext.Params) {
			p.Scheduler = new("karras")
			p.Request.DenoisingStrength, p.Request.Init = 1, &inference.Init{NoiseMultiplier: 0.9}
			o := &p.Request.Settings
			o.SigmaMin, o.SigmaMax, o.Rho, o.DiscardNextToLast = 0.1, 10, 5, true
			p.Sampling = infotext.Sampling{EtaAncestral: 1, SNoise: 1.01, SChurn: 1, VAEDecoder: "TAESD"}
		}, strings.Replace(head, "Euler,", "Euler, Schedule type: Karras,", 1) + ", Denoising strength: 1.0, Noise multiplier: 0.9, Discard penultimate sigma: True, " +
			"Schedule min sigma: 0.1, Schedule max sigma: 10.0, Schedule rho: 5.0, Sigma churn: 1.0, Sigma noise: 1.01, VAE Decoder: TAESD"},
		{"emphasis needs a bracket in an encoded text", func(p *infotext.Params) { p.Request.Settings.Emphasis, p.Encoded = "No norm", []string{"a", "b"} }, head},
		{"eta of 0 also silences ENSD", func(p *infotext.Params) { p.Request.Sampler, p.Request.Settings.ENSD, p.Eta = "Euler a", 1, new(0.0) }, strings.Replace(head, "Euler", "Euler a", 1) + ", Eta: 0.0"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p := simple()
			tc.set(&p)
			require.Equal(t, tc.want, infotext.Write(p))
		})
	}
}

func TestQuoteFloats(t *testing.T) {
	for v, want := range map[float64]string{
		1: "1.0", 0.1: "0.1", 1e-4: "0.0001", 1e-5: "1e-05", 123456.5: "123456.5", 1e15: "1000000000000000.0", 1e16: "1e+16", 1.5e-300: "1.5e-300",
		math.Inf(1): "inf", -0.5: "-0.5", 0: "0.0",
	} {
		require.Equal(t, want, infotext.Quote(v))
	}
}

func TestExtra(t *testing.T) {
	p := everything("Script")
	p.Scripts = append(p.Scripts, infotext.Entry{Key: "Nothing"})
	require.Equal(t, []infotext.Entry{
		{Key: "Script", Value: 1},
		{Key: "Denoising strength", Value: 0.5},
		{Key: "Hires prompt", Value: ""},
		{Key: "Hires negative prompt", Value: ""},
		{Key: "Hires upscale", Value: 2.0},
		{Key: "Schedule type", Value: "Karras"},
	}, p.Extra())
}

// Options of the schedule are recorded where they act, in either pass.
func TestScheduleOptions(t *testing.T) {
	name := func(s string) *string { return &s }
	for _, tc := range []struct {
		sampler   string
		scheduler string
		hires     *infotext.Hires
		rho       float64
		want      string // of the keys rho and Discard penultimate sigma
	}{
		{"Euler", "Karras", nil, 5, "Schedule rho, Discard penultimate sigma"},
		{"Euler", "Karras", nil, 7, "Discard penultimate sigma"},
		{"Euler", "Polyexponential", nil, 7, "Schedule rho, Discard penultimate sigma"},
		{"Euler", "Exponential", nil, 5, "Discard penultimate sigma"},
		{"Euler", "Exponential", &infotext.Hires{Scheduler: name("Karras")}, 5, "Schedule rho, Discard penultimate sigma"},
		{"DDIM", "Karras", nil, 5, "Discard penultimate sigma"},
		{"DPM2", "Exponential", nil, 5, ""},
		{"DPM2", "Exponential", &infotext.Hires{Sampler: name("Euler")}, 5, "Discard penultimate sigma"},
	} {
		p := simple()
		p.Request.Sampler, p.Scheduler, p.Hires = tc.sampler, &tc.scheduler, tc.hires
		p.Request.Settings.Rho, p.Request.Settings.DiscardNextToLast = tc.rho, true
		if tc.hires != nil {
			p.Request.Hires = new(inference.Hires)
		}
		text := infotext.Write(p)
		var got []string
		for _, key := range []string{"Schedule rho", "Discard penultimate sigma"} {
			if strings.Contains(text, key+": ") {
				got = append(got, key)
			}
		}
		require.Equal(t, tc.want, strings.Join(got, ", "), text)
	}
}
