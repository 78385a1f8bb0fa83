package regions

import (
	"fmt"
	"slices"
	"strings"

	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
)

// Prompter is Regional Prompter in mode Latent: words of the prompt divide it, and the
// picture, into regions.
type Prompter struct {
	// Mask has a colour for each region, see [maskAreas]; without pixels Ratios divide
	// the picture.
	Mask   imageio.RGB
	Masked bool

	Rows       bool   // columns first, each divided into rows, as "Rows" and "Vertical"; else rows first
	Ratios     string // of the regions: "1,1" or "1,2,1;2,4,6" with the rows' own in front
	BaseRatios string // share of the base prompt in each region

	UseBase      bool // the first part is the base prompt, in all regions
	UseCommon    bool // the first part is put before all others
	UseNegCommon bool // the same in the negative prompt

	KeepAND     bool // AND is no separator: "disable convert 'AND' to 'BREAK'"
	KeepBREAK   bool // BREAK is no separator: "Use BREAK to change chunks"
	FlipPrompts bool // the regions take the texts in the opposite order, with UseCommon
	Comments    bool // what follows a # is left out

	HiresOnly, FirstOnly bool // regions act in one pass only
}

// Words that divide prompts.
const (
	wordBreak  = "BREAK"
	wordCommon = "ADDCOMM"
	wordBase   = "ADDBASE"
	wordRow    = "ADDROW"
	wordColumn = "ADDCOL"
	wordPrompt = "ADDP" // of the mode that finds regions by attention
	wordAND    = "AND"

	kept = "RP_TEMP_REPLACE" // stands for a BREAK that does not divide
)

// Divides reports whether a prompt has a word that divides it; without one the extension
// does nothing.
func Divides(text string) bool {
	for _, word := range []string{wordCommon, wordRow, wordColumn, wordBase, wordPrompt, wordBreak, wordAND} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// ByAttention reports whether a prompt asks for regions that are found by attention.
func ByAttention(text string) bool { return strings.Contains(strings.ToUpper(text), wordPrompt) }

// plan follows the steps of the extension's process().
func (r *Prompter) plan(positive, negative string) (Plan, error) {
	p := Plan{Prompt: positive, Negative: negative, NotFirst: r.HiresOnly, NotHires: r.FirstOnly}
	if !Divides(positive) || ByAttention(positive) {
		return p, nil
	}
	if len(r.Ratios) > maxText || len(r.BaseRatios) > maxText {
		return p, fmt.Errorf("the ratios have more than %d characters", maxText)
	}
	if !r.KeepAND {
		positive, negative = strings.ReplaceAll(positive, wordAND, wordBreak), strings.ReplaceAll(negative, wordAND, wordBreak)
	}
	layout := r.layout(positive)
	common := r.UseCommon || strings.Contains(positive, wordCommon)
	base := r.UseBase || strings.Contains(positive, wordBase)
	negCommon := r.UseNegCommon || strings.Contains(negative, wordCommon)
	layout = marked(marked(layout, wordCommon, common), wordBase, base)

	var err error
	if p.Prompt, err = r.text(positive, common, r.FlipPrompts); err != nil {
		return p, err
	}
	if p.Negative, err = r.text(negative, negCommon, r.FlipPrompts); err != nil {
		return p, err
	}
	if r.Masked {
		p.Areas, err = r.maskAreas(layout, base)
	} else {
		p.Areas, err = r.matrixAreas(layout, base)
	}
	if err != nil {
		return p, err
	}
	if parts := len(prompt.SplitAND(p.Prompt)); parts > len(p.Areas) {
		what := "regions"
		if base {
			what = "regions with the base"
		}
		return p, fmt.Errorf("the prompt has %d parts for %d %s: words that divide it and ratios or masks do not match", parts, len(p.Areas), what)
	}
	return p, nil
}

// marked makes the first BREAK the given word, if it is wanted and not there.
func marked(text, word string, wanted bool) string {
	if !wanted || strings.Contains(text, word) {
		return text
	}
	return strings.Replace(text, wordBreak, word, 1)
}

// layout is the prompt with the BREAKs that divide it as words that say how, by the
// template that the ratios give. Text between the words does not count.
func (r *Prompter) layout(text string) string {
	if r.Masked || r.KeepBREAK {
		return text
	}
	in, out := wordColumn, wordRow
	if r.Rows {
		in, out = out, in
	}
	var words []string
	if r.UseCommon && !strings.Contains(text, wordCommon) {
		words = append(words, wordCommon)
	}
	if r.UseBase && !strings.Contains(text, wordBase) {
		words = append(words, wordBase)
	}
	for i, row := range r.ratioRows() {
		if i > 0 {
			words = append(words, out)
		}
		words = append(words, slices.Repeat([]string{in}, len(row)-1)...)
	}
	for _, word := range words {
		text = strings.Replace(text, wordBreak, word, 1)
	}
	return text
}

// ratioRows are the cells of the ratios, row by row (column by column with Rows).
func (r *Prompter) ratioRows() [][]string {
	if !strings.Contains(r.Ratios, ";") {
		return splitCells(r.Ratios, ";", ",")
	}
	_, rows := withOwn(splitCells(r.Ratios, r.outer(), r.inner()))
	return rows
}

// outer and inner are what divides ratios.
func (r *Prompter) outer() string {
	if r.Rows {
		return ","
	}
	return ";"
}

func (r *Prompter) inner() string {
	if r.Rows {
		return ";"
	}
	return ","
}

// text is a prompt as it is encoded: its parts joined by AND.
func (r *Prompter) text(text string, common, flip bool) (string, error) {
	if r.Comments {
		text = withoutComments(text)
	}
	if r.KeepBREAK {
		text = strings.ReplaceAll(text, wordBreak, kept)
	}
	for _, word := range []string{wordCommon, wordRow, wordColumn, wordBase} {
		text = strings.ReplaceAll(text, word, wordBreak)
	}
	if parts := strings.Split(text, wordAND); len(parts) > 1 && slices.Contains([]string{"", ","}, strings.TrimSpace(parts[len(parts)-1])) {
		text += " _"
	}
	if n := strings.Count(text, wordBreak) + strings.Count(text, wordAND); n > maxParts {
		return "", fmt.Errorf("a prompt has %d words that divide it, want at most %d", n, maxParts)
	}
	if common {
		parts := strings.Split(text, wordBreak)
		first, rest := parts[0], parts[1:]
		for i := range rest {
			rest[i] = first + ", " + rest[i]
		}
		if flip {
			slices.Reverse(rest)
		}
		text = strings.Join(rest, " "+wordBreak+" ")
	}
	text = strings.ReplaceAll(text, wordBreak, wordAND)
	return strings.ReplaceAll(text, kept, wordBreak), nil
}

// withoutComments leaves out what follows a # in each line, and lines that are empty then.
func withoutComments(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// FlipRatios exchanges the commas and semicolons of ratios.
func FlipRatios(text string) string { return strings.NewReplacer(",", ";", ";", ",").Replace(text) }
