package generation

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
	"sdworker/inference/regions"
)

// Scripts of extensions that divide the picture among parts of the prompt.
const (
	prompterName = "regional prompter"
	coupleName   = "latent couple extension"
)

// prompterFields are the arguments of Regional Prompter in its order, with the defaults of
// its page.
var prompterFields = []schema.Field{
	{Name: "Regional Prompter", Kind: schema.Boolean, Default: false},
	{Name: "Debug", Kind: schema.Any, Default: false},
	{Name: "Mode", Kind: schema.String, Default: "Matrix"},
	{Name: "Main Splitting", Kind: schema.String, Default: "Columns"},
	{Name: "Mask mode", Kind: schema.String, Default: "Mask"},
	{Name: "Prompt mode", Kind: schema.String, Default: "Prompt"},
	{Name: "Divide Ratio", Kind: schema.String, Default: "1,1"},
	{Name: "Base Ratio", Kind: schema.String, Default: "0.2"},
	{Name: "Use base prompt", Kind: schema.Boolean, Default: false},
	{Name: "Use common prompt", Kind: schema.Boolean, Default: false},
	{Name: "Use common negative prompt", Kind: schema.Boolean, Default: false},
	{Name: "Generation Mode", Kind: schema.String, Default: "Attention"},
	{Name: "Options", Kind: schema.Any, Default: []any{}},
	{Name: "LoRA in negative textencoder", Kind: schema.Any, Default: "0"},
	{Name: "LoRA in negative U-net", Kind: schema.Any, Default: "0"},
	{Name: "threshold", Kind: schema.Any, Default: "0.4"},
	{Name: "Mask", Kind: schema.Any, Default: nil},
	{Name: "LoRA stop step", Kind: schema.Any, Default: "0"},
	{Name: "LoRA Hires stop step", Kind: schema.Any, Default: "0"},
	{Name: `flip "," and ";"`, Kind: schema.Boolean, Default: false},
}

// prompterOptions are the names in argument 12 that the extension knows.
var prompterOptions = []string{
	optionKeepAND, "Use LoHa or other", optionKeepBREAK, optionFlip, optionComments, optionHiresOnly, optionNotHires, "debug", "debug2",
}

const (
	optionKeepAND   = "disable convert 'AND' to 'BREAK'"
	optionKeepBREAK = "Use BREAK to change chunks"
	optionFlip      = "Flip prompts"
	optionComments  = "Comment Out `#`"
	optionHiresOnly = "Enabled only in Hires Fix"
	optionNotHires  = "Disabled in Hires Fix"
)

// coupleFields are the arguments of Latent Couple. Instead of them it takes one object
// with the keys of coupleObject.
var coupleFields = []schema.Field{
	{Name: "Enabled", Kind: schema.Boolean, Default: false},
	{Name: "Divisions", Kind: schema.String, Default: "1:1,1:2,1:2"},
	{Name: "Positions", Kind: schema.String, Default: "0:0,0:0,0:1"},
	{Name: "Weights", Kind: schema.String, Default: "0.2,0.8,0.8"},
	{Name: "end at this step", Kind: schema.Integer, Default: int64(20)},
}

// coupleObject are keys of our own for the arguments, and for pictures as masks.
var coupleObject = []string{"enabled", "divisions", "positions", "weights", "end_at_step"}

// readRegions reads the arguments of a script of regions, and reports whether it is one.
func (c *Call) readRegions(ctx context.Context, name string, args []any) (bool, error) {
	before := c.regions
	var err error
	switch name {
	case prompterName:
		err = c.readPrompter(ctx, args)
	case coupleName:
		err = c.readCouple(ctx, args)
	default:
		return false, nil
	}
	if err == nil && before != nil && c.regions != before {
		err = exception.Crash("ValueError", "%s and %s cannot act together", prompterName, coupleName)
	}
	return true, err
}

// readPrompter reads the arguments of Regional Prompter, and writes its texts.
func (c *Call) readPrompter(ctx context.Context, args []any) error {
	v, err := argValues(prompterName, prompterFields, args)
	if err != nil || v[0] != true {
		return err
	}
	text := c.In.Text("prompt")
	mode, splitting := v[2].(string), v[3].(string)
	switch {
	case !regions.Divides(text):
		c.Note("%s: no word divides the prompt (BREAK, ADDCOL, ADDROW, ADDBASE, ADDCOMM, AND), so it did nothing", prompterName)
		return nil
	case mode == "Prompt" || regions.ByAttention(text):
		c.Note("%s: mode Prompt, which finds regions by attention, is not available on this server, so it did nothing", prompterName)
		return nil
	case mode != "Mask" && splitting == "Random":
		c.Note("%s: Random splitting is not available on this server, so it did nothing", prompterName)
		return nil
	case mode != "Mask" && !slices.Contains([]string{"Columns", "Rows", "Horizontal", "Vertical"}, splitting):
		return exception.Crash("ValueError", "argument 3 of %s is %s, want Columns or Rows", prompterName, pyjson.Quoted(splitting))
	}
	options := prompterOptionList(v[12])
	has := func(name string) bool { return slices.Contains(options, name) }
	p := &regions.Prompter{
		Rows: splitting == "Rows" || splitting == "Vertical", Ratios: v[6].(string), BaseRatios: v[7].(string),
		UseBase: v[8] == true, UseCommon: v[9] == true, UseNegCommon: v[10] == true,
		KeepAND: has(optionKeepAND), KeepBREAK: has(optionKeepBREAK), FlipPrompts: has(optionFlip), Comments: has(optionComments),
		HiresOnly: has(optionHiresOnly), FirstOnly: has(optionNotHires),
	}
	if v[19] == true {
		p.Ratios = regions.FlipRatios(p.Ratios)
	}
	if mode == "Mask" {
		if v[16] == nil || v[16] == "" {
			return exception.Refuse(http.StatusUnprocessableEntity, "argument 16 of %s must be a picture for mode Mask", prompterName)
		}
		m, _, err := c.Service.Reader.One(ctx, v[16], c.Options)
		if err != nil {
			return err
		}
		p.Masked, p.Mask = true, m.DropAlpha()
	}
	c.regions = &regions.Spec{Prompter: p}
	c.prompterNotes(v, text)
	c.prompterTexts(v, options)
	return nil
}

// prompterOptionList reads argument 12: a list, names joined by commas, or true for the
// first one.
func prompterOptionList(v any) []string {
	var names []string
	switch v := v.(type) {
	case bool:
		if v {
			names = []string{optionKeepAND}
		}
	case string:
		names = strings.Split(v, ",")
	case []any:
		for _, name := range v {
			names = append(names, textOf(name))
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(prompterOptions, name) })
}

// prompterNotes tells which arguments work differently here.
func (c *Call) prompterNotes(v []any, text string) {
	if mode := v[11].(string); !strings.Contains(mode, "La") {
		c.Note("%s: mode %s is not available on this server; regions are composed at the latent (mode Latent)", prompterName, pyjson.Quoted(mode))
	}
	if _, tags := prompt.ExtractNetworks(text); len(tags) > 0 {
		c.Note("%s: networks of tags act on the whole picture", prompterName)
	}
	for _, i := range []int{13, 14, 17, 18} {
		if s := fmt.Sprint(v[i]); s != "0" && s != "" {
			c.Note("%s: %q is not available on this server and did nothing", prompterName, prompterFields[i].Name)
		}
	}
}

// prompterTexts adds what the extension writes into infotexts.
func (c *Call) prompterTexts(v []any, options []string) {
	joined := "No Options"
	if len(options) > 0 {
		joined = strings.Join(options, ",")
	}
	v[12] = joined
	c.tellArgs(prompterName, v)
}

// readCouple reads the arguments of Latent Couple, and writes its text.
func (c *Call) readCouple(ctx context.Context, args []any) error {
	var masks []any
	if len(args) > 0 {
		if o, ok := args[0].(*pyjson.Object); ok {
			args = []any{true, nil, nil, nil, nil}
			for i, key := range coupleObject {
				if v, ok := o.Get(key); ok {
					args[i] = v
				}
			}
			list, _ := o.Get("masks")
			masks, _ = list.([]any)
		}
	}
	v, err := argValues(coupleName, coupleFields, args)
	if err != nil || v[0] != true {
		return err
	}
	steps := v[4].(int64)
	p := &regions.Couple{Divisions: v[1].(string), Positions: v[2].(string), Weights: v[3].(string), Steps: int(steps)}
	where := "divisions=" + p.Divisions + " positions=" + p.Positions
	if len(masks) > 0 {
		if p.Masks, err = c.greyMasks(ctx, masks); err != nil {
			return err
		}
		where = fmt.Sprintf("masks=%d", len(masks))
	}
	c.regions = &regions.Spec{Couple: p}
	if steps != 0 {
		c.addText("Latent Couple", fmt.Sprintf("%s weights=%s end at step=%d", where, p.Weights, steps))
	}
	return nil
}

// greyMasks reads masks; null becomes one without pixels.
func (c *Call) greyMasks(ctx context.Context, list []any) ([]imageio.Gray, error) {
	if len(list) > inference.MaxPromptParts {
		return nil, exception.Refuse(http.StatusUnprocessableEntity, "%s has %d masks, want at most %d", coupleName, len(list), inference.MaxPromptParts)
	}
	pictures, _, err := c.Service.Reader.All(ctx, slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == nil }), c.Options)
	if err != nil {
		return nil, err
	}
	masks := make([]imageio.Gray, len(list))
	for i, v := range list {
		if v != nil {
			masks[i], pictures = imageio.Mask(pictures[0], false), pictures[1:]
		}
	}
	return masks, nil
}

// applyRegions puts the division of the prompts into the request. With Regional Prompter
// the hires pass keeps the prompts of the first pass.
func (c *Call) applyRegions() {
	c.Req.Regions = c.regions
	if h := c.Req.Hires; h != nil && c.regions != nil && c.regions.Prompter != nil {
		if h.Prompt != c.Req.Prompt || h.NegativePrompt != c.Req.NegativePrompt {
			c.Note("%s: the hires pass has the prompts of the first pass", prompterName)
		}
		h.Prompt, h.NegativePrompt = c.Req.Prompt, c.Req.NegativePrompt
	}
}
