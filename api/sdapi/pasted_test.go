package sdapi_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	texts "sdworker/api/infotext"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
)

// toldJob is a request whose picture's text tells all that it needs.
type toldJob struct {
	name, path string
	body       map[string]any
	channels   int            // of the UNet; 0 means 4
	kept       map[string]any // what no text holds and a client sends again
}

// scripted is a request with always-on scripts.
func scripted(prompt string, scripts ...any) map[string]any {
	all := map[string]any{}
	for i := 0; i < len(scripts); i += 2 {
		all[scripts[i].(string)] = map[string]any{"args": scripts[i+1]}
	}
	return small(map[string]any{"prompt": prompt, "alwayson_scripts": all})
}

func withOptions(body map[string]any, options map[string]any) map[string]any {
	body["override_settings"] = options
	return body
}

func toldJobs(t *testing.T) []toldJob {
	t.Helper()
	white := imageio.NewRGB(64, 64)
	for i := range white.Pix {
		white.Pix[i] = 255
	}
	const t2i, i2i = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
	painted := map[string]any{"init_images": []string{blackPNG(64)}, "mask": encodedRGB(t, white)}
	inpaint := func(more map[string]any) map[string]any {
		body := small(map[string]any{"prompt": "a (cat)", "denoising_strength": 0.6, "sampler_name": "Euler"})
		maps.Copy(body, painted)
		maps.Copy(body, more)
		return body
	}
	detail := map[string]any{
		"ad_model": "face_yolov8n.pt", "ad_model_classes": "a, b", "ad_prompt": "face, \"x\"", "ad_negative_prompt": "bad", "ad_confidence": 0.5, "ad_mask_filter_method": "Confidence", "ad_mask_k": 2,
		"ad_mask_min_ratio": 0.1, "ad_mask_max_ratio": 0.9, "ad_dilate_erode": -4, "ad_x_offset": 3, "ad_y_offset": -3, "ad_mask_merge_invert": "Merge", "ad_mask_blur": 5,
		"ad_denoising_strength": 0.3, "ad_inpaint_only_masked_padding": 16, "ad_use_inpaint_width_height": true, "ad_inpaint_width": 128, "ad_inpaint_height": 256,
		"ad_use_steps": true, "ad_steps": 3, "ad_use_cfg_scale": true, "ad_cfg_scale": 5.5, "ad_use_checkpoint": true, "ad_checkpoint": "other.safetensors", "ad_use_vae": true, "ad_vae": "sharp.safetensors",
		"ad_use_sampler": true, "ad_sampler": "Euler", "ad_scheduler": "Karras", "ad_use_noise_multiplier": true, "ad_noise_multiplier": 1.1, "ad_use_clip_skip": true, "ad_clip_skip": 2, "ad_restore_face": true,
		"ad_controlnet_model": "canny", "ad_controlnet_module": "canny", "ad_controlnet_weight": 0.5, "ad_controlnet_guidance_start": 0.1, "ad_controlnet_guidance_end": 0.9,
	}
	return []toldJob{
		{name: "txt2img", path: t2i, body: withOptions(small(map[string]any{
			"prompt": "a (cat:1.2), [x:y:1.0] <lora:foo:0.5> style", "negative_prompt": "bad, ugly", "sampler_name": "Euler", "scheduler": "Karras", "cfg_scale": 6.5, "steps": 7,
			"subseed": 5, "subseed_strength": 0.25, "seed_resize_from_w": 32, "seed_resize_from_h": 32,
		}), map[string]any{
			"CLIP_stop_at_last_layers": 2, "randn_source": "NV", "s_min_uncond": 1, "tiling": true, "token_merging_ratio": 0.3, "s_churn": 0.5, "s_tmin": 0.1, "s_tmax": 9, "s_noise": 1.01,
			"sigma_min": 0.1, "sigma_max": 10, "rho": 5, "always_discard_next_to_last_sigma": true, "sgm_noise_multiplier": true, "use_downcasted_alpha_bar": true, "use_old_scheduling": true,
			"sd_noise_schedule": "Zero Terminal SNR", "emphasis": "No norm", "sd_vae": "sharp.safetensors", "cfg_rescale": 0.3, "step_cache": 0.1,
		})},
		{name: "ancestral", path: t2i, body: withOptions(small(map[string]any{"prompt": "a", "sampler_name": "Euler a"}), map[string]any{"eta_ancestral": 0.5, "eta_noise_seed_delta": 31337, "pad_cond_uncond": true})},
		{name: "DDIM", path: t2i, body: withOptions(small(map[string]any{"prompt": "a", "sampler_name": "DDIM"}), map[string]any{"eta_ddim": 0.5, "pad_cond_uncond_v0": true})},
		{name: "TCD", path: t2i, body: withOptions(small(map[string]any{"prompt": "a", "sampler_name": "TCD"}), map[string]any{"eta_tcd": 0.5})},
		{name: "hires", path: t2i, body: withOptions(small(map[string]any{
			"prompt": "a", "negative_prompt": "b", "enable_hr": true, "hr_scale": 1.5, "hr_upscaler": "Lanczos", "hr_second_pass_steps": 3, "denoising_strength": 0.4, "hr_sampler_name": "DPM++ 2M",
			"hr_scheduler": "Exponential", "hr_checkpoint_name": "other", "hr_prompt": "c, d", "hr_negative_prompt": "e", "refiner_checkpoint": "other", "refiner_switch_at": 0.7,
		}), map[string]any{"token_merging_ratio_hr": 0.4, "refiner_switch_by_sample_steps": true, "hires_fix_refiner_pass": "first pass", "img2img_extra_noise": 0.1})},
		{name: "hires to a size", path: t2i, body: small(map[string]any{"prompt": "a", "enable_hr": true, "hr_resize_x": 96, "hr_resize_y": 128, "denoising_strength": 0.4})},
		{name: "guidance", path: t2i, body: scripted("a",
			"Dynamic Thresholding (CFG Scale Fix)", []any{true, 7.5, 99.5, "Half Cosine Up", 3, "Power Down", 4.5, 2, true, "ZERO", "STD", 0.8},
			"FreeU Integrated", []any{true, 1.5, 1.6, 0.9, 0.2, 0.1, 0.8, 1}, "PerturbedAttentionGuidance Integrated", []any{true, 2.5, 10, 0.1, 0.5},
			`"APG's now your CFG" for reForge`, []any{true, -0.5, 0.2, 7.5, 0.5, true, 5, 0.5}, "CFG-Zero*", []any{true})},
		{name: "thresholds of all channels", path: t2i, body: scripted("a", "Dynamic Thresholding (CFG Scale Fix)", []any{true, 7, 100, "Constant", 0, "Constant", 0, 4, false})},
		{name: "staged FreeU", path: t2i, body: scripted("a", "FreeU", []any{
			true, 0.1, 0.75, 0.5, "Version 2", 1.2, 0.9, 0.25, -0.5, 0.1, 1.5, 1, 1, 0, 0.5, 0, 1, 1.4, 0.2, 0, 0.5, 0, 1,
		})},
		{name: "regional prompter", path: t2i, body: scripted("sky ADDCOMM red BREAK blue", "Regional Prompter", []any{
			true, false, "Matrix", "Rows", "Mask", "Prompt", "1,2;1", "0.4", false, true, true, "Latent", []any{"Flip prompts", "Disabled in Hires Fix"}, "0", "0", "0.3", "", "0", "0", true,
		})},
		{name: "latent couple", path: t2i, body: scripted("a AND b", "Latent Couple", []any{true, "1:2, 1:2", "0:0, 0:1", "0.6, 1", 12})},
		{name: "templates", path: t2i, body: scripted("a {cat|dog}", "Dynamic Prompts", []any{true})},
		{name: "negative templates", path: t2i, body: small(map[string]any{
			"prompt": "a", "negative_prompt": "{b|b}", "alwayson_scripts": map[string]any{"Dynamic Prompts": map[string]any{"args": []any{true}}},
		})},
		{name: "details", path: t2i, body: scripted("a", "ADetailer", []any{true, false, detail, map[string]any{"ad_model": "hand_yolov8n.pt", "ad_inpaint_only_masked": false}})},
		{name: "details with an own scheduler", path: t2i, body: scripted("a", "ADetailer", []any{true, false, map[string]any{"ad_model": "hand_yolov8n.pt", "ad_use_sampler": true, "ad_sampler": "Euler a", "ad_scheduler": "Exponential"}})},
		{name: "img2img", path: i2i, kept: painted, channels: 9, body: withOptions(inpaint(map[string]any{
			"mask_blur": 6, "inpainting_mask_invert": 1, "inpainting_fill": 2, "inpaint_full_res": true, "inpaint_full_res_padding": 16, "image_cfg_scale": 1.25, "mask": blackPNG(64),
		}), map[string]any{"initial_noise_multiplier": 1.1, "img2img_extra_noise": 0.2, "inpainting_mask_weight": 0.5})},
		{name: "filled", path: i2i, kept: painted, body: inpaint(map[string]any{"inpainting_fill": 0, "inpaint_full_res": false})},
		{name: "nothing", path: i2i, kept: painted, body: inpaint(map[string]any{"inpainting_fill": 3, "inpaint_full_res": false})},
		{name: "soft", path: i2i, kept: painted, body: inpaint(map[string]any{"inpaint_full_res": false, "alwayson_scripts": map[string]any{"Soft Inpainting": map[string]any{"args": []any{true, 1.5, 0.25, 8, 0.5, 1, 3}}}})},
	}
}

// toldSelected are selectable scripts with what their texts tell of the arguments.
var toldSelected = map[string]struct {
	args []any
	read map[string]any
}{
	"loopback":   {[]any{2, 0.25, "Lazy", "None"}, map[string]any{"Final denoising strength": 0.25, "Denoising strength curve": "Lazy"}},
	"sd upscale": {[]any{nil, 16, "Lanczos", 1.5}, map[string]any{"Tile overlap": int64(16), "Upscaler": "Lanczos"}},
	"ultimate sd upscale": {
		[]any{nil, 64, 72, 4, 16, 64, 0.35, 32, "Lanczos", true, 0, false, 8, 0, 1, 128, 128, 2},
		map[string]any{"Upscaler": "Lanczos", "Tile width": int64(64), "Tile height": int64(72), "Mask blur": int64(4), "Padding": int64(16)},
	},
}

// notRead are the keys of texts that say nothing of a request, or nothing that a request
// could hold, by the reason.
var notRead = map[string]string{
	"Model": "its hash goes first", "Model hash": "an option decides", "VAE hash": "its name goes first", "Lora hashes": "the tags name them", "TI hashes": "the prompt names them",
	"Init image hash": "a hash", "Version": "of the program", "User": "who it was", "ADetailer version": "of the extension", "Template": "the prompt is what it became", "Negative Template": "the prompt is what it became",
	"FP8 weight": "no FP8 here", "Cache FP16 weight for LoRA": "no FP8 here",
	"VAE Encoder": "always the full one", "VAE Decoder": "always the full one", "Face restoration": "faces are not restored",
}

// TestEveryKeyIsReadBack: a request that is made of the text of a picture is the one of
// the picture, and no key is written that is not read.
func TestEveryKeyIsReadBack(t *testing.T) {
	seen := map[string]bool{}
	for _, job := range toldJobs(t) {
		t.Run(job.name, func(t *testing.T) {
			f := start(t)
			f.gen.Channels, f.gen.Complete = job.channels, true
			job.body["scheduler"] = cmp.Or(job.body["scheduler"], any("Automatic"))
			if job.body["enable_hr"] == true {
				job.body["hr_scheduler"] = cmp.Or(job.body["hr_scheduler"], any("Automatic"))
			}
			g := f.post(job.path, job.body).generated(t)
			want, text := f.gen.Last(), infotext(t, g)
			for key := range (texts.Reader{}).Parse(text) {
				seen[key] = true
				seen[strings.TrimSuffix(strings.TrimSuffix(key, "-1"), "-2")] = true
			}

			got := repeated(t, f, job, f.requestOf(text, job.path))
			require.Equal(t, want, got, text)
			if strings.HasSuffix(job.path, "txt2img") {
				again := f.post(job.path, map[string]any{"infotext": text}).generated(t)
				require.Equal(t, want, f.gen.Last(), text)
				require.Equal(t, (texts.Reader{}).Parse(withoutTemplates(text)), (texts.Reader{}).Parse(infotext(t, again)))
			}
		})
	}
	for name, want := range toldSelected {
		f := start(t)
		body := small(map[string]any{"init_images": []string{blackPNG(64)}, "script_name": name, "script_args": want.args})
		text := infotext(t, f.post("/sdapi/v1/img2img", body).generated(t))
		p, err := f.server.ReadParameters(text)
		require.NoError(t, err)
		require.Equal(t, name, p.ScriptName)
		require.Equal(t, want.read, p.Script, text)
		for key := range (texts.Reader{}).Parse(text) {
			seen[key] = true
		}
	}
	for key := range notRead {
		seen[key] = true
	}
	written := slices.Concat(
		setKeys(t, "../infotext", `t\.set\("([^"]+)"`), setKeys(t, "generation", `addText\("([^"]+)"`), setKeys(t, "generation", `Entry\{Key: "([^"]+)",`), setKeys(t, "scripts", `Entry\{Key: "([^"]+)",`),
		setKeys(t, "generation", `\t\{"([A-Z][^"]+)", \d+\}`), setKeys(t, "scripts", `\{Key: "([^"]+)", Arg: \d+\}`), setKeys(t, "generation", `"((?:freeu|pagi|apgisyourcfg)_\w+|CFG-Zero star|Soft inpainting [a-z ]+)"`),
	)
	for _, key := range setKeys(t, "generation", `, key: "([^"]+)"\}`) {
		written = append(written, "ADetailer "+key)
	}
	require.Greater(t, len(written), 140)
	for _, key := range written {
		if !slices.Contains([]string{"Script", "ADetailer ", "ControlNet ", "Fixed "}, key) { // plots have TestXYZTexts, units of ControlNet no pictures
			require.True(t, seen[key], "no request of this test has %q in its text", key)
		}
	}
}

var template = regexp.MustCompile(`, (Negative )?Template: [^,]*`)

func withoutTemplates(text string) string { return template.ReplaceAllString(text, "") }

// requestOf is the request of a text as the command line makes it.
func (f *fixture) requestOf(text, path string) map[string]any {
	p, err := f.server.ReadParameters(text)
	require.NoError(f.t, err)
	route, img2img := schema.Txt2Img, strings.HasSuffix(path, "img2img")
	if img2img {
		route = schema.Img2Img
	}
	body := map[string]any{"override_settings": p.Overrides, "alwayson_scripts": p.AlwaysOn(img2img)}
	for name, v := range p.Fields {
		if slices.ContainsFunc(route.Fields, func(f schema.Field) bool { return f.Name == name }) && v != nil {
			body[name] = v
		}
	}
	return body
}

// repeated runs a request of a text with what the text does not hold.
func repeated(t *testing.T, f *fixture, job toldJob, body map[string]any) *inference.Request {
	t.Helper()
	for name := range job.kept {
		body[name] = job.body[name]
	}
	f.post(job.path, body).generated(t)
	return f.gen.Last()
}

// setKeys are the keys that source files of a folder write, by a pattern.
func setKeys(t *testing.T, folder, pattern string) []string {
	t.Helper()
	var keys []string
	files, err := fs.Glob(os.DirFS(folder), "*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(folder + "/" + name)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(source, -1) {
			keys = append(keys, string(m[1]))
		}
	}
	require.NotEmpty(t, keys, fmt.Sprint(folder, pattern))
	return keys
}

// What a request says goes before what its infotext tells, and what no text holds is named.
func TestPastedScripts(t *testing.T) {
	f := start(t)
	head := "a BREAK b\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64, "
	send := func(text string, scripts map[string]any) (*inference.Request, generated) {
		t.Helper()
		body := map[string]any{"infotext": head + text}
		if scripts != nil {
			body["alwayson_scripts"] = scripts
		}
		g := f.post("/sdapi/v1/txt2img", body).generated(t)
		return f.gen.Last(), g
	}
	args := func(list ...any) map[string]any { return map[string]any{"args": append([]any{}, list...)} }

	pag := "pagi_enabled: True, pagi_scale: 2.5, pagi_attenuation: 10"
	r, _ := send(pag, nil)
	require.Equal(t, sampler.Perturbation{Scale: 2.5, Attenuation: 0.1, End: 1}, r.Settings.Perturbation, "what a text leaves out has its default")
	r, _ = send(pag, map[string]any{"PerturbedAttentionGuidance Integrated": args(true, 4)})
	require.Equal(t, sampler.Perturbation{Scale: 4, Attenuation: 0.1, End: 1}, r.Settings.Perturbation)
	r, _ = send(pag, map[string]any{"PerturbedAttentionGuidance Integrated": args()})
	require.InDelta(t, 2.5, r.Settings.Perturbation.Scale, 0)
	r, _ = send(pag, map[string]any{"PerturbedAttentionGuidance Integrated": args(false)})
	require.Zero(t, r.Settings.Perturbation)
	r, _ = send("pagi_enabled: True, pagi_scale: much", nil)
	require.InDelta(t, 3, r.Settings.Perturbation.Scale, 0, "a value of another type is not told")

	// Times of sd-webui-freeu may be counted, which its list cannot say.
	staged := `FreeU Stages: "[{\"backbone_factor\": 1.4}]", FreeU Schedule: "0.1, 9, 0.5", FreeU Version: 2`
	r, g := send(staged, nil)
	require.True(t, r.Settings.FreeU.EndCall)
	require.InDelta(t, 9, r.Settings.FreeU.End, 0)
	require.Contains(t, infotext(t, g), staged)
	p, err := f.server.ReadParameters(head + staged)
	require.NoError(t, err)
	require.Equal(t, map[string][]any{"freeu": {true, 0.1, 0.45, 0.5, "Version 2", 1.4, 1.0, 0.0, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0, 0.5, 0.0, 1.0}}, p.Extensions)
	r, _ = send(staged, map[string]any{"FreeU": args(map[string]any{"enable": false})})
	require.Zero(t, r.Settings.FreeU)
	for _, broken := range []string{`FreeU Stages: "[{"`, `FreeU Stages: "[\"x\"]"`, `FreeU Stages: "[{\"b\": 1}]"`} {
		p, err := f.server.ReadParameters(head + broken)
		require.NoError(t, err)
		require.Empty(t, p.Extensions, broken)
	}

	// Every number of calls is the same number as a part of the steps.
	for _, steps := range []int{1, 7, 20, 29, 100} {
		for n := range steps + 1 {
			text := fmt.Sprintf(`FreeU Stages: "[{}]", FreeU Schedule: "0.0, %d, 0.0", Steps: %d`, n, steps)
			p, err := f.server.ReadParameters("a\n" + text)
			require.NoError(t, err)
			require.Equal(t, n, int(p.Extensions["freeu"][2].(float64)*float64(steps)))
		}
	}

	masked := `RP Active: True, RP Divide mode: Mask, Latent Couple: "masks=2 weights=1,1 end at step=20"`
	p, err = f.server.ReadParameters(head + masked)
	require.NoError(t, err)
	require.Empty(t, p.AlwaysOn(false))
	require.Equal(t, "Mask", p.Extensions["regional prompter"][2])
	require.Equal(t, []string{"regional prompter", "latent couple extension"}, p.WithoutMasks)
	require.Equal(t, 422, f.post("/sdapi/v1/txt2img", map[string]any{"infotext": head + "RP Active: True, RP Divide mode: Mask"}).status, "the mask is missing")
	mask := imageio.NewRGB(16, 16)
	copy(mask.Pix, []byte{128, 64, 64, 64, 128, 128})
	r, _ = send("RP Active: True, RP Divide mode: Mask", map[string]any{"Regional Prompter": args(true, false, "Mask", "Columns", "Mask", "Prompt", "1,1", "", false, false, false, "Latent", nil, "0", "0", "0", encodedRGB(t, mask))})
	require.True(t, r.Regions.Prompter.Masked)

	details := "ADetailer model: face_yolov8n.pt, ADetailer confidence: 0.5, ADetailer model 2nd: hand_yolov8n.pt"
	r, _ = send(details, nil)
	require.Len(t, r.Details, 2)
	r, _ = send(details, map[string]any{"ADetailer": args(map[string]any{"ad_model": "hand_yolov8n.pt"})})
	require.Len(t, r.Details, 1)

	// An option that the text tells by silence.
	require.Equal(t, 200, f.post(optionsPath, map[string]any{"cfg_rescale": 0.5, "step_cache": 0.2}).status)
	r, _ = send("CFG scale: 7", nil)
	require.Zero(t, r.Settings.CFGRescale)
	require.Zero(t, r.Settings.StepCache)
	p, err = f.server.ReadParameters(head + "CFG Rescale: 0.7")
	require.NoError(t, err)
	require.Equal(t, 0.7, p.Overrides["cfg_rescale"])
}
