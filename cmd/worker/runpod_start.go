package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"sdworker/api/a1111"
	"sdworker/api/runpod"
	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models/fetch"
)

// prepare makes the worker ready for its first job, step by step, each timed in
// the log.
func (r *runpodCommand) prepare(ctx context.Context, phases *runpod.Phases, gen inference.Generator, log zerolog.Logger) (*services, error) {
	if err := r.look(ctx, phases, log); err != nil {
		return nil, err
	}
	s, err := newServices(r.program, &r.common, &r.api, gen, log, defaultLimits, nil)
	if err != nil {
		return nil, err
	}
	if err := phases.Run(ctx, "load model", s.loadModel); err != nil {
		return nil, err
	}
	if r.start.WarmUp {
		err = phases.Run(ctx, "warm up", s.warmUp)
	}
	return s, err
}

// look finds the model and checks the device at the same time. If there is no GPU,
// a download is stopped.
func (r *runpodCommand) look(ctx context.Context, phases *runpod.Phases, log zerolog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return phases.Run(ctx, "check device", func(ctx context.Context) error { return r.checkDevice(ctx, log) })
	})
	group.Go(func() error {
		return phases.Run(ctx, "find model", func(ctx context.Context) error {
			return r.program.findModel(ctx, &r.common, &r.find, &r.fetch, fetch.Default, log)
		})
	})
	return group.Wait()
}

// deviceTimeout bounds the device check; a driver in a bad state may hang.
const deviceTimeout = time.Minute

// checkDevice tells whether the chosen devices will do.
func (r *runpodCommand) checkDevice(ctx context.Context, log zerolog.Logger) error {
	devices := slices.DeleteFunc(r.common.engine.devices(), func(d string) bool { return d == "cpu" })
	if len(devices) == 0 {
		return nil
	}
	b, err := listDevices(ctx, r.program.Environ, &r.common)
	if err != nil {
		return err
	}
	for _, device := range devices {
		if err := b.fits(device, log); err != nil {
			return err
		}
	}
	return nil
}

// listDevices asks another process which devices there are, so that an abort of the
// driver ends that and not this one.
func listDevices(ctx context.Context, environ map[string]string, cfg *common) (*build, error) {
	ctx, cancel := context.WithTimeout(ctx, deviceTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "version", "--json")
	cmd.Env = engineProcess(environ, cfg).Env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("the devices cannot be listed (%w): %s", err, lines[0])
	}
	b := new(build)
	if err := json.Unmarshal(out, b); err != nil {
		return nil, fmt.Errorf("the devices cannot be listed: %w", err)
	}
	return b, nil
}

// minGPUMemory is what a checkpoint of Stable Diffusion 1.5 in 16 bits (2 GiB)
// and a picture of 512x512 need, in bytes.
const minGPUMemory = 3 << 30

// fits tells whether the engine can run on a device. The message of the error is
// one sentence for the owner of the endpoint.
func (b *build) fits(device string, log zerolog.Logger) error {
	if b.Engine.Backend == "none" {
		return errors.New("this program was built without the engine; build it with: make build")
	}
	var names []string
	gpus := 0
	for _, d := range b.Engine.Devices {
		names = append(names, strings.ToLower(d.Name))
		if d.GPU {
			gpus++
		}
		// The engine chooses the first GPU by itself.
		if strings.EqualFold(d.Name, device) || device == "auto" && d.GPU && gpus == 1 {
			return b.gpuFits(d, gpus-1, log)
		}
	}
	switch {
	case b.CUDA != nil && gpus == 0:
		return b.noGPU()
	case device == "auto":
		return nil
	}
	return fmt.Errorf("DEVICE is %q, but there is only %s", device, strings.Join(names, ", "))
}

// noGPU says why there is none.
func (b *build) noGPU() error {
	why := ""
	switch {
	case b.CUDA.Driver == 0:
		why = " (there is no driver)"
	case b.CUDA.Problem != "":
		why = " (" + b.CUDA.Problem + ")"
	}
	if b.CUDA.Driver != 0 && b.CUDA.Driver/10 < b.CUDA.Runtime/10 {
		return fmt.Errorf("the GPU's driver is too old%s: it knows CUDA %s and this program needs %s; choose hosts with a newer CUDA version", why, b.CUDA.Driver, b.CUDA.Runtime)
	}
	return fmt.Errorf("this program is built for CUDA but finds no GPU%s: check the driver (nvidia-smi) and that the container has a GPU, or set DEVICE=cpu", why)
}

// gpuFits checks a device, the i-th GPU if it is one.
func (b *build) gpuFits(d sdcpp.Device, i int, log zerolog.Logger) error {
	event := log.Info().Str("device", d.Name).Str("description", d.Description)
	if !d.GPU {
		event.Msg("device found")
		return nil
	}
	event = event.Uint64("free_mib", d.FreeBytes>>20).Uint64("total_mib", d.TotalBytes>>20)
	var capability sdcpp.Dotted
	if b.CUDA != nil && i < len(b.CUDA.Devices) {
		capability = b.CUDA.Devices[i]
		event = event.Stringer("compute_capability", capability).Stringer("driver_cuda", b.CUDA.Driver).Stringer("cuda", b.CUDA.Runtime)
	}
	event.Msg("device found")
	switch {
	case capability != 0 && !b.CUDA.Runs(capability):
		return fmt.Errorf("%s has compute capability %s, but this program is compiled for %s; choose a newer GPU, or build it with CUDA_ARCHS=%d", d.Description, capability, b.CUDA.ArchitectureList(), capability)
	case d.FreeBytes < minGPUMemory:
		return fmt.Errorf("%s has %d of %d MiB free, which is less than the %d MiB that a picture needs; choose a larger GPU, or end what else uses it", d.Description, d.FreeBytes>>20, d.TotalBytes>>20, minGPUMemory>>20)
	}
	return nil
}

// Sides of the warm-up picture in pixels: on a GPU the usual size, whose kernels
// are then compiled and memory reserved; on a CPU there is nothing to compile.
const (
	warmUpGPU = 512
	warmUpCPU = 64
)

// warmUp makes a picture of one step.
func (s *services) warmUp(ctx context.Context) error {
	side := warmUpCPU
	if s.gen.Status().Engine.GPU {
		side = warmUpGPU
	}
	var reply generated
	return s.api.Call(ctx, a1111.Txt2Img, map[string]any{
		"prompt": "a warm stove", "steps": 1, "width": side, "height": side, "seed": 1, "do_not_save_samples": true,
	}, &reply)
}
