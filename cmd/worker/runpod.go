package main

import (
	"context"
	"flag"
	"fmt"
	"io"
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
	"sdworker/inference/sdcpp"
	"sdworker/internal/cli"
	"sdworker/models/fetch"
)

var runpodVerb = &verb{
	Name: "runpod", Short: "work as a RunPod serverless worker, or try that without an account",
	Long: `With RUNPOD_WEBHOOK_GET_JOB set, as RunPod does, jobs are taken from the
endpoint's queue; with PORT set, too, as for a load-balancing endpoint, the HTTP
API is served. Elsewhere one job from --test_input or test_input.json is done, or
RunPod's endpoint API is served with --rp_serve_api.`,
	Examples: []string{`worker runpod --test_input '{"input": {"prompt": "a red fox", "steps": 5}}'`, "worker runpod --rp_serve_api"},
	New:      func() cli.Command[*program] { return new(runpodCommand) },
}

// startSettings say what happens before the first job.
type startSettings struct {
	WarmUp bool `env:"WARM_UP" envDefault:"true" doc:"make a picture before the first job"`
}

func (s *startSettings) settings() cli.Settings {
	return cli.Settings{Title: "Start:", Target: s, Environment: true}
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
	engine  supervisionSettings
	trace   traceSettings

	platform runpod.Config // from the environment alone
}

// Settings are those of the command.
func (r *runpodCommand) Settings() []cli.Settings {
	own := []cli.Settings{r.start.settings(), r.find.settings(), bridgeSettings(&r.bridge), bucketSettings(&r.bucket)}
	return append(own, append(r.common.settings(), r.api.settings(), r.fetch.settings(), r.engine.settings(), r.trace.settings(), platformSettings(&r.platform))...)
}

func bridgeSettings(b *bridge.Config) cli.Settings {
	return cli.Settings{Title: "Jobs:", Target: b, Environment: true}
}

func bucketSettings(b *bucket.Config) cli.Settings {
	return cli.Settings{Title: "Bucket for results:", Target: b, Environment: true}
}

func platformSettings(c *runpod.Config) cli.Settings {
	return cli.Settings{Title: "RunPod:", Target: c, Environment: true, VariablesOnly: true}
}

// RegisterFlags adds the flags of RunPod's SDK.
func (r *runpodCommand) RegisterFlags(fs *flag.FlagSet) { r.flags.Register(fs) }

// Validate checks the settings that belong together.
func (r *runpodCommand) Validate() []error {
	r.bridge.Bucket = r.bucket
	return r.bridge.Validate()
}

// Run works until ctx ends, or until the one job is done.
func (r *runpodCommand) Run(ctx context.Context, p *program, c *cli.Call) error {
	r.program = p
	cfg := r.platform
	if _, balanced := r.program.Environ["PORT"]; balanced && cfg.GetJob == "" && !r.flags.ServeAPI && r.flags.TestInput == "" {
		return r.serve(ctx, c)
	}
	signal.Ignore(syscall.SIGHUP) // the platform ends workers by SIGTERM
	cfg = r.flags.Apply(cfg)
	r.chooseLogLevel(cfg)
	log := r.logger(cfg)
	cfg.Log = log
	cfg.Overlap = true // the queue in front of the engine keeps the order

	traces, err := r.trace.start(ctx, log)
	if err != nil {
		return err
	}
	defer closeTraces(traces, log)
	shareMemory(&r.common.engine, &r.api, log)
	gen := traces.Observe(newSupervisor(r.program.Environ, &r.common, &r.engine, log, nil))
	if _, chosen := p.Environ["RUNPOD_CONCURRENCY"]; !chosen && !sdcpp.OnCPU(r.common.engine.devices()[0]) {
		cfg.Concurrency = r.common.engine.jobs() // a GPU does them in little more time than one
	}
	log.Info().Int("jobs", cfg.Concurrency).Msg("jobs taken at the same time")
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
	work := func(ctx context.Context, job runpod.Job) (any, error) {
		ctx, end := traces.Job(ctx, job.ID, job.Input)
		out, err := (*handler.Load())(ctx, job) // after Prepare
		end(err)
		return out, err
	}
	return runpod.Run(ctx, work, cfg, r.flags, r.program.Out)
}

// onPlatform tells whether the platform reads what the worker writes.
func onPlatform(cfg runpod.Config) bool { return cfg.GetJob != "" || cfg.RealtimePort > 0 }

// chooseLogLevel takes RunPod's log level, where it is given, for this process and
// the engine's.
func (r *runpodCommand) chooseLogLevel(cfg runpod.Config) {
	if onPlatform(cfg) || cfg.LogLevel != "" || cfg.DebugLevel != "" {
		r.common.log.Level = runpod.NewLogger(io.Discard, cfg).GetLevel().String()
	}
}

// logger writes lines for RunPod's console on standard output, where it reads them.
// In the local modes, whose results go there, the usual lines go to standard error.
func (r *runpodCommand) logger(cfg runpod.Config) zerolog.Logger {
	if onPlatform(cfg) {
		return runpod.NewLogger(r.program.Out, cfg)
	}
	return r.program.logger(&r.common.log)
}

// serve runs worker serve for a load-balancing endpoint: after a check of the
// device, and with the default model if there is no checkpoint.
func (r *runpodCommand) serve(ctx context.Context, c *cli.Call) error {
	s := &serveCommand{program: r.program}
	if err := c.Fill(r.program.Environ, s.Settings()); err != nil {
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
		ModelDirs: r.common.models.roots(r.program.Environ),
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

// recode makes a smaller file of a picture. Of the texts in the file only the
// parameters are kept.
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
