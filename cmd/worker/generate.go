package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/internal/cli"
)

var generateVerb = &verb{
	Name: "generate", Short: "make pictures from the command line",
	Long: `The paths of the pictures are printed on standard output, progress on standard
error. Ctrl-C stops within one step. Without a checkpoint the demo model draws, a toy
that knows a few objects, colours and places; then pictures have 256x256 pixels, 20
steps and the sampler Euler a unless something else is given.`,
	Examples: []string{
		`worker generate --prompt "a lovely cat" --steps 20 --output cat.png`,
		`worker generate --prompt "a lovely cat" --batch-size 4 --seed 7 --output cats/ --grid sheet.png`,
		`worker generate --from cat.png --seed -1 --show`,
		`worker generate --prompt "in winter" --init-image cat.png --denoising-strength 0.6`,
		`worker generate --prompts prompts.txt --output out/ --json`,
	},
	New: func() cli.Command[*program] { return newGenerateCommand() },
}

// generateCommand is one run of worker generate.
type generateCommand struct {
	program *program
	common  common
	api     apiSettings
	picture requestFlags
	hires   requestFlags
	init    requestFlags
	output  outputOptions
	demo    demoSettings
}

func newGenerateCommand() *generateCommand {
	g := new(generateCommand)
	g.picture, g.hires, g.init = newRequestFlags()
	return g
}

// Settings are those of the command.
func (g *generateCommand) Settings() []cli.Settings {
	own := []cli.Settings{
		g.picture.settings(), g.hires.settings(), g.init.settings(),
		{Title: "Output:", Target: &g.output},
	}
	return append(own, append(g.common.settings(), g.api.settings(), g.demo.settings())...)
}

// generated is the reply of the API to a generation request.
type generated struct {
	Images []string `json:"images"`
	Info   string   `json:"info"`
}

// pictureInfo is the part of the reply's info that the command needs.
type pictureInfo struct {
	Seeds     []int64  `json:"all_seeds"`
	Infotexts []string `json:"infotexts"`
	Notes     []string `json:"notes"` // what was left out or replaced
}

// Run makes the pictures.
func (g *generateCommand) Run(ctx context.Context, p *program, c *cli.Call) error {
	g.program = p
	prompts, err := g.prompts(c)
	if err != nil {
		return err
	}
	req, err := g.newAPIRequest(c)
	if err != nil {
		return err
	}
	if pictures := max(g.picture.whole("BATCH_SIZE"), 1) * max(g.picture.whole("N_ITER"), 1) * max(len(prompts), 1); g.output.Output == "-" && pictures > 1 {
		return cli.Usagef("standard output takes one picture only, not %d: name a folder with --output", pictures)
	}
	before, err := g.readFrom()
	if err != nil {
		return err
	}
	preview, err := p.shower(g.output.Show)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	files := &outputFiles{options: &g.output, stdout: p.Out}
	if err := files.check(isTerminal(p.Out)); err != nil {
		return err
	}
	log := p.logger(&g.common.log)
	if _, given := c.Given["LOG_LEVEL"]; !given && p.Environ["LOG_LEVEL"] == "" {
		log = log.Level(zerolog.WarnLevel) // the display tells what happens
	}

	use, err := p.useDemo(&g.common, &g.demo)
	if err != nil {
		return err
	}
	if use {
		if err := p.prepareDemo(ctx, &g.common, &g.demo, log); err != nil {
			return err
		}
	}

	show := p.newDisplay(g.output.Quiet)
	shareMemory(&g.common.engine, &g.api, log)
	gen := p.newPipeline(&g.common, log)
	defer gen.Close()
	s, err := newServices(p, &g.common, &g.api, gen, log, defaultLimits, nil)
	if err == nil {
		defer s.Close()
	}
	if err != nil {
		return err
	}
	if before != "" {
		notes, err := req.reuse(before, s, c)
		if err != nil {
			return err
		}
		for _, note := range notes {
			fmt.Fprintf(p.Err, "note: %s\n", note)
		}
	}
	if use {
		req.suitDemo()
	}
	if name := g.common.engine.Model; name != "" {
		if file, err := s.catalog.Resolve(name); err == nil {
			if problem := s.catalog.Problem(file); problem != nil { // the flags are right, the file is not
				return errors.New(fault.Message(problem))
			}
		}
	}
	began := time.Now()
	made := new(made)
	if prompts == nil { // the request has its own
		err = made.ask(ctx, s, req, show)
	}
	for i, prompt := range prompts {
		req.body["prompt"] = prompt
		if !g.output.Quiet {
			fmt.Fprintf(p.Err, "%d of %d: %s\n", i+1, len(prompts), prompt)
		}
		if err = made.ask(ctx, s, req, show); err != nil {
			break
		}
	}
	show.done()
	for _, note := range made.notes {
		fmt.Fprintf(p.Err, "note: %s\n", note)
	}
	if err != nil {
		return err
	}
	made.seconds["total"] = time.Since(began).Seconds()
	if preview != nil {
		for _, picture := range made.pictures {
			if err := preview(picture.data); err != nil {
				return fmt.Errorf("the picture cannot be shown: %w", err)
			}
		}
	}
	return g.write(files, made)
}

// prompts are the lines of --prompts, nil if there is one prompt at most.
func (g *generateCommand) prompts(c *cli.Call) ([]string, error) {
	_, given := c.Given["PROMPT"]
	switch {
	case g.output.Prompts != "" && given:
		return nil, cli.Usagef("--prompt and --prompts exclude each other")
	case g.output.Prompts == "" && !given && g.init.text(initImage.variable) == "" && g.output.From == "":
		return nil, cli.Usagef("--prompt is missing")
	case g.output.Prompts == "":
		return nil, nil
	}
	text, err := os.ReadFile(g.output.Prompts)
	if err != nil {
		return nil, fmt.Errorf("read the prompts: %w", err)
	}
	var prompts []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			prompts = append(prompts, line)
		}
	}
	if prompts == nil {
		return nil, fmt.Errorf("there is no prompt in %s", g.output.Prompts)
	}
	return prompts, nil
}

// made is what requests have made so far.
type made struct {
	pictures []madePicture
	seconds  map[string]float64
	notes    []string
}

type madePicture struct {
	data       []byte
	seed       int64
	parameters string
}

// ask sends a request and adds its pictures.
func (m *made) ask(ctx context.Context, s *services, req *apiRequest, show display) error {
	var reply generated
	var result *inference.Result
	watched := inference.WithObserver(ctx, func(e inference.Event) {
		switch e.Kind {
		case inference.Progressed:
			show.show(e.Job.Progress)
		case inference.Done:
			result = e.Result
		default:
		}
	})
	if err := s.api.Call(watched, req.path, req.body, &reply); err != nil {
		return inCommandLine(err)
	}
	var info pictureInfo
	if err := json.Unmarshal([]byte(reply.Info), &info); err != nil {
		return fmt.Errorf("the API's info cannot be read: %w", err)
	}
	for _, note := range info.Notes {
		if !slices.Contains(m.notes, note) {
			m.notes = append(m.notes, note)
		}
	}
	for i, image := range reply.Images {
		data, err := base64.StdEncoding.DecodeString(image)
		if err != nil {
			return fmt.Errorf("picture %d of the API cannot be read: %w", i, err)
		}
		m.pictures = append(m.pictures, madePicture{data, at(info.Seeds, i), at(info.Infotexts, i)})
	}
	if m.seconds == nil {
		m.seconds = map[string]float64{}
	}
	if result != nil {
		t := result.Timings
		for name, seconds := range map[string]float64{"load": t.Load, "encode": t.Encode, "sample": t.Sample, "decode": t.Decode, "upscale": t.Upscale} {
			m.seconds[name] += seconds
		}
	}
	return nil
}

// report is what --json prints.
type report struct {
	Seed    int64              `json:"seed"` // of the first picture
	Seconds map[string]float64 `json:"seconds"`
	Images  []reportImage      `json:"images"`
	Grid    string             `json:"grid,omitempty"` // path
}

type reportImage struct {
	Path       string `json:"path"`
	Seed       int64  `json:"seed"`
	Parameters string `json:"parameters"`
}

func (g *generateCommand) write(files *outputFiles, m *made) error {
	out := report{Seconds: m.seconds}
	for i, picture := range m.pictures {
		entry := reportImage{Seed: picture.seed, Parameters: picture.parameters}
		var err error
		if entry.Path, err = files.write(picture.data, i, len(m.pictures), entry.Seed); err != nil {
			return err
		}
		out.Images = append(out.Images, entry)
	}
	if len(out.Images) > 0 {
		out.Seed = out.Images[0].Seed
	}
	if g.output.Grid != "" && len(m.pictures) > 0 {
		if err := writeGrid(g.output.Grid, m.pictures); err != nil {
			return err
		}
		out.Grid = g.output.Grid
	}
	return g.tell(&out)
}

// writeGrid writes all pictures as one PNG, in as many rows as A1111 does when it
// avoids gaps, with the parameters of the first.
func writeGrid(path string, pictures []madePicture) error {
	var parts []imageio.RGB
	for _, p := range pictures {
		d, err := imageio.Decode(p.data, maxGridPixels)
		if err != nil {
			return fmt.Errorf("the grid cannot be made: %w", err)
		}
		parts = append(parts, d.RGB([3]uint8{}))
	}
	grid := imageio.Grid(parts, imageio.GridRows(len(parts), -1, 0, true))
	data, err := imageio.EncodePNG(grid, imageio.Text{Key: "parameters", Value: pictures[0].parameters})
	if err != nil {
		return fmt.Errorf("the grid cannot be made: %w", err)
	}
	return writePicture(path, data)
}

// maxGridPixels bounds a picture of a grid; the pictures are our own.
const maxGridPixels = 1 << 28

// at is the element i of list, or its last: maps of ControlNet follow the
// pictures without a seed of their own.
func at[T any](list []T, i int) (value T) {
	if len(list) == 0 {
		return value
	}
	return list[min(i, len(list)-1)]
}

// tell prints what was made. With the picture itself on standard output there is
// room for words on standard error only.
func (g *generateCommand) tell(r *report) error {
	w := g.program.Out
	if g.output.Output == "-" {
		w = g.program.Err
	}
	if g.output.JSON {
		return printJSON(w, r)
	}
	if g.output.Output == "-" {
		g.describe(r.Images)
		return nil
	}
	for _, image := range r.Images {
		fmt.Fprintln(w, image.Path)
	}
	if r.Grid != "" {
		fmt.Fprintln(w, r.Grid)
	}
	g.describe(r.Images)
	return nil
}

// describe prints the parameters of the first picture, as the file carries them,
// and the seeds of the others, which differ in little else.
func (g *generateCommand) describe(images []reportImage) {
	if g.output.Quiet {
		return
	}
	for i, image := range images {
		if i == 0 {
			fmt.Fprintf(g.program.Err, "%s\n", image.Parameters)
		} else {
			fmt.Fprintf(g.program.Err, "Seed of picture %d: %d\n", i+1, image.Seed)
		}
	}
}
