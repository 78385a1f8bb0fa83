package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"sdworker/internal/cli"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
)

// listOptions are the flags of worker models ls.
type listOptions struct {
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var modelsListVerb = &verb{
	Name: "ls", Short: "list the model files found",
	Examples: []string{"worker models ls", "worker models ls --json"},
	New:      func() cli.Command[*program] { return new(listCommand) },
}

// listCommand is one run of worker models ls.
type listCommand struct {
	options listOptions
	modelsCommand
}

// Settings are those of the command.
func (c *listCommand) Settings() []cli.Settings {
	return append([]cli.Settings{{Title: "Output:", Target: &c.options}}, c.settings()...)
}

// Run prints the list.
func (c *listCommand) Run(_ context.Context, p *program, _ *cli.Call) error {
	listed := c.catalog(p)
	files := []catalog.File{}
	for _, kind := range models.Kinds() {
		files = append(files, listed.List(kind)...)
	}
	if c.options.JSON {
		return printJSON(p.Out, files)
	}
	if len(files) == 0 {
		fmt.Fprintf(p.Err, "no model files found; try: worker models pull %s\n", fetch.Default)
		return nil
	}
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tHOLDS\tNAME\tHASH\tMIB\tPATH")
	for _, f := range files {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", f.Kind, holds(f), printable(f.Name), f.ShortHash(), f.Bytes>>20, printable(f.Path))
	}
	return w.Flush()
}

// holds tells what a listed file is by its header: its model family, or why it
// cannot be used.
func holds(f catalog.File) string {
	info, err := models.Inspect(f.Path)
	switch {
	case f.Picture():
		return "picture"
	case err != nil:
		return "no model"
	case info.Kind == models.Unknown:
		return "unknown"
	case info.Kind != f.Kind:
		return string(info.Kind)
	case info.Fits(f.Kind, models.CheckOptions{AllowPickle: true}) != nil && info.Arch == models.SD1:
		return string(info.Arch) + ", unusable"
	}
	return string(info.Arch)
}
