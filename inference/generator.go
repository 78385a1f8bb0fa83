package inference

import (
	"context"
	"sync"

	"sdworker/inference/imageio"
)

// Generator runs whole jobs: in this process (Pipeline) or in a supervised child
// process. It is safe for concurrent use. It decides how many jobs it works on at
// once; the others wait.
type Generator interface {
	// Generate makes the pictures of req. A context that ends stops the job
	// within one step with a Canceled error and no pictures; Control.Interrupt
	// instead finishes early with what exists.
	Generate(ctx context.Context, req *Request, hooks Hooks) (*Result, error)

	// Upscale enlarges one picture.
	Upscale(ctx context.Context, req *UpscaleRequest, hooks Hooks) (imageio.RGB, error)

	// Load makes the checkpoint (and VAE) ready, so that the next job with the
	// same files does not wait. A failed load leaves the old one in place.
	Load(ctx context.Context, files Files, hooks Hooks) error

	// Unload frees all weights; the next job loads them again.
	Unload(ctx context.Context) error

	// Status tells what is loaded. It returns at once, also during a job.
	Status() Status

	Close() error
}

// Status describes a Generator at one moment.
type Status struct {
	Ready  bool       // a job can start without waiting for a process
	Engine EngineInfo // zero while nothing is loaded
	Memory Memory
	Err    string // why the last start or load failed; "" when it did not

	UNetCalls int64 // since the start
	UNetRows  int64 // in those calls together

	ModelLoads int64        // checkpoints opened since the start
	Caches     []CacheCount // since the start, in an order that stays

	Devices []DeviceStatus // of a generator on several devices; nil for one
}

// CacheCount counts what was looked for in a cache.
type CacheCount struct {
	Name         string // "checkpoint" or "prompt"
	Hits, Misses int64
}

// DeviceStatus is what is known of one of several devices.
type DeviceStatus struct {
	Name       string // as it was asked for, such as cuda0
	Ready      bool   // a job can start without waiting for a process
	Checkpoint string // that is loaded, "" for none
	Device     string // as the engine calls it
	Jobs       int    // that it has
	Memory     Memory
	Err        string // why its last start or load failed
}

// Memory is in bytes; zero means unknown.
type Memory struct {
	DeviceFree, DeviceTotal int64
	HostUsed                int64
}

// UpscaleRequest enlarges one picture.
type UpscaleRequest struct {
	Image    imageio.RGB
	Upscaler string        // None, Lanczos, Nearest or the name of a model
	Model    UpscalerModel // the zero value for the three built in
	Scale    float64       // the result's sides are int(side*Scale), floored to multiples of 8
}

// UpscalerModel is the network of an upscaler, or a mixture of two of one kind: of each
// weight Share of that in Path's file and the rest of that in Other's (Real-ESRGAN's
// denoise strength).
type UpscalerModel struct {
	Path  string
	Other string  // "" for the file at Path alone
	Share float64 // 0..1, with Other
}

// Files are the paths of the model's files.
func (m UpscalerModel) Files() []string {
	if m.Other == "" {
		return []string{m.Path}
	}
	return []string{m.Path, m.Other}
}

// Hooks connect a running job with its observer. The zero value is valid.
type Hooks struct {
	// Progress is called on the job's goroutine at every change; it must return
	// quickly.
	Progress func(Progress)
	// Control lets another goroutine end the job or the current image early.
	Control *Control
}

// Report calls Progress when it is set.
func (h Hooks) Report(p Progress) {
	if h.Progress != nil {
		h.Progress(p)
	}
}

// Phase is what a job is busy with.
type Phase string

// Phases in the order a job passes them.
const (
	PhaseLoading   Phase = "loading"
	PhaseEncoding  Phase = "encoding prompt"
	PhaseSampling  Phase = "sampling"
	PhaseDecoding  Phase = "decoding"
	PhaseUpscaling Phase = "upscaling"
)

// Text is what A1111 tells the users of its page about a phase, "" for most.
func (p Phase) Text() string {
	if p == PhaseLoading {
		return "Loading model..."
	}
	return ""
}

// Progress is the state of a running job.
type Progress struct {
	Phase   Phase
	Job     int          // passes finished (A1111's job_no): a hires job has two per batch
	Jobs    int          // passes in all (A1111's job_count)
	Step    int          // steps finished in this pass, or units of the phase
	Steps   int          // steps of this pass, or units of the phase; 0 = unknown
	Preview *imageio.RGB // set when a new preview was made
}

// Fraction is how much of the job is done, 0..1, by steps of its passes. It is 0
// until the passes are counted.
func (p Progress) Fraction() float64 {
	if p.Jobs <= 0 {
		return 0
	}
	done := float64(p.Job)
	if p.Phase == PhaseSampling && p.Steps > 0 {
		done += float64(p.Step) / float64(p.Steps)
	}
	return min(done/float64(p.Jobs), 1)
}

// Control ends one job, or a part of it, early. Its methods may be called from any
// goroutine and repeatedly.
type Control struct {
	mu          sync.Mutex
	interrupted bool
	skips       int
	changed     chan struct{}
}

// NewControl returns a Control that asks for nothing.
func NewControl() *Control { return &Control{changed: make(chan struct{}, 1)} }

// Interrupt asks the job to finish now with what exists.
func (c *Control) Interrupt() {
	c.mu.Lock()
	c.interrupted = true
	c.mu.Unlock()
	c.signal()
}

// Skip asks the job to end the batch in hand and go on with the next one.
func (c *Control) Skip() {
	c.mu.Lock()
	c.skips++
	c.mu.Unlock()
	c.signal()
}

// Interrupted reports whether Interrupt was called. A nil Control never is.
func (c *Control) Interrupted() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupted
}

// Skips is how often Skip was called. A nil Control has none.
func (c *Control) Skips() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skips
}

// Changed delivers a value after one or more calls of Interrupt or Skip, for a
// forwarder to another process. It has one receiver at most.
func (c *Control) Changed() <-chan struct{} { return c.changed }

func (c *Control) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}
