package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/rs/zerolog"

	"sdworker/models"
	"sdworker/models/fetch"
)

var modelsVerb = &verb{
	name: "models", short: "list, fetch, check, convert and remove model files",
	verbs: []*verb{modelsListVerb, modelsPullVerb, modelsInfoVerb, modelsVerifyVerb, modelsConvertVerb, modelsRemoveVerb, modelsSynthVerb},
}

// fetchSettings say how model files are fetched. The tokens are read by package
// fetch: HF_TOKEN and CIVITAI_TOKEN.
type fetchSettings struct {
	CacheLimit int64 `env:"MODELS_CACHE_LIMIT" envDefault:"0" doc:"bytes that fetched files may take together, 0 = no limit; the ones unused for longest are removed, never others"`
	Parallel   int   `env:"FETCH_PARALLEL" envDefault:"8" doc:"connections per file"`
}

func (f *fetchSettings) validate() []error {
	var errs []error
	if f.CacheLimit < 0 {
		errs = append(errs, fmt.Errorf("MODELS_CACHE_LIMIT is %d, it must not be negative", f.CacheLimit))
	}
	if f.Parallel < 1 {
		errs = append(errs, fmt.Errorf("FETCH_PARALLEL is %d, it must be at least 1", f.Parallel))
	}
	return errs
}

func fetchSettingsOf(f *fetchSettings) settings {
	return settings{title: "Fetching:", target: f, environment: true}
}

// modelsCommand is what the commands on model files share.
type modelsCommand struct {
	models modelSettings
	log    logSettings
}

func (m *modelsCommand) settings() []settings {
	return []settings{
		{title: "Models:", target: &m.models, environment: true},
		{title: "Log:", target: &m.log, environment: true},
	}
}

// catalog lists what there is.
func (m *modelsCommand) catalog(p *program) *models.Catalog {
	c := models.NewCatalog(m.models.config(p.environ, ""))
	if err := c.Refresh(); err != nil {
		log := p.logger(&m.log)
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	return c
}

// newFetcher returns what fetches files for this program. inUse, unless nil,
// names files that a full cache must keep, and lets requests name what is fetched.
func (p *program) newFetcher(f *fetchSettings, log *logSettings, inUse func() []string) *fetch.Fetcher {
	config := fetch.Config{
		AllowRequestURLs: inUse != nil,
		Getenv:           func(name string) string { return p.environ[name] },
		Log:              p.logger(log),
		Parallel:         f.Parallel,
	}
	if cache := p.fetchCache(f, inUse); cache.Record != "" {
		cache.Log = config.Log
		config.Cache = cache
	}
	return fetch.New(config)
}

func (p *program) fetchCache(f *fetchSettings, inUse func() []string) *fetch.Cache {
	return &fetch.Cache{Record: cacheFile(p.environ, "fetched.json"), Limit: f.CacheLimit, InUse: inUse}
}

// learnHash keeps the hash that a download computed, so that the file is not read
// again for it.
func (p *program) learnHash(catalog *models.Catalog, fetched fetch.Result, log zerolog.Logger) {
	if fetched.SHA256 == "" {
		return
	}
	if err := catalog.LearnSHA256(fetched.Path, fetched.SHA256); err != nil {
		log.Warn().Err(err).Msg("the hash of a fetched file is not kept")
	}
}

// listOptions are the flags of worker models ls.
type listOptions struct {
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var modelsListVerb = &verb{
	name: "ls", short: "list the model files found",
	settings: func() []settings {
		return append([]settings{{title: "Output:", target: new(listOptions)}}, new(modelsCommand).settings()...)
	},
	run: func(_ context.Context, p *program, c *call) error {
		var m modelsCommand
		var o listOptions
		if err := c.load(p.environ, append([]settings{{target: &o}}, m.settings()...)...); err != nil {
			return err
		}
		return m.list(p, o)
	},
}

func (m *modelsCommand) list(p *program, o listOptions) error {
	catalog := m.catalog(p)
	files := []models.File{}
	for _, kind := range models.Kinds() {
		files = append(files, catalog.List(kind)...)
	}
	if o.JSON {
		return printJSON(p.out, files)
	}
	if len(files) == 0 {
		fmt.Fprintf(p.err, "no model files found; try: worker models pull %s\n", fetch.Default)
		return nil
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tHOLDS\tNAME\tHASH\tMIB\tPATH")
	for _, f := range files {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", f.Kind, holds(f), printable(f.Name), f.ShortHash(), f.Bytes>>20, printable(f.Path))
	}
	return w.Flush()
}

// holds tells what the header of a listed file says it is: its family, or what
// keeps it from being used.
func holds(f models.File) string {
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
