package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"sdworker/inference"
	"sdworker/internal/cli"
	"sdworker/models/catalog"
)

// modelSettings say where model files are.
type modelSettings struct {
	ModelsDir   string `env:"MODELS_DIR" doc:"folders with Stable-diffusion, Lora, VAE, ESRGAN, ControlNet, clip_vision, adetailer, embeddings, VAE-approx and wildcards inside, separated by ':'; searched before the usual places (./models, the Hugging Face cache, the RunPod volume, ~/.local/share/sdworker/models, /models)"`
	AllowPickle bool   `env:"ALLOW_PICKLE" doc:"also take .ckpt, .pt and .pth files, which can carry hidden code"`

	demo string // folder of the demo model, searched last; "" when it is not used
}

// engineSettings say what makes the pictures.
type engineSettings struct {
	Model      string `env:"MODEL" doc:"checkpoint: a file, or a title, name, file name or hash in the model folders; without it the first one found"`
	Device     string `env:"DEVICE" envDefault:"auto" doc:"auto, cpu, or a GPU by its name: cuda0, vulkan1 ...; several of them with commas between, each with an engine process of its own behind one queue, or all GPUs by all; commands without an engine process take the first"`
	Threads    int    `env:"THREADS" envDefault:"0" doc:"CPU threads of the engine, 0 = one for each physical core"`
	BatchJobs  int    `env:"BATCH_JOBS" envDefault:"0" doc:"jobs in work at once on each device: those with the same checkpoint, VAE, LoRAs and size share the steps of the UNet, as far as the device does more of them in less time; 1 = one after another, 0 = as many as its memory has room for (8 on a GPU of 24 GB or 2 cores)"`
	WarmModels int    `env:"WARM_MODELS" envDefault:"1" doc:"checkpoints kept in memory, the one unused for longest goes first"`
	WarmBytes  int64  `env:"WARM_MODELS_BYTES" envDefault:"0" doc:"bytes of weights that they may take together, 0 = no limit; the checkpoint in use stays in any case"`
	HostMemory int64  `env:"ENGINE_MEMORY" envDefault:"0" doc:"bytes of the machine's memory that an engine on the CPU may use, with the checkpoint in use; 0 = what MEMORY_BUDGET leaves of what the container may use. Pictures for which it is too small are refused"`
	VAETiles   string `env:"VAE_TILES" envDefault:"auto" doc:"auto, always or never let the VAE work on overlapping tiles, which needs less memory; auto does for pictures from 1024x1024 pixels on that would take more than a quarter of the device's memory, and when memory runs out"`
}

// devices are the names in DEVICE; all is auto where they were not listed.
func (e *engineSettings) devices() []string {
	if e.Device == allDevices {
		return []string{"auto"}
	}
	return strings.Split(e.Device, ",")
}

// jobs is how many jobs are in work at once on all devices, once they are settled.
func (e *engineSettings) jobs() int { return e.BatchJobs * len(e.devices()) }

// tileModes are the values of VAE_TILES.
var tileModes = map[string]inference.TileMode{"auto": inference.TileAuto, "always": inference.TileAlways, "never": inference.TileNever}

// logSettings say what is logged, on standard error.
type logSettings struct {
	Level  string `env:"LOG_LEVEL" envDefault:"info" doc:"trace, debug, info, warn or error; prompts are logged at debug only"`
	Format string `env:"LOG_FORMAT" envDefault:"auto" doc:"console, json, or auto: console on a terminal, json elsewhere"`
}

// common are the settings of all verbs with an engine.
type common struct {
	models modelSettings
	engine engineSettings
	log    logSettings
}

func (c *common) settings() []cli.Settings {
	return []cli.Settings{
		{Title: "Engine:", Target: &c.engine, Environment: true},
		{Title: "Models:", Target: &c.models, Environment: true},
		{Title: "Log:", Target: &c.log, Environment: true},
	}
}

// numbered is the name of a GPU. Which there are only the engine knows.
var numbered = regexp.MustCompile("^[a-z]+[0-9]+$")

func (e *engineSettings) Validate() []error {
	var errs []error
	if e.Threads < 0 {
		errs = append(errs, fmt.Errorf("THREADS is %d, it must not be negative", e.Threads))
	}
	if e.BatchJobs < 0 || e.BatchJobs > maxBatchJobs {
		errs = append(errs, fmt.Errorf("BATCH_JOBS is %d, it must be 1 to %d, or 0", e.BatchJobs, maxBatchJobs))
	}
	if e.WarmModels < 1 {
		errs = append(errs, fmt.Errorf("WARM_MODELS is %d, it must be at least 1", e.WarmModels))
	}
	if e.WarmBytes < 0 {
		errs = append(errs, fmt.Errorf("WARM_MODELS_BYTES is %d, it must not be negative", e.WarmBytes))
	}
	if e.HostMemory < 0 {
		errs = append(errs, fmt.Errorf("ENGINE_MEMORY is %d, it must not be negative", e.HostMemory))
	}
	if _, ok := tileModes[e.VAETiles]; !ok {
		errs = append(errs, fmt.Errorf("VAE_TILES %q is none of auto, always, never", e.VAETiles))
	}
	for _, d := range e.devices() {
		if d == "auto" && len(e.devices()) == 1 || d == "cpu" || numbered.MatchString(d) {
			continue
		}
		errs = append(errs, fmt.Errorf("DEVICE %q is none of auto, cpu, cuda0, vulkan0 and so on", d))
	}
	return errs
}

func (l *logSettings) Validate() []error {
	var errs []error
	if _, err := zerolog.ParseLevel(l.Level); err != nil || l.Level == "" {
		errs = append(errs, fmt.Errorf("LOG_LEVEL %q is none of trace, debug, info, warn, error", l.Level))
	}
	if formats := []string{"auto", "console", "json"}; !slices.Contains(formats, l.Format) {
		errs = append(errs, fmt.Errorf("LOG_FORMAT %q is none of %s", l.Format, strings.Join(formats, ", ")))
	}
	return errs
}

// roots are the folders that were configured, then ./models, the usual ones and
// that of the demo model.
func (m *modelSettings) roots(environ map[string]string) []string {
	usual, _ := m.usual(environ)
	roots := append(append(m.configured(), "models"), usual...)
	if m.demo != "" {
		roots = append(roots, m.demo)
	}
	return roots
}

// wildcards are the folders of dynamic prompts' files. The first of the model folders
// wins where two have a file of the same name.
func (m *modelSettings) wildcards(environ map[string]string) []string {
	var dirs []string
	for _, root := range slices.Backward(m.roots(environ)) {
		dirs = append(dirs, filepath.Join(root, "wildcards"))
	}
	return dirs
}

func (m *modelSettings) configured() []string {
	var dirs []string
	for dir := range strings.SplitSeq(m.ModelsDir, ":") {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (m *modelSettings) usual(environ map[string]string) (roots, files []string) {
	return catalog.DefaultPlaces(func(name string) string { return environ[name] })
}

// config is what the catalog needs. A model named by its path is listed too.
func (m *modelSettings) config(environ map[string]string, model string) catalog.Config {
	_, files := m.usual(environ)
	if info, err := os.Stat(model); err == nil && info.Mode().IsRegular() {
		files = append([]string{model}, files...)
	}
	return catalog.Config{Roots: m.roots(environ), Files: files, AllowPickle: m.AllowPickle, HashFile: cacheFile(environ, "hashes.json")}
}

// cacheFile is a file in the user's cache folder, "" without a home.
func cacheFile(environ map[string]string, name string) string {
	switch {
	case environ["XDG_CACHE_HOME"] != "":
		return filepath.Join(environ["XDG_CACHE_HOME"], "sdworker", name)
	case environ["HOME"] != "":
		return filepath.Join(environ["HOME"], ".cache", "sdworker", name)
	}
	return ""
}
