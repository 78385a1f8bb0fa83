package generation

import (
	"slices"
	"strconv"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/api/sdapi/styles"
	"sdworker/formats/embedding"
	"sdworker/inference/clip"
	"sdworker/inference/prompt"
)

// CountTokens tells how many tokens of the text encoder a prompt takes with its styles
// and for how many its chunks have room, as the counter of A1111's page shows it: of
// the texts that the prompt means at some step, the longest. steps is that of the
// request, since prompts may change on the way.
func (s *Service) CountTokens(text string, chosen []string, negative bool, steps int) (tokens, limit int) {
	o := s.Options.Values()
	if negative {
		_, text = styles.Apply(s.AllStyles(), chosen, "", text)
	} else {
		text, _ = styles.Apply(s.AllStyles(), chosen, text, "")
	}
	if o.Bool("enable_prompt_comments") {
		text = prompt.StripComments(text)
	}
	emphasis, err := clip.ParseEmphasis(o.Text("emphasis"))
	if err != nil {
		emphasis = clip.EmphasisOriginal
	}
	limit = clip.ChunkTokens
	encoding := clip.Options{Emphasis: emphasis, CommaBacktrack: int(o.Int("comma_padding_backtrack")), Embeddings: s.tokenEmbeddings()}
	for _, one := range timetable(text, !negative, prompt.Pass{Steps: max(steps, 1)}) {
		batch, err := clip.Encode([]string{one}, encoding)
		if err != nil { // the request will be told
			continue
		}
		if t := batch.Texts[0]; t.Tokens > tokens {
			tokens, limit = t.Tokens, t.Limit()
		}
	}
	return tokens, limit
}

// tokenEmbeddings are the embeddings that prompts may name, without their values.
func (s *Service) tokenEmbeddings() *clip.Embeddings {
	var list []*embedding.Embedding
	for _, f := range s.Embeddings() {
		content := f.Content
		list = append(list, &content)
	}
	return clip.NewEmbeddings(list...)
}

// Parameters is what the parameters text of a picture says of its request, on either
// route.
type Parameters struct {
	infotext.Paste
	ModelHash, Model string            // "" where the text does not say
	Control          []map[string]any  // units of ControlNet, without their pictures
	Details          []map[string]any  // units of ADetailer
	Extensions       map[string][]any  // arguments of the other always-on scripts that acted, by the names of GET /sdapi/v1/scripts
	Unknown          map[string]string // what the text names and is not here: sentences by the fields that they are about
	WithoutMasks     []string          // names of scripts that acted with masks, which no text holds
	ScriptName       string            // of the selected script, "" for none that texts tell of
	Script           map[string]any    // its arguments by their labels, as far as the text has them
}

// AlwaysOn are the always-on scripts of a request that repeats the text, on one of the two
// routes. ControlNet and scripts with masks are left out, because texts hold no pictures.
func (p *Parameters) AlwaysOn(forImg2img bool) map[string]any {
	scripts := map[string]any{}
	if len(p.Details) > 0 {
		args := []any{true, false}
		for _, unit := range p.Details {
			args = append(args, unit)
		}
		scripts["ADetailer"] = map[string]any{"args": args}
	}
	t := Txt2Img
	if forImg2img {
		t = Img2Img
	}
	for name, args := range p.Extensions {
		if findScript(alwaysOn, t, name) != nil && !slices.Contains(p.WithoutMasks, name) {
			scripts[name] = map[string]any{"args": args}
		}
	}
	return scripts
}

// ReadParameters reads the parameters text of a picture. An error is an
// *infotext.ConversionError.
func (s *Service) ReadParameters(text string) (*Parameters, error) {
	o := s.Options.Values()
	parsed := s.infotextReader(o).Parse(text)
	paste, err := parsed.Everything(optionLookup(o))
	if err != nil {
		return nil, err
	}
	p := &Parameters{Paste: paste, Control: unitsOf(parsed), Details: detailsOf(parsed), Extensions: pastedScripts(parsed), Unknown: unknownNames(parsed, paste.Fields)}
	p.ModelHash, _ = parsed["Model hash"].(string)
	p.Model, _ = parsed["Model"].(string)
	p.WithoutMasks = withoutMasks(p.Extensions)
	if state, ok := p.Extensions[stagedFreeUName]; ok {
		steps, _ := paste.Fields["steps"].(int64)
		if p.Extensions[stagedFreeUName] = freeUList(state[0].(*pyjson.Object), steps); p.Extensions[stagedFreeUName] == nil {
			delete(p.Extensions, stagedFreeUName)
		}
	}
	p.readSelected(s.Config.Scripts, parsed)
	return p, nil
}

// unitsOf reads what unitTexts writes.
func unitsOf(parsed infotext.Fields) []map[string]any {
	var units []map[string]any
	for i := range ControlUnits {
		text, ok := parsed["ControlNet "+strconv.Itoa(i)].(string)
		if !ok {
			continue
		}
		unit := map[string]any{"enabled": true}
		for _, label := range unitLabels {
			_, rest, ok := strings.Cut(text, label.label+": ")
			if !ok {
				continue
			}
			value, _, _ := strings.Cut(rest, ", ")
			field := slices.IndexFunc(controlUnit.Fields, func(f schema.Field) bool { return f.Name == label.field })
			if read, errs := controlUnit.Fields[field].Coerce(strings.Trim(value, `"`)); len(errs) == 0 {
				unit[label.field] = read
			}
		}
		units = append(units, unit)
	}
	return units
}

// detailsOf reads what writeDetails writes.
func detailsOf(parsed infotext.Fields) []map[string]any {
	var units []map[string]any
	for i := range aDetailerUnits {
		suffix := ""
		if i > 0 {
			suffix = " " + ordinal(i+1)
		}
		unit := map[string]any{}
		for _, f := range detailFields {
			value, ok := parsed["ADetailer "+f.key+suffix]
			if !ok || f.key == "" {
				continue
			}
			if read, errs := f.Coerce(value); len(errs) == 0 {
				unit[f.Name] = read
			}
		}
		if unit["ad_model"] != nil {
			units = append(units, unit)
		}
	}
	return units
}

// optionLookup looks up the value of an option in o, and its default.
func optionLookup(o options.Values) infotext.Options {
	return func(name string) (now, standard any, ok bool) {
		if !options.Exists(name) {
			return nil, nil, false
		}
		return o.Get(name), options.Defaults().Get(name), true
	}
}
