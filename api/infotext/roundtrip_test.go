package infotext_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/api/infotext"
	"sdworker/inference"
)

// line is a line of a prompt as the parser leaves it: without white space around
// it and not taken for the start of the negative prompt.
func line(t *rapid.T, label string) string {
	s := rapid.StringMatching(`[\PC\t]{0,12}`).Filter(func(s string) bool { return !strings.HasPrefix(strings.TrimSpace(s), "Negative prompt:") }).Draw(t, label)
	return strings.TrimSpace(s)
}

// prompts are lines of which the first one is not empty.
func prompts(t *rapid.T, label string) string {
	n := rapid.IntRange(0, 4).Draw(t, label+" lines")
	lines := make([]string, n)
	for i := range lines {
		lines[i] = line(t, label)
	}
	return strings.TrimLeft(strings.Join(lines, "\n"), "\n")
}

// entry is a key and a value that A1111's grammar can tell apart from its
// neighbours: no quote or blank at the ends, no size, not the key itself.
func entry(t *rapid.T, i int) infotext.Entry {
	e := infotext.Entry{Key: fmt.Sprintf("Key %c", 'a'+i)}
	switch rapid.IntRange(0, 3).Draw(t, "type") {
	case 0:
		e.Value = rapid.Float64().Draw(t, "float")
	case 1:
		e.Value = rapid.Int().Draw(t, "int")
	case 2:
		e.Value = rapid.Bool().Draw(t, "bool")
	default:
		s := rapid.StringMatching(`[\PC\n\t,:"\\]{1,16}`).Draw(t, "text")
		e.Value = "v" + strings.TrimSpace(s) + "v"
	}
	return e
}

func TestParseUndoesWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := infotext.Params{
			Request: &inference.Request{
				Prompt: prompts(t, "prompt"), NegativePrompt: prompts(t, "negative"), Settings: inference.DefaultSettings(),
				Steps: rapid.IntRange(1, 150).Draw(t, "steps"), Sampler: "Euler a", CFGScale: rapid.Float64Range(1, 30).Draw(t, "cfg"),
			},
			Seed: rapid.Int64Range(0, 1<<32-1).Draw(t, "seed"), Width: rapid.IntRange(8, 4096).Draw(t, "width"), Height: 512,
			Sampling: infotext.Sampling{EtaAncestral: 1, SNoise: 1}, Version: "v1.9.3",
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "entries") {
			p.Scripts = append(p.Scripts, entry(t, i))
		}
		text := infotext.Write(p)
		got := infotext.Reader{}.Parse(text)
		require.Equal(t, p.Request.Prompt, got.Prompt(), text)
		require.Equal(t, p.Request.NegativePrompt, got.NegativePrompt(), text)
		require.Equal(t, fmt.Sprint(p.Request.Steps), got["Steps"])
		require.Equal(t, infotext.Quote(p.Request.CFGScale), got["CFG scale"])
		require.Equal(t, fmt.Sprint(p.Seed), got["Seed"])
		require.Equal(t, fmt.Sprint(p.Width), got["Size-1"])
		for _, e := range p.Scripts {
			want, isText := e.Value.(string)
			if !isText {
				want = infotext.Quote(e.Value)
			}
			require.Equal(t, want, got[e.Key], text)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "cat", "a\nNegative prompt: b\nSteps: 1, Sampler: Euler, Seed: 1", "Steps: 1, A b: \"x, \\\"y: z\", Size: 1x2, First pass size: 0x0",
		"(a:1.1)\nVersion: v1.6.0-RC, Sampler: DDIM, Hypernet: x, FP8 weight: Enable", "\"\\ud800\", ab: \"\\x\", cd: \",", "(a:1.2.3)",
	} {
		f.Add(s)
	}
	defaults := infotext.Reader{}.Parse("")
	f.Fuzz(func(t *testing.T, s string) {
		got := infotext.Reader{}.Parse(s)
		for key := range defaults {
			require.Contains(t, got, key)
		}
		_, _ = got.Txt2Img(lookup) // must not panic, whatever the values
	})
}
