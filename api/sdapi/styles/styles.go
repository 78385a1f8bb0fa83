// Package styles reads A1111's files of prompt styles.
package styles

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/rs/zerolog"

	"sdworker/inference/prompt"
)

// File is one csv file of prompt styles.
type File struct {
	Path   string
	Styles []prompt.Style
}

// Files reads files of prompt styles anew, since users edit them while the server
// runs. A file that is missing has no styles.
func Files(paths []string, log zerolog.Logger) []File {
	var files []File
	for _, p := range paths {
		styles, err := readStyles(p)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				log.Warn().Err(err).Str("file", p).Msg("styles cannot be read")
			}
			continue
		}
		files = append(files, File{p, styles})
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

// All are the styles of all files; a later one replaces an earlier one of
// the same name.
func All(files []File) []prompt.Style {
	var out []prompt.Style
	at := make(map[string]int)
	for _, f := range files {
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

// Apply merges the named styles with a pair of prompts. Unknown names do
// nothing.
func Apply(all []prompt.Style, names []string, positive, negative string) (string, string) {
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
