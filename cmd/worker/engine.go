package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"sdworker/inference"
	"sdworker/inference/remote"
	"sdworker/inference/sdcpp"
)

// engineVerb is the supervised child of serve and runpod.
var engineVerb = &verb{
	name: "engine", hidden: true,
	short:    "run the engine for a supervisor, on file descriptor " + strconv.Itoa(remote.ConnFD),
	settings: func() []settings { return new(common).settings() },
	run: func(ctx context.Context, p *program, c *call) error {
		var cfg common
		if err := c.load(p.environ, cfg.settings()...); err != nil {
			return err
		}
		conn, err := remote.Conn()
		if err != nil {
			return err
		}
		defer conn.Close()
		offerToOOMKiller()
		signal.Ignore(syscall.SIGHUP) // the supervisor decides when this process ends
		gen := p.newPipeline(&cfg, p.logger(&cfg.log))
		defer gen.Close()
		return remote.Serve(ctx, conn, gen)
	},
}

// newPipeline returns the generator of this process.
func (p *program) newPipeline(cfg *common, log zerolog.Logger) *inference.Pipeline {
	return inference.NewPipeline(p.opener(cfg, log), inference.PipelineOptions{Warm: cfg.engine.WarmModels, WarmBytes: cfg.engine.WarmBytes, Memory: memory})
}

// opener loads checkpoints into this process.
func (p *program) opener(cfg *common, log zerolog.Logger) inference.OpenFunc {
	if p.open != nil {
		return p.open
	}
	return func(ctx context.Context, checkpoint string, progress func(done, total int)) (inference.Engine, error) {
		engine, err := sdcpp.Open(ctx, sdcpp.Options{
			Checkpoint: checkpoint, AllowPickle: cfg.models.AllowPickle, Device: cfg.engine.Device, Threads: cfg.engine.Threads,
			Tiles: tileModes[cfg.engine.VAETiles], Log: log, Progress: progress,
		})
		if err != nil {
			return nil, err
		}
		return engine, nil
	}
}

// offerToOOMKiller makes the kernel choose this process before its parent when
// memory runs out: the parent is needed to tell about it.
func offerToOOMKiller() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0o644) // not vital
}

// supervision says when the engine process is given up.
type supervision struct {
	Stall time.Duration `env:"ENGINE_STALL_TIMEOUT" envDefault:"30m" doc:"longest time without progress, such as one sampling step, before the engine process is replaced and the job fails; 0 = no limit"`
}

func (s *supervision) validate() []error {
	if s.Stall < 0 {
		return []error{fmt.Errorf("ENGINE_STALL_TIMEOUT is %s, it must not be negative", s.Stall)}
	}
	return nil
}

func supervisionSettings(s *supervision) settings {
	return settings{title: "Engine process:", target: s, environment: true}
}

// inherited are the variables that the engine process gets beside its settings: by
// name, or by how the name begins. It parses files that anybody may have made, so it
// gets none that may be a secret.
var inherited = []string{
	"PATH", "HOME", "USER", "TMPDIR", "TZ", "LANG", "LC_*", "LD_*", "XDG_*", // the system
	"GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GOTRACEBACK", "GOCOVERDIR", "MALLOC_*", "TCMALLOC_*", "ASAN_*", "UBSAN_*", "LSAN_*", // the program's run time
	"CUDA_*", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE", "GGML_*", "OMP_*", "GOMP_*", "KMP_*", // the engine
	"SDWORKER_*",
}

// inherits tells whether the engine process gets a variable.
func inherits(name string) bool {
	return slices.ContainsFunc(inherited, func(pattern string) bool {
		beginning, open := strings.CutSuffix(pattern, "*")
		return name == pattern || open && strings.HasPrefix(name, beginning)
	})
}

// engineCommand returns the command of the engine process: this binary, also
// when its file was replaced meanwhile.
func engineCommand(environ map[string]string, cfg *common) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "engine")
	chosen := map[string]string{
		"DEVICE": cfg.engine.Device, "THREADS": strconv.Itoa(cfg.engine.Threads),
		"WARM_MODELS":       strconv.Itoa(cfg.engine.WarmModels),
		"WARM_MODELS_BYTES": strconv.FormatInt(cfg.engine.WarmBytes, 10), "VAE_TILES": cfg.engine.VAETiles,
		"ALLOW_PICKLE": strconv.FormatBool(cfg.models.AllowPickle), "LOG_LEVEL": cfg.log.Level, "LOG_FORMAT": "json",
	}
	for _, s := range engineVerb.settings() {
		for _, f := range s.fields() {
			if value, given := environ[f.variable]; given && chosen[f.variable] == "" {
				chosen[f.variable] = value
			}
		}
	}
	for name, value := range environ {
		if inherits(name) {
			chosen[name] = value
		}
	}
	for name, value := range chosen {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// newSupervisor returns the generator that lives in a child process. started is
// called at each start of one.
func newSupervisor(environ map[string]string, cfg *common, s *supervision, log zerolog.Logger, started func()) *remote.Supervisor {
	return remote.Start(remote.Config{
		Command: func() *exec.Cmd {
			started()
			return engineCommand(environ, cfg)
		},
		Stall: s.Stall,
		Log:   log.With().Str("process", "engine").Logger(),
	})
}
