package sdapi

import (
	"context"
	"strings"

	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
)

// promptMatrixArgs are the arguments of the script "Prompt matrix".
var promptMatrixArgs = []scriptArg{
	{label: "Put variable parts at start of prompt", value: false},
	{label: "Use different seed for each picture", value: false},
	{label: "Select prompt", value: "positive", choices: []string{"positive", "negative"}},
	{label: "Select joining char", value: "comma", choices: []string{"comma", "space"}},
	{label: "Grid margins (px)", value: int64(0), minimum: int64(0), max: int64(500), step: int64(2)},
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

func (c *call) readMatrix() (*matrix, error) {
	m := &matrix{}
	for i, flag := range []*bool{&m.start, &m.differentSeeds} {
		v, err := c.scriptArg(i, schema.Boolean, false)
		if err != nil {
			return nil, err
		}
		*flag = v.(bool)
	}
	kind, err := c.scriptArg(2, schema.String, "positive")
	if err != nil {
		return nil, err
	}
	joint, err := c.scriptArg(3, schema.String, "comma")
	if err != nil {
		return nil, err
	}
	margin, err := c.scriptArg(4, schema.Integer, int64(0))
	if err != nil {
		return nil, err
	}
	m.margin = int(min(max(margin.(int64), 0), 500))
	switch kind {
	case "positive":
	case "negative":
		m.negative = true
	default:
		return nil, crash("ValueError", "Unknown prompt type %s", kind)
	}
	switch joint {
	case "comma":
		m.delimiter = ", "
	case "space":
		m.delimiter = " "
	default:
		return nil, crash("ValueError", "Unknown variations delimiter %s", joint)
	}
	field := "prompt"
	if m.negative {
		field = "negative_prompt"
	}
	m.parts = strings.Split(c.in.text(field), "|")
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
func promptMatrix(ctx context.Context, c *call, place *inference.Place, job inference.Job) (*outcome, error) {
	m, err := c.readMatrix()
	if err != nil {
		return nil, err
	}
	const most = 10 // parts of MaxImages pictures
	if len(m.parts)-1 > most {
		return nil, c.checkImages(1<<min(len(m.parts)-1, 40), 1, 0, 0)
	}
	e := &expanded{}
	for i, text := range m.texts() {
		positive, negative := text, c.in.text("negative_prompt")
		if m.negative {
			positive, negative = c.in.text("prompt"), text
		}
		positive, negative = c.finishPrompts(positive, negative)
		c.findLoRAs(positive)
		e.prompts, e.negatives = append(e.prompts, positive), append(e.negatives, negative)
		seed := c.req.Seed
		if m.differentSeeds {
			seed += int64(i)
		}
		e.seeds, e.subseeds = append(e.seeds, seed), append(e.subseeds, c.req.Subseed+int64(i))
	}
	if err := c.checkImages(len(e.prompts), 1, c.width, c.height); err != nil {
		return nil, err
	}
	calls := c.divide(e)
	for _, part := range calls {
		if err := part.check(); err != nil {
			return nil, err
		}
	}
	if err := takeGrids(ctx, len(e.prompts), m.margin, c); err != nil {
		return nil, err
	}
	runs, err := runAll(ctx, place, job, calls, nil)
	return &outcome{runs: runs, arrange: func(out *output) { c.addMatrix(out, m) }}, err
}

// addMatrix puts the grid before the pictures, if there are all of them.
func (c *call) addMatrix(out *output, m *matrix) {
	variable := m.parts[1:]
	if len(out.images) != 1<<len(variable) {
		return
	}
	style := c.gridStyle()
	across := (len(variable) + 1) / 2
	grid := gridtext.Image(out.pixels(), 1<<(len(variable)/2), style.Background)
	w, h := out.images[0].pixels.W, out.images[0].pixels.H
	grid = gridtext.Annotate(grid, w, h, matrixLegend(variable[:across]), matrixLegend(variable[across:]), m.margin, style)
	out.images = append([]encodable{{pixels: grid}}, out.images...)
	out.infotexts = append([]string{out.infotexts[0]}, out.infotexts...)
	out.firstImage = 1
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
