package sdapi

import (
	"context"

	"sdworker/api/budget"
	"sdworker/inference"
)

// run is one call of the generator: a call that is complete in itself, and what
// came of it.
type run struct {
	call   *call
	result *inference.Result
}

// outcome is all that a job made.
type outcome struct {
	runs    []run         // in the order of the reply
	lead    *call         // whose values info shows; nil: the request's own
	arrange func(*output) // adds the grids of a script; nil without
}

// inpainting reports whether the checkpoint takes mask and masked picture.
func (o *outcome) inpainting() bool { return len(o.runs) > 0 && o.runs[0].result.Inpainting }

// timings are those of all runs together.
func (o *outcome) timings() inference.Timings {
	var sum inference.Timings
	for _, r := range o.runs {
		addTimings(&sum, r.result.Timings)
	}
	return sum
}

func addTimings(sum *inference.Timings, t inference.Timings) {
	sum.Queue += t.Queue
	sum.Load += t.Load
	sum.Encode += t.Encode
	sum.Sample += t.Sample
	sum.Decode += t.Decode
	sum.Upscale += t.Upscale
	sum.Total += t.Total
}

// batches is how many batches of a request count as jobs of their own in the
// progress.
func batches(r *inference.Request) int {
	if r.Hires != nil {
		return 2 * r.BatchNum
	}
	return r.BatchNum
}

// series makes several requests in one turn of the queue.
type series struct {
	gen   inference.Generator
	hooks inference.Hooks
	done  int // batches so far
	jobs  int // batches in all
}

// generate makes one request, whose batches are counted among those of the series.
func (s *series) generate(ctx context.Context, req *inference.Request) (*inference.Result, error) {
	hooks := s.hooks
	hooks.Progress = func(p inference.Progress) {
		p.Job, p.Jobs = s.done+p.Job, s.jobs
		s.hooks.Report(p)
	}
	res, err := s.gen.Generate(ctx, req, hooks)
	s.done += batches(req)
	return res, err
}

// takeResult takes the memory of what the call makes so many times.
func (c *call) takeResult(ctx context.Context, times int) error {
	w, h := c.req.Width, c.req.Height
	if hr := c.req.Hires; hr != nil {
		w, h = hr.Width, hr.Height
	}
	return budget.TakeResult(ctx, times*c.req.Images(), w, h)
}

// runAll makes the calls one after another in one turn of the queue, in the given
// order; nil is that of the list. An interrupt leaves out what has not begun. The
// runs have the order of the list.
func runAll(ctx context.Context, place *inference.Place, job inference.Job, calls []*call, order []int) ([]run, error) {
	for _, c := range calls {
		if err := c.takeResult(ctx, 1); err != nil {
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
		s := series{gen: gen, hooks: hooks}
		for _, c := range calls {
			s.jobs += batches(c.req)
		}
		for _, i := range order {
			if hooks.Control.Interrupted() {
				return nil
			}
			var err error
			if results[i], err = s.generate(ctx, calls[i].req); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var runs []run
	for i, res := range results {
		if res != nil {
			runs = append(runs, run{calls[i], res})
		}
	}
	return runs, nil
}
