// Package scripts has the scripts of A1111 that script_name selects: each makes several
// calls of one request, and grids of their pictures.
package scripts

import "sdworker/api/sdapi/generation"

// All are the scripts of v1.9.3 that script_name selects, with "Ultimate SD upscale",
// in the order of A1111's list.
func All() []*generation.Script {
	return []*generation.Script{
		{Name: "img2img alternative test", Tabs: []*generation.Tab{generation.Img2Img}},
		{Name: loopbackName, Tabs: []*generation.Tab{generation.Img2Img}, Args: loopbackArgs, Texts: loopbackTexts, Run: loopback},
		{Name: "outpainting mk2", Tabs: []*generation.Tab{generation.Img2Img}},
		{Name: "poor man's outpainting", Tabs: []*generation.Tab{generation.Img2Img}},
		{Name: "prompt matrix", Tabs: generation.BothTabs, Args: promptMatrixArgs, Run: promptMatrix},
		{Name: "prompts from file or textbox", Tabs: generation.BothTabs, Args: promptLinesArgs, Run: promptLines},
		{Name: sdUpscaleName, Tabs: []*generation.Tab{generation.Img2Img}, Args: sdUpscaleArgs, Texts: sdUpscaleTexts, Run: sdUpscale},
		{Name: ultimateName, Tabs: []*generation.Tab{generation.Img2Img}, Args: ultimateArgs, Texts: ultimateTexts, Run: ultimateUpscale, Tiles: true},
		{Name: "x/y/z plot", Tabs: []*generation.Tab{generation.Txt2Img}, Args: xyzScriptArgs(generation.Txt2Img), Run: xyzPlot},
		{Name: "x/y/z plot", Tabs: []*generation.Tab{generation.Img2Img}, Args: xyzScriptArgs(generation.Img2Img), Run: xyzPlot},
		{Name: "controlnet m2m", Tabs: generation.BothTabs}, // webuiapi takes it for the sign of ControlNet
	}
}
