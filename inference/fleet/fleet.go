// Package fleet lets several devices work behind one queue: each is a Generator of its
// own, in most cases an engine process, and a job goes to one of them.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// Device is a Generator with the name of what it runs on.
type Device struct {
	Name      string // unique in a fleet
	Generator inference.Generator
}

// Fleet is a Generator of several devices. A job goes to the device that has its
// checkpoint loaded, unless that device is full; otherwise to the one with the
// fewest jobs. A device that is not ready gets no job as long as another one is
// ready.
type Fleet struct {
	jobs int // that a device works on at once

	mu      sync.Mutex
	devices []*device
}

// device is one of a fleet.
type device struct {
	Device
	inside     int    // jobs
	checkpoint string // of the latest of them
}

var _ inference.Generator = (*Fleet)(nil)

// New returns a fleet of devices that each work on so many jobs at once.
func New(jobs int, devices ...Device) *Fleet {
	f := &Fleet{jobs: max(jobs, 1)}
	for _, d := range devices {
		f.devices = append(f.devices, &device{Device: d})
	}
	return f
}

// choose takes a place on the device for a job of a checkpoint, "" for any.
func (f *Fleet) choose(checkpoint string) *device {
	ready := make([]bool, len(f.devices))
	for i, d := range f.devices { // not under the lock: it may ask a process
		ready[i] = d.Generator.Status().Ready
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var best *device
	var score [3]int // of best; the first difference counts
	for i, d := range f.devices {
		s := [3]int{0, 0, d.inside}
		if !ready[i] {
			s[0] = 1
		}
		if has := d.checkpoint == checkpoint || checkpoint == ""; !has || d.inside >= f.jobs {
			s[1] = 1
		}
		if best == nil || less(s, score) {
			best, score = d, s
		}
	}
	best.inside++
	if checkpoint != "" {
		best.checkpoint = checkpoint
	}
	return best
}

func less(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func (f *Fleet) leave(d *device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.inside--
}

// Generate implements inference.Generator.
func (f *Fleet) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	d := f.choose(req.Files.Checkpoint)
	defer f.leave(d)
	return d.Generator.Generate(ctx, req, hooks)
}

// Upscale implements inference.Generator.
func (f *Fleet) Upscale(ctx context.Context, req *inference.UpscaleRequest, hooks inference.Hooks) (imageio.RGB, error) {
	d := f.choose("")
	defer f.leave(d)
	return d.Generator.Upscale(ctx, req, hooks)
}

// Load makes files ready on all devices. It fails when none could.
func (f *Fleet) Load(ctx context.Context, files inference.Files, hooks inference.Hooks) error {
	first := true
	failed, errs := f.each(func(d *device) error {
		h := inference.Hooks{Control: hooks.Control}
		f.mu.Lock()
		if first { // one tells of progress for all
			h.Progress, first = hooks.Progress, false
		}
		f.mu.Unlock()
		err := d.Generator.Load(ctx, files, h)
		if err == nil {
			f.mu.Lock()
			d.checkpoint = files.Checkpoint
			f.mu.Unlock()
		}
		return err
	})
	if failed < len(f.devices) {
		return nil
	}
	return errs
}

// Unload implements inference.Generator.
func (f *Fleet) Unload(ctx context.Context) error {
	_, errs := f.each(func(d *device) error {
		f.mu.Lock()
		d.checkpoint = ""
		f.mu.Unlock()
		return d.Generator.Unload(ctx)
	})
	return errs
}

// Close implements inference.Generator.
func (f *Fleet) Close() error {
	_, errs := f.each(func(d *device) error { return d.Generator.Close() })
	return errs
}

// each calls do for all devices at once. The error names the devices that failed; it
// has the code of the first of them.
func (f *Fleet) each(do func(*device) error) (failed int, err error) {
	list := make([]error, len(f.devices))
	var wg sync.WaitGroup
	for i, d := range f.devices {
		wg.Go(func() { list[i] = do(d) })
	}
	wg.Wait()
	var code fault.Code
	for i, e := range list {
		if e == nil {
			continue
		}
		if failed++; failed == 1 {
			code = fault.CodeOf(e)
		}
		list[i] = fmt.Errorf("%s: %w", f.devices[i].Name, e)
	}
	if failed == 0 {
		return 0, nil
	}
	all := errors.Join(list...)
	return failed, &fault.Error{Code: code, Msg: all.Error()}
}

// Status is that of all devices together: ready when one is, with the engine of the
// first that has a checkpoint. Devices tells them apart.
func (f *Fleet) Status() inference.Status {
	var all inference.Status
	for _, d := range f.devices {
		s := d.Generator.Status()
		f.mu.Lock()
		inside := d.inside
		f.mu.Unlock()
		all.Devices = append(all.Devices, inference.DeviceStatus{
			Name: d.Name, Ready: s.Ready, Checkpoint: s.Engine.Checkpoint, Device: s.Engine.Device, Jobs: inside, Memory: s.Memory, Err: s.Err,
		})
		all.Ready = all.Ready || s.Ready
		if all.Engine.Checkpoint == "" {
			all.Engine = s.Engine
		}
		all.Memory.DeviceFree += s.Memory.DeviceFree
		all.Memory.DeviceTotal += s.Memory.DeviceTotal
		all.Memory.HostUsed += s.Memory.HostUsed
		all.UNetCalls += s.UNetCalls
		all.UNetRows += s.UNetRows
		all.ModelLoads += s.ModelLoads
		all.Caches = addCaches(all.Caches, s.Caches)
		if s.Err != "" && all.Err == "" {
			all.Err = d.Name + ": " + s.Err
		}
	}
	return all
}

// addCaches adds the counts of a device to those of the ones before it, by name.
func addCaches(sum, more []inference.CacheCount) []inference.CacheCount {
	for _, c := range more {
		at := slices.IndexFunc(sum, func(known inference.CacheCount) bool { return known.Name == c.Name })
		if at < 0 {
			sum = append(sum, c)
			continue
		}
		sum[at].Hits += c.Hits
		sum[at].Misses += c.Misses
	}
	return sum
}
