package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// outputOptions say what is written, where and how.
type outputOptions struct {
	Output  string `env:"OUTPUT" envDefault:"." doc:"file, or folder in which to number the files, or - = standard output"`
	Format  string `env:"FORMAT" doc:"png, jpeg or webp; without it the file name decides, else png"`
	Prompts string `env:"PROMPTS" doc:"file with one prompt on each line, in place of --prompt"`
	Grid    string `env:"GRID" doc:"also write all pictures as one PNG file"`
	From    string `env:"FROM" doc:"take what the other flags leave open from the parameters of this picture file"`
	Show    bool   `env:"SHOW" doc:"show the pictures in the terminal, if it can (kitty, iTerm2, sixel)"`
	Quiet   bool   `env:"QUIET" doc:"print nothing but the paths"`
	JSON    bool   `env:"JSON" doc:"print seeds, seconds per phase and paths as JSON"`
}

// pictureFormats are those of pictures by their A1111 name (option samples_format)
// with the file endings that mean them.
var pictureFormats = []struct {
	name    string
	endings []string
}{
	{"png", []string{"png"}},
	{"jpg", []string{"jpg", "jpeg"}},
	{"webp", []string{"webp"}},
}

// formatOf finds a format by one of its endings.
func formatOf(ending string) (string, bool) {
	for _, f := range pictureFormats {
		if slices.Contains(f.endings, strings.ToLower(ending)) {
			return f.name, true
		}
	}
	return "", false
}

func (o *outputOptions) Validate() []error {
	if o.Format == "" {
		return nil
	}
	if _, ok := formatOf(o.Format); !ok {
		return []error{fmt.Errorf("--format %q is none of png, jpeg, webp", o.Format)}
	}
	return nil
}

// format is the A1111 name of the format to write.
func (o *outputOptions) format() string {
	for _, ending := range []string{o.Format, strings.TrimPrefix(filepath.Ext(o.Output), ".")} {
		if name, ok := formatOf(ending); ok {
			return name
		}
	}
	return "png"
}

// isFolder reports whether files are numbered inside Output.
func (o *outputOptions) isFolder() bool {
	if info, err := os.Stat(o.Output); err == nil {
		return info.IsDir()
	}
	return strings.HasSuffix(o.Output, "/") || filepath.Ext(o.Output) == ""
}
