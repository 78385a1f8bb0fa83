package prompt_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/prompt"
)

// Random prompts, read by the reference's own means.
func TestRecordedPrompts(t *testing.T) {
	var file struct {
		Source string
		Cases  []struct {
			Prompt     string
			Steps      int
			HiresSteps int `json:"hires_steps"`
			Schedule   []timed
			Attention  []weighted
			And        []weighted
			Comments   string
		}
	}
	raw, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Prompt, func(t *testing.T) {
			var schedule []timed
			for _, e := range prompt.Schedule(tc.Prompt, prompt.Pass{Steps: tc.Steps, HiresSteps: tc.HiresSteps}) {
				schedule = append(schedule, timed(e))
			}
			require.Equal(t, tc.Schedule, schedule)

			var attention []weighted
			spans, err := prompt.ParseAttention(tc.Prompt)
			require.Equal(t, tc.Attention == nil, err != nil)
			for _, s := range spans {
				attention = append(attention, weighted(s))
			}
			require.Equal(t, tc.Attention, attention)

			var and []weighted
			for _, p := range prompt.SplitAND(tc.Prompt) {
				and = append(and, weighted(p))
			}
			require.Equal(t, tc.And, and)
			require.Equal(t, tc.Comments, prompt.StripComments(tc.Prompt))
		})
	}
}
