package main

import (
	"context"
	"flag"
	"fmt"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rs/zerolog"

	"sdworker/api/runpod"
	"sdworker/api/runpod/bridge"
	"sdworker/api/runpod/bucket"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
	"sdworker/models/fetch"
)

var runpodVerb = &verb{
	name: "runpod", short: "work as a RunPod serverless worker, or try that without an account",
	long: `With RUNPOD_WEBHOOK_GET_JOB set, as RunPod does, jobs are taken from the
endpoint's queue; with PORT set, too, as for a load-balancing endpoint, the HTTP
API is served. Elsewhere one job from --test_input or test_input.json is done, or
RunPod's endpoint API is served with --rp_serve_api.`,
	settings: func() []settings { return new(runpodCommand).settings() },
	foreign: func(fs *flag.FlagSet) any {
		f := new(runpod.Flags)
		f.Register(fs)
		return f
	},
	run: func(ctx context.Context, p *program, c *call) error {
		r := &runpodCommand{program: p, flags: *c.foreign.(*runpod.Flags)}
		if err := c.load(p.environ, r.settings()...); err != nil {
			return err
		}
		r.bridge.Bucket = r.bucket
		if errs := r.bridge.Validate(); errs != nil { // now, not after minutes of loading
			return &usageError{errs: errs}
		}
		return r.run(ctx, c)
	},
}

// startSettings say what happens before the first job.
type startSettings struct {
	WarmUp bool `env:"WARM_UP" envDefault:"true" doc:"make a picture before the first job"`
}

// runpodCommand is one run of worker runpod.
type runpodCommand struct {
	program *program
	flags   runpod.Flags
	common  common
	api     apiSettings
	start   startSettings
	find    findSettings
	fetch   fetchSettings
	bridge  bridge.Config
	bucket  bucket.Config
	engine  supervision
}

func (r *runpodCommand) settings() []settings {
	own := []settings{startSettingsOf(&r.start), findSettingsOf(&r.find), bridgeSettings(&r.bridge), bucketSettings(&r.bucket)}
	return append(own, append(r.common.settings(), apiSettingsOf(&r.api), fetchSettingsOf(&r.fetch), supervisionSettings(&r.engine))...)
}

func startSettingsOf(s *startSettings) settings {
	return settings{title: "Start:", target: s, environment: true}
}

func bridgeSettings(b *bridge.Config) settings {
	return settings{title: "Jobs:", target: b, environment: true}
}

func bucketSettings(b *bucket.Config) settings {
	return settings{title: "Bucket for results:", target: b, environment: true}
}

func (r *runpodCommand) run(ctx context.Context, c *call) error {
	cfg, err := runpod.LoadConfig(r.program.environ)
	if err != nil {
		return &usageError{errs: []error{err}}
	}
	if _, balanced := r.program.environ["PORT"]; balanced && cfg.GetJob == "" && !r.flags.ServeAPI && r.flags.TestInput == "" {
		return r.serve(ctx, c)
	}
	signal.Ignore(syscall.SIGHUP) // the platform ends workers by SIGTERM
	cfg = r.flags.Apply(cfg)
	log := r.logger(cfg)
	cfg.Log = log
	cfg.Overlap = true // the queue in front of the engine keeps the order

	gen := newSupervisor(r.program.environ, &r.common, &r.engine, log, func() {})
	defer gen.Close()
	ctx, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()

	var fetcher bridge.Fetcher
	if r.bridge.Downloads {
		f := r.program.newFetcher(&r.fetch, &r.common.log, func() []string { return []string{gen.Status().Engine.Checkpoint} })
		defer f.Close()
		fetcher = f
	}
	phases := runpod.NewPhases(log)
	var handler atomic.Pointer[runpod.Handler]
	cfg.Prepare = func(prepare context.Context) error {
		s, err := r.prepare(prepare, phases, gen, log)
		if err != nil {
			return err
		}
		h, err := r.handler(s, fetcher)
		if err != nil {
			return err
		}
		handler.Store(&h)
		background.Go(func() {
			s.hashModels(ctx)
			s.Close()
		})
		return nil
	}
	work := func(ctx context.Context, job runpod.Job) (any, error) { return (*handler.Load())(ctx, job) } // after Prepare
	return runpod.Run(ctx, work, cfg, r.flags, r.program.out)
}

// logger writes lines for RunPod's console on standard output, where it reads
// them; in the local modes, whose results go there, the usual lines on standard
// error. The level is RunPod's, where it is given, for the engine's process too.
func (r *runpodCommand) logger(cfg runpod.Config) zerolog.Logger {
	console := runpod.NewLogger(r.program.out, cfg)
	remote := cfg.GetJob != "" || cfg.RealtimePort > 0
	if remote || cfg.LogLevel != "" || cfg.DebugLevel != "" {
		r.common.log.Level = console.GetLevel().String()
	}
	if remote {
		return console
	}
	return r.program.logger(&r.common.log)
}

// serve is the worker of a load-balancing endpoint: worker serve on a device that
// will do, with the default model where there is none.
func (r *runpodCommand) serve(ctx context.Context, c *call) error {
	s := &serveCommand{program: r.program}
	if err := c.load(r.program.environ, s.settings()...); err != nil {
		return err
	}
	log := s.program.logger(&s.common.log)
	err := runpod.NewPhases(log).Run(ctx, "check device", func(ctx context.Context) error { return r.checkDevice(ctx, log) })
	if err != nil {
		return err
	}
	absent, err := s.program.lookUpModel(&s.common, &s.find, fetch.Default, log)
	if err != nil {
		return err
	}
	if absent != nil {
		s.common.engine.Model = absent.ref
	}
	return s.run(ctx, log)
}

// handler turns jobs into requests to the API.
func (r *runpodCommand) handler(s *services, fetcher bridge.Fetcher) (runpod.Handler, error) {
	return bridge.New(bridge.Options{
		Config: r.bridge,
		API:    s.api,
		SplitSampler: func(name string) (base, scheduler string, ok bool) {
			base, scheduler = sampler.ParseLegacy(name)
			return base, scheduler, base != "" && scheduler != ""
		},
		Watch: func(ctx context.Context, report func(any)) context.Context {
			return inference.WithObserver(ctx, func(e inference.Event) {
				if e.Kind == inference.Progressed {
					report(jobProgress(e.Job.Progress))
				}
			})
		},
		Fields:    requestFields,
		Recode:    recode,
		Fetcher:   fetcher,
		ModelDirs: r.common.models.roots(r.program.environ),
	})
}

// requestFields names the fields of a generation route.
func requestFields(route string) []string {
	model := &schema.Txt2Img
	if route == "img2img" {
		model = &schema.Img2Img
	}
	names := make([]string, len(model.Fields))
	for i, f := range model.Fields {
		names[i] = f.Name
	}
	return names
}

// progressReport is what a job's status shows while it runs.
type progressReport struct {
	Phase    inference.Phase `json:"phase"`
	Progress float64         `json:"progress"` // 0..1 over all passes
	Step     int             `json:"step"`
	Steps    int             `json:"steps"`
}

func jobProgress(p inference.Progress) progressReport {
	return progressReport{Phase: p.Phase, Progress: p.Fraction(), Step: p.Step, Steps: p.Steps}
}

// maxRecoded bounds a picture that is re-encoded, in pixels.
const maxRecoded = inference.MaxSide * inference.MaxSide

// recode makes a smaller file of a picture. What it says about itself is lost
// but for the parameters.
func recode(picture []byte, format string, quality int) ([]byte, error) {
	decoded, err := imageio.Decode(picture, maxRecoded)
	if err != nil {
		return nil, err
	}
	m := decoded.DropAlpha()
	switch format {
	case "jpeg":
		return imageio.EncodeJPEG(m, quality, "")
	case "webp":
		return imageio.EncodeWebP(m, quality, false, "")
	}
	return nil, fmt.Errorf("pictures cannot be re-encoded as %q, only as jpeg or webp", format)
}
