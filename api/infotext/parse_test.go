package infotext_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/infotext"
)

func TestParse(t *testing.T) {
	type want struct {
		Prompt         string
		NegativePrompt string `json:"negative_prompt"`
		Fields         map[string]json.RawMessage
	}
	each(t, "infotext_parse.json", func(t *testing.T, text string, want want) {
		got := infotext.Reader{}.Parse(text)
		require.Equal(t, want.Prompt, got.Prompt())
		require.Equal(t, want.NegativePrompt, got.NegativePrompt())
		for key, raw := range want.Fields {
			require.EqualValues(t, value(t, raw), got[key], key)
		}
		empty := infotext.Reader{}.Parse("")
		for key, v := range got {
			if _, listed := want.Fields[key]; !listed && key != "Prompt" && key != "Negative prompt" {
				require.Equal(t, empty[key], v, "%s is neither wanted nor a default", key)
			}
		}
	})
}

func TestParseDefaults(t *testing.T) {
	empty := infotext.Reader{}.Parse("")
	count := 2 // Prompt and Negative prompt
	each(t, "infotext_parse_defaults.json", func(t *testing.T, key string, want json.RawMessage) {
		count++
		require.Contains(t, empty, key)
		require.EqualValues(t, value(t, want), empty[key])
	})
	require.Len(t, empty, count)
}

func TestParseRules(t *testing.T) {
	const line = "Steps: 1, Sampler: Euler, Seed: 1"
	tests := []struct {
		name, text string
		want       infotext.Fields // these keys; nil values must be absent
	}{
		{
			"a further label continues the negative prompt", "a\nNegative prompt: b\nNegative prompt: c\n" + line,
			infotext.Fields{"Prompt": "a", "Negative prompt": "b\nc"},
		},
		{"a parameter line in the middle is prompt", line + "\nlast", infotext.Fields{"Prompt": line + "\nlast", "Steps": nil}},
		{"a key needs two characters", "a: 1, b: 2, c: 3, dd: 4", infotext.Fields{"Prompt": "a: 1, b: 2, c: 3, dd: 4", "dd": nil}},
		{"an empty value is dropped but counts", "Steps: , Sampler: Euler, Seed: 1", infotext.Fields{"Prompt": "", "Steps": nil, "Seed": "1"}},
		{"a value in quotes is JSON", line + `, Text: "a\n\"b\", c: \u043a"`, infotext.Fields{"Text": "a\n\"b\", c: к"}},
		{"broken JSON stays", line + `, Text: "a\qb"`, infotext.Fields{"Text": `"a\qb"`}},
		{"a size needs digits only", line + ", Size: 64x64, Other: 64.0x64", infotext.Fields{"Size-1": "64", "Size-2": "64", "Size": nil, "Other": "64.0x64"}},
		{"keys may hold blanks, dashes and slashes", line + ", A b-c/d: 1, (x: 2", infotext.Fields{"A b-c/d": "1"}},
		{"a hypernetwork becomes a tag", "cat\n" + line + ", Hypernet: h, Hypernet strength: 0.5", infotext.Fields{"Prompt": "cat<hypernet:h:0.5>", "Hypernet": "h"}},
		{"its strength is 1 by default", "cat\n" + line + ", Hypernet: h", infotext.Fields{"Prompt": "cat<hypernet:h:1.0>"}},
		{"the old hires fix", line + ", Size: 1024x768, First pass size: 512x384", infotext.Fields{
			"Size-1": 512, "Size-2": 384, "Hires resize-1": 1024, "Hires resize-2": 768, "First pass size-1": "512",
		}},
		{"the old hires fix by the 512 rule", line + ", Size: 1024x512, First pass size: 0x0", infotext.Fields{"Size-1": 768, "Size-2": 384}},
		{"emphasis of the negative prompt counts", "a\nNegative prompt: [b]\n" + line, infotext.Fields{"Emphasis": "Original"}},
		{"emphasis that is there stays", "(a)\n" + line + ", Emphasis: No norm", infotext.Fields{"Emphasis": "No norm"}},
		{"a break in brackets is no emphasis", "a BREAK b\n" + line, infotext.Fields{"Emphasis": nil}},
		{"old prompt editing", "[a:b:3]\n" + line + ", Version: v1.5.2", infotext.Fields{"Old prompt editing timelines": true, "Downcast alphas_cumprod": true, "Pad conds v0": nil}},
		{"a release candidate is older", "[a\n" + line + ", Version: v1.6.0-RC", infotext.Fields{"Old prompt editing timelines": true}},
		{"commits since a release count", line + ", Version: v1.7.0-225-gabcdef01", infotext.Fields{"Downcast alphas_cumprod": nil}},
		{"one commit less", line + ", Version: v1.7.0-224-gabcdef01", infotext.Fields{"Downcast alphas_cumprod": true}},
		{"a refiner of old", line + ", Refiner: x [y], Version: 1.7.0", infotext.Fields{"Refiner switch by sampling steps": true}},
		{"a version of another program", line + ", Version: f0.0.17v1.8.0rc-latest", infotext.Fields{"Downcast alphas_cumprod": nil, "Refiner switch by sampling steps": false}},
		{"FP8 asks about the cache", line + ", FP8 weight: Enable", infotext.Fields{"Cache FP16 weight for LoRA": false}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := infotext.Reader{}.Parse(tc.text)
			for key, want := range tc.want {
				if want == nil {
					require.NotContains(t, got, key)
					continue
				}
				require.Equal(t, want, got[key], key)
			}
		})
	}
}

func TestParseStyles(t *testing.T) {
	found := infotext.Reader{Styles: func(p, n string) ([]string, string, string) { return []string{"s"}, "rest of " + p, n }}
	got := found.Parse("a\nNegative prompt: b")
	require.Equal(t, []string{"s"}, got["Styles array"])
	require.Equal(t, "rest of a", got.Prompt())
	require.Equal(t, "b", got.NegativePrompt())

	none := infotext.Reader{Styles: func(p, n string) ([]string, string, string) { return nil, p, n }}
	require.NotContains(t, none.Parse("a"), "Styles array")
	none.AlwaysStyles = true
	require.Contains(t, none.Parse("a"), "Styles array")
}

func TestParseOptions(t *testing.T) {
	const text = "Steps: 1, Sampler: DDIM, Seed: 1, Size: 64x64, Hires resize: 128x256, Version: v1.5.0"
	got := infotext.Reader{HiresIsSize: true, IgnoreVersion: true}.Parse(text)
	require.Equal(t, 128, got["Size-1"])
	require.Equal(t, 256, got["Size-2"])
	require.NotContains(t, got, "Pad conds v0")
}

func TestParseSkips(t *testing.T) {
	got := infotext.Reader{Skip: []string{"Seed", "RNG"}}.Parse("Steps: 1, Sampler: Euler, Seed: 1")
	require.NotContains(t, got, "Seed")
	require.NotContains(t, got, "RNG")
	require.Contains(t, got, "Steps")
}
