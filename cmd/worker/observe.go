package main

import (
	"context"

	"sdworker/inference"
)

// observer follows the job of one request. It travels in the request's context
// through the API, which knows nothing of it, to the generator behind the queue.
type observer struct {
	progress func(inference.Progress)
	result   func(*inference.Result) // may be nil
}

type observerKey struct{}

func withObserver(ctx context.Context, o observer) context.Context {
	return context.WithValue(ctx, observerKey{}, o)
}

// observed is a Generator that serves the observers of its jobs.
type observed struct{ inference.Generator }

func (g observed) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	o, ok := ctx.Value(observerKey{}).(observer)
	if !ok {
		return g.Generator.Generate(ctx, req, hooks)
	}
	report := hooks.Progress
	hooks.Progress = func(p inference.Progress) {
		o.progress(p)
		if report != nil {
			report(p)
		}
	}
	res, err := g.Generator.Generate(ctx, req, hooks)
	if res != nil && o.result != nil {
		o.result(res)
	}
	return res, err
}
