package main

import (
	"context"

	"sdworker/inference"
)

// observed is a Generator whose jobs a second observer follows.
type observed struct {
	inference.Generator
	progress func(inference.Progress)
	result   func(*inference.Result)
}

func (o *observed) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	report := hooks.Progress
	hooks.Progress = func(p inference.Progress) {
		o.progress(p)
		if report != nil {
			report(p)
		}
	}
	res, err := o.Generator.Generate(ctx, req, hooks)
	if res != nil {
		o.result(res)
	}
	return res, err
}
