package scripts

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/request"
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
func xyzScriptArgs(t *generation.Tab) []generation.ScriptArg {
	var args []generation.ScriptArg
	for i, letter := range []string{"X", "Y", "Z"} {
		label := "Nothing"
		if i == 0 {
			label = "Seed"
		}
		args = append(args, generation.ScriptArg{Label: letter + " type", Value: label, Choices: axisLabels(t)},
			generation.ScriptArg{Label: letter + " values", Value: ""}, generation.ScriptArg{Label: letter + " values", Value: []any{}, Choices: []string{}})
	}
	for _, label := range []string{"Draw legend", "Include Sub Images", "Include Sub Grids", "Keep -1 for seeds", "Vary seeds for X", "Vary seeds for Y", "Vary seeds for Z"} {
		args = append(args, generation.ScriptArg{Label: label, Value: label == "Draw legend"})
	}
	return append(args, generation.ScriptArg{Label: "Grid margins (px)", Value: int64(0), Minimum: int64(0), Max: int64(500), Step: int64(2)},
		generation.ScriptArg{Label: "Use text inputs instead of dropdowns", Value: false})
}

func axisLabels(t *generation.Tab) []string {
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
	call   *generation.Call
	axes   [3]plotAxis
	flags  map[int]bool
	margin int
}

// readPlot reads the arguments of the script.
func readPlot(c *generation.Call) (*plot, error) {
	r := argReader{call: c}
	p := &plot{call: c, flags: make(map[int]bool), margin: r.margin(xyzMargin)}
	for _, i := range []int{xyzLegend, xyzLoneImages, xyzSubGrids, xyzKeepSeeds, xyzVaryX, xyzVaryY, xyzVaryZ, xyzTextInputs} {
		p.flags[i] = r.flag(i)
	}
	if r.err != nil {
		return nil, r.err
	}
	var err error
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
	list := axesOf(c.Tab)
	index, err := c.ScriptArg(at, schema.Integer, int64(0))
	if err != nil {
		return out, err
	}
	i := index.(int64)
	if i < 0 {
		i += int64(len(list)) // as Python counts
	}
	if i < 0 || i >= int64(len(list)) {
		return out, exception.Crash("IndexError", "list index out of range")
	}
	out.axis = list[i]
	text, err := c.ScriptArg(at+1, schema.String, "")
	if err != nil {
		return out, err
	}
	chosen, err := c.ScriptArg(at+2, schema.Any, nil)
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
		return out, exception.Crash("ValueError", "the axis %s of the plot (%s) has no values", letter, out.label)
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
			a.values[i] = p.call.Service.Config.Seed()
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
func (p *plot) cell(ctx context.Context, at [3]int) (*generation.Call, error) {
	return p.call.Derive(ctx, func(in *request.Fields) error {
		if !p.flags[xyzKeepSeeds] {
			p.call.FixSeeds(in)
		}
		if !p.call.Options.Bool("return_grid") {
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

// varySeed gives each value of the chosen axes a seed of its own.
func (p *plot) varySeed(in *request.Fields, at [3]int) {
	stride, add := 1, 0
	for i, flag := range []int{xyzVaryX, xyzVaryY, xyzVaryZ} {
		if p.flags[flag] {
			add += at[i] * stride
			stride *= len(p.axes[i].values)
		}
	}
	if seed := in.MaybeWhole("seed"); seed != nil && add > 0 {
		in.Set("seed", *seed+int64(add))
	}
}

// order lists the cells such that what is slow to change changes least often: the
// costliest axis is the outermost loop, as in A1111.
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
func xyzPlot(ctx context.Context, c *generation.Call, place *inference.Place, job inference.Job) (*generation.Outcome, error) {
	p, err := readPlot(c)
	if err != nil {
		return nil, err
	}
	x, y, z := p.size()
	if err := c.CheckImages(x*y*z, c.Req.Images(), c.Width, c.Height); err != nil {
		return nil, err
	}
	calls, order := make([]*generation.Call, x*y*z), make([]int, 0, x*y*z)
	images := 0
	for _, at := range p.order() {
		i := p.index(at[0], at[1], at[2])
		if calls[i], err = p.cell(ctx, at); err != nil {
			return nil, err
		}
		order = append(order, i)
		images += calls[i].Req.Images()
	}
	if err := c.CheckImages(1, images, 0, 0); err != nil {
		return nil, err
	}
	if err := generation.TakeGrids(ctx, 2*len(calls), p.margin, calls...); err != nil { // one of all, and those for each value of Z
		return nil, err
	}
	runs, err := generation.RunAll(ctx, place, job, calls, order)
	if err != nil {
		return nil, err
	}
	return &generation.Outcome{Runs: runs, Lead: calls[0], Arrange: func(out *generation.Output) { p.arrange(out, calls, runs) }}, nil
}

// arrange shows the first picture of each cell, behind the grids.
func (p *plot) arrange(out *generation.Output, calls []*generation.Call, runs []generation.Run) {
	x, y, z := p.size()
	cells := *out
	out.Images, out.Infotexts = nil, []string{}
	out.Prompts, out.Negatives, out.Seeds, out.Subseeds = []string{}, []string{}, []int64{}, []int64{}
	if len(runs) == 0 {
		return
	}
	next := 0 // of the pictures of all cells
	for i, c := range calls {
		at := slices.IndexFunc(runs, func(r generation.Run) bool { return r.Call == c })
		if at < 0 || len(runs[at].Result.Images) == 0 { // interrupted: a black cell
			out.Images = append(out.Images, picture.Encodable{Pixels: imageio.NewRGB(calls[i].Width, calls[i].Height)})
			out.Infotexts = append(out.Infotexts, "")
			out.Seeds, out.Subseeds = append(out.Seeds, c.Req.Seed), append(out.Subseeds, c.Req.Subseed)
			out.Prompts, out.Negatives = append(out.Prompts, c.Req.Prompt), append(out.Negatives, c.Req.NegativePrompt)
			continue
		}
		out.Images, out.Infotexts = append(out.Images, cells.Images[next]), append(out.Infotexts, cells.Infotexts[next])
		out.Seeds, out.Subseeds = append(out.Seeds, cells.Seeds[next]), append(out.Subseeds, cells.Subseeds[next])
		out.Prompts, out.Negatives = append(out.Prompts, cells.Prompts[next]), append(out.Negatives, cells.Negatives[next])
		next += len(runs[at].Result.Images)
	}
	p.addGrids(out, calls, runs, x, y, z)
}

// addGrids puts the grid of all pictures and one for each value of Z before them.
func (p *plot) addGrids(out *generation.Output, calls []*generation.Call, runs []generation.Run, x, y, z int) {
	style := p.call.GridStyle()
	pictures := out.Pixels()
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
	images, infotexts := []picture.Encodable{{Pixels: whole}}, []string{p.gridText(calls, runs, 0, true)}
	if p.flags[xyzSubGrids] {
		for i, grid := range grids {
			images, infotexts = append(images, picture.Encodable{Pixels: grid}), append(infotexts, p.gridText(calls, runs, i, false))
		}
		first := func(list []string) []string { return list[:min(z, len(list))] }
		out.Prompts = append(slices.Clone(first(out.Prompts)), out.Prompts...)
		out.Seeds = append(slices.Clone(out.Seeds[:min(z, len(out.Seeds))]), out.Seeds...)
		for i := range z { // each grid has those of its first cell
			out.Prompts[i], out.Seeds[i] = calls[p.index(0, 0, i)].Req.Prompt, calls[p.index(0, 0, i)].Req.Seed
		}
	}
	if p.flags[xyzLoneImages] {
		images = append(images, out.Images...)
	}
	out.Images, out.Infotexts, out.FirstImage = images, append(infotexts, out.Infotexts...), 1
}

// gridText is the infotext of a grid: that of its first cell, and the axes.
func (p *plot) gridText(calls []*generation.Call, runs []generation.Run, z int, whole bool) string {
	first := calls[p.index(0, 0, z)]
	at := slices.IndexFunc(runs, func(r generation.Run) bool { return r.Call == first })
	if at < 0 {
		return ""
	}
	named := *first
	named.Texts = append(slices.Clone(first.Texts), infotext.Entry{Key: "Script", Value: "X/Y/Z plot"})
	for i, a := range p.axes {
		if a.label == "Nothing" || i == 2 && !whole {
			continue
		}
		named.Texts = append(named.Texts, infotext.Entry{Key: a.letter + " Type", Value: a.label}, infotext.Entry{Key: a.letter + " Values", Value: a.text})
		if a.seeds() && !p.flags[xyzKeepSeeds] {
			var seeds []string
			for _, v := range a.values {
				seeds = append(seeds, fmt.Sprint(v))
			}
			named.Texts = append(named.Texts, infotext.Entry{Key: "Fixed " + a.letter + " Values", Value: strings.Join(seeds, ", ")})
		}
	}
	return infotext.Write(named.Params(runs[at].Result))
}
