package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"sdworker/api/infotext"
	"sdworker/inference/imageio"
	"sdworker/internal/cli"
)

var infoVerb = &verb{
	Name: "info", Args: "PICTURE ...", Short: "print the parameters that pictures were made with",
	Long: "Pictures of A1111, its forks and NovelAI are read, too. What a model file holds tells worker models info.",
	Examples: []string{
		"worker info cat.png",
		"worker info --json cat.png",
	},
	New: func() cli.Command[*program] { return new(pictureInfoCommand) },
}

// pictureInfoCommand is one run of worker info.
type pictureInfoCommand struct {
	options struct {
		JSON bool `env:"JSON" doc:"print it as JSON"`
	}
}

// Settings are those of the command.
func (c *pictureInfoCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Output:", Target: &c.options}}
}

// pictureFile is what is known of a picture's file.
type pictureFile struct {
	Path       string            `json:"path"`
	Width      int               `json:"width"`
	Height     int               `json:"height"`
	Parameters string            `json:"parameters"` // the text, "" for none
	Fields     infotext.Fields   `json:"fields"`
	Items      map[string]string `json:"items,omitempty"` // other texts of the file
}

// Run prints what the pictures carry.
func (c *pictureInfoCommand) Run(_ context.Context, p *program, call *cli.Call) error {
	if len(call.Args) == 0 {
		return cli.Usagef("no picture is named")
	}
	var errs []error
	for i, path := range call.Args {
		f, err := readPictureFile(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case c.options.JSON:
			errs = append(errs, printJSON(p.Out, f))
		default:
			if i > 0 {
				fmt.Fprintln(p.Out)
			}
			f.print(p)
		}
	}
	return errors.Join(errs...)
}

func (f *pictureFile) print(p *program) {
	fmt.Fprintf(p.Out, "%s, %dx%d\n", printable(f.Path), f.Width, f.Height)
	if f.Parameters == "" {
		fmt.Fprintln(p.Out, "carries no parameters")
		return
	}
	for line := range strings.SplitSeq(f.Parameters, "\n") {
		fmt.Fprintln(p.Out, printable(line))
	}
}

// readPictureFile reads what a picture's file says of it.
func readPictureFile(path string) (*pictureFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the picture: %w", err)
	}
	width, height, err := imageio.Size(data)
	if err != nil {
		return nil, fmt.Errorf("%s is no picture that can be read: %w", printable(path), err)
	}
	text, items := infotext.FromFile(data)
	f := &pictureFile{Path: path, Width: width, Height: height, Parameters: text, Items: map[string]string{}}
	if text != "" {
		f.Fields = infotext.Reader{}.Parse(text)
	}
	for _, item := range items {
		if s, ok := item.Value.(string); ok && s != text {
			f.Items[item.Key] = s
		}
	}
	return f, nil
}
