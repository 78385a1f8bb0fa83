package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/a1111"
	"sdworker/api/budget"
	"sdworker/api/gate"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/picture"
	"sdworker/inference"
	"sdworker/internal/cli"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
)

// services are what all verbs that make pictures have: a generator, the queue in
// front of it, and the A1111 API in front of both.
type services struct {
	gen     inference.Generator
	queue   *inference.Queue
	catalog *catalog.Catalog
	server  *sdapi.Server
	door    gate.Door    // of server, within the limits of a request
	api     a1111.Client // the same for callers in this process, who need no credentials
	memory  *budget.Budget
	log     zerolog.Logger
}

// apiSettings are the settings of the API that all doors share.
type apiSettings struct {
	OptionsFile string `env:"OPTIONS_FILE" doc:"A1111's config.json, read at start and written when a client changes options; without it changes last until the end"`
	StylesFile  string `env:"STYLES_FILE" envDefault:"styles.csv" doc:"prompt styles, as A1111 keeps them"`
	OutputDir   string `env:"OUTPUT_DIR" doc:"where pictures of requests with save_images go"`
	QueueDepth  int    `env:"QUEUE_DEPTH" envDefault:"64" doc:"jobs that may wait or run, 0 = no limit; more are refused"`
	Memory      int64  `env:"MEMORY_BUDGET" doc:"bytes that requests in flight may hold together, in bodies, decoded pictures and replies; without it a quarter of what the container may use, and half where the engine has a GPU"`
	Provenance  string `env:"PROVENANCE" doc:"iptc: files of generated pictures have an XMP packet with IPTC's DigitalSourceType trainedAlgorithmicMedia; without it they are as A1111's"`
	ImageURLs   bool   `env:"IMAGE_URLS" doc:"let requests name pictures by http and https addresses, never private ones"`
}

func (a *apiSettings) settings() cli.Settings {
	return cli.Settings{Title: "API:", Target: a, Environment: true}
}

func (a *apiSettings) Validate() []error {
	var errs []error
	if a.QueueDepth < 0 {
		errs = append(errs, fmt.Errorf("QUEUE_DEPTH is %d, it must not be negative", a.QueueDepth))
	}
	if p := picture.Provenance(a.Provenance); p != picture.ProvenanceNone && p != picture.ProvenanceIPTC {
		errs = append(errs, fmt.Errorf("PROVENANCE is %q, it must be iptc or nothing", a.Provenance))
	}
	if _, _, err := options.Open(a.OptionsFile); err != nil {
		errs = append(errs, fmt.Errorf("OPTIONS_FILE cannot be used: %w", err))
	}
	if a.Memory != 0 && a.Memory < minMemoryBudget {
		errs = append(errs, fmt.Errorf("MEMORY_BUDGET is %d, it must be at least %d", a.Memory, minMemoryBudget))
	}
	return errs
}

// minMemoryBudget is enough for a request with one large picture, in bytes.
const minMemoryBudget = 64 << 20

// limitSettings bound one request to the API.
type limitSettings struct {
	MaxBody        int64         `env:"MAX_BODY" envDefault:"268435456" doc:"largest request body in bytes"`
	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"0" doc:"longest time for one request, such as 10m; 0 = no limit"`
}

func (l *limitSettings) settings() cli.Settings {
	return cli.Settings{Title: "Limits of a request:", Target: l, Environment: true}
}

// defaultLimits are those of requests that do not come over the network: their
// bodies are in memory already.
var defaultLimits = limitSettings{MaxBody: 256 << 20}

func (l *limitSettings) Validate() []error {
	var errs []error
	if l.MaxBody < 1 {
		errs = append(errs, fmt.Errorf("MAX_BODY is %d, it must be positive", l.MaxBody))
	}
	if l.RequestTimeout < 0 {
		errs = append(errs, fmt.Errorf("REQUEST_TIMEOUT is %s, it must not be negative", l.RequestTimeout))
	}
	return errs
}

// newServices builds the services on gen. more, unless nil, completes the API's
// configuration.
func newServices(p *program, cfg *common, api *apiSettings, gen inference.Generator, log zerolog.Logger, within limitSettings, more func(*sdapi.Config)) (*services, error) {
	files := catalog.New(cfg.models.config(p.Environ, cfg.engine.Model))
	err := files.Refresh()
	if err != nil {
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	chosen := ""
	if cfg.engine.Model != "" {
		found, err := files.Resolve(cfg.engine.Model)
		if err != nil {
			return nil, err
		}
		chosen = found.Title()
	}
	used := newRecentModels(gen, &fetch.Cache{Record: p.fetchRecord()})
	s := &services{gen: gen, queue: inference.NewQueue(used, inference.QueueOptions{Depth: api.QueueDepth, Jobs: cfg.engine.jobs()}), catalog: files, log: log}
	config := sdapi.Config{Config: generation.Config{
		Queue: s.queue, Catalog: files, Checkpoint: chosen,
		OptionsFile: api.OptionsFile, StylesFiles: []string{api.StylesFile}, Wildcards: cfg.models.wildcards(p.Environ), OutputDir: api.OutputDir, ImageURLs: api.ImageURLs, Provenance: picture.Provenance(api.Provenance),
		Log: log,
	}}
	if more != nil {
		more(&config)
	}
	if s.server, err = sdapi.New(config); err != nil {
		return nil, err
	}
	s.memory = budget.New(api.Memory)
	s.door = s.server.Door()
	s.door.Around = []gate.Middleware{gate.Deadline(within.RequestTimeout)}
	s.api = a1111.Client{Handler: gate.NewMux(gate.Policy{MaxBody: within.MaxBody}, []gate.Middleware{s.memory.Handler}, s.door)}
	return s, nil
}

// refreshOnHangup looks at the model folders at each SIGHUP, until ctx ends. The
// signal would end the program, which a terminal that is closed should not.
func (s *services) refreshOnHangup(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			err := s.catalog.Refresh()
			s.log.Info().Err(err).Msg("SIGHUP: looked at the model folders again")
		case <-ctx.Done():
			return
		}
	}
}

// Close ends what goes on beside the requests.
func (s *services) Close() error {
	s.catalog.Close()
	return s.server.Close()
}

// loadModel makes the chosen checkpoint ready, so that the first job need not
// wait for it.
func (s *services) loadModel(ctx context.Context) error {
	var reply struct{}
	return s.api.Call(ctx, a1111.ReloadCheckpoint, struct{}{}, &reply)
}

// hashModels computes the hashes that A1111 shows, one file at a time, while no
// job needs disk and processor.
func (s *services) hashModels(ctx context.Context) {
	s.catalog.QueueHash(s.catalog.Usable(s.catalog.Checkpoints())...)
	s.catalog.RunHasher(ctx, s.idle, func(path, sum string, err error) {
		switch {
		case err != nil && sum != "":
			s.log.Warn().Err(err).Str("file", path).Msg("the hash of a model file cannot be kept")
		case err != nil:
			s.log.Warn().Err(err).Str("file", path).Msg("a model file cannot be hashed")
		}
	})
}

// quiet is how long the queue must be empty to count as idle.
const quiet = 2 * time.Second

// idle returns when the queue has been empty for a while.
func (s *services) idle(ctx context.Context) error {
	look := time.NewTicker(quiet)
	defer look.Stop()
	for {
		before := s.queue.Last().Finished
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if len(s.queue.IDs()) == 0 && s.queue.Last().Finished.Equal(before) {
			return nil
		}
	}
}
