package sdapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// xyzArgs are the arguments of the script "X/Y/Z plot" in its order: type, values
// and list of each axis, then these.
const (
	xyzLegend = iota + 9
	xyzLoneImages
	xyzSubGrids
	xyzKeepSeeds
	xyzVaryX
	xyzVaryY
	xyzVaryZ
	xyzMargin
	xyzTextInputs
)

// xyzScriptArgs are the script's entries of GET /sdapi/v1/script-info.
func xyzScriptArgs(t *tab) []scriptArg {
	var args []scriptArg
	for i, letter := range []string{"X", "Y", "Z"} {
		label := "Nothing"
		if i == 0 {
			label = "Seed"
		}
		args = append(args, scriptArg{label: letter + " type", value: label, choices: axisLabels(t)},
			scriptArg{label: letter + " values", value: ""}, scriptArg{label: letter + " values", value: []any{}, choices: []string{}})
	}
	for _, label := range []string{"Draw legend", "Include Sub Images", "Include Sub Grids", "Keep -1 for seeds", "Vary seeds for X", "Vary seeds for Y", "Vary seeds for Z"} {
		args = append(args, scriptArg{label: label, value: label == "Draw legend"})
	}
	return append(args, scriptArg{label: "Grid margins (px)", value: int64(0), minimum: int64(0), max: int64(500), step: int64(2)},
		scriptArg{label: "Use text inputs instead of dropdowns", value: false})
}

func axisLabels(t *tab) []string {
	var labels []string
	for _, a := range axesOf(t) {
		labels = append(labels, a.label)
	}
	return labels
}

// plotAxis is an axis of one plot.
type plotAxis struct {
	*axis
	letter string
	text   string // the values as the texts show them
	values []any
}

// plot is one X/Y/Z plot.
type plot struct {
	call   *call
	axes   [3]plotAxis
	flags  map[int]bool
	margin int
}

// readPlot reads the arguments of the script.
func (c *call) readPlot() (*plot, error) {
	p := &plot{call: c, flags: make(map[int]bool)}
	for _, i := range []int{xyzLegend, xyzLoneImages, xyzSubGrids, xyzKeepSeeds, xyzVaryX, xyzVaryY, xyzVaryZ, xyzTextInputs} {
		v, err := c.scriptArg(i, schema.Boolean, i == xyzLegend)
		if err != nil {
			return nil, err
		}
		p.flags[i] = v.(bool)
	}
	margin, err := c.scriptArg(xyzMargin, schema.Integer, int64(0))
	if err != nil {
		return nil, err
	}
	p.margin = int(min(max(margin.(int64), 0), 500))
	for i, letter := range []string{"X", "Y", "Z"} {
		if p.axes[i], err = p.readAxis(3*i, letter); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plot) readAxis(at int, letter string) (plotAxis, error) {
	c := p.call
	out := plotAxis{letter: letter}
	list := axesOf(c.tab)
	index, err := c.scriptArg(at, schema.Integer, int64(0))
	if err != nil {
		return out, err
	}
	i := index.(int64)
	if i < 0 {
		i += int64(len(list)) // as Python counts
	}
	if i < 0 || i >= int64(len(list)) {
		return out, crash("IndexError", "list index out of range")
	}
	out.axis = list[i]
	text, err := c.scriptArg(at+1, schema.String, "")
	if err != nil {
		return out, err
	}
	chosen, err := c.scriptArg(at+2, schema.Any, nil)
	if err != nil {
		return out, err
	}
	if out.label == "Nothing" {
		out.values = []any{""}
		return out, nil
	}
	out.text = text.(string)
	values := csvValues(out.text)
	// Without "text inputs" the list counts; A1111 makes nothing of an empty one.
	if texts := stringsOf(chosen); out.choices != nil && !p.flags[xyzTextInputs] && len(texts) > 0 {
		values, out.text = texts, csvText(texts)
	}
	if out.values, err = axisValues(out.kind, values); err != nil {
		return out, err
	}
	if len(out.values) == 0 {
		return out, crash("ValueError", "the axis %s of the plot (%s) has no values", letter, out.label)
	}
	for _, v := range out.values {
		if out.check != nil {
			if err := out.check(c, v); err != nil {
				return out, err
			}
		}
	}
	p.fixSeeds(&out)
	return out, nil
}

// fixSeeds draws the random seeds of an axis once for the whole plot.
func (p *plot) fixSeeds(a *plotAxis) {
	if p.flags[xyzKeepSeeds] || !a.seeds() {
		return
	}
	for i, v := range a.values {
		if v == int64(-1) {
			a.values[i] = p.call.server.cfg.Seed()
		}
	}
}

func (a *axis) seeds() bool { return a.label == "Seed" || a.label == "Var. seed" }

func stringsOf(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (p *plot) size() (x, y, z int) {
	return len(p.axes[0].values), len(p.axes[1].values), len(p.axes[2].values)
}

func (p *plot) index(ix, iy, iz int) int {
	x, y, _ := p.size()
	return ix + iy*x + iz*x*y
}

// cell makes the call of one picture.
func (p *plot) cell(ctx context.Context, at [3]int) (*call, error) {
	return p.call.derive(ctx, func(in *fields) error {
		if !p.flags[xyzKeepSeeds] {
			p.call.fixSeeds(in)
		}
		if !p.call.opts.Bool("return_grid") {
			in.Set("batch_size", int64(1))
		}
		for i, a := range p.axes {
			if a.apply != nil {
				if err := a.apply(p.call, in, a.values[at[i]], a.values); err != nil {
					return err
				}
			}
		}
		p.varySeed(in, at)
		return nil
	})
}

// varySeed gives each place of the chosen axes a seed of its own.
func (p *plot) varySeed(in *fields, at [3]int) {
	stride, add := 1, 0
	for i, flag := range []int{xyzVaryX, xyzVaryY, xyzVaryZ} {
		if p.flags[flag] {
			add += at[i] * stride
			stride *= len(p.axes[i].values)
		}
	}
	if seed := in.maybeWhole("seed"); seed != nil && add > 0 {
		in.Set("seed", *seed+int64(add))
	}
}

// order lists the cells so that what is slow to change changes least: the costliest
// axis outside, as A1111 does.
func (p *plot) order() [][3]int {
	loops := [3]int{2, 1, 0} // from the outside
	cost := func(i int) float64 { return p.axes[i].cost }
	for i := range 3 {
		j, k := (i+1)%3, (i+2)%3
		if cost(i) > cost(j) && cost(i) > cost(k) {
			first, second := min(j, k), max(j, k)
			if cost(second) >= cost(first) {
				first, second = second, first
			}
			loops = [3]int{i, first, second}
		}
	}
	var out [][3]int
	var at [3]int
	for at[loops[0]] = range p.axes[loops[0]].values {
		for at[loops[1]] = range p.axes[loops[1]].values {
			for at[loops[2]] = range p.axes[loops[2]].values {
				out = append(out, at)
			}
		}
	}
	return out
}

// xyzPlot makes the script "X/Y/Z plot".
func xyzPlot(ctx context.Context, c *call, place *inference.Place, job inference.Job) (*outcome, error) {
	p, err := c.readPlot()
	if err != nil {
		return nil, err
	}
	x, y, z := p.size()
	if err := c.checkImages(x*y*z, c.req.Images(), c.width, c.height); err != nil {
		return nil, err
	}
	calls, order := make([]*call, x*y*z), make([]int, 0, x*y*z)
	images := 0
	for _, at := range p.order() {
		i := p.index(at[0], at[1], at[2])
		if calls[i], err = p.cell(ctx, at); err != nil {
			return nil, err
		}
		order = append(order, i)
		images += calls[i].req.Images()
	}
	if err := c.checkImages(1, images, 0, 0); err != nil {
		return nil, err
	}
	if err := takeGrids(ctx, 2*len(calls), p.margin, calls...); err != nil { // one of all, and those for each value of Z
		return nil, err
	}
	runs, err := runAll(ctx, place, job, calls, order)
	if err != nil {
		return nil, err
	}
	return &outcome{runs: runs, lead: calls[0], arrange: func(out *output) { p.arrange(out, calls, runs) }}, nil
}

// arrange shows the first picture of each cell, behind the grids.
func (p *plot) arrange(out *output, calls []*call, runs []run) {
	x, y, z := p.size()
	cells := *out
	out.images, out.infotexts = nil, []string{}
	out.prompts, out.negatives, out.seeds, out.subseeds = []string{}, []string{}, []int64{}, []int64{}
	if len(runs) == 0 {
		return
	}
	next := 0 // of the pictures of all cells
	for i, c := range calls {
		at := slices.IndexFunc(runs, func(r run) bool { return r.call == c })
		if at < 0 || len(runs[at].result.Images) == 0 { // interrupted: a black cell
			out.images = append(out.images, encodable{pixels: imageio.NewRGB(calls[i].width, calls[i].height)})
			out.infotexts = append(out.infotexts, "")
			out.seeds, out.subseeds = append(out.seeds, c.req.Seed), append(out.subseeds, c.req.Subseed)
			out.prompts, out.negatives = append(out.prompts, c.req.Prompt), append(out.negatives, c.req.NegativePrompt)
			continue
		}
		out.images, out.infotexts = append(out.images, cells.images[next]), append(out.infotexts, cells.infotexts[next])
		out.seeds, out.subseeds = append(out.seeds, cells.seeds[next]), append(out.subseeds, cells.subseeds[next])
		out.prompts, out.negatives = append(out.prompts, cells.prompts[next]), append(out.negatives, cells.negatives[next])
		next += len(runs[at].result.Images)
	}
	p.addGrids(out, calls, runs, x, y, z)
}

// addGrids puts the grid of all pictures and one for each value of Z before them.
func (p *plot) addGrids(out *output, calls []*call, runs []run, x, y, z int) {
	style := p.call.gridStyle()
	pictures := out.pixels()
	labels := func(a plotAxis) [][]gridtext.Line {
		var list [][]gridtext.Line
		for _, v := range a.values {
			list = append(list, []gridtext.Line{{Text: a.axis.text(v)}})
		}
		return list
	}
	var grids []imageio.RGB
	for i := range z {
		list := pictures[i*x*y : (i+1)*x*y]
		grid := gridtext.Image(list, y, style.Background)
		if p.flags[xyzLegend] {
			w, h := gridtext.Cell(list)
			grid = gridtext.Annotate(grid, w, h, labels(p.axes[0]), labels(p.axes[1]), p.margin, style)
		}
		grids = append(grids, grid)
	}
	w, h := gridtext.Cell(grids)
	whole := gridtext.Image(grids, 1, style.Background)
	if p.flags[xyzLegend] {
		whole = gridtext.Annotate(whole, w, h, labels(p.axes[2]), [][]gridtext.Line{{{}}}, 0, style)
	}
	images, infotexts := []encodable{{pixels: whole}}, []string{p.gridText(calls, runs, 0, true)}
	if p.flags[xyzSubGrids] {
		for i, grid := range grids {
			images, infotexts = append(images, encodable{pixels: grid}), append(infotexts, p.gridText(calls, runs, i, false))
		}
		first := func(list []string) []string { return list[:min(z, len(list))] }
		out.prompts = append(slices.Clone(first(out.prompts)), out.prompts...)
		out.seeds = append(slices.Clone(out.seeds[:min(z, len(out.seeds))]), out.seeds...)
		for i := range z { // each grid has those of its first cell
			out.prompts[i], out.seeds[i] = calls[p.index(0, 0, i)].req.Prompt, calls[p.index(0, 0, i)].req.Seed
		}
	}
	if p.flags[xyzLoneImages] {
		images = append(images, out.images...)
	}
	out.images, out.infotexts, out.firstImage = images, append(infotexts, out.infotexts...), 1
}

// gridText is the text of a grid: that of its first cell and what its axes are.
func (p *plot) gridText(calls []*call, runs []run, z int, whole bool) string {
	first := calls[p.index(0, 0, z)]
	at := slices.IndexFunc(runs, func(r run) bool { return r.call == first })
	if at < 0 {
		return ""
	}
	named := *first
	named.texts = append(slices.Clone(first.texts), infotext.Entry{Key: "Script", Value: "X/Y/Z plot"})
	for i, a := range p.axes {
		if a.label == "Nothing" || i == 2 && !whole {
			continue
		}
		named.texts = append(named.texts, infotext.Entry{Key: a.letter + " Type", Value: a.label}, infotext.Entry{Key: a.letter + " Values", Value: a.text})
		if a.seeds() && !p.flags[xyzKeepSeeds] {
			var seeds []string
			for _, v := range a.values {
				seeds = append(seeds, fmt.Sprint(v))
			}
			named.texts = append(named.texts, infotext.Entry{Key: "Fixed " + a.letter + " Values", Value: strings.Join(seeds, ", ")})
		}
	}
	return infotext.Write(named.params(runs[at].result))
}
