package scripts

import (
	"context"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/picture"
	"sdworker/inference"
)

// promptMatrixArgs are the arguments of the script "Prompt matrix".
var promptMatrixArgs = []generation.ScriptArg{
	{Label: "Put variable parts at start of prompt", Value: false},
	{Label: "Use different seed for each picture", Value: false},
	{Label: "Select prompt", Value: "positive", Choices: []string{"positive", "negative"}},
	{Label: "Select joining char", Value: "comma", Choices: []string{"comma", "space"}},
	{Label: "Grid margins (px)", Value: int64(0), Minimum: int64(0), Max: int64(500), Step: int64(2)},
}

// matrix is one prompt matrix: every choice of the parts behind the first bar.
type matrix struct {
	parts          []string
	start          bool // the chosen parts come first
	differentSeeds bool
	negative       bool
	delimiter      string
	margin         int
}

func readMatrix(c *generation.Call) (*matrix, error) {
	r := argReader{call: c}
	m := &matrix{start: r.flag(0), differentSeeds: r.flag(1), margin: r.margin(4)}
	kind, joint := r.text(2), r.text(3)
	if r.err != nil {
		return nil, r.err
	}
	switch kind {
	case "positive":
	case "negative":
		m.negative = true
	default:
		return nil, exception.Crash("ValueError", "Unknown prompt type %s", kind)
	}
	switch joint {
	case "comma":
		m.delimiter = ", "
	case "space":
		m.delimiter = " "
	default:
		return nil, exception.Crash("ValueError", "Unknown variations delimiter %s", joint)
	}
	field := "prompt"
	if m.negative {
		field = "negative_prompt"
	}
	m.parts = strings.Split(c.In.Text(field), "|")
	return m, nil
}

// texts are the prompts in the order of A1111: the bits of the number say which
// parts are chosen.
func (m *matrix) texts() []string {
	var out []string
	for n := range 1 << (len(m.parts) - 1) {
		var chosen []string
		for i, part := range m.parts[1:] {
			if n&(1<<i) != 0 {
				chosen = append(chosen, strings.Trim(strings.TrimSpace(part), ","))
			}
		}
		if m.start {
			chosen = append(chosen, m.parts[0])
		} else {
			chosen = append([]string{m.parts[0]}, chosen...)
		}
		out = append(out, strings.Join(chosen, m.delimiter))
	}
	return out
}

// promptMatrix makes the script "Prompt matrix" (scripts/prompt_matrix.py).
func promptMatrix(ctx context.Context, c *generation.Call, place *inference.Place, job inference.Job) (*generation.Outcome, error) {
	m, err := readMatrix(c)
	if err != nil {
		return nil, err
	}
	const most = 10 // parts of MaxImages pictures
	if len(m.parts)-1 > most {
		return nil, c.CheckImages(1<<min(len(m.parts)-1, 40), 1, 0, 0)
	}
	e := &generation.Expanded{}
	for i, text := range m.texts() {
		positive, negative := text, c.In.Text("negative_prompt")
		if m.negative {
			positive, negative = c.In.Text("prompt"), text
		}
		positive, negative = c.FinishPrompts(positive, negative)
		c.FindLoRAs(positive)
		e.Prompts, e.Negatives = append(e.Prompts, positive), append(e.Negatives, negative)
		seed := c.Req.Seed
		if m.differentSeeds {
			seed += int64(i)
		}
		e.Seeds, e.Subseeds = append(e.Seeds, seed), append(e.Subseeds, c.Req.Subseed+int64(i))
	}
	if err := c.CheckImages(len(e.Prompts), 1, c.Width, c.Height); err != nil {
		return nil, err
	}
	calls := c.Divide(e)
	for _, part := range calls {
		if err := part.Check(); err != nil {
			return nil, err
		}
	}
	if err := generation.TakeGrids(ctx, len(e.Prompts), m.margin, c); err != nil {
		return nil, err
	}
	runs, err := generation.RunAll(ctx, place, job, calls, nil)
	return &generation.Outcome{Runs: runs, Arrange: func(out *generation.Output) { addMatrix(c, out, m) }}, err
}

// addMatrix puts the grid before the pictures, if there are all of them.
func addMatrix(c *generation.Call, out *generation.Output, m *matrix) {
	variable := m.parts[1:]
	if len(out.Images) != 1<<len(variable) {
		return
	}
	style := c.GridStyle()
	across := (len(variable) + 1) / 2
	grid := gridtext.Image(out.Pixels(), 1<<(len(variable)/2), style.Background)
	w, h := out.Images[0].Pixels.W, out.Images[0].Pixels.H
	grid = gridtext.Annotate(grid, w, h, matrixLegend(variable[:across]), matrixLegend(variable[across:]), m.margin, style)
	out.Images = append([]picture.Encodable{{Pixels: grid}}, out.Images...)
	out.Infotexts = append([]string{out.Infotexts[0]}, out.Infotexts...)
	out.FirstImage = 1
}

// matrixLegend names the parts of each column or row, struck through where they are
// not chosen.
func matrixLegend(parts []string) [][]gridtext.Line {
	var out [][]gridtext.Line
	for n := range 1 << len(parts) {
		var lines []gridtext.Line
		for i, part := range parts {
			lines = append(lines, gridtext.Line{Text: part, Inactive: n&(1<<i) == 0})
		}
		out = append(out, lines)
	}
	return out
}
