package generation

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/dynamicprompts"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/rng"
)

// dynamicName is the title of the extension in the release whose arguments these
// are. Clients name others, too.
const dynamicName = "dynamic prompts v2.17.1"

// dynamicLimit is the label of the argument that bounds a combinatorial job.
const dynamicLimit = "Max generations (0 = all combinations - the batch count value is ignored)"

// dynamicFields are the arguments of the extension in its order, with its defaults
// (sd_dynamic_prompts/dynamic_prompting.py).
var dynamicFields = []schema.Field{
	{Name: "Dynamic Prompts enabled", Kind: schema.Boolean, Default: true},
	{Name: "Combinatorial generation", Kind: schema.Boolean, Default: false},
	{Name: "Combinatorial batches", Kind: schema.Integer, Default: int64(1)},
	{Name: "Magic prompt", Kind: schema.Boolean, Default: false},
	{Name: "I'm feeling lucky", Kind: schema.Boolean, Default: false},
	{Name: "Attention grabber", Kind: schema.Boolean, Default: false},
	{Name: "Minimum attention", Kind: schema.Number, Default: 1.1},
	{Name: "Maximum attention", Kind: schema.Number, Default: 1.5},
	{Name: "Max magic prompt length", Kind: schema.Number, Default: int64(100)},
	{Name: "Magic prompt creativity", Kind: schema.Number, Default: 0.7},
	{Name: "Fixed seed", Kind: schema.Boolean, Default: false},
	{Name: "Unlink seed from prompt", Kind: schema.Boolean, Default: false},
	{Name: "Don't apply to negative prompts", Kind: schema.Boolean, Default: true},
	{Name: "Enable Jinja2 templates", Kind: schema.Boolean, Default: false},
	{Name: "Don't generate images", Kind: schema.Boolean, Default: false},
	{Name: dynamicLimit, Kind: schema.Integer, Default: int64(0)},
	{Name: "Magic prompt model", Kind: schema.String, Default: "", Nullable: true},
	{Name: "Magic prompt blocklist regex", Kind: schema.String, Default: "", Nullable: true},
}

// dynamicArgs are those of the extension's arguments that have an effect here.
type dynamicArgs struct {
	combinatorial bool
	batches       int
	fixedSeed     bool
	unlink        bool
	noImages      bool
	limit         int // of a combinatorial job; 0 means all
}

// isDynamic reports whether a script is the extension, in any release.
func isDynamic(name string) bool {
	name = strings.ToLower(name)
	return name == "dynamic prompts" || strings.HasPrefix(name, "dynamic prompts v")
}

// readDynamic reads the extension's arguments. Those that are missing at the end
// have their default, by which the extension is on.
func (c *Call) readDynamic(args []any) error {
	v := make(map[string]any, len(dynamicFields))
	for i, f := range dynamicFields {
		v[f.Name] = f.Default
		if i >= len(args) {
			continue
		}
		value, errs := f.Coerce(args[i])
		if len(errs) > 0 {
			return exception.Crash("TypeError", "argument %d of %s: %s", i, dynamicName, errs[0].Msg)
		}
		v[f.Name] = value
	}
	if v["Dynamic Prompts enabled"] == false {
		return nil
	}
	for _, name := range []string{"Magic prompt", "I'm feeling lucky", "Attention grabber"} {
		if v[name] == true {
			c.Note("dynamic prompts: %q is not available on this server and did nothing", name)
		}
	}
	if v["Enable Jinja2 templates"] == true {
		c.Note("dynamic prompts: Jinja2 templates are not available on this server; the prompts are used as they are")
		return nil
	}
	a := dynamicArgs{
		combinatorial: v["Combinatorial generation"] == true,
		fixedSeed:     v["Fixed seed"] == true,
		unlink:        v["Unlink seed from prompt"] == true,
		noImages:      v["Don't generate images"] == true,
	}
	batches, _ := v["Combinatorial batches"].(int64)
	limit, _ := v[dynamicLimit].(int64)
	a.batches, a.limit = int(min(max(batches, 1), inference.MaxImages)), int(min(max(limit, 0), inference.MaxImages))
	c.dynamic = &a
	return nil
}

// Expanded is what templates were expanded to: prompts and seeds of each picture.
type Expanded struct {
	Prompts, Negatives []string
	Seeds, Subseeds    []int64
}

func (e *Expanded) cut(n int) {
	e.Prompts, e.Negatives = e.Prompts[:n], e.Negatives[:n]
	e.Seeds, e.Subseeds = e.Seeds[:min(n, len(e.Seeds))], e.Subseeds[:min(n, len(e.Subseeds))]
}

// expand replaces the request by one for each prompt that its templates give.
func (c *Call) expand() error {
	if c.dynamic == nil && c.Options.Bool("dynamic_prompts") {
		c.dynamic = &dynamicArgs{batches: 1}
	}
	if c.dynamic == nil {
		return nil
	}
	if c.Script != nil {
		c.Note("dynamic prompts do nothing together with the script %s", c.Script.Name)
		return nil
	}
	e, err := c.expandTemplates()
	if errors.Is(err, dynamicprompts.ErrTooMany) {
		return fault.FieldError("prompt", "the template gives more prompts than the %d pictures that one job may have; set a limit (max generations)", inference.MaxImages)
	}
	if err != nil { // the extension fails, and the job goes on without it
		c.Note("dynamic prompts: %s; the prompts are used as they are", err)
		return nil
	}
	if c.Options.Bool("dp_write_raw_template") {
		for _, t := range []infotext.Entry{{Key: "Template", Value: c.Req.Prompt}, {Key: "Negative Template", Value: c.Req.NegativePrompt}} {
			if t.Value != "" {
				c.Texts = append(c.Texts, t)
			}
		}
	}
	if c.dynamic.noImages {
		e.cut(1)
		c.Req.BatchSize = 1
	}
	c.expansion = e
	for _, text := range append(slices.Clone(e.Prompts), e.Negatives...) {
		c.FindLoRAs(text)
	}
	c.parts = c.Divide(e)
	if c.detailBound.exceeded() {
		return fault.FieldError("alwayson_scripts", "ADetailer: the templates of the units give too much text for %d pictures; ask for fewer pictures or shorter templates", len(e.Prompts))
	}
	for _, part := range c.parts {
		if err := part.Check(); err != nil {
			return err
		}
	}
	return nil
}

// template reads templates as the options say.
func (c *Call) template() *dynamicprompts.Template {
	o := c.Options
	return &dynamicprompts.Template{
		Syntax:           dynamicprompts.Syntax{VariantStart: o.Text("dp_parser_variant_start"), VariantEnd: o.Text("dp_parser_variant_end"), WildcardWrap: o.Text("dp_parser_wildcard_wrap")},
		IgnoreWhitespace: o.Bool("dp_ignore_whitespace"),
		Wildcards: &dynamicprompts.Wildcards{
			Folders: c.Service.Config.Wildcards, Cache: &c.Service.wildcards,
			NoDedup: o.Bool("dp_wildcard_manager_no_dedupe"), NoSort: o.Bool("dp_wildcard_manager_no_sort"), Shuffle: o.Bool("dp_wildcard_manager_shuffle"),
		},
	}
}

// expandTemplates makes the prompts as the extension's process() does.
func (c *Call) expandTemplates() (*Expanded, error) {
	a, r, t := c.dynamic, c.Req, c.template()
	count := r.Images()
	if a.combinatorial {
		count = a.limit
	}
	e := &Expanded{}
	var seeds []int64
	if count > 0 && !a.unlink {
		e.Seeds, e.Subseeds = c.dynamicSeeds(count)
		seeds = e.Seeds
	}
	var err error
	if e.Prompts, err = c.prompts(t, r.Prompt, count, seeds); err != nil {
		return nil, err
	}
	if r.NegativePrompt == "" {
		seeds = nil
	}
	if e.Negatives, err = c.prompts(t, r.NegativePrompt, count, seeds); err != nil {
		return nil, err
	}
	if err := e.pair(count); err != nil {
		return nil, err
	}
	if n := len(e.Prompts); n != count {
		e.Seeds, e.Subseeds = c.dynamicSeeds(n)
	} else if e.Seeds == nil {
		e.Seeds, e.Subseeds = rng.ImageSeeds(r.Seed, r.Subseed, r.SubseedStrength, n)
	}
	return e, nil
}

// pair gives each prompt a negative one. With a count, the negative prompts are used in
// turn; without one, every prompt is combined with every negative prompt.
func (e *Expanded) pair(count int) error {
	prompts, negatives := e.Prompts, e.Negatives
	n := len(prompts)
	if count == 0 {
		n *= len(negatives)
	}
	if n > inference.MaxImages {
		return dynamicprompts.ErrTooMany
	}
	e.Prompts, e.Negatives = make([]string, n), make([]string, n)
	for i := range n {
		e.Prompts[i], e.Negatives[i] = prompts[i%len(prompts)], negatives[i%len(negatives)]
		if count == 0 {
			e.Prompts[i] = prompts[i/len(negatives)]
		}
	}
	return nil
}

// prompts expands one template. With a variation seed the first prompt is used for all
// pictures.
func (c *Call) prompts(t *dynamicprompts.Template, text string, count int, seeds []int64) ([]string, error) {
	a, r := c.dynamic, c.Req
	frozen := r.SubseedStrength > 0
	var list []string
	var err error
	switch {
	case a.combinatorial:
		limit := count
		if limit == 0 {
			limit = inference.MaxImages
		}
		if frozen {
			limit = 1
		}
		list, err = t.Combinatorial(text, limit, rng.NewPython(r.Seed))
		if errors.Is(err, dynamicprompts.ErrTooMany) && (count > 0 || frozen) {
			err = nil // the limit was asked for
		}
		if len(list)*a.batches > inference.MaxImages {
			return nil, dynamicprompts.ErrTooMany
		}
		list = slices.Repeat(list, a.batches)
	case frozen:
		list, err = t.Random(text, []int64{r.Seed})
	case seeds == nil:
		seed := r.Seed
		if a.unlink {
			seed = c.Service.Config.Seed()
		}
		list, err = t.RandomOf(text, count, rng.NewPython(seed))
	default:
		list, err = t.Random(text, seeds)
	}
	if err != nil {
		return nil, err
	}
	if frozen {
		list = slices.Repeat(list, max(count, 1))
	}
	if len(list) == 0 {
		list = []string{""}
	}
	return list, nil
}

// dynamicSeeds are the seeds of n pictures by the extension's rule.
func (c *Call) dynamicSeeds(n int) (seeds, subseeds []int64) {
	a, r := c.dynamic, c.Req
	seeds, subseeds = rng.ImageSeeds(r.Seed, r.Subseed, r.SubseedStrength, n)
	for i := range n {
		if !a.fixedSeed {
			subseeds[i] = r.Subseed + int64(i)
			continue
		}
		seeds[i], subseeds[i] = r.Seed, r.Subseed
		if a.combinatorial && n >= a.batches {
			seeds[i] += int64(i / (n / a.batches))
		}
	}
	return seeds, subseeds
}

// Divide splits the pictures into runs that one request can make: equal prompts and
// consecutive seeds. The parts of one batch run together and share calls of the networks
// (RunAll).
func (c *Call) Divide(e *Expanded) []*Call {
	r := c.Req
	var parts []*Call
	c.detailBound = &detailBound{work: maxDetailWork, bytes: maxDetailBytes}
	var end int // of a part
	for i := 0; i < len(e.Prompts) && !c.detailBound.exceeded(); i = end {
		limit := min(len(e.Prompts), i-i%r.BatchSize+r.BatchSize)
		if c.detailTemplates() {
			limit = i + 1 // details of each picture have prompts of their own
		}
		seeds, subseeds := rng.ImageSeeds(e.Seeds[i], e.Subseeds[i], r.SubseedStrength, limit-i)
		for end = i + 1; end < limit; end++ {
			if e.Prompts[end] != e.Prompts[i] || e.Negatives[end] != e.Negatives[i] || e.Seeds[end] != seeds[end-i] || e.Subseeds[end] != subseeds[end-i] {
				break
			}
		}
		part := c.part(e, i, end-i)
		part.batch = i/r.BatchSize + 1
		parts = append(parts, part)
	}
	return parts
}

// part is the call for n pictures from the i-th on.
func (c *Call) part(e *Expanded, i, n int) *Call {
	part, req := *c, *c.Req
	part.Req, part.parts, part.Notes = &req, nil, nil
	req.Prompt, req.NegativePrompt = e.Prompts[i], e.Negatives[i]
	req.Seed, req.Subseed = e.Seeds[i], e.Subseeds[i]
	req.BatchNum, req.BatchSize = 1, n
	if h := c.Req.Hires; h != nil {
		hires := *h
		if h.Prompt == c.Req.Prompt {
			hires.Prompt = req.Prompt
		}
		if h.NegativePrompt == c.Req.NegativePrompt {
			hires.NegativePrompt = req.NegativePrompt
		}
		req.Hires = &hires
	}
	if init := c.Req.Init; init != nil && len(init.Images) > 1 {
		own := *init
		own.Images = make([]imageio.RGB, n)
		for j := range own.Images {
			own.Images[j] = init.Images[(i+j)%len(init.Images)]
		}
		req.Init = &own
	}
	part.expandDetails()
	return &part
}

// makeParts runs the calls that the request was expanded to.
func makeParts(ctx context.Context, c *Call, place *inference.Place, job inference.Job) (*Outcome, error) {
	if c.wantsGrid() {
		if err := TakeGrids(ctx, len(c.expansion.Prompts), 0, c); err != nil {
			return nil, err
		}
	}
	runs, err := RunAll(ctx, place, job, c.parts, nil)
	return &Outcome{Runs: runs}, err
}
