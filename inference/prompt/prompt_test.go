package prompt_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/prompt"
	"sdworker/internal/vectors"
)

// weighted is a [text, weight] pair of a vector file.
type weighted struct {
	Text   string
	Weight float64
}

func (w *weighted) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, &[]any{&w.Text, &w.Weight})
}

// timed is an [end step, text] pair of a vector file.
type timed prompt.Entry

func (e *timed) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, &[]any{&e.End, &e.Text})
}

func TestParseAttention(t *testing.T) {
	var file struct {
		Cases []struct {
			Name, Input string
			Want        json.RawMessage
		}
	}
	vectors.Load(t, "attention.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got, err := prompt.ParseAttention(tc.Input)
			var want []weighted
			if json.Unmarshal(tc.Want, &want) != nil {
				var refused struct{ Error string }
				require.NoError(t, json.Unmarshal(tc.Want, &refused))
				var weight *prompt.WeightError
				require.ErrorAs(t, err, &weight)
				return
			}
			require.NoError(t, err)
			require.Len(t, got, len(want))
			for i := range want {
				require.Equal(t, want[i].Text, got[i].Text, "span %d", i)
				require.InDelta(t, want[i].Weight, got[i].Weight, 1e-5, "span %d", i)
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	for _, name := range []string{"editing.json", "editing_hires.json"} {
		t.Run(name, func(t *testing.T) {
			var file struct {
				Cases []struct {
					Name  string
					Input struct {
						Prompt     string
						Steps      int
						HiresSteps int `json:"hires_steps"`
					}
					Want []timed
				}
			}
			vectors.Load(t, name, &file)
			require.NotEmpty(t, file.Cases)
			for _, tc := range file.Cases {
				t.Run(tc.Name, func(t *testing.T) {
					in := tc.Input
					got := prompt.Schedule(in.Prompt, prompt.Pass{Steps: in.Steps, HiresSteps: in.HiresSteps})
					require.Len(t, got, len(tc.Want))
					for i, want := range tc.Want {
						require.Equal(t, prompt.Entry(want), got[i])
					}
				})
			}
		})
	}
}

func TestSplitAND(t *testing.T) {
	var file struct {
		Cases []struct {
			Name, Input string
			Want        []weighted
		}
	}
	vectors.Load(t, "and.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := prompt.SplitAND(tc.Input)
			require.Len(t, got, len(tc.Want))
			for i, want := range tc.Want {
				require.Equal(t, prompt.Part(want), got[i])
			}
		})
	}
}

func TestExtractNetworks(t *testing.T) {
	var file struct {
		Cases []struct {
			Name, Input string
			Want        struct {
				Text     string
				Networks []prompt.Network
			}
		}
	}
	vectors.Load(t, "extra_networks.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			text, networks := prompt.ExtractNetworks(tc.Input)
			require.Equal(t, tc.Want.Text, text)
			require.Len(t, networks, len(tc.Want.Networks))
			for i, want := range tc.Want.Networks {
				require.Equal(t, want, networks[i])
			}
		})
	}
}

func TestParseLoRA(t *testing.T) {
	var file struct {
		Cases []struct {
			Name, Input string
			Want        struct {
				Name string
				TE   float64
				UNet float64
				Dyn  *int
			}
		}
	}
	vectors.Load(t, "lora_args.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			_, networks := prompt.ExtractNetworks("<lora:" + tc.Input + ">")
			require.Len(t, networks, 1)
			got, err := prompt.ParseLoRA(networks[0].Args)
			require.NoError(t, err)
			require.Equal(t, prompt.LoRA{
				Name: tc.Want.Name, TextEncoder: tc.Want.TE, UNet: tc.Want.UNet, DynDim: tc.Want.Dyn,
			}, got)
		})
	}
}

func TestStripComments(t *testing.T) {
	var file struct {
		Cases []struct{ Name, Input, Want string }
	}
	vectors.Load(t, "comments.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			require.Equal(t, tc.Want, prompt.StripComments(tc.Input))
		})
	}
}

func TestApplyStyles(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct{ Style, Prompt string }
			Want  string
		}
	}
	vectors.Load(t, "styles.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			require.Equal(t, tc.Want, prompt.ApplyStyles(tc.Input.Prompt, tc.Input.Style))
		})
	}
}
