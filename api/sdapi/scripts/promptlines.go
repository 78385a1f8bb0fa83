package scripts

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/inference"
	"sdworker/inference/sampler"
)

// promptLinesArgs are the arguments of the script "Prompts from file or textbox".
var promptLinesArgs = []generation.ScriptArg{
	{Label: "Iterate seed every line", Value: false},
	{Label: "Use same random seed for all lines", Value: false},
	{Label: "Insert prompts at the", Value: "start", Choices: []string{"start", "end"}},
	{Label: "List of prompt inputs", Value: ""},
}

// lineTags are the options of a line and what their values are.
var lineTags = map[string]func(string) (any, error){
	"outpath_samples": lineText, "outpath_grids": lineText, "prompt_for_display": lineText, "styles": lineText,
	"sd_model": lineText, "sampler_name": lineText,
	"seed": lineInt, "subseed": lineInt, "seed_resize_from_h": lineInt, "seed_resize_from_w": lineInt, "sampler_index": lineInt,
	"batch_size": lineInt, "n_iter": lineInt, "steps": lineInt, "width": lineInt, "height": lineInt,
	"subseed_strength": lineFloat, "cfg_scale": lineFloat,
	"restore_faces": lineFlag, "tiling": lineFlag, "do_not_save_samples": lineFlag, "do_not_save_grid": lineFlag,
}

func lineText(s string) (any, error)  { return s, nil }
func lineInt(s string) (any, error)   { return strconv.ParseInt(strings.TrimSpace(s), 10, 64) }
func lineFloat(s string) (any, error) { return strconv.ParseFloat(strings.TrimSpace(s), 64) }
func lineFlag(s string) (any, error)  { return s == "true", nil }

// readLine reads a line of options. Without "--" in it, or where the options cannot
// be read, all of it is the prompt.
func readLine(c *generation.Call, line string) map[string]any {
	if !strings.Contains(line, "--") {
		return map[string]any{"prompt": line}
	}
	tags, err := lineOptions(c, line)
	if err != nil {
		c.Note("the line %q is taken for a prompt: %s", line, err)
		return map[string]any{"prompt": line}
	}
	return tags
}

func lineOptions(c *generation.Call, line string) (map[string]any, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	out := make(map[string]any)
	for i := 0; i < len(words); {
		tag, ok := strings.CutPrefix(words[i], "--")
		switch {
		case !ok:
			return nil, fmt.Errorf("must start with \"--\": %s", words[i])
		case i+1 >= len(words):
			return nil, fmt.Errorf("missing argument for command line option --%s", tag)
		}
		i++
		if tag == "prompt" || tag == "negative_prompt" {
			end := i + 1
			for end < len(words) && !strings.HasPrefix(words[end], "--") {
				end++
			}
			out[tag] = strings.Join(words[i:end], " ")
			i = end
			continue
		}
		read := lineTags[tag]
		if read == nil {
			return nil, fmt.Errorf("unknown commandline option: --%s", tag)
		}
		if out[tag], err = read(words[i]); err != nil {
			return nil, err
		}
		if err := checkTag(c, tag, out); err != nil {
			return nil, err
		}
		i++
	}
	return out, nil
}

// checkTag resolves the names of samplers and checkpoints.
func checkTag(c *generation.Call, tag string, tags map[string]any) error {
	switch tag {
	case "sampler_name":
		name, ok := samplerOf(tags[tag].(string))
		if !ok { // A1111 takes the first of its list, and says nothing
			name = sampler.Names()[0]
			c.Note("there is no sampler %s; %s is used", pyjson.Quoted(tags[tag].(string)), name)
		}
		tags[tag] = name
	case "sampler_index":
		i, names := tags[tag].(int64), sampler.Names()
		if i < 0 || int(i) >= len(names) {
			return errors.New("there is no such sampler_index")
		}
		tags["sampler_name"] = names[i]
	case "sd_model":
		found, ok := closestCheckpoint(c.Service, tags[tag].(string))
		if !ok {
			return fmt.Errorf("Unknown checkpoint: %s", tags[tag]) //nolint:staticcheck // A1111's words
		}
		tags[tag] = found.Title()
	}
	return nil
}

// splitWords divides a line as Python's shlex.split does.
func splitWords(line string) ([]string, error) {
	var out []string
	var word strings.Builder
	begun := false
	var quote rune
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == '\'' && r != quote, quote == '"' && r != quote && r != '\\':
			word.WriteRune(r)
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\':
			if i++; i == len(runes) {
				return nil, errors.New("No escaped character") //nolint:staticcheck // Python's words
			}
			if quote == '"' && runes[i] != '"' && runes[i] != '\\' {
				word.WriteRune(r)
			}
			word.WriteRune(runes[i])
			begun = true
		case r == '\'' || r == '"':
			quote, begun = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if begun {
				out, begun = append(out, word.String()), false
				word.Reset()
			}
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, errors.New("No closing quotation") //nolint:staticcheck // Python's words
	}
	if begun {
		out = append(out, word.String())
	}
	return out, nil
}

// linesJob is what the script was asked for.
type linesJob struct {
	iterate, same bool
	atEnd         bool
	lines         []string
}

func readLines(c *generation.Call) (*linesJob, error) {
	r := argReader{call: c}
	j := &linesJob{iterate: r.flag(0), same: r.flag(1)}
	position, text := r.text(2), r.text(3)
	if r.err != nil {
		return nil, r.err
	}
	if len(c.ScriptArgs) == 3 { // before v1.7 the text was the third
		position, text = "start", position
	}
	j.atEnd = position != "start"
	for line := range strings.Lines(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)) {
		if line = strings.TrimSpace(line); line != "" {
			j.lines = append(j.lines, line)
		}
	}
	return j, nil
}

// joined puts the prompt of a line beside that of the request.
func (j *linesJob) joined(line, own string) string {
	switch {
	case line == "" || own == "":
		return line
	case j.atEnd:
		return own + " " + line
	}
	return line + " " + own
}

// promptLines makes the script "Prompts from file or textbox"
// (scripts/prompts_from_file.py).
func promptLines(ctx context.Context, c *generation.Call, place *inference.Place, job inference.Job) (*generation.Outcome, error) {
	j, err := readLines(c)
	if err != nil {
		return nil, err
	}
	random := c.In.MaybeWhole("seed") == nil || *c.In.MaybeWhole("seed") < 0
	seed := c.Req.Seed
	var calls []*generation.Call
	images := 0
	for _, line := range j.lines {
		tags := readLine(c, line)
		d, err := c.Derive(ctx, func(in *request.Fields) error {
			if j.iterate || j.same || !random {
				in.Set("seed", seed)
			}
			j.apply(in, tags)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if j.iterate {
			seed += int64(c.Req.Images())
		}
		calls = append(calls, d)
		if images += d.Req.Images(); images > inference.MaxImages {
			return nil, c.CheckImages(1, images, 0, 0)
		}
	}
	if len(calls) == 0 {
		return nil, exception.Crash("ValueError", "prompts from file or textbox needs at least one line")
	}
	runs, err := generation.RunAll(ctx, place, job, calls, nil)
	return &generation.Outcome{Runs: runs, Lead: calls[0], Arrange: func(*generation.Output) {}}, err
}

// apply puts the options of a line into the fields.
func (j *linesJob) apply(in *request.Fields, tags map[string]any) {
	for tag, v := range tags {
		switch tag {
		case "prompt", "negative_prompt":
			in.Set(tag, j.joined(v.(string), in.Text(tag)))
		case "sd_model":
			in.SetOption("sd_model_checkpoint", v)
		case "styles":
			in.Set(tag, []any{v})
		case "outpath_samples", "outpath_grids", "prompt_for_display", "do_not_save_samples", "do_not_save_grid", "sampler_index":
			// Where files go is the server's to say; the rest is resolved already.
		default:
			in.Set(tag, v)
		}
	}
}
