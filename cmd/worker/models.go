package main

import (
	"fmt"

	"github.com/rs/zerolog"

	"sdworker/internal/cli"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
)

var modelsVerb = &verb{
	Name: "models", Short: "list, fetch, check, convert and remove model files",
	Verbs: []*verb{modelsListVerb, modelsPullVerb, modelsInfoVerb, modelsVerifyVerb, modelsConvertVerb, modelsRemoveVerb, modelsSynthVerb},
}

// fetchSettings say how model files are fetched. The tokens are read by package
// fetch: HF_TOKEN and CIVITAI_TOKEN.
type fetchSettings struct {
	CacheLimit int64 `env:"MODELS_CACHE_LIMIT" envDefault:"0" doc:"bytes that fetched files may take together, 0 = no limit; the ones unused for longest are removed, never others"`
	Parallel   int   `env:"FETCH_PARALLEL" envDefault:"8" doc:"connections per file"`
}

func (f *fetchSettings) settings() cli.Settings {
	return cli.Settings{Title: "Fetching:", Target: f, Environment: true}
}

func (f *fetchSettings) Validate() []error {
	var errs []error
	if f.CacheLimit < 0 {
		errs = append(errs, fmt.Errorf("MODELS_CACHE_LIMIT is %d, it must not be negative", f.CacheLimit))
	}
	if f.Parallel < 1 {
		errs = append(errs, fmt.Errorf("FETCH_PARALLEL is %d, it must be at least 1", f.Parallel))
	}
	return errs
}

// modelsCommand is what the commands on model files share.
type modelsCommand struct {
	models modelSettings
	log    logSettings
}

func (m *modelsCommand) settings() []cli.Settings {
	return []cli.Settings{
		{Title: "Models:", Target: &m.models, Environment: true},
		{Title: "Log:", Target: &m.log, Environment: true},
	}
}

// catalog lists what there is.
func (m *modelsCommand) catalog(p *program) *catalog.Catalog {
	c := catalog.New(m.models.config(p.Environ, ""))
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
		Getenv:           func(name string) string { return p.Environ[name] },
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
	return &fetch.Cache{Record: p.fetchRecord(), Limit: f.CacheLimit, InUse: inUse}
}

// fetchRecord is the file that lists what was fetched.
func (p *program) fetchRecord() string { return cacheFile(p.Environ, "fetched.json") }

// learnHash keeps the hash that a download computed, so that the file is not read
// again for it.
func (p *program) learnHash(catalog *catalog.Catalog, fetched fetch.Result, log zerolog.Logger) {
	if fetched.SHA256 == "" {
		return
	}
	if err := catalog.LearnSHA256(fetched.Path, fetched.SHA256); err != nil {
		log.Warn().Err(err).Msg("the hash of a fetched file is not kept")
	}
}
