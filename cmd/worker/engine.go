package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/metrics"
	"sdworker/inference"
	"sdworker/inference/fleet"
	"sdworker/inference/remote"
	"sdworker/inference/sdcpp"
	"sdworker/internal/cli"
)

// engineVerb is the supervised child of serve and runpod.
var engineVerb = &verb{
	Name: "engine", Hidden: true,
	Short: "run the engine for a supervisor, on file descriptor " + strconv.Itoa(remote.ConnFD),
	New:   func() cli.Command[*program] { return new(engineCommand) },
}

// engineCommand is one run of worker engine.
type engineCommand struct{ common common }

// Settings are those of the command.
func (c *engineCommand) Settings() []cli.Settings { return c.common.settings() }

// Run serves the supervisor until that goes away.
func (c *engineCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	conn, err := remote.Conn()
	if err != nil {
		return err
	}
	defer conn.Close()
	offerToOOMKiller()
	if bytes := c.common.engine.HostMemory; bytes > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes / 4) // what pictures leave behind is no networks' memory
	}
	signal.Ignore(syscall.SIGHUP) // the supervisor decides when this process ends
	gen := p.newPipeline(&c.common, p.logger(&c.common.log))
	defer gen.Close()
	return remote.Serve(ctx, conn, gen)
}

// newPipeline returns the generator of this process.
func (p *program) newPipeline(cfg *common, log zerolog.Logger) *inference.Pipeline {
	cfg.engine.settleJobs(gpuMemory, zerolog.Nop())
	return inference.NewPipeline(p.opener(cfg, log), inference.PipelineOptions{
		Warm: cfg.engine.WarmModels, WarmBytes: cfg.engine.WarmBytes, Jobs: cfg.engine.BatchJobs, CallCells: cfg.engine.callCells(gpuMemory),
		Memory: func() inference.Memory { return memory(cfg.engine.devices()[0]) },
	})
}

// opener loads checkpoints into this process.
func (p *program) opener(cfg *common, log zerolog.Logger) inference.OpenFunc {
	if p.open != nil {
		return p.open
	}
	return func(ctx context.Context, checkpoint string, progress func(done, total int)) (inference.Engine, error) {
		engine, err := sdcpp.Open(ctx, sdcpp.Options{
			Checkpoint: checkpoint, AllowPickle: cfg.models.AllowPickle, Device: cfg.engine.devices()[0], Threads: cfg.engine.Threads, HostMemory: cfg.engine.HostMemory,
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

// supervisionSettings says when the engine process is given up.
type supervisionSettings struct {
	Stall time.Duration `env:"ENGINE_STALL_TIMEOUT" envDefault:"30m" doc:"longest time without progress, such as one sampling step, before the engine process is replaced and the job fails; 0 = no limit"`
}

func (s *supervisionSettings) settings() cli.Settings {
	return cli.Settings{Title: "Engine process:", Target: s, Environment: true}
}

func (s *supervisionSettings) Validate() []error {
	if s.Stall < 0 {
		return []error{fmt.Errorf("ENGINE_STALL_TIMEOUT is %s, it must not be negative", s.Stall)}
	}
	return nil
}

// inherited are the variables that the engine process gets beside its settings: by
// name, or by how the name begins. It parses files that anybody may have made, so it
// gets none that may be a secret.
var inherited = []string{
	"PATH", "HOME", "USER", "TMPDIR", "TZ", "LANG", "LC_*", "LD_*", "XDG_*", // the system
	"GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GOTRACEBACK", "GOCOVERDIR", "MALLOC_*", "TCMALLOC_*", "ASAN_*", "UBSAN_*", "LSAN_*", // the program's run time
	"CUDA_*", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE", "VK_*", "MESA_*", "RADV_*", "ANV_*", "LP_*", "GGML_*", "OMP_*", "GOMP_*", "KMP_*", // the engine
	"SDWORKER_*",
}

// inherits tells whether the engine process gets a variable.
func inherits(name string) bool {
	return slices.ContainsFunc(inherited, func(pattern string) bool {
		beginning, open := strings.CutSuffix(pattern, "*")
		return name == pattern || open && strings.HasPrefix(name, beginning)
	})
}

// engineProcess returns the command of the engine process: this binary, also when
// its file was replaced meanwhile. Its environment is a list of what it needs: the
// settings of its verb as they are in this process, and what is inherited.
func engineProcess(environ map[string]string, cfg *common) *exec.Cmd {
	variables := map[string]string{}
	for name, value := range environ {
		if inherits(name) {
			variables[name] = value
		}
	}
	for _, s := range cfg.settings() {
		maps.Copy(variables, s.Variables())
	}
	delete(variables, "MODEL")       // the supervisor says what to load; an address may have a token in it
	variables["LOG_FORMAT"] = "json" // for the supervisor, which passes the lines on
	cmd := exec.Command("/proc/self/exe", engineVerb.Name)
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// engineSilence is how long an engine process may give no sign of life, 0 as long as
// package remote thinks right. Tests wait less.
var engineSilence time.Duration

// newSupervisor returns the generator that lives in a child process, or in one for
// each device when there are several. counts, unless nil, is told of their starts and
// losses. DEVICE all becomes the list of what there is.
func newSupervisor(environ map[string]string, cfg *common, s *supervisionSettings, log zerolog.Logger, counts *metrics.Metrics) inference.Generator {
	if counts == nil {
		counts = metrics.New() // that nobody reads
	}
	for _, why := range remote.Reasons() {
		counts.EngineReasons(string(why))
	}
	if cfg.engine.Device == allDevices {
		cfg.engine.Device = strings.Join(gpus(environ, cfg, log), ",")
	}
	cfg.engine.settleJobs(func(device string) int64 { return deviceMemory(environ, cfg, device) }, log)
	devices := cfg.engine.devices()
	supervise := func(cfg *common, log zerolog.Logger) inference.Generator {
		return remote.Start(remote.Config{
			Command: func() *exec.Cmd {
				counts.EngineStarted()
				return engineProcess(environ, cfg)
			},
			Stall: s.Stall, Silence: engineSilence,
			Lost: func(why remote.Reason) { counts.EngineLost(string(why)) },
			Log:  log.With().Str("process", "engine").Logger(),
		})
	}
	if len(devices) == 1 {
		return supervise(cfg, log)
	}
	var list []fleet.Device
	onCPU := len(slices.DeleteFunc(slices.Clone(devices), func(d string) bool { return !sdcpp.OnCPU(d) }))
	for i, device := range devices {
		own := *cfg
		own.engine.Device = device
		if sdcpp.OnCPU(device) { // they share the cores
			own.engine.Threads = max(sdcpp.Threads(cfg.engine.Threads)/onCPU, 1)
		}
		name := device
		if slices.Index(devices, device) < i {
			name = fmt.Sprintf("%s-%d", device, i)
		}
		list = append(list, fleet.Device{Name: name, Generator: supervise(&own, log.With().Str("device", name).Logger())})
	}
	return fleet.New(cfg.engine.BatchJobs, list...)
}

// deviceMemory is what a GPU has, in bytes; 0 where nothing tells.
func deviceMemory(environ map[string]string, cfg *common, device string) int64 {
	b, err := listDevices(context.Background(), environ, cfg)
	if err != nil {
		return 0 // it is told when the device is used
	}
	for _, d := range b.Engine.Devices {
		if d.GPU && (device == "auto" || strings.EqualFold(d.Name, device)) {
			return int64(d.TotalBytes)
		}
	}
	return 0
}

// allDevices is the DEVICE for all GPUs of the machine.
const allDevices = "all"

// gpus lists the GPUs of the machine, or what "auto" finds when there is none or they
// cannot be listed.
func gpus(environ map[string]string, cfg *common, log zerolog.Logger) []string {
	b, err := listDevices(context.Background(), environ, cfg)
	if err != nil {
		log.Warn().Err(err).Msg("DEVICE all is taken for auto")
		return []string{"auto"}
	}
	var names []string
	for _, d := range b.Engine.Devices {
		if d.GPU {
			names = append(names, strings.ToLower(d.Name))
		}
	}
	if names == nil {
		return []string{"auto"}
	}
	return names
}
