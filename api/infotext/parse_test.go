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
