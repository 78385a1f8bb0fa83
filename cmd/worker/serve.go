package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"sdworker/api/metrics"
	"sdworker/api/runpod"
	"sdworker/api/sdapi"
	"sdworker/inference"
)

var serveVerb = &verb{
	name: "serve", short: "serve the AUTOMATIC1111 HTTP API",
	long: `It accepts connections at once and loads the model in the background; requests
for pictures wait for it. A --model that is not there is fetched before, if worker
models pull knows it. GET /ping answers 204 meanwhile and 200 when it is
ready, as RunPod's load balancer asks.`,
	settings: func() []settings { return new(serveCommand).settings() },
	run: func(ctx context.Context, p *program, c *call) error {
		s := &serveCommand{program: p}
		if err := c.load(p.environ, s.settings()...); err != nil {
			return err
		}
		return s.run(ctx, p.logger(&s.common.log))
	},
}

// serveCommand is one run of worker serve.
type serveCommand struct {
	program *program
	common  common
	api     apiSettings
	serving serving
	access  access
	engine  supervision
	find    findSettings
	fetch   fetchSettings
}

func (s *serveCommand) settings() []settings {
	own := []settings{servingSettings(&s.serving), accessSettings(&s.access), apiSettingsOf(&s.api), supervisionSettings(&s.engine)}
	return append(own, append(s.common.settings(), findSettingsOf(&s.find), fetchSettingsOf(&s.fetch))...)
}

func (s *serveCommand) run(ctx context.Context, log zerolog.Logger) error {
	if s.common.engine.Model != "" { // without a choice it also serves while there is no model
		if err := s.program.findModel(ctx, &s.common, &s.find, &s.fetch, "", log); err != nil {
			return err
		}
	}
	counts := metrics.New()
	gen := counts.Observe(newSupervisor(s.program.environ, &s.common, &s.engine, log, counts.EngineStarted))
	defer gen.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	api, err := newStack(s.program, &s.common, &s.api, gen, log, func(cfg *sdapi.Config) {
		s.access.apply(cfg)
		cfg.OtherPaths = otherPaths()
		if s.access.ServerStop {
			cfg.ServerStop = func() { stop(errors.New("stopped by a client")) }
		}
	})
	if err != nil {
		return err
	}
	counts.Watch(api.queue)
	site := newSite(api, counts, s.access.MaxBody)
	defer site.Close()
	api.header = s.access.header()
	server, err := listen(ctx, s.serving.addr(), &s.serving, log)
	if err != nil {
		return err
	}

	server.hurry = func() { api.queue.Finish(errShuttingDown) }

	var background sync.WaitGroup
	defer background.Wait()
	defer stop(nil)
	var ready readiness
	background.Go(func() { ready.prepare(ctx, api) })
	if s.serving.PortHealth != 0 && s.serving.PortHealth != s.serving.Port {
		health, err := listen(ctx, net.JoinHostPort("", strconv.Itoa(s.serving.PortHealth)), &serving{ShutdownGrace: s.serving.ShutdownGrace}, log)
		if err != nil {
			return err
		}
		ping := runpod.Balanced(http.NotFoundHandler(), ready.of(gen))
		background.Go(func() { _ = health.serve(ctx, ping) }) // it ends with ctx only
	}
	fmt.Fprintf(s.program.err, "listening on %s\n", server.url())
	return server.serve(ctx, runpod.Balanced(counts.Requests(site, countedRoutes...), ready.of(gen)))
}

var errShuttingDown = inference.Errorf(inference.Canceled, "queue", "the server is shutting down, try another one")

// readiness is what health checks are told.
type readiness struct{ failed atomic.Bool }

// prepare loads the model, then works in the background until ctx ends.
func (r *readiness) prepare(ctx context.Context, api *stack) {
	if err := api.loadModel(ctx); err != nil && ctx.Err() == nil {
		r.failed.Store(true)
		api.log.Error().Err(err).Msg("the model cannot be loaded; requests will try again")
	}
	api.hashModels(ctx)
}

// of tells the state of gen. It is ready once a model is loaded, however that
// came about.
func (r *readiness) of(gen inference.Generator) func() runpod.Health {
	return func() runpod.Health {
		switch status := gen.Status(); {
		case status.Ready && status.Engine.Checkpoint != "":
			return runpod.Ready
		case r.failed.Load():
			return runpod.Unhealthy
		default:
			return runpod.Loading
		}
	}
}
