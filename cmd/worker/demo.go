package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/rs/zerolog"

	"sdworker/internal/cli"
	"sdworker/models/catalog"
	"sdworker/models/demo"
)

// demoSettings say when the model that comes with the program is used.
type demoSettings struct {
	Demo *bool `env:"DEMO" doc:"use the demo model that comes with the program, a toy that draws cartoons of a few objects; without this it is used when there is no checkpoint and none is chosen, with DEMO=false never"`
}

func (d *demoSettings) settings() cli.Settings {
	return cli.Settings{Title: "Demo model:", Target: d, Environment: true}
}

// useDemo tells whether the demo model is to be used, and checks that nothing else
// is chosen as well.
func (p *program) useDemo(c *common, d *demoSettings) (bool, error) {
	switch {
	case d.Demo == nil:
		if c.engine.Model != "" || p.Environ["RUNPOD_POD_ID"] != "" { // there a toy would be taken for the model that is missing
			return false, nil
		}
		listed := catalog.New(c.models.config(p.Environ, ""))
		_ = listed.Refresh() // the catalog that is used says what cannot be read
		_, found := listed.Default()
		return !found, nil
	case *d.Demo && c.engine.Model != "":
		return false, cli.Usagef("--demo and --model exclude each other (or their variables DEMO and MODEL)")
	}
	return *d.Demo, nil
}

// demoPlace is where the demo model is kept between runs.
func (p *program) demoPlace() (demo.Place, error) {
	cache := cacheFile(p.Environ, "demo")
	if cache == "" {
		return demo.Place{}, errors.New("there is no folder for the demo model: set HOME or XDG_CACHE_HOME, or choose another model with --model")
	}
	return demo.In(filepath.Dir(cache)), nil
}

// prepareDemo puts the demo model where models are looked for and chooses it.
func (p *program) prepareDemo(ctx context.Context, c *common, d *demoSettings, log zerolog.Logger) error {
	place, err := p.demoPlace()
	if err != nil {
		return err
	}
	if err := place.Ensure(ctx); err != nil {
		return err
	}
	if err := catalog.New(c.models.config(p.Environ, "")).LearnSHA256(place.Path(demo.Checkpoint), demo.Digest); err != nil {
		log.Warn().Err(err).Msg("the hash of the demo model is not kept")
	}
	level, why := zerolog.InfoLevel, "the demo model draws"
	if d.Demo == nil {
		level, why = zerolog.WarnLevel, "no checkpoint was found, so the demo model draws"
	}
	c.models.demo = place.Root
	c.engine.Model = place.Path(demo.Checkpoint)
	log.WithLevel(level).Str("file", place.Path(demo.Checkpoint)).Msg(why + ": a toy that knows a few objects, colours and places; worker models pull deliberate-v6 fetches a real one")
	return nil
}
