package generation

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"sdworker/api/budget"
	"sdworker/inference"
)

// Run is one complete call of the generator and its result.
type Run struct {
	Call   *Call
	Result *inference.Result
}

// Outcome is all that a job made.
type Outcome struct {
	Runs    []Run         // in the order of the reply
	Lead    *Call         // whose values info shows; nil: the request's own
	Arrange func(*Output) // adds the grids of a script; nil without
	Save    []bool        // for each run whether its pictures are saved, where a script says so; nil: save_images does
}

// inpainting reports whether the checkpoint takes mask and masked picture.
func (o *Outcome) inpainting() bool { return len(o.Runs) > 0 && o.Runs[0].Result.Inpainting }

// timings are those of all runs together.
func (o *Outcome) timings() inference.Timings {
	var sum inference.Timings
	for _, r := range o.Runs {
		AddTimings(&sum, r.Result.Timings)
	}
	return sum
}

// AddTimings adds those of one run.
func AddTimings(sum *inference.Timings, t inference.Timings) {
	sum.Queue += t.Queue
	sum.Load += t.Load
	sum.Encode += t.Encode
	sum.Sample += t.Sample
	sum.Decode += t.Decode
	sum.Upscale += t.Upscale
	sum.Total += t.Total
}

// batches is how many jobs a request counts for in A1111's progress.
func batches(r *inference.Request) int {
	if r.Hires != nil {
		return 2 * r.BatchNum
	}
	return r.BatchNum
}

// Series makes several requests in one turn of the queue. It counts their batches
// together, and shows the progress of the oldest one in work.
type Series struct {
	Gen   inference.Generator
	Hooks inference.Hooks

	mu     sync.Mutex
	done   int                   // batches of requests that have ended
	Jobs   int                   // batches in all
	inWork []*inference.Progress // the latest of each request, the oldest first
}

// Generate makes one request of the series.
func (s *Series) Generate(ctx context.Context, req *inference.Request) (*inference.Result, error) {
	return s.begin(req)(ctx, s.Hooks.Control)
}

// begin counts a request as one in work until the returned function is called.
func (s *Series) begin(req *inference.Request) func(context.Context, *inference.Control) (*inference.Result, error) {
	latest := new(inference.Progress)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inWork = append(s.inWork, latest)
	return func(ctx context.Context, control *inference.Control) (*inference.Result, error) {
		defer s.end(req, latest)
		return s.Gen.Generate(ctx, req, inference.Hooks{Control: control, Progress: func(p inference.Progress) { s.report(latest, p) }})
	}
}

func (s *Series) end(req *inference.Request, latest *inference.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inWork = slices.DeleteFunc(s.inWork, func(p *inference.Progress) bool { return p == latest })
	s.done += batches(req)
}

// report passes progress on. Younger requests only move the count of batches.
func (s *Series) report(latest *inference.Progress, p inference.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*latest = p
	p = *s.inWork[0]
	p.Job = s.done
	for _, other := range s.inWork {
		p.Job += other.Job
	}
	p.Jobs = s.Jobs
	if latest != s.inWork[0] {
		p.Preview = nil // it was shown
	}
	s.Hooks.Report(p)
}

// abreast makes requests at the same time, so that they can share calls of the networks.
// The results are in the order of the requests; the first error ends all of them.
func (s *Series) abreast(ctx context.Context, reqs []*inference.Request) ([]*inference.Result, error) {
	results := make([]*inference.Result, len(reqs))
	if len(reqs) == 1 {
		var err error
		results[0], err = s.Generate(ctx, reqs[0])
		return results, err
	}
	group, ctx := errgroup.WithContext(ctx)
	ends := make(chan struct{})
	controls := make([]*inference.Control, len(reqs))
	for i, req := range reqs {
		controls[i] = inference.NewControl()
		run := s.begin(req)
		group.Go(func() (err error) {
			if results[i], err = run(ctx, controls[i]); err == nil && len(results[i].Images) == 0 {
				results[i] = nil // interrupted before its turn
			}
			return err
		})
	}
	var wishes sync.WaitGroup
	wishes.Go(func() { passOn(s.Hooks.Control, controls, ends) })
	err := group.Wait()
	close(ends)
	wishes.Wait()
	return results, err
}

// passOn repeats interrupts and skips of one control on others, until ends is closed.
func passOn(from *inference.Control, to []*inference.Control, ends <-chan struct{}) {
	for skips := from.Skips(); ; {
		if from.Interrupted() {
			for _, c := range to {
				c.Interrupt()
			}
		}
		for ; skips < from.Skips(); skips++ {
			for _, c := range to {
				c.Skip()
			}
		}
		select {
		case <-from.Changed():
		case <-ends:
			return
		}
	}
}

// TakeResult reserves memory for what the call makes, the given number of times.
func (c *Call) TakeResult(ctx context.Context, times int) error {
	w, h := c.resultSize()
	return budget.TakeResult(ctx, times*c.Req.Images(), w, h)
}

// TakeGrids reserves memory for grids with so many cells in all. Each cell is as large as
// the largest picture of the calls, plus a margin.
func TakeGrids(ctx context.Context, cells, margin int, calls ...*Call) error {
	w, h := 0, 0
	for _, c := range calls {
		width, height := c.resultSize()
		w, h = max(w, width), max(h, height)
	}
	return budget.TakeResult(ctx, cells, w+margin, h+margin)
}

// resultSize is the size in pixels of the pictures that the call makes.
func (c *Call) resultSize() (w, h int) {
	w, h = c.Req.Width, c.Req.Height
	if hr := c.Req.Hires; hr != nil {
		w, h = hr.Width, hr.Height
	}
	if in := c.Req.Init; in != nil && in.Mask != nil && in.Mask.OnlyMasked { // the part is pasted into the whole
		for _, m := range in.Images {
			w, h = max(w, m.W), max(h, m.H)
		}
	}
	return w, h
}

// RunAll makes the calls in one turn of the queue, in the given order; nil means
// that of the list. Neighbours of one batch are made at the same time, as far as
// the queue lets jobs in work together. After an interrupt no further call begins.
// The runs have the order of the list.
func RunAll(ctx context.Context, place *inference.Place, job inference.Job, calls []*Call, order []int) ([]Run, error) {
	for _, c := range calls {
		if err := c.TakeResult(ctx, 1); err != nil {
			return nil, err
		}
	}
	results := make([]*inference.Result, len(calls))
	if order == nil {
		for i := range calls {
			order = append(order, i)
		}
	}
	err := place.Do(ctx, job, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		s := Series{Gen: gen, Hooks: hooks}
		for _, c := range calls {
			s.Jobs += batches(c.Req)
		}
		for len(order) > 0 {
			if hooks.Control.Interrupted() {
				return nil
			}
			n := 1
			for n < min(len(order), place.Together()) && calls[order[0]].batch != 0 && calls[order[n]].batch == calls[order[0]].batch {
				n++
			}
			var together []*inference.Request
			for _, i := range order[:n] {
				together = append(together, calls[i].Req)
			}
			made, err := s.abreast(ctx, together)
			if err != nil {
				return err
			}
			for k, i := range order[:n] {
				results[i] = made[k]
			}
			order = order[n:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var runs []Run
	for i, res := range results {
		if res != nil {
			runs = append(runs, Run{calls[i], res})
		}
	}
	return runs, nil
}
