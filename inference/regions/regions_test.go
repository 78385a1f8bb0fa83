package regions_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/inference/regions"
	"sdworker/internal/vectors"
)

// recordedAreas are the areas of all parts at one size of the latent.
type recordedAreas struct {
	H, W  int
	Cells []vectors.Float32s
}

type prompterCase struct {
	Prompt, Negative, Ratios, Bases, Sub, Mask, PNG string
	Base, Common, Negcommon, Flip                   bool
	Options, Texts                                  []string
	Areas                                           []recordedAreas
}

type coupleCase struct {
	Divisions, Positions, Weights string
	Areas                         []recordedAreas
}

// recorded reads what the extensions do, see testdata/record.py.
func recorded(t *testing.T) (prompters []prompterCase, couples []coupleCase) {
	t.Helper()
	data, err := os.ReadFile("testdata/regions.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Prompter *prompterCase
			Couple   *coupleCase
		}
	}
	require.NoError(t, json.Unmarshal(data, &file))
	for _, c := range file.Cases {
		if c.Prompter != nil {
			prompters = append(prompters, *c.Prompter)
		} else {
			couples = append(couples, *c.Couple)
		}
	}
	require.Len(t, prompters, 39)
	require.Len(t, couples, 4)
	return prompters, couples
}

// requireAreas compares areas with recorded ones. Masks in half precision there make
// shares of the base prompt less exact.
func requireAreas(t *testing.T, want []recordedAreas, got []regions.Area) {
	t.Helper()
	for _, size := range want {
		require.Len(t, got, len(size.Cells))
		for i, cells := range size.Cells {
			require.InDeltaSlice(t, []float32(cells), got[i](size.H, size.W), 3e-4, "area %d of %dx%d", i, size.W, size.H)
		}
	}
}

func TestPrompter(t *testing.T) {
	cases, _ := recorded(t)
	for i, c := range cases {
		t.Run(fmt.Sprintf("%d %s", i, c.Prompt), func(t *testing.T) {
			p := regions.Prompter{
				Rows: c.Sub == "Rows" || c.Sub == "Vertical", Ratios: c.Ratios, BaseRatios: c.Bases, UseBase: c.Base, UseCommon: c.Common, UseNegCommon: c.Negcommon,
				KeepAND:     slices.Contains(c.Options, "disable convert 'AND' to 'BREAK'"),
				KeepBREAK:   slices.Contains(c.Options, "Use BREAK to change chunks"),
				FlipPrompts: slices.Contains(c.Options, "Flip prompts"),
				Comments:    slices.Contains(c.Options, "Comment Out `#`"),
			}
			if c.Flip {
				p.Ratios = regions.FlipRatios(c.Ratios)
			}
			if c.Mask != "" {
				raw, err := base64.StdEncoding.DecodeString(c.PNG)
				require.NoError(t, err)
				m, err := imageio.Decode(raw, 1<<20)
				require.NoError(t, err)
				p.Masked, p.Mask = true, m.RGB([3]uint8{})
			}
			plan, err := (&regions.Spec{Prompter: &p}).Plan(c.Prompt, c.Negative)
			require.NoError(t, err)
			texts := []string{plan.Prompt, plan.Negative}
			require.Equal(t, c.Texts, texts)
			requireAreas(t, c.Areas, plan.Areas)
		})
	}
}

func TestCouple(t *testing.T) {
	_, cases := recorded(t)
	for _, c := range cases {
		spec := regions.Spec{Couple: &regions.Couple{Divisions: c.Divisions, Positions: c.Positions, Weights: c.Weights, Steps: 20}}
		plan, err := spec.Plan("a AND b", "c")
		require.NoError(t, err)
		require.Equal(t, "a AND b", plan.Prompt)
		require.Equal(t, 20, plan.Steps)
		requireAreas(t, c.Areas, plan.Areas)
	}
}

func TestPicturesAsMasks(t *testing.T) {
	left := imageio.NewGray(16, 8)
	for i := range left.Pix {
		if i%16 < 8 {
			left.Pix[i] = 255
		}
	}
	spec := regions.Spec{Couple: &regions.Couple{Masks: []imageio.Gray{{}, left}, Weights: "0.25,0.5", Steps: 1}}
	plan, err := spec.Plan("a AND b AND c", "")
	require.NoError(t, err)
	require.Len(t, plan.Areas, 2)
	require.Equal(t, []float32{0.25, 0.25, 0.25, 0.25}, plan.Areas[0](2, 2))
	// What Pillow 12 makes of it with its bicubic filter.
	require.InDeltaSlice(t, []float32{0.5, 0.4627451, 0.037254903, 0}, plan.Areas[1](1, 4), 1e-6)
}

// TestSharesFillThePicture: the shares of sixths add up to a little less than 1 in
// floating point, where the extension leaves a strip without a prompt.
func TestSharesFillThePicture(t *testing.T) {
	for n := 2; n <= 30; n++ {
		spec := regions.Spec{Prompter: &regions.Prompter{Ratios: strings.TrimSuffix(strings.Repeat("1,", n), ",")}}
		plan, err := spec.Plan(strings.TrimSuffix(strings.Repeat("a BREAK ", n), " BREAK "), "")
		require.NoError(t, err)
		sum := make([]float32, 64)
		for _, area := range plan.Areas {
			for i, v := range area(1, 64) {
				sum[i] += v
			}
		}
		require.Equal(t, slices.Repeat([]float32{1}, 64), sum, n)
	}
}

func TestNothingToDivide(t *testing.T) {
	for _, text := range []string{"a cat", "a cat BREAK ADDP a dog"} {
		plan, err := (&regions.Spec{Prompter: &regions.Prompter{Ratios: "1,1"}}).Plan(text, "n BREAK m")
		require.NoError(t, err)
		require.Equal(t, regions.Plan{Prompt: text, Negative: "n BREAK m"}, plan)
	}
	plan, err := (*regions.Spec)(nil).Plan("a BREAK b", "n")
	require.NoError(t, err)
	require.Equal(t, regions.Plan{Prompt: "a BREAK b", Negative: "n"}, plan)
}

func TestWrongArguments(t *testing.T) {
	for text, p := range map[string]regions.Prompter{
		"the prompt has 3 parts for 2 regions":           {Ratios: "1,1"},
		"the prompt has 3 parts for 2 regions with the ": {Ratios: "1", UseBase: true},
		"ratios are all 0":                               {Ratios: "0,0,0"},
		"a ratio of -1 is below 0":                       {Ratios: "1,-1,1"},
		"the mask has no pixel in the colour":            {Masked: true, Mask: imageio.NewRGB(8, 8)},
		"the ratios have more than":                      {Ratios: strings.Repeat("1,", 4000)},
	} {
		_, err := (&regions.Spec{Prompter: &p}).Plan("a BREAK b BREAK c", "")
		require.ErrorContains(t, err, text)
	}
	_, err := (&regions.Spec{Prompter: &regions.Prompter{Ratios: "1,1", UseCommon: true}}).Plan(strings.Repeat("x BREAK ", 100), "")
	require.ErrorContains(t, err, "100 words that divide it")

	for text, c := range map[string]regions.Couple{
		"could not convert string to float: 'x'": {Divisions: "1:1", Positions: "0:0", Weights: "x"},
		"a division is rows:columns":             {Divisions: "1", Positions: "0:0", Weights: "1"},
		"a position is row:column":               {Divisions: "1:1", Positions: "0", Weights: "1"},
		"a division must be more than 0":         {Divisions: "0:1", Positions: "0:0", Weights: "1"},
		"float: ''":                              {Divisions: "1:1", Positions: "-1:0", Weights: "1"},
		"float: 'nan'":                           {Divisions: "1:1", Positions: "0:0", Weights: "nan"},
	} {
		c.Steps = 1
		_, err := (&regions.Spec{Couple: &c}).Plan("a AND b", "")
		require.ErrorContains(t, err, text)
	}
}
