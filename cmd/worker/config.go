package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rs/zerolog"
)

// common are the settings that all verbs with an engine share.
type common struct {
	Model      string `env:"MODEL" doc:"checkpoint: a file, or a title, name, file name or hash in the model folders; without it the first one found"`
	ModelsDir  string `env:"MODELS_DIR" envDefault:"models" doc:"folder with Stable-diffusion, Lora, VAE, ESRGAN, ControlNet, embeddings and VAE-approx inside; several are separated by ':'"`
	Device     string `env:"DEVICE" envDefault:"auto" doc:"auto, cpu, cuda0, cuda1 ..."`
	Threads    int    `env:"THREADS" envDefault:"0" doc:"CPU threads of the engine, 0 = one for each physical core"`
	WarmModels int    `env:"WARM_MODELS" envDefault:"1" doc:"checkpoints kept in memory, the one unused for longest goes first"`

	LogLevel  string `env:"LOG_LEVEL" envDefault:"info" doc:"trace, debug, info, warn or error; prompts are logged at debug only"`
	LogFormat string `env:"LOG_FORMAT" envDefault:"auto" doc:"console, json, or auto: console on a terminal, json elsewhere"`
}

func (c *common) validate() []error {
	var errs []error
	if c.Threads < 0 {
		errs = append(errs, fmt.Errorf("THREADS is %d, it must not be negative", c.Threads))
	}
	if c.WarmModels < 1 {
		errs = append(errs, fmt.Errorf("WARM_MODELS is %d, it must be at least 1", c.WarmModels))
	}
	if _, err := zerolog.ParseLevel(c.LogLevel); err != nil || c.LogLevel == "" {
		errs = append(errs, fmt.Errorf("LOG_LEVEL %q is none of trace, debug, info, warn, error", c.LogLevel))
	}
	if formats := []string{"auto", "console", "json"}; !slices.Contains(formats, c.LogFormat) {
		errs = append(errs, fmt.Errorf("LOG_FORMAT %q is none of %s", c.LogFormat, strings.Join(formats, ", ")))
	}
	if d := c.Device; d != "auto" && d != "cpu" && !strings.HasPrefix(d, "cuda") {
		errs = append(errs, fmt.Errorf("DEVICE %q is none of auto, cpu, cuda0, cuda1 ...", d))
	}
	return errs
}

// dirs are the model folders, in order of search.
func (c *common) dirs() []string {
	var dirs []string
	for dir := range strings.SplitSeq(c.ModelsDir, ":") {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
