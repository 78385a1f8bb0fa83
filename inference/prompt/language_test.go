package prompt_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference/prompt"
)

func TestParseAttentionBeyondTheVectors(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []prompt.Span
	}{
		{"groups of both kinds cross", "(a[b)c]", []prompt.Span{{"a", 1.1}, {"b", 1 / 1.1 * 1.1}, {"c", 1 / 1.1}}},
		{"weight ends inside a square group", "([a:1.5)]", []prompt.Span{{"a", 1.5 / 1.1}}},
		{"weight without a group", "a:1.2.3)", []prompt.Span{{"a:1.2.3)", 1}}},
		{"digits of another script", "(a:１.５)", []prompt.Span{{"a", 1.5}}},
		{"marker in a group is a word", "(a BREAK b:1.5)", []prompt.Span{{"a", 1.5}, {"BREAK", -1.5}, {"b", 1.5}}},
		{"weight 0 hides the marker", "(a BREAK b:0)", []prompt.Span{{"aBREAKb", 0}}},
		{"marker negated twice", "((BREAK:-1):-1)", []prompt.Span{{"", 1}, {"BREAK", -1}, {"", 1}}},
		{"two markers", "a BREAK BREAK b", []prompt.Span{{"a", 1}, {"BREAK", -1}, {"", 1}, {"BREAK", -1}, {"b", 1}}},
		{"word is split by an escape", `BRE\AK`, []prompt.Span{{"BREAK", 1}}},
		{"marker beside brackets", "(x)BREAK[y]", []prompt.Span{{"x", 1.1}, {"", 1}, {"BREAK", -1}, {"", 1}, {"y", 1 / 1.1}}},
		{"all unclosed", "a(b(c[d", []prompt.Span{{"a", 1}, {"b", 1.1}, {"c", 1.1 * 1.1}, {"d", 1.1 * 1.1 * (1 / 1.1)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := prompt.ParseAttention(tc.in)
			require.NoError(t, err)
			require.Len(t, got, len(tc.want))
			for i, want := range tc.want {
				require.Equal(t, want.Text, got[i].Text)
				require.InDelta(t, want.Weight, got[i].Weight, 1e-12)
			}
		})
	}
}

func TestWeightError(t *testing.T) {
	_, err := prompt.ParseAttention("(a:1.2.3)")
	require.EqualError(t, err, "could not convert string to float: '1.2.3'")
	spans, err := prompt.ParseAttention("(a:" + strings.Repeat("9", 400) + ")")
	require.NoError(t, err)
	require.True(t, math.IsInf(spans[0].Weight, 1), "as Python reads it")
}

func TestScheduleBeyondTheVectors(t *testing.T) {
	ten := prompt.Pass{Steps: 10}
	for _, tc := range []struct {
		name, in string
		pass     prompt.Pass
		want     []prompt.Entry
	}{
		{"nested edits", "[a:[b:c:7]:3]", ten, []prompt.Entry{{3, "a"}, {7, "b"}, {10, "c"}}},
		{"hidden edit still has an entry", "[a:[b:c:2]:5]", ten, []prompt.Entry{{2, "a"}, {5, "a"}, {10, "c"}}},
		{"inner works in a broken outer", "[a:[b:c:5]", ten, []prompt.Entry{{5, "[a:b"}, {10, "[a:c"}}},
		{"inner works in an invalid outer", "(a:b:[c:d:5])", ten, []prompt.Entry{{5, "(a:b:c)"}, {10, "(a:b:d)"}}},
		{"bar in a round group", "(a|b) [c:d:5]", ten, []prompt.Entry{{10, "(a|b) [c:d:5]"}}},
		{"backslash at the end", `[a:b:5]\`, ten, []prompt.Entry{{10, `[a:b:5]\`}}},
		{"backslash before a line break", "[a:b:5]\\\nx", ten, []prompt.Entry{{10, "[a:b:5]\\\nx"}}},
		{"exponent does not make a fraction", "[a:b:5e0]", ten, []prompt.Entry{{5, "a"}, {10, "b"}}},
		{"number beyond all", "[a:b:1e999]", ten, []prompt.Entry{{10, "a"}}},
		{"fraction is cut", "[a:b:0.19]", ten, []prompt.Entry{{1, "a"}, {10, "b"}}},
		{"empty everything", "[::5]", ten, []prompt.Entry{{5, ""}, {10, ""}}},
		{"escaped bar", `[a\|b:c:5]`, ten, []prompt.Entry{{5, `a\|b`}, {10, "c"}}},
		{"old timeline, fraction without a dot cannot be", "[a:b:1.0]", prompt.Pass{Steps: 10, OldTimes: true}, []prompt.Entry{{1, "a"}, {10, "b"}}},
		{"old timeline of the hires pass", "[a:b:0.5]", prompt.Pass{Steps: 10, HiresSteps: 4, OldTimes: true}, []prompt.Entry{{5, "a"}, {10, "b"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, prompt.Schedule(tc.in, tc.pass))
		})
	}
}

func TestActive(t *testing.T) {
	entries := []prompt.Entry{{End: 3}, {End: 10}}
	for step, want := range map[int]int{0: 0, 3: 0, 4: 1, 10: 1, 11: 0} {
		require.Equal(t, want, prompt.Active(entries, step), "step %d", step)
	}
}

func TestNetworkArguments(t *testing.T) {
	_, networks := prompt.ExtractNetworks("<x:a:k=1:b=c=d:k=2:e>")
	positional, named := networks[0].Arguments()
	require.Equal(t, []string{"a", "b=c=d", "e"}, positional)
	require.Equal(t, map[string]string{"k": "2"}, named)
}

func TestLoRAs(t *testing.T) {
	_, networks := prompt.ExtractNetworks("<lyco:z:1><lora:a:te=0.5><hypernet:h><lora:b:1:2:dyn=4><lyco:y>")
	got, err := prompt.LoRAs(networks)
	require.NoError(t, err)
	four := 4
	require.Equal(t, []prompt.LoRA{
		{Name: "z", TextEncoder: 1, UNet: 1},
		{Name: "y", TextEncoder: 1, UNet: 1},
		{Name: "a", TextEncoder: 0.5, UNet: 0.5},
		{Name: "b", TextEncoder: 1, UNet: 2, DynDim: &four},
	}, got)

	for _, tag := range []string{"<lora:te=1>", "<lora:a:x>", "<lora:a:unet=0x1p4>", "<lora:a:1:1:1.5>", "<lora:a::te=1>"} {
		_, networks := prompt.ExtractNetworks("<lora:good>" + tag)
		loras, err := prompt.LoRAs(networks)
		require.Error(t, err, tag)
		require.Empty(t, loras)
	}
}

func TestExtractStyles(t *testing.T) {
	styles := []prompt.Style{
		{Name: "nothing"},
		{Name: "photo", Prompt: "photo of {prompt}, sharp", NegativePrompt: "blurry"},
		{Name: "best", Prompt: "masterpiece", NegativePrompt: ""},
		{Name: "two", Prompt: "{prompt} and {prompt}"},
	}
	for _, tc := range []struct {
		name               string
		positive, negative string
		wantNames          []string
		wantPositive       string
		wantNegative       string
	}{
		{"none", "cat", "dog", nil, "cat", "dog"},
		{"one", "cat, masterpiece", "", []string{"best"}, "cat", ""},
		{"both sides must match", "photo of cat, sharp", "", nil, "photo of cat, sharp", ""},
		{"several in order", "photo of cat, masterpiece, sharp", "dog, blurry", []string{"best", "photo"}, "cat", "dog"},
		{"overlap of both ends", "photo of , sharp", "blurry", []string{"photo"}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			names, positive, negative := prompt.ExtractStyles(styles, tc.positive, tc.negative)
			require.Equal(t, tc.wantNames, names)
			require.Equal(t, tc.wantPositive, positive)
			require.Equal(t, tc.wantNegative, negative)
		})
	}
}

// A mass of brackets must neither overflow a stack nor take the square of its length.
func TestHostilePrompts(t *testing.T) {
	const size = 1 << 17
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	half := size / 2
	for name, text := range map[string]string{
		"open round":      fill("("),
		"open square":     fill("["),
		"closed":          fill("]"),
		"bars":            fill("|"),
		"colons":          fill(":"),
		"open and bar":    fill("[|"),
		"words in groups": fill("(a"),
		"nested groups":   strings.Repeat("[", half) + strings.Repeat("]", half),
		"nested edits":    strings.Repeat("[a:", size/6) + strings.Repeat(":3]", size/6),
		"nested options":  strings.Repeat("[a|", size/4) + strings.Repeat("]", size/4),
		"many edits":      fill("[a:b:3]"),
		"many options":    fill("[a|b]"),
		"invalid nest":    strings.Repeat("[a:", half/3) + "b" + strings.Repeat("]", half/3),
		"groups at depth": strings.Repeat("(", 999) + fill("(a)b"),
		"open tags":       fill("<a:"),
		"comments":        fill("#\n"),
		"words":           fill("BREAK AND "),
		"weights":         fill(":1.1111111"),
		"blanks":          fill(": "),
		"one blank run":   "(a:" + fill(" "),
		"backslashes":     fill(`\`),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := prompt.ParseAttention(text)
			require.NoError(t, err)
			prompt.Schedule(text, prompt.Pass{Steps: 10})
			prompt.SplitAND(text)
			prompt.ExtractNetworks(text)
			prompt.StripComments(text)
			require.Less(t, time.Since(start), 30*time.Second)
		})
	}
}
