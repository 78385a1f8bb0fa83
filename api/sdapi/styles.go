package sdapi

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/inference/prompt"
)

// styleFile is one csv file of prompt styles.
type styleFile struct {
	path   string
	styles []prompt.Style
}

// styleFiles reads the files of prompt styles anew, since users edit them while
// the server runs. A file that is missing has no styles.
func (s *Server) styleFiles() []styleFile {
	var files []styleFile
	for _, p := range s.cfg.StylesFiles {
		styles, err := readStyles(p)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.cfg.Log.Warn().Err(err).Str("file", p).Msg("styles cannot be read")
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

// allStyles are the styles of all files; a later one replaces an earlier one of
// the same name.
func (s *Server) allStyles() []prompt.Style {
	var out []prompt.Style
	at := make(map[string]int)
	for _, f := range s.styleFiles() {
		for _, style := range f.styles {
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

// listStyles is GET /sdapi/v1/prompt-styles, with a heading for each file when
// there are several.
func (s *Server) listStyles() []any {
	list := []any{}
	files := s.styleFiles()
	for _, f := range files {
		if len(files) > 1 {
			stem := strings.TrimSuffix(filepath.Base(f.path), filepath.Ext(f.path))
			list = append(list, pyjson.NewObject("name", centred(" "+strings.ToUpper(stem)+" ", 40), "prompt", nil, "negative_prompt", nil))
		}
		for _, style := range f.styles {
			list = append(list, pyjson.NewObject("name", style.Name, "prompt", style.Prompt, "negative_prompt", style.NegativePrompt))
		}
	}
	return list
}

// centred fills a text with dashes to n characters on both sides.
func centred(text string, n int) string {
	gap := max(0, n-len(text))
	return strings.Repeat("-", gap/2) + text + strings.Repeat("-", gap-gap/2)
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
