package generation

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"strings"

	"sdworker/inference/prompt"
)

// styleFile is one csv file of prompt styles.
type styleFile struct {
	Path   string
	Styles []prompt.Style
}

// StyleFiles reads the files of prompt styles anew, since users edit them while
// the server runs. A file that is missing has no styles.
func (s *Service) StyleFiles() []styleFile {
	var files []styleFile
	for _, p := range s.Config.StylesFiles {
		styles, err := readStyles(p)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.Config.Log.Warn().Err(err).Str("file", p).Msg("styles cannot be read")
			}
			continue
		}
		files = append(files, styleFile{p, styles})
	}
	return files
}

// readStyles reads a file with the columns name, prompt and negative_prompt. The
// oldest files call the prompt "text".
func readStyles(p string) ([]prompt.Style, error) {
	raw, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(raw), "\ufeff")))
	r.FieldsPerRecord = -1
	r.LazyQuotes = true
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	column := make(map[string]int)
	for i, name := range rows[0] {
		column[name] = i
	}
	cell := func(row []string, name string) string {
		i, ok := column[name]
		if !ok || i >= len(row) {
			return ""
		}
		return row[i]
	}
	var out []prompt.Style
	for _, row := range rows[1:] {
		style := prompt.Style{Name: cell(row, "name"), Prompt: cell(row, "prompt"), NegativePrompt: cell(row, "negative_prompt")}
		if style.Prompt == "" {
			style.Prompt = cell(row, "text")
		}
		if style.Name == "" || strings.HasPrefix(style.Name, "#") {
			continue
		}
		out = append(out, style)
	}
	return out, nil
}

// AllStyles are the styles of all files; a later one replaces an earlier one of
// the same name.
func (s *Service) AllStyles() []prompt.Style {
	var out []prompt.Style
	at := make(map[string]int)
	for _, f := range s.StyleFiles() {
		for _, style := range f.Styles {
			if i, ok := at[style.Name]; ok {
				out[i] = style
				continue
			}
			at[style.Name] = len(out)
			out = append(out, style)
		}
	}
	return out
}

// styled merges the named styles with a pair of prompts. Unknown names do
// nothing.
func styled(all []prompt.Style, names []string, positive, negative string) (string, string) {
	for _, name := range names {
		for _, style := range all {
			if style.Name == name {
				positive = prompt.ApplyStyles(positive, style.Prompt)
				negative = prompt.ApplyStyles(negative, style.NegativePrompt)
			}
		}
	}
	return positive, negative
}
