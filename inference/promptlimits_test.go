package inference_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
)

// Prompts that would cost minutes are refused with the field at fault, those of
// people pass.
func TestPromptLimits(t *testing.T) {
	words := make([]string, 60)
	for i := range words {
		words[i] = strings.Repeat("a", i+1)
	}
	alternating := "[" + strings.Join(words, "|") + "]" + strings.Repeat(" cat", 2400)
	for name, tc := range map[string]struct {
		change func(*inference.Request)
		field  string
	}{
		"bytes":             {func(r *inference.Request) { r.Prompt = strings.Repeat("a", 5<<20) }, "prompt"},
		"negative":          {func(r *inference.Request) { r.NegativePrompt = strings.Repeat("a", 5<<20) }, "negative_prompt"},
		"parts":             {func(r *inference.Request) { r.Prompt = strings.Repeat("a AND ", 10_000) + "b" }, "prompt"},
		"tokens":            {func(r *inference.Request) { r.Prompt = strings.Repeat("cat ", 20_000) }, "prompt"},
		"brackets":          {func(r *inference.Request) { r.Prompt = strings.Repeat("(", 100_000) }, "prompt"},
		"texts of one step": {func(r *inference.Request) { r.Prompt, r.Steps = alternating, 60 }, "prompt"},
		"mixed brackets":    {func(r *inference.Request) { r.Prompt = strings.Repeat("([)]", 10_000) }, ""},
		"a long one":        {func(r *inference.Request) { r.Prompt = strings.Repeat("cat ", 4_000) }, ""},
		"many parts":        {func(r *inference.Request) { r.Prompt = strings.Repeat("a AND ", 30) + "b" }, ""},
		"many LoRA tags":    {func(r *inference.Request) { r.Prompt = "a" + strings.Repeat("<lora:x:1>", 10_000) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newBench(t, nil).Generate(t.Context(), txt2img(tc.change), inference.Hooks{})
			if tc.field == "" {
				require.NoError(t, err)
				return
			}
			var got *fault.Error
			require.ErrorAs(t, err, &got)
			require.Equal(t, fault.Invalid, got.Code)
			require.Equal(t, tc.field, got.Field)
		})
	}
}
