package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/schollz/progressbar/v3"

	"sdworker/internal/cli"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
)

// pullOptions are the flags of worker models pull.
type pullOptions struct {
	To     string `env:"TO" doc:"folder above the folders of each kind; without it the first of MODELS_DIR, else ~/.local/share/sdworker/models"`
	Kind   string `env:"KIND" doc:"what the file is: checkpoint, vae, lora, embedding, controlnet, upscaler or preview; without it the source or the file tells"`
	Name   string `env:"NAME" doc:"file name to store it under"`
	SHA256 string `env:"SHA256" doc:"digest that the file must have"`
	Force  bool   `env:"FORCE" doc:"fetch it even if it is there"`
	Quiet  bool   `env:"QUIET" doc:"print nothing but the path"`
}

func (o *pullOptions) Validate() []error {
	o.Kind, o.SHA256 = strings.ToLower(o.Kind), strings.ToLower(o.SHA256)
	var errs []error
	if o.Kind != "" && !slices.Contains(models.Kinds(), models.Kind(o.Kind)) {
		errs = append(errs, fmt.Errorf("--kind %q is none of %v", o.Kind, models.Kinds()))
	}
	return append(errs, digestErrors(o.SHA256)...)
}

// digestErrors checks the flag --sha256.
func digestErrors(sum string) []error {
	if sum != "" && !catalog.IsSHA256(sum) {
		return []error{fmt.Errorf("--sha256 %q is not a sha256 of 64 hexadecimal digits", sum)}
	}
	return nil
}

var modelsPullVerb = &verb{
	Name: "pull", Args: "[MODEL ...]", Short: "fetch model files",
	Long: "MODEL is one of " + strings.Join(fetch.Names(), ", ") + ` (default ` + fetch.Default + `),
a Hugging Face file org/repo/file, a Civitai model version civitai:ID, or any
http or https address. HF_TOKEN and CIVITAI_TOKEN give access to what needs it.
A fetch that was cut goes on where it stopped.`,
	Examples: []string{
		"worker models pull deliberate-v6",
		"worker models pull civitai:128713",
		"worker models pull stabilityai/sd-vae-ft-mse-original/vae-ft-mse-840000-ema-pruned.safetensors",
	},
	New: func() cli.Command[*program] { return new(pullCommand) },
}

// pullCommand is one run of worker models pull.
type pullCommand struct {
	program *program
	options pullOptions
	fetch   fetchSettings
	modelsCommand
}

// Settings are those of the command.
func (c *pullCommand) Settings() []cli.Settings {
	own := []cli.Settings{{Title: "File:", Target: &c.options}, c.fetch.settings()}
	return append(own, c.settings()...)
}

// Run fetches the files one after another.
func (c *pullCommand) Run(ctx context.Context, p *program, call *cli.Call) error {
	c.program = p
	refs := call.Args
	if len(refs) == 0 {
		refs = []string{fetch.Default}
	}
	if len(refs) > 1 && (c.options.Name != "" || c.options.SHA256 != "") {
		return cli.Usagef("--name and --sha256 are for one file, %d are named", len(refs))
	}
	if c.options.Quiet && c.log.Level == zerolog.LevelInfoValue {
		c.log.Level = zerolog.LevelWarnValue
	}
	fetcher := c.program.newFetcher(&c.fetch, &c.log, nil)
	defer fetcher.Close()
	for _, ref := range refs {
		show := c.program.newDownloadDisplay(ref, c.options.Quiet)
		result, err := fetcher.Pull(ctx, ref, c.root(), fetch.PullOptions{
			Kind: models.Kind(c.options.Kind), Name: c.options.Name, SHA256: c.options.SHA256,
			AllowPickle: c.models.AllowPickle, Force: c.options.Force, Progress: show.show,
		})
		show.done()
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		c.program.learnHash(c.catalog(c.program), result, c.program.logger(&c.log))
		fmt.Fprintln(c.program.Out, result.Path)
		if !c.options.Quiet {
			c.program.tellFetched(result)
		}
	}
	return nil
}

// root is the folder that files are fetched into.
func (c *pullCommand) root() string {
	if c.options.To != "" {
		return c.options.To
	}
	return c.models.fetchRoot(c.program.Environ)
}

// fetchRoot is the first configured folder, or the user's own.
func (m *modelSettings) fetchRoot(environ map[string]string) string {
	if dirs := m.configured(); len(dirs) > 0 {
		return dirs[0]
	}
	roots, _ := m.usual(environ)
	for _, root := range roots {
		if strings.HasSuffix(root, "sdworker/models") {
			return root
		}
	}
	return "models"
}

func (p *program) tellFetched(r fetch.Result) {
	switch {
	case r.Present:
		fmt.Fprintln(p.Err, "it was there already")
	case r.Elapsed > 0:
		fmt.Fprintf(p.Err, "%d MiB in %s, sha256 %s\n", r.Bytes>>20, r.Elapsed.Round(100*time.Millisecond), r.SHA256)
	}
}

// downloadDisplay shows a download: a bar on a terminal, else a line now and
// then.
type downloadDisplay struct {
	program *program
	name    string
	quiet   bool
	bar     *progressbar.ProgressBar
	spoken  time.Time
}

func (p *program) newDownloadDisplay(name string, quiet bool) *downloadDisplay {
	return &downloadDisplay{program: p, name: name, quiet: quiet}
}

func (d *downloadDisplay) show(p fetch.Progress) {
	switch {
	case d.quiet:
	case isTerminal(d.program.Err):
		if d.bar == nil {
			d.bar = progressbar.NewOptions64(p.Total, progressbar.OptionSetWriter(d.program.Err), progressbar.OptionSetDescription(d.name),
				progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionSetWidth(30),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { fmt.Fprintln(d.program.Err) }))
		}
		_ = d.bar.Set64(p.Done)
	case time.Since(d.spoken) >= linesEvery:
		d.spoken = time.Now()
		rate := 0.0
		if s := p.Elapsed.Seconds(); s > 0 {
			rate = float64(p.Done-p.Resumed) / s / (1 << 20)
		}
		if p.Total > 0 {
			fmt.Fprintf(d.program.Err, "%s: %d of %d MiB, %.1f MiB/s\n", d.name, p.Done>>20, p.Total>>20, rate)
		} else {
			fmt.Fprintf(d.program.Err, "%s: %d MiB, %.1f MiB/s\n", d.name, p.Done>>20, rate)
		}
	}
}

func (d *downloadDisplay) done() {
	if d.bar != nil && !d.bar.IsFinished() {
		_ = d.bar.Exit() // leaves the bar as it is
		fmt.Fprintln(d.program.Err)
	}
}
