package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/rs/zerolog"

	"sdworker/inference"
)

var generateVerb = &verb{
	name: "generate", short: "make pictures from the command line",
	long: `Example: worker generate --prompt "a lovely cat" --steps 20 --output cat.png

The paths of the pictures are printed on standard output, progress on standard
error. Ctrl-C stops within one step.`,
	settings: func() []settings { return new(generateCommand).settings() },
	run: func(ctx context.Context, p *program, c *call) error {
		g := &generateCommand{program: p}
		if err := c.load(p.environ, g.settings()...); err != nil {
			return err
		}
		return g.run(ctx, c)
	},
}

// generateCommand is one run of worker generate.
type generateCommand struct {
	program *program
	common  common
	api     apiSettings
	picture pictureFields
	hires   hiresFields
	init    initFields
	output  outputOptions
}

func (g *generateCommand) settings() []settings {
	own := []settings{
		{title: "Picture:", target: &g.picture},
		{title: "Second pass (hires fix):", target: &g.hires},
		{title: "From a picture (img2img):", target: &g.init},
		{title: "Output:", target: &g.output},
	}
	return append(own, append(g.common.settings(), apiSettingsOf(&g.api))...)
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
}

func (g *generateCommand) run(ctx context.Context, c *call) error {
	p := g.program
	if _, given := c.given["PROMPT"]; !given && g.init.InitImage == "" {
		return usagef("--prompt is missing")
	}
	req, err := p.newAPIRequest(c, &g.picture, &g.hires, &g.init, g.output.format())
	if err != nil {
		return err
	}
	if pictures := max(g.picture.BatchSize, 1) * max(g.picture.NIter, 1); g.output.Output == "-" && pictures > 1 {
		return usagef("standard output takes one picture only, not %d: name a folder with --output", pictures)
	}
	files := &outputFiles{options: &g.output, stdout: p.out}
	if err := files.check(isTerminal(p.out)); err != nil {
		return err
	}
	log := p.logger(&g.common.log)
	if _, given := c.given["LOG_LEVEL"]; !given && p.environ["LOG_LEVEL"] == "" {
		log = log.Level(zerolog.WarnLevel) // the display tells what happens
	}

	show := p.newDisplay(g.output.Quiet)
	gen := p.newPipeline(&g.common, log)
	defer gen.Close()
	s, err := newStack(p, &g.common, &g.api, gen, log, nil)
	if err == nil {
		defer s.Close()
	}
	if err != nil {
		return err
	}
	began := time.Now()
	var reply generated
	var result *inference.Result
	watched := withObserver(ctx, observer{progress: show.show, result: func(r *inference.Result) { result = r }})
	err = apiCall(watched, s.api, req.path, nil, req.body, &reply)
	show.done()
	if err != nil {
		return err
	}
	var info pictureInfo
	if err := json.Unmarshal([]byte(reply.Info), &info); err != nil {
		return fmt.Errorf("the API's info cannot be read: %w", err)
	}
	return g.write(files, &reply, &info, result, time.Since(began))
}

// report is what --json prints.
type report struct {
	Seed    int64              `json:"seed"` // of the first picture
	Seconds map[string]float64 `json:"seconds"`
	Images  []reportImage      `json:"images"`
}

type reportImage struct {
	Path       string `json:"path"`
	Seed       int64  `json:"seed"`
	Parameters string `json:"parameters"`
}

func (g *generateCommand) write(files *outputFiles, reply *generated, info *pictureInfo, result *inference.Result, took time.Duration) error {
	out := report{Seconds: map[string]float64{"total": took.Seconds()}}
	if result != nil {
		t := result.Timings
		maps.Copy(out.Seconds, map[string]float64{
			"load": t.Load, "encode": t.Encode, "sample": t.Sample, "decode": t.Decode, "upscale": t.Upscale,
		})
	}
	for i, image := range reply.Images {
		data, err := base64.StdEncoding.DecodeString(image)
		if err != nil {
			return fmt.Errorf("picture %d of the API cannot be read: %w", i, err)
		}
		entry := reportImage{Seed: at(info.Seeds, i), Parameters: at(info.Infotexts, i)}
		if entry.Path, err = files.write(data, i, len(reply.Images), entry.Seed); err != nil {
			return err
		}
		out.Images = append(out.Images, entry)
	}
	out.Seed = at(info.Seeds, 0)
	return g.tell(&out)
}

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
	w := g.program.out
	if g.output.Output == "-" {
		w = g.program.err
	}
	if g.output.JSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	if g.output.Output == "-" {
		g.describe(r.Images)
		return nil
	}
	for _, image := range r.Images {
		fmt.Fprintln(w, image.Path)
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
			fmt.Fprintf(g.program.err, "%s\n", image.Parameters)
		} else {
			fmt.Fprintf(g.program.err, "Seed of picture %d: %d\n", i+1, image.Seed)
		}
	}
}
