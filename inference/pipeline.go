package inference

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sdworker/fault"
	"sdworker/inference/batch"
	"sdworker/internal/fileid"
)

// OpenFunc loads a checkpoint. progress is called with the parts done and the
// parts in all; it may be nil.
type OpenFunc func(ctx context.Context, checkpoint string, progress func(done, total int)) (Engine, error)

// PipelineOptions configure a Pipeline. The zero value is ready to use.
type PipelineOptions struct {
	// Warm is how many checkpoints stay in memory; 0 means 1. The one unused
	// for longest is dropped first.
	Warm int
	// WarmBytes bounds the weights of all checkpoints in memory together, by what
	// their engines report; 0 means no bound. The one in use stays in any case.
	WarmBytes int64
	// Jobs is how many jobs may be in work at once; 0 means 1. With more, jobs of
	// the same weights share UNet calls.
	Jobs int
	// CallCells bounds the latent cells of all rows of a shared UNet call together;
	// 0 means DefaultCallCells. One job with more cells keeps the device busy by
	// itself, so that sharing would only make it wait.
	CallCells int
	// Memory reports free and used memory for Status; nil means unknown.
	Memory func() Memory
}

// DefaultCallCells is 16 rows of 512x512 pixels.
const DefaultCallCells = 16 * 64 * 64

// Pipeline is the Generator of this process: it turns requests into pictures by
// calling an Engine's networks in the order that A1111 does.
type Pipeline struct {
	open OpenFunc
	opts PipelineOptions

	status     atomic.Pointer[Status]
	closed     atomic.Bool
	turns      *batch.Turns
	embeddings embeddingFiles
	hypernets  hypernetFiles
	count      counter

	mu       sync.Mutex
	loaded   []*model             // most recently used first
	versions map[string]fileid.ID // of model files, as the jobs found them
	changes  int                  // how often one of them was another one than before
}

var _ Generator = (*Pipeline)(nil)

// NewPipeline returns a Pipeline that loads checkpoints with open as requests
// name them.
func NewPipeline(open OpenFunc, opts PipelineOptions) *Pipeline {
	opts.Warm, opts.Jobs = max(opts.Warm, 1), max(opts.Jobs, 1)
	if opts.CallCells == 0 {
		opts.CallCells = DefaultCallCells
	}
	p := &Pipeline{open: open, opts: opts, turns: batch.NewTurns(opts.Jobs, opts.Jobs), versions: map[string]fileid.ID{}}
	p.status.Store(&Status{Ready: true})
	return p
}

// turn is a job's part in the time between two changes of weights.
type turn struct {
	*batch.Turn
	first bool   // it prepares what the turn works with
	model *model // that the first job has made ready; nil for that one itself
}

// enter runs fn in a turn as it is wanted.
func (p *Pipeline) enter(ctx context.Context, want batch.Want, fn func(*turn) error) error {
	entered, first, err := p.turns.Enter(ctx, want)
	if err != nil {
		return fault.Stopped(ctx, "pipeline")
	}
	defer entered.Leave()
	if p.closed.Load() {
		return fault.Errorf(fault.Broken, "pipeline", "the engine is shut down")
	}
	t := &turn{Turn: entered, first: first}
	if !first {
		if t.model = p.inUse(); t.model == nil {
			return fault.Errorf(fault.Broken, "pipeline", "the engine failed while the job began")
		}
	}
	return fn(t)
}

// inUse is the model used last, nil when none is loaded.
func (p *Pipeline) inUse() *model {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.loaded) == 0 {
		return nil
	}
	return p.loaded[0]
}

// want says which jobs may be in work together with this one: those with the same
// checkpoint, VAE and adapters, as long as none of the files changes. A job that
// changes its weights on the way, or whose calls leave no room for another, is
// alone.
func (p *Pipeline) want(req *Request) batch.Want {
	alone := batch.Want{Alone: true}
	if p.opts.Jobs == 1 || req.Refiner != nil {
		return alone
	}
	nets := extraNetsOf(req, req.Prompt)
	if hr := req.Hires; hr != nil && (hr.Checkpoint != "" && hr.Checkpoint != req.Files.Checkpoint || !nets.equal(extraNetsOf(req, hr.Prompt))) {
		return alone
	}
	for i := range req.Details {
		if req.Details[i].changesWeights(req, nets) {
			return alone
		}
	}
	// One that leaves no room for another in its calls would only make others wait.
	cells := req.Width / LatentScale * req.Height / LatentScale
	if hr := req.Hires; hr != nil {
		cells = max(cells, hr.Width/LatentScale*hr.Height/LatentScale)
	}
	for _, u := range req.Details {
		w, h := u.largest()
		cells = max(cells, w/LatentScale*h/LatentScale)
	}
	if (2*req.BatchSize+2)*cells > p.opts.CallCells {
		return alone
	}
	files := []string{req.Files.Checkpoint, req.Files.VAE, req.Files.TAESD}
	for _, l := range nets.loras {
		files = append(files, l.Path)
	}
	for _, h := range nets.hypernets {
		files = append(files, h.path)
	}
	units := slices.Clone(req.Control)
	for _, u := range req.Details {
		files = append(files, u.Model)
		units = append(units, u.Control...)
	}
	for _, u := range units {
		files = append(files, u.Model, u.Encoder, u.Network)
	}
	for _, u := range req.Files.Upscalers {
		files = append(files, u.Files()...)
	}
	return batch.Want{Key: fmt.Sprintf("%d %q %q %+v %+v", p.look(files), req.Files.Checkpoint, req.Files.VAE, nets.loras, nets.hypernets)}
}

// look notes the versions of files and returns how many changes of them were seen so
// far. What is gone has not changed.
func (p *Pipeline) look(files []string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range files {
		now, err := fileid.Stat(path)
		if path == "" || err != nil {
			continue
		}
		if before, known := p.versions[path]; known && before != now {
			p.changes++
		}
		p.versions[path] = now
	}
	return p.changes
}

// Generate makes the pictures of req.
func (p *Pipeline) Generate(ctx context.Context, req *Request, hooks Hooks) (*Result, error) {
	if err := req.Check(); err != nil {
		return nil, err
	}
	var res *Result
	arrived := time.Now()
	err := p.enter(ctx, p.want(req), func(t *turn) error {
		start := time.Now()
		if t.first {
			p.renew()
		}
		j := &job{pipeline: p, turn: t, req: req, hooks: hooks, res: &Result{}}
		if err := j.run(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fault.Stopped(ctx, "generate")
		}
		j.res.Timings.Queue = start.Sub(arrived).Seconds()
		j.res.Timings.Total = time.Since(start).Seconds()
		res = j.res
		return nil
	})
	return res, err
}

// Load makes files.Checkpoint and files.VAE ready.
func (p *Pipeline) Load(ctx context.Context, files Files, hooks Hooks) error {
	return p.enter(ctx, batch.Want{Alone: true}, func(*turn) error {
		p.renew()
		_, err := p.use(ctx, files.Checkpoint, files.VAE, hooks)
		return err
	})
}

// Unload frees all weights.
func (p *Pipeline) Unload(ctx context.Context) error {
	return p.enter(ctx, batch.Want{Alone: true}, func(*turn) error {
		p.drop(0)
		return nil
	})
}

// Status tells what is loaded.
func (p *Pipeline) Status() Status {
	s := *p.status.Load()
	if p.opts.Memory != nil {
		s.Memory = p.opts.Memory()
	}
	p.count.tell(&s)
	return s
}

// Close waits for the jobs in hand and frees everything. It may be called more
// than once.
func (p *Pipeline) Close() error {
	p.closed.Store(true)
	entered, _, err := p.turns.Enter(context.Background(), batch.Want{Alone: true})
	if err != nil {
		return err
	}
	defer entered.Leave()
	p.drop(0)
	return nil
}

// renew has the engines notice files that were replaced under their names, and
// closes those whose checkpoint was. It costs microseconds, so that every turn
// begins with it; within a turn nothing changes.
func (p *Pipeline) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.loaded)
	p.loaded = slices.DeleteFunc(p.loaded, func(m *model) bool {
		keeper, ok := m.eng.(FileKeeper)
		if !ok || keeper.Renew() {
			return false
		}
		_ = m.eng.Close()
		return true
	})
	if len(p.loaded) < before {
		p.tell("")
	}
}

// tell stores the status, with why the last start or load failed; p.mu is held.
func (p *Pipeline) tell(failure string) {
	s := Status{Ready: true, Err: failure}
	if len(p.loaded) > 0 {
		s.Engine = p.loaded[0].eng.Info()
	}
	p.status.Store(&s)
}

// use returns the model of a checkpoint with the given VAE, loading it if need
// be.
func (p *Pipeline) use(ctx context.Context, checkpoint, vae string, hooks Hooks) (*model, error) {
	if checkpoint == "" {
		return nil, &fault.Error{Code: fault.NotFound, Op: "load", Msg: "no checkpoint is chosen: put a Stable Diffusion 1.5 checkpoint into the model folder or name one with --model"}
	}
	m := p.find(checkpoint)
	p.count.looked(&p.count.checkpoint, m != nil)
	if m != nil {
		if err := m.join(nil).SetVAE(ctx, vae); err != nil {
			return nil, p.broken(nil, m, err)
		}
		p.keep(m)
		return m, nil
	}
	m, err := p.load(ctx, checkpoint, hooks)
	if err == nil {
		if err = m.join(nil).SetVAE(ctx, vae); err != nil {
			_ = m.eng.Close()
		}
	}
	if err != nil {
		p.fail(err)
		return nil, err
	}
	p.keep(m)
	return m, nil
}

// find returns the loaded model of a checkpoint, nil if there is none.
func (p *Pipeline) find(checkpoint string) *model {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.loaded, func(m *model) bool { return m.path == checkpoint }); i >= 0 {
		return p.loaded[i]
	}
	return nil
}

// keep makes m the model in use and drops the ones unused for longest until the
// limits of the options hold.
func (p *Pipeline) keep(m *model) {
	info := m.eng.Info()
	p.mu.Lock()
	p.loaded = slices.DeleteFunc(p.loaded, func(other *model) bool { return other == m })
	p.loaded = slices.Insert(p.loaded, 0, m)
	bytes := info.WeightBytes
	fit := 1
	for fit < min(len(p.loaded), p.opts.Warm) {
		bytes += p.loaded[fit].eng.Info().WeightBytes
		if p.opts.WarmBytes > 0 && bytes > p.opts.WarmBytes {
			break
		}
		fit++
	}
	p.tell("")
	p.mu.Unlock()
	p.drop(fit)
}

// load opens a checkpoint beside those in memory, or in their place when there is
// no room for both.
func (p *Pipeline) load(ctx context.Context, checkpoint string, hooks Hooks) (*model, error) {
	if ctx.Err() != nil {
		return nil, fault.Stopped(ctx, "load")
	}
	progress := func(done, total int) {
		hooks.Report(Progress{Phase: PhaseLoading, Step: done, Steps: total})
	}
	progress(0, 0)
	eng, err := p.open(ctx, checkpoint, progress)
	if fault.CodeOf(err) == fault.Exhausted && p.inUse() != nil {
		p.drop(0) // the warm ones are in the way
		eng, err = p.open(ctx, checkpoint, progress)
	}
	if err != nil {
		return nil, err
	}
	p.count.loaded()
	return newModel(checkpoint, eng, &sharing{jobs: p.opts.Jobs, cells: p.opts.CallCells, count: &p.count, info: eng.Info()}), nil
}

// drop closes all but the keep most recently used models, which nobody may use.
func (p *Pipeline) drop(keep int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.loaded) > keep {
		last := len(p.loaded) - 1
		_ = p.loaded[last].eng.Close()
		p.loaded = p.loaded[:last]
	}
	if len(p.loaded) == 0 {
		p.tell("")
	}
}

func (p *Pipeline) fail(err error) {
	s := *p.status.Load()
	s.Err = err.Error()
	p.status.Store(&s)
}

// broken returns err. If err says that the state of the engine is unknown, it drops
// m first, so that the next turn loads the checkpoint anew; the other jobs of the
// turn get the same error at their next call. t is nil for a turn that has only
// just begun.
func (p *Pipeline) broken(t *turn, m *model, err error) error {
	if fault.CodeOf(err) != fault.Broken {
		return err
	}
	if t != nil {
		t.Retire()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.loaded, m); i >= 0 {
		p.loaded = slices.Delete(p.loaded, i, i+1)
		_ = m.eng.Close()
		p.tell(err.Error())
	}
	return err
}
