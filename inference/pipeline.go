package inference

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sdworker/fault"
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
	// Memory reports free and used memory for Status; nil means unknown.
	Memory func() Memory
}

// Pipeline is the Generator of this process: it turns requests into pictures by
// calling an Engine's networks in the order that A1111 does.
type Pipeline struct {
	open OpenFunc
	opts PipelineOptions

	status atomic.Pointer[Status]

	turn       sync.Mutex // held by the job in hand; guards what follows
	loaded     []*model   // most recently used first
	embeddings embeddingFiles
	closed     bool
}

// model is a loaded checkpoint. What was set on it since, the engine knows.
type model struct {
	path  string
	eng   Engine
	conds *condCache
}

var _ Generator = (*Pipeline)(nil)

// NewPipeline returns a Pipeline that loads checkpoints with open as requests
// name them.
func NewPipeline(open OpenFunc, opts PipelineOptions) *Pipeline {
	opts.Warm = max(opts.Warm, 1)
	p := &Pipeline{open: open, opts: opts}
	p.status.Store(&Status{Ready: true})
	return p
}

// exclusive runs fn when no other job does.
func (p *Pipeline) exclusive(fn func() error) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	if p.closed {
		return &fault.Error{Code: fault.Broken, Op: "pipeline", Msg: "the engine is shut down"}
	}
	return fn()
}

// Generate makes the pictures of req.
func (p *Pipeline) Generate(ctx context.Context, req *Request, hooks Hooks) (*Result, error) {
	if err := req.Check(); err != nil {
		return nil, err
	}
	var res *Result
	err := p.exclusive(func() (err error) {
		start := time.Now()
		p.renew()
		j := &job{pipeline: p, req: req, hooks: hooks, res: &Result{}}
		if err := j.run(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return &fault.Error{Code: fault.Canceled, Op: "generate", Msg: "canceled", Err: err}
		}
		j.res.Timings.Total = time.Since(start).Seconds()
		res = j.res
		return nil
	})
	return res, err
}

// Load makes files.Checkpoint and files.VAE ready.
func (p *Pipeline) Load(ctx context.Context, files Files, hooks Hooks) error {
	return p.exclusive(func() error {
		p.renew()
		_, err := p.use(ctx, files.Checkpoint, files.VAE, hooks)
		return err
	})
}

// Unload frees all weights.
func (p *Pipeline) Unload(context.Context) error {
	return p.exclusive(func() error {
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
	return s
}

// Close waits for the job in hand and frees everything. It may be called more
// than once.
func (p *Pipeline) Close() error {
	p.turn.Lock()
	defer p.turn.Unlock()
	p.closed = true
	p.drop(0)
	return nil
}

// renew has the engines notice files that were replaced under their names, and
// closes those whose checkpoint was. It costs microseconds, so that every job
// begins with it; within a job nothing changes.
func (p *Pipeline) renew() {
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

// tell stores the status, with why the last start or load failed.
func (p *Pipeline) tell(failure string) {
	s := Status{Ready: true, Err: failure}
	if len(p.loaded) > 0 {
		s.Engine = p.loaded[0].eng.Info()
	}
	p.status.Store(&s)
}

// files are the versions of the files that act on m, without those that its engine
// does not tell.
func (m *model) files() []fileid.ID {
	if keeper, ok := m.eng.(FileKeeper); ok {
		return keeper.Files()
	}
	return nil
}

// use returns the model of a checkpoint with the given VAE, loading it if need
// be.
func (p *Pipeline) use(ctx context.Context, checkpoint, vae string, hooks Hooks) (*model, error) {
	if checkpoint == "" {
		return nil, &fault.Error{Code: fault.NotFound, Op: "load", Msg: "no checkpoint is chosen: put a Stable Diffusion 1.5 checkpoint into the model folder or name one with --model"}
	}
	if i := slices.IndexFunc(p.loaded, func(m *model) bool { return m.path == checkpoint }); i >= 0 {
		m := p.loaded[i]
		if err := m.setVAE(ctx, vae); err != nil {
			return nil, p.broken(m, err)
		}
		p.loaded = slices.Delete(p.loaded, i, i+1)
		p.keep(m)
		return m, nil
	}
	m, err := p.load(ctx, checkpoint, hooks)
	if err == nil {
		if err = m.setVAE(ctx, vae); err != nil {
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

// setVAE makes a VAE act, "" for the checkpoint's own.
func (m *model) setVAE(ctx context.Context, vae string) error {
	switch sw, ok := m.eng.(VAESwitcher); {
	case ok:
		return sw.SetVAE(ctx, vae)
	case vae != "":
		return &fault.Error{Code: fault.Invalid, Op: "vae", Field: "sd_vae", Msg: "this engine cannot replace the VAE"}
	}
	return nil
}

// keep makes m the model in use and drops the ones unused for longest until the
// limits of the options hold.
func (p *Pipeline) keep(m *model) {
	info := m.eng.Info()
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
	p.drop(fit)
	p.tell("")
}

// load opens a checkpoint beside those in memory, or in their place when there is
// no room for both.
func (p *Pipeline) load(ctx context.Context, checkpoint string, hooks Hooks) (*model, error) {
	if err := ctx.Err(); err != nil {
		return nil, &fault.Error{Code: fault.Canceled, Op: "load", Msg: "canceled", Err: err}
	}
	progress := func(done, total int) {
		hooks.Report(Progress{Phase: PhaseLoading, Step: done, Steps: total})
	}
	progress(0, 0)
	eng, err := p.open(ctx, checkpoint, progress)
	if fault.CodeOf(err) == fault.Exhausted && len(p.loaded) > 0 {
		p.drop(0) // the warm ones are in the way
		eng, err = p.open(ctx, checkpoint, progress)
	}
	if err != nil {
		return nil, err
	}
	return &model{path: checkpoint, eng: eng, conds: newCondCache()}, nil
}

// drop closes all but the keep most recently used models.
func (p *Pipeline) drop(keep int) {
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

// broken drops m when err says that its state is unknown, so that the next job
// loads it anew, and returns err.
func (p *Pipeline) broken(m *model, err error) error {
	if fault.CodeOf(err) != fault.Broken {
		return err
	}
	if i := slices.Index(p.loaded, m); i >= 0 {
		p.loaded = slices.Delete(p.loaded, i, i+1)
		_ = m.eng.Close()
	}
	p.tell(err.Error())
	return err
}
