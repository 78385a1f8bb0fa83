package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/internal/cli"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
)

// findSettings say what happens when the chosen checkpoint is not there.
type findSettings struct {
	Fetch bool `env:"FETCH_MODEL" envDefault:"true" doc:"when no file fits MODEL, fetch it: MODEL may be anything that worker models pull takes"`
}

func (f *findSettings) settings() cli.Settings {
	return cli.Settings{Title: "Model at start:", Target: f, Environment: true}
}

// findModel fetches the chosen checkpoint if it is missing, and sets the choice
// to its path. If none is chosen and the folders hold none, it fetches
// fallback, unless that is "".
func (p *program) findModel(ctx context.Context, c *common, find *findSettings, f *fetchSettings, fallback string, log zerolog.Logger) error {
	absent, err := p.lookUpModel(c, find, fallback, log)
	if err != nil || absent == nil {
		return err
	}
	return p.fetchModel(ctx, c, f, absent, log)
}

// absentModel is a checkpoint that is not there and may be fetched.
type absentModel struct {
	ref     string // as worker models pull takes it
	missing error  // what looking it up said
}

// lookUpModel returns nil if the chosen checkpoint exists or, when none is
// chosen, if any exists. It fails if there is none that can be fetched.
func (p *program) lookUpModel(c *common, find *findSettings, fallback string, log zerolog.Logger) (*absentModel, error) {
	listed := catalog.New(c.models.config(p.Environ, c.engine.Model))
	if err := listed.Refresh(); err != nil {
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	ref := c.engine.Model
	found, missing := listed.Resolve(ref)
	if missing == nil {
		log.Info().Str("file", found.Path).Msg("model found")
		return nil, nil
	}
	if ref == "" {
		ref = fallback
	}
	if fault.CodeOf(missing) != fault.NotFound || !find.Fetch || ref == "" {
		return nil, missing
	}
	return &absentModel{ref, missing}, nil
}

// fetchModel fetches a checkpoint and chooses it by its path.
func (p *program) fetchModel(ctx context.Context, c *common, f *fetchSettings, absent *absentModel, log zerolog.Logger) error {
	fetcher := p.newFetcher(f, &c.log, nil)
	defer fetcher.Close()
	spoken := time.Now()
	result, err := fetcher.Pull(ctx, absent.ref, c.models.fetchRoot(p.Environ), fetch.PullOptions{
		Kind: models.Checkpoint, AllowPickle: c.models.AllowPickle,
		Progress: func(p fetch.Progress) {
			if time.Since(spoken) >= linesEvery {
				spoken = time.Now()
				log.Info().Str("model", absent.ref).Int64("mib", p.Done>>20).Int64("of_mib", p.Total>>20).Msg("fetching")
			}
		},
	})
	if err != nil {
		return fmt.Errorf("%s; nor can it be fetched: %w", fault.Message(absent.missing), err)
	}
	p.learnHash(catalog.New(c.models.config(p.Environ, c.engine.Model)), result, log)
	c.engine.Model = result.Path
	return nil
}
