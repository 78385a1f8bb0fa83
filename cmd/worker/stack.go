package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/sdapi"
	"sdworker/inference"
)

// stack is what all three doors share: the API in front of a queue in front of a
// generator.
type stack struct {
	gen     inference.Generator
	queue   *inference.Queue
	catalog *catalog
	api     http.Handler
	header  http.Header // credentials for calls of our own
	log     zerolog.Logger
}

// apiSettings are the settings of the API that all doors share.
type apiSettings struct {
	OptionsFile string `env:"OPTIONS_FILE" doc:"A1111's config.json, read at start and written when a client changes options; without it changes last until the end"`
	StylesFile  string `env:"STYLES_FILE" envDefault:"styles.csv" doc:"prompt styles, as A1111 keeps them"`
	OutputDir   string `env:"OUTPUT_DIR" doc:"where pictures of requests with save_images go"`
	QueueDepth  int    `env:"QUEUE_DEPTH" envDefault:"64" doc:"jobs that may wait or run, 0 = no limit; more are refused"`
	ImageURLs   bool   `env:"IMAGE_URLS" doc:"let requests name pictures by http and https addresses, never private ones"`
}

func (a *apiSettings) validate() []error {
	if a.QueueDepth < 0 {
		return []error{fmt.Errorf("QUEUE_DEPTH is %d, it must not be negative", a.QueueDepth)}
	}
	return nil
}

// newStack builds the stack on gen. more, unless nil, completes the API's
// configuration.
func newStack(p *program, cfg *common, api *apiSettings, gen inference.Generator, log zerolog.Logger, more func(*sdapi.Config)) (*stack, error) {
	models, err := newCatalog(cfg.models.config(p.environ, cfg.engine.Model))
	if err != nil {
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	chosen := ""
	if cfg.engine.Model != "" {
		found, err := models.Resolve(cfg.engine.Model)
		if err != nil {
			return nil, err
		}
		chosen = found.Path
	}
	s := &stack{gen: gen, queue: inference.NewQueue(observed{newRecent(gen, p.fetchCache(new(fetchSettings), nil))}, api.QueueDepth), catalog: models, log: log}
	config := sdapi.Config{
		Queue: s.queue, Catalog: models, Checkpoint: chosen,
		OptionsFile: api.OptionsFile, StylesFiles: []string{api.StylesFile}, OutputDir: api.OutputDir, ImageURLs: api.ImageURLs,
		Log: log,
	}
	if more != nil {
		more(&config)
	}
	s.api, err = sdapi.New(config)
	return s, err
}

// loadModel makes the chosen checkpoint ready, so that the first job need not
// wait for it.
func (s *stack) loadModel(ctx context.Context) error {
	var reply struct{}
	return apiCall(ctx, s.api, "/sdapi/v1/reload-checkpoint", s.header, struct{}{}, &reply)
}

// hashModels computes the hashes that A1111 shows, one file at a time, while no
// job needs disk and processor.
func (s *stack) hashModels(ctx context.Context) {
	s.catalog.QueueHash(s.catalog.Catalog.Checkpoints()...)
	s.catalog.RunHasher(ctx, s.idle, func(path, _ string, err error) {
		if err != nil {
			s.log.Warn().Err(err).Str("file", path).Msg("a model file cannot be hashed")
		}
	})
}

// quiet is how long the queue must be empty to count as idle.
const quiet = 2 * time.Second

// idle waits for an idle queue.
func (s *stack) idle(ctx context.Context) error {
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
