package sdapitest

import (
	"context"
	"slices"
	"sync"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
	"sdworker/inference/rng"
)

// Generator draws flat pictures at once: the colour is the seed. It checks
// requests as a pipeline does and keeps the last one.
type Generator struct {
	// Wait, unless nil, is called after each step of a job.
	Wait func(ctx context.Context, hooks inference.Hooks, step int) error
	// Record keeps the requests of all jobs for Recorded.
	Record bool
	// Fail is the error of every job and load, if not nil.
	Fail error
	// Channels of the UNet; 0 means 4.
	Channels int
	// Complete says of each job that its refiner took over, and that its prompts were padded.
	Complete bool
	// Limit is how many pixels a job may have; above it there is no memory. 0
	// means no limit.
	Limit int
	// Memory is what the device has, in bytes; 0 means unknown.
	Memory int64
	// Preview is reported with every step, if not nil.
	Preview *imageio.RGB

	mu       sync.Mutex
	last     *inference.Request
	upscaled *inference.UpscaleRequest
	loaded   inference.Files
	jobs     int
	recorded []*inference.Request
	loads    int // of another checkpoint
}

var _ inference.Generator = (*Generator)(nil)

// Last is the request of the last job.
func (g *Generator) Last() *inference.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Upscaled is the last request to enlarge a picture.
func (g *Generator) Upscaled() *inference.UpscaleRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.upscaled
}

// Jobs is how many jobs were run.
func (g *Generator) Jobs() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.jobs
}

// Recorded are the requests of all jobs since Record was set.
func (g *Generator) Recorded() []*inference.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.recorded)
}

// Loads is how often a job needed another checkpoint than the one before.
func (g *Generator) Loads() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.loads
}

// Generate draws a flat picture for each seed.
func (g *Generator) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	if err := req.Check(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	if g.jobs == 0 || g.loaded.Checkpoint != req.Files.Checkpoint {
		g.loads++
	}
	g.last, g.loaded, g.jobs = req, req.Files, g.jobs+1
	if g.Record {
		g.recorded = append(g.recorded, req)
	}
	g.mu.Unlock()
	if g.Fail != nil {
		return nil, g.Fail
	}
	size := req.Width * req.Height
	if req.Hires != nil {
		size = max(size, req.Hires.Width*req.Hires.Height)
	}
	if g.Limit > 0 && size*req.Images() > g.Limit {
		return nil, fault.Errorf(fault.Exhausted, "generate", "out of memory")
	}
	res := &inference.Result{Inpainting: g.Channels == 9, Timings: inference.Timings{Sample: 0.25, Total: 0.5}}
	res.Refined, res.PaddedConds = g.Complete && req.Refiner != nil, g.Complete
	passes := req.BatchNum
	if req.Hires != nil {
		passes *= 2
	}
	if g.Wait != nil {
		for step := range req.Steps {
			hooks.Report(inference.Progress{Phase: inference.PhaseSampling, Jobs: passes, Step: step, Steps: req.Steps, Preview: g.Preview})
			if err := g.Wait(ctx, hooks, step); err != nil {
				return nil, err
			}
			if ctx.Err() != nil {
				return nil, fault.Stopped(ctx, "generate")
			}
			if hooks.Control.Interrupted() {
				res.Interrupted = true
				break
			}
		}
	}
	w, h := req.Width, req.Height
	switch {
	case req.Hires != nil && !res.Interrupted:
		w, h = imageio.HiresSize{W: req.Hires.Width, H: req.Hires.Height, TruncateX: req.Hires.TruncateX, TruncateY: req.Hires.TruncateY}.Final()
	case req.Init != nil && req.Init.Mask != nil && req.Init.Mask.OnlyMasked:
		w, h = req.Init.Images[0].W, req.Init.Images[0].H
	}
	seeds, subseeds := rng.ImageSeeds(req.Seed, req.Subseed, req.SubseedStrength, req.Images())
	for i := range seeds {
		v := uint8(seeds[i])
		res.Images = append(res.Images, inference.Image{Pixels: imageio.Fill(w, h, [3]uint8{v, v, v}), Seed: seeds[i], Subseed: subseeds[i]})
	}
	for range req.Control {
		res.Maps = append(res.Maps, imageio.NewRGBA(w, h))
	}
	_, networks := prompt.ExtractNetworks(req.Prompt)
	loras, _ := prompt.LoRAs(networks)
	for _, l := range loras {
		if req.Files.LoRAs[l.Name] != "" {
			res.UsedLoRAs = append(res.UsedLoRAs, l.Name)
		}
	}
	return res, nil
}

// Upscale resizes with Lanczos, whatever the upscaler.
func (g *Generator) Upscale(_ context.Context, req *inference.UpscaleRequest, _ inference.Hooks) (imageio.RGB, error) {
	g.mu.Lock()
	g.upscaled = req
	g.mu.Unlock()
	w, h := imageio.UpscaleSize(req.Image.W, req.Image.H, req.Scale)
	if g.Limit > 0 && w*h > g.Limit {
		return imageio.RGB{}, fault.Errorf(fault.Exhausted, "upscale", "out of memory")
	}
	return req.Image.Resize(w, h, imageio.Lanczos), g.Fail
}

// Load notes the files.
func (g *Generator) Load(_ context.Context, files inference.Files, _ inference.Hooks) error {
	if g.Fail != nil {
		return g.Fail
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loaded = files
	return nil
}

// Unload forgets the files.
func (g *Generator) Unload(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loaded = inference.Files{}
	return nil
}

// Status tells what was loaded last.
func (g *Generator) Status() inference.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	channels := g.Channels
	if channels == 0 {
		channels = 4
	}
	s := inference.Status{Ready: true}
	if g.loaded.Checkpoint != "" {
		s.Engine = inference.EngineInfo{Checkpoint: g.loaded.Checkpoint, UNetChannels: channels, Device: "none", Backend: "cpu", MemoryBytes: g.Memory}
	}
	return s
}

// Close does nothing.
func (g *Generator) Close() error { return nil }
