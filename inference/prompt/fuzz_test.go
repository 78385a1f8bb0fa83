package prompt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/inference/prompt"
)

// seed adds prompts that use everything the language has.
func seed(f *testing.F) {
	for _, text := range []string{
		"", "a (b:1.2) [c] BREAK d", `\(a\) \\ \`, "[a:b:0.5] [c|d|] [e:3]", "((((a", "]])):1.2)", "(a:1.2.3)",
		"a AND b :1.5 AND", "<lora:x:0.5:te=1> <a>", "# c\na # b", "(日本:１.５)語\u3000", "[a:[b|c]:[d:e:5]", "\xff\xfe(\x80:1)",
	} {
		f.Add(text)
	}
}

func FuzzParseAttention(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		spans, err := prompt.ParseAttention(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, spans)
		length := 0
		for i, s := range spans {
			length += len(s.Text)
			if i > 0 && spans[i-1].Weight == s.Weight {
				t.Fatalf("spans %d and %d both weigh %v", i-1, i, s.Weight)
			}
		}
		require.LessOrEqual(t, length, len(text))
	})
}

func FuzzSchedule(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, pass := range []prompt.Pass{{Steps: 7}, {Steps: 7, HiresSteps: 3}, {Steps: 7, OldTimes: true}} {
			last := pass.Steps
			if pass.HiresSteps > 0 {
				last = pass.HiresSteps
			}
			entries := prompt.Schedule(text, pass)
			end := 0
			for _, e := range entries {
				require.Greater(t, e.End, end)
				end = e.End
				require.LessOrEqual(t, len(e.Text), len(text))
			}
			require.Equal(t, last, end)
		}
	})
}

func FuzzSplitAND(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		require.NotEmpty(t, prompt.SplitAND(text))
	})
}

func FuzzExtractNetworks(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		rest, networks := prompt.ExtractNetworks(text)
		size := len(rest)
		for _, n := range networks {
			size += len(n.Type) + len(strings.Join(n.Args, ":")) + len("<:>")
			_, _ = prompt.ParseLoRA(n.Args)
		}
		require.Equal(t, len(text), size, "a tag or text is lost")
	})
}

func FuzzStripComments(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		stripped := prompt.StripComments(text)
		require.NotContains(t, stripped, "#")
		require.Equal(t, stripped, prompt.StripComments(stripped))
	})
}

func FuzzStyles(f *testing.F) {
	f.Add("photo of {prompt}", "cat", "blurry")
	f.Add("{prompt}{prompt}", "", "")
	f.Fuzz(func(t *testing.T, style, positive, negative string) {
		styles := []prompt.Style{{Name: "a", Prompt: style}, {Name: "b", Prompt: negative, NegativePrompt: style}}
		prompt.ExtractStyles(styles, positive, negative)
		prompt.ApplyStyles(positive, style, negative)
	})
}

// What ApplyStyles does to trimmed prompts, ExtractStyles undoes.
func TestStylesRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[a-z]{1,8}( [a-z]{1,8}){0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		style := prompt.Style{
			Name:           "s",
			Prompt:         rapid.OneOf(word, rapid.Map(word, func(w string) string { return w + " {prompt} " + w })).Draw(t, "style"),
			NegativePrompt: word.Draw(t, "negative style"),
		}
		positive, negative := word.Draw(t, "prompt"), word.Draw(t, "negative prompt")
		names, gotPositive, gotNegative := prompt.ExtractStyles([]prompt.Style{style},
			prompt.ApplyStyles(positive, style.Prompt), prompt.ApplyStyles(negative, style.NegativePrompt))
		require.Equal(t, []string{"s"}, names)
		require.Equal(t, positive, gotPositive)
		require.Equal(t, negative, gotNegative)
	})
}

// Escaped text comes out of the attention stage as it was.
func TestEscapedTextRoundTrip(t *testing.T) {
	escape := strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`, "[", `\[`, "]", `\]`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune(`ab()[]\:1.日 `))).Draw(t, "text")
		spans, err := prompt.ParseAttention(escape.Replace(text))
		require.NoError(t, err)
		require.Equal(t, []prompt.Span{{Text: text, Weight: 1}}, spans)
	})
}

// Each option of an alternation is seen in turn, whatever stands around it.
func TestAlternationCycles(t *testing.T) {
	word := rapid.StringMatching(`[a-z ]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		before, after := word.Draw(t, "before"), word.Draw(t, "after")
		options := rapid.SliceOfN(word, 2, 5).Draw(t, "options")
		entries := prompt.Schedule(before+"["+strings.Join(options, "|")+"]"+after, prompt.Pass{Steps: 9})
		require.Len(t, entries, 9)
		for i, e := range entries {
			require.Equal(t, prompt.Entry{End: i + 1, Text: before + options[i%len(options)] + after}, e)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	const text = "(masterpiece:1.2), best quality, [cat:dog:0.5] on a (red [blue|green] sofa), <lora:x:0.8> BREAK (detailed:1.1)"
	b.ReportAllocs()
	for b.Loop() {
		rest, _ := prompt.ExtractNetworks(prompt.StripComments(text))
		for _, part := range prompt.SplitAND(rest) {
			for _, entry := range prompt.Schedule(part.Text, prompt.Pass{Steps: 20})[:2] {
				_, _ = prompt.ParseAttention(entry.Text)
			}
		}
	}
}
