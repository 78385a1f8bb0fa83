package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/runpod"
	"sdworker/inference"
	"sdworker/models"
	"sdworker/models/fetch"
)

// prepare makes the worker ready for its first job, step by step, each timed in
// the log.
func (r *runpodCommand) prepare(ctx context.Context, phases *runpod.Phases, gen inference.Generator, log zerolog.Logger) (*stack, error) {
	var s *stack
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"find model", func(ctx context.Context) (err error) {
			if err := r.findModel(ctx, log); err != nil {
				return err
			}
			s, err = newStack(r.program, &r.common, &r.api, gen, log, nil)
			return err
		}},
		{"check device", r.checkDevice},
		{"load model", func(ctx context.Context) error { return s.loadModel(ctx) }},
		{"warm up", func(ctx context.Context) error {
			if !r.start.WarmUp {
				return nil
			}
			return s.warmUp(ctx)
		}},
	} {
		if err := phases.Run(ctx, phase.name, phase.run); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// findModel makes sure that there is a checkpoint, fetching it if need be.
func (r *runpodCommand) findModel(ctx context.Context, log zerolog.Logger) error {
	config := r.common.models.config(r.program.environ, r.common.engine.Model)
	catalog := models.NewCatalog(config)
	if err := catalog.Refresh(); err != nil {
		log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	found, err := catalog.Resolve(r.common.engine.Model)
	if err == nil {
		log.Info().Str("checkpoint", found.Path).Msg("model found")
		return nil
	}
	if inference.CodeOf(err) != inference.NotFound || !r.start.Fetch {
		return err
	}
	ref := r.common.engine.Model
	if ref == "" {
		ref = fetch.Default
	}
	fetcher := r.program.newFetcher(&r.fetch, &r.common.log, nil)
	defer fetcher.Close()
	spoken := time.Now()
	result, err := fetcher.Pull(ctx, ref, r.common.models.fetchRoot(r.program.environ), fetch.PullOptions{
		AllowPickle: r.common.models.AllowPickle,
		Progress: func(p fetch.Progress) {
			if time.Since(spoken) >= linesEvery {
				spoken = time.Now()
				log.Info().Str("model", ref).Int64("mib", p.Done>>20).Int64("of_mib", p.Total>>20).Msg("fetching")
			}
		},
	})
	if err != nil {
		return fmt.Errorf("no checkpoint was found, and %s cannot be fetched: %w", ref, err)
	}
	r.program.learnHash(catalog, result, log)
	r.common.engine.Model = result.Path
	return nil
}

// deviceTimeout bounds the device check; a driver in a bad state may hang.
const deviceTimeout = time.Minute

// checkDevice asks another process which devices there are, so that an abort of
// the driver ends that and not this one.
func (r *runpodCommand) checkDevice(ctx context.Context) error {
	if r.common.engine.Device == "cpu" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deviceTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "version", "--json")
	cmd.Env = engineCommand(r.program.environ, &r.common).Env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return fmt.Errorf("the devices cannot be listed (%w): %s", err, lines[0])
	}
	var b build
	if err := json.Unmarshal(out, &b); err != nil {
		return fmt.Errorf("the devices cannot be listed: %w", err)
	}
	return deviceFits(&b, r.common.engine.Device)
}

var errNoGPU = errors.New("this program is built for CUDA but finds no GPU: check the driver (nvidia-smi) and that the container has a GPU, or set DEVICE=cpu")

func deviceFits(b *build, device string) error {
	if b.Engine.Backend == "none" {
		return errors.New("this program was built without the engine; build it with: make build")
	}
	var names []string
	gpu := false
	for _, d := range b.Engine.Devices {
		names = append(names, strings.ToLower(d.Name))
		gpu = gpu || d.GPU
	}
	switch {
	case b.Engine.Backend == "cuda" && device == "auto" && !gpu:
		return errNoGPU
	case device == "auto":
		return nil
	}
	for _, name := range names {
		if name == strings.ToLower(device) {
			return nil
		}
	}
	return fmt.Errorf("DEVICE is %q, but there is only %s", device, strings.Join(names, ", "))
}

// Sides of the warm-up picture in pixels: on a GPU the usual size, whose kernels
// are then compiled and memory reserved; on a CPU there is nothing to compile.
const (
	warmUpGPU = 512
	warmUpCPU = 64
)

// warmUp makes a picture of one step.
func (s *stack) warmUp(ctx context.Context) error {
	side := warmUpCPU
	if s.gen.Status().Engine.Backend == "cuda" {
		side = warmUpGPU
	}
	var reply generated
	return apiCall(ctx, s.api, "/sdapi/v1/txt2img", s.header, map[string]any{
		"prompt": "a warm stove", "steps": 1, "width": side, "height": side, "seed": 1, "do_not_save_samples": true,
	}, &reply)
}
