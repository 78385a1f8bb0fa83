package sdapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/sampler"
)

func scriptsOf(name string, args ...any) map[string]any {
	return map[string]any{"alwayson_scripts": map[string]any{name: map[string]any{"args": append([]any{}, args...)}}}
}

func TestCFGRescale(t *testing.T) {
	f := start(t)
	g := f.post("/sdapi/v1/txt2img", small(scriptsOf("CFG Rescale Extension", 0.7, true))).generated(t)
	require.InDelta(t, 0.7, f.gen.Last().Settings.CFGRescale, 0)
	require.Contains(t, g.info["infotexts"].([]any)[0], "CFG Rescale: 0.7")
	require.Equal(t, []any{"CFG rescale: DDIM Trailing is not available on this server and did nothing"}, g.info["notes"])

	g = f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": map[string]any{"cfg_rescale": 0.25}})).generated(t)
	require.InDelta(t, 0.25, f.gen.Last().Settings.CFGRescale, 0)
	text := g.info["infotexts"].([]any)[0].(string)
	require.Contains(t, text, "CFG Rescale: 0.25")
	f.post("/sdapi/v1/txt2img", small(map[string]any{"infotext": text})).generated(t)
	require.InDelta(t, 0.25, f.gen.Last().Settings.CFGRescale, 0, "a pasted text has it, too")

	g = f.post("/sdapi/v1/txt2img", small(scriptsOf("cfg rescale extension", 0))).generated(t)
	require.NotContains(t, g.info["infotexts"].([]any)[0], "CFG Rescale")
	for _, v := range []any{2, -1, "x"} {
		got := f.post("/sdapi/v1/txt2img", small(scriptsOf("CFG Rescale Extension", v)))
		require.Equal(t, 500, got.status)
	}
}

func TestDynamicThresholding(t *testing.T) {
	f := start(t)
	for _, name := range []string{"Dynamic Thresholding (CFG Scale Fix)", "DynamicThresholding (CFG-Fix) Integrated"} {
		g := f.post("/sdapi/v1/txt2img", small(scriptsOf(name, true, 7, 99.5, "Half Cosine Up", 3, "Power Down", 4.5, 2, true, "ZERO", "STD", 0.8))).generated(t)
		require.Equal(t, sampler.Thresholding{
			Enabled: true, MimicScale: 7, Percentile: 0.995, MimicMode: "Half Cosine Up", MimicMin: 3, CFGMode: "Power Down", CFGMin: 4.5, SchedValue: 2, FromZero: true, Deviation: true, Phi: 0.8,
		}, f.gen.Last().Settings.Thresholding)
		require.Contains(t, g.info["infotexts"].([]any)[0], "Dynamic thresholding enabled: True, Mimic scale: 7, Separate Feature Channels: True, Scaling Startpoint: ZERO, Variability Measure: STD, "+
			"Interpolate Phi: 0.8, Threshold percentile: 99.5, Mimic mode: Half Cosine Up, Mimic scale minimum: 3, CFG mode: Power Down, CFG scale minimum: 4.5, Scheduler value: 2")
	}
	f.post("/sdapi/v1/txt2img", small(scriptsOf("Dynamic Thresholding (CFG Scale Fix)", true))).generated(t)
	require.Equal(t, sampler.Thresholding{Enabled: true, MimicScale: 7, Percentile: 1, MimicMode: "Constant", CFGMode: "Constant", SchedValue: 4, Phi: 1}, f.gen.Last().Settings.Thresholding)
	g := f.post("/sdapi/v1/txt2img", small(scriptsOf("Dynamic Thresholding (CFG Scale Fix)", false, 7))).generated(t)
	require.Zero(t, f.gen.Last().Settings.Thresholding)
	require.NotContains(t, g.info["infotexts"].([]any)[0], "Mimic")
	for _, args := range [][]any{{true, 7, 0}, {true, 7, 100, "Sideways"}, {true, 7, 100, "Constant", 0, "Constant", 0, 4, true, "MIDDLE"}, {true, "x"}} {
		got := f.post("/sdapi/v1/txt2img", small(scriptsOf("Dynamic Thresholding (CFG Scale Fix)", args...)))
		require.Equal(t, 500, got.status, args)
	}
}

func TestGuidanceScripts(t *testing.T) {
	f := start(t)
	text := func(name string, args ...any) string {
		t.Helper()
		g := f.post("/sdapi/v1/txt2img", small(scriptsOf(name, args...))).generated(t)
		return g.info["infotexts"].([]any)[0].(string)
	}
	require.Contains(t, text("FreeU Integrated (SD 1.x, SD 2.x, SDXL)", true, 1.5, 1.6, 0.9, 0.2, 0.1, 0.8),
		"freeu_enabled: True, freeu_b1: 1.5, freeu_b2: 1.6, freeu_s1: 0.9, freeu_s2: 0.2, freeu_start: 0.1, freeu_end: 0.8")
	require.Equal(t, inference.TimedFreeU{FreeU: inference.SimpleFreeU(2, 1.5, 1.6, 0.9, 0.2), Start: 0.1, End: 0.8}, f.gen.Last().Settings.FreeU)
	require.Contains(t, text("FreeU Integrated", true, 1.5, 1.6, 0.9, 0.2, 0, 1, 1), "freeu_version: 1")
	require.NotContains(t, text("FreeU Integrated", false, 1.5), "freeu")
	require.Zero(t, f.gen.Last().Settings.FreeU)

	require.Contains(t, text("PerturbedAttentionGuidance Integrated", true, 2.5, 10, 0, 0.5), "pagi_enabled: True, pagi_scale: 2.5, pagi_attenuation: 10, pagi_start_step: 0, pagi_end_step: 0.5")
	require.Equal(t, sampler.Perturbation{Scale: 2.5, Attenuation: 0.1, End: 0.5}, f.gen.Last().Settings.Perturbation)

	require.Contains(t, text(`"APG's now your CFG" for reForge`, true, -0.5, 0.2, 7.5, 0.5), "apgisyourcfg_enabled: True, apgisyourcfg_momentum: -0.5")
	require.Equal(t, sampler.Projection{Enabled: true, Momentum: -0.5, Adaptive: 0.2, Threshold: 7.5, Eta: 0.5, SigmaStart: 5.42, SigmaEnd: 0.28}, f.gen.Last().Settings.Projection)

	require.Contains(t, text("CFG-Zero*", true), "CFG-Zero star: True")
	require.True(t, f.gen.Last().Settings.ZeroStar)

	for name, args := range map[string][]any{
		"FreeU Integrated": {true, 1, 1, 1, 5}, "freeu integrated": {true, 1, 1, 1, 1, 0, 1, 3}, "perturbedattentionguidance integrated": {true, -1},
		`"APG's now your CFG" for reForge`: {true, 3}, "cfg-zero*": {"maybe"},
	} {
		require.Equal(t, 500, f.post("/sdapi/v1/txt2img", small(scriptsOf(name, args...))).status, name)
	}
}

// TestStagedFreeU: texts, windows and defaults are those of sd-webui-freeu.
func TestStagedFreeU(t *testing.T) {
	f := start(t)
	text := func(args ...any) string {
		t.Helper()
		return f.post("/sdapi/v1/txt2img", small(scriptsOf("FreeU", args...))).generated(t).info["infotexts"].([]any)[0].(string)
	}
	got := text(map[string]any{
		"start_ratio": 0.1, "stop_ratio": 8, "transition_smoothness": 0.5, "version": "2",
		"stage_infos": []any{map[string]any{}, map[string]any{"backbone_factor": 1.4, "skip_cutoff": 0.3}},
	})
	require.Contains(t, got, `FreeU Stages: "[{}, {\"backbone_factor\": 1.4, \"skip_cutoff\": 0.3}]", FreeU Schedule: "0.1, 8, 0.5", FreeU Version: 2`)
	half := inference.FreeUWindow{To: 0.5, Closed: true}
	plain := inference.FreeUStage{Backbone: 1, Window: half, SkipLow: 1, SkipHigh: 1}
	second := plain
	second.Backbone, second.Cutoff = 1.4, 0.3
	require.Equal(t, inference.TimedFreeU{
		FreeU: inference.FreeU{Version: 2, Stages: [3]inference.FreeUStage{plain, second, plain}}, Start: 0.1, End: 8, EndCall: true, ByCalls: true, Smoothness: 0.5,
	}, f.gen.Last().Settings.FreeU)

	got = text(true, 0, 1, 0, "Version 2", 1.2, 0.9, 0, 0.5, 0, 1, 1.4, 0.2, 0, 0.5, 0, 1, 1, 1, 0, 0.5, 0, 1)
	require.Contains(t, got, `FreeU Stages: "[{\"backbone_factor\": 1.2, \"skip_factor\": 0.9}, {\"backbone_factor\": 1.4, \"skip_factor\": 0.2}]", FreeU Schedule: "0.0, 1.0, 0.0", FreeU Version: 2`)
	listed := f.gen.Last().Settings.FreeU
	text(true)
	require.Equal(t, listed, f.gen.Last().Settings.FreeU, "the page's defaults are its first preset")
	require.False(t, listed.EndCall)

	text(map[string]any{})
	require.Equal(t, 1, f.gen.Last().Settings.FreeU.Version)
	for _, c := range []struct {
		width, offset float64
		want          inference.FreeUWindow
	}{
		{0.5, 0.75, inference.FreeUWindow{From: 0.25, To: 0.75, Inverted: true, Closed: true}},
		{1, 0.25, inference.FreeUWindow{From: 0.25, To: 0.25, Inverted: true, Closed: true}},
		{-0.25, 0.5, inference.FreeUWindow{From: 0.25, To: 0.5, Closed: true}},
		{0.25, 1, inference.FreeUWindow{To: 0.25, Closed: true}},
	} {
		text(map[string]any{"stage_infos": []any{1, 1, c.offset, c.width}})
		require.Equal(t, c.want, f.gen.Last().Settings.FreeU.Stages[0].Window)
	}
	require.NotContains(t, text(false, 0), "FreeU")
	require.Zero(t, f.gen.Last().Settings.FreeU)
	for _, args := range [][]any{
		{"yes"},
		{map[string]any{"backbone": 1}},
		{map[string]any{"stage_infos": []any{map[string]any{"b": 1}}}},
		{map[string]any{"stage_infos": []any{"x"}}},
		{map[string]any{"start_ratio": "x"}},
		{map[string]any{"stage_infos": 1}},
		{map[string]any{"stage_infos": []any{9}}},
		{map[string]any{"transition_smoothness": 2.5}},
	} {
		require.Equal(t, 500, f.post("/sdapi/v1/txt2img", small(scriptsOf("freeu", args...))).status, args)
	}
}

func TestRefiner(t *testing.T) {
	f := start(t)
	f.post("/sdapi/v1/txt2img", small(map[string]any{"refiner_checkpoint": "other", "refiner_switch_at": 0.6})).generated(t)
	require.NotEmpty(t, f.gen.Last().Refiner.Checkpoint)
	require.NotEqual(t, f.gen.Last().Files.Checkpoint, f.gen.Last().Refiner.Checkpoint)
	require.InDelta(t, 0.6, f.gen.Last().Refiner.SwitchAt, 0)
	require.False(t, f.gen.Last().Refiner.FirstPass, "option hires_fix_refiner_pass")
	f.post("/sdapi/v1/txt2img", small(map[string]any{"refiner_checkpoint": "None", "refiner_switch_at": 0.6})).generated(t)
	require.Nil(t, f.gen.Last().Refiner)
}
