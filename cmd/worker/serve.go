package main

import (
	"cmp"
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
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/internal/cli"
	"sdworker/internal/gpustat"
	"sdworker/internal/httpd"
)

var serveVerb = &verb{
	Name: "serve", Short: "serve the AUTOMATIC1111 HTTP API",
	Long: `It accepts connections at once and loads the model in the background; requests
for pictures wait for it. A --model that is not there is fetched first, if worker
models pull knows it; requests are answered with 503 until it is. GET /ping answers
204 meanwhile and 200 when the model is loaded, as RunPod's load balancer asks.`,
	Examples: []string{
		"worker serve",
		"worker serve --model deliberate-v6 --addr 0.0.0.0:7860 --api-auth ann:secret",
		"worker serve --models-dir /mnt/a1111/models --device cuda0,cuda1",
	},
	New: func() cli.Command[*program] { return new(serveCommand) },
}

// serveCommand is one run of worker serve.
type serveCommand struct {
	program *program
	common  common
	api     apiSettings
	serving serverSettings
	access  accessSettings
	hooks   webhookSettings
	limits  limitSettings
	trace   traceSettings
	engine  supervisionSettings
	find    findSettings
	fetch   fetchSettings
	demo    demoSettings
}

// Settings are those of the command.
func (s *serveCommand) Settings() []cli.Settings {
	own := []cli.Settings{s.serving.settings(), s.access.settings(), s.hooks.settings(), s.limits.settings(), s.trace.settings(), s.api.settings(), s.engine.settings()}
	return append(own, append(s.common.settings(), s.find.settings(), s.fetch.settings(), s.demo.settings())...)
}

// Run serves until ctx ends.
func (s *serveCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	s.program = p
	return s.run(ctx, p.logger(&s.common.log))
}

func (s *serveCommand) run(ctx context.Context, log zerolog.Logger) error {
	prepare, err := s.missing(log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	startup := httpd.NewStartup()
	if prepare == nil {
		closing, err := s.open(ctx, stop, startup, log)
		if err != nil {
			return err
		}
		defer closing()
		return s.listen(ctx, startup, log)
	}

	// Fetching takes minutes, in which health checks want answers.
	served := make(chan error, 1)
	go func() {
		err := s.listen(ctx, startup, log)
		stop(err)
		served <- err
	}()
	err = prepare(ctx)
	if err == nil {
		var closing func()
		if closing, err = s.open(ctx, stop, startup, log); err == nil {
			defer closing()
			return <-served
		}
	}
	if ctx.Err() != nil {
		return <-served
	}
	stop(err)
	return cmp.Or(<-served, err)
}

// missing returns the function that fetches a missing model, nil if no model is
// missing.
func (s *serveCommand) missing(log zerolog.Logger) (prepare func(context.Context) error, err error) {
	use, err := s.program.useDemo(&s.common, &s.demo)
	if use && err == nil {
		return func(ctx context.Context) error { return s.program.prepareDemo(ctx, &s.common, &s.demo, log) }, nil
	}
	if s.common.engine.Model == "" || err != nil { // without a choice it also serves while there is no model
		return nil, err
	}
	absent, err := s.program.lookUpModel(&s.common, &s.find, "", log)
	if absent == nil || err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return s.program.fetchModel(ctx, &s.common, &s.fetch, absent, log)
	}, nil
}

// open starts the engine's process and the API in front of it, opens startup to them
// and begins to load the model. closing ends what it started.
func (s *serveCommand) open(ctx context.Context, stop context.CancelCauseFunc, startup *httpd.Startup, log zerolog.Logger) (closing func(), err error) {
	traces, err := s.trace.start(ctx, log)
	if err != nil {
		return nil, err
	}
	counts := metrics.New()
	shareMemory(&s.common.engine, &s.api, log)
	counts.Build(version(), sdcpp.Version().Backend)
	counts.Machine(hostMemory(), gpustat.Read)
	gen := counts.Observe(traces.Observe(newSupervisor(s.program.Environ, &s.common, &s.engine, log, counts)))
	policy := s.access.policy(s.limits.MaxBody, s.serving.beyond())
	api, err := newServices(s.program, &s.common, &s.api, gen, log, s.limits, func(cfg *sdapi.Config) {
		cfg.Origins, cfg.OtherPaths = policy.Origins, otherPaths()
		if s.access.ServerStop {
			cfg.ServerStop = func() { stop(errors.New("stopped by a client")) }
		}
	})
	if err != nil {
		closeTraces(traces, log)
		return nil, errors.Join(err, gen.Close())
	}
	counts.Watch(api.queue)
	mux, closeDoors := publicMux(ctx, api, policy, s.hooks.webhooks(), counts, traces)

	var background sync.WaitGroup
	var ready readiness
	working, cancel := context.WithCancel(ctx)
	background.Go(func() { ready.prepare(working, api) })
	background.Go(func() { api.refreshOnHangup(working) })
	startup.Open(&httpd.Services{
		Handler: mux, Health: ready.of(gen),
		Hurry: func() { api.queue.Finish(errShuttingDown) },
	})
	return func() {
		cancel()
		background.Wait()
		closeDoors()
		api.Close()
		gen.Close()
		closeTraces(traces, log)
	}, nil
}

// listen opens the ports and serves until ctx has ended and the last request is
// answered.
func (s *serveCommand) listen(ctx context.Context, startup *httpd.Startup, log zerolog.Logger) error {
	secure, err := s.serving.tlsConfig()
	if err != nil {
		return err
	}
	server, err := httpd.Listen(ctx, httpd.Config{
		Addr: s.serving.addr(), TLS: secure, Grace: s.serving.ShutdownGrace, Hosts: s.serving.AllowedHosts, Hurry: startup.Hurry, Log: log,
	})
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	if s.serving.PortHealth != 0 && s.serving.PortHealth != s.serving.Port {
		health, err := httpd.Listen(ctx, httpd.Config{Addr: net.JoinHostPort("", strconv.Itoa(s.serving.PortHealth)), Grace: s.serving.ShutdownGrace, Log: log})
		if err != nil {
			return err
		}
		ping := runpod.Balanced(http.NotFoundHandler(), startup.Health)
		background.Go(func() { _ = health.Serve(ctx, ping) }) // it ends with ctx only
	}
	fmt.Fprintf(s.program.Err, "listening on %s\n", server.URL())
	return server.Serve(ctx, runpod.Balanced(startup, startup.Health))
}

var errShuttingDown = fault.Errorf(fault.Canceled, "queue", "the server is shutting down, try another one")

// readiness is what health checks are told.
type readiness struct{ failed atomic.Bool }

// prepare loads the model, then works in the background until ctx ends.
func (r *readiness) prepare(ctx context.Context, api *services) {
	if err := api.loadModel(ctx); err != nil && ctx.Err() == nil {
		r.failed.Store(true)
		api.log.Error().Err(err).Msg("the model cannot be loaded; requests will try again")
	}
	api.hashModels(ctx)
}

// of returns the health of gen: ready once a model is loaded, whatever loaded
// it.
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
