package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"sdworker/inference"
	"sdworker/models/fetch"
)

// noteEvery is the shortest time between two notes of the use of one file. The
// order in which files leave the cache need not be finer.
const noteEvery = time.Hour

// recentModels is a Generator that notes which fetched files are used, so that the cache
// removes others first.
type recentModels struct {
	inference.Generator
	cache *fetch.Cache

	mu    sync.Mutex
	noted map[string]time.Time // by path
}

func newRecentModels(gen inference.Generator, cache *fetch.Cache) *recentModels {
	return &recentModels{Generator: gen, cache: cache, noted: map[string]time.Time{}}
}

func (r *recentModels) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	res, err := r.Generator.Generate(ctx, req, hooks)
	if err == nil {
		files := []string{req.Files.Checkpoint, req.Files.VAE}
		if req.Hires != nil {
			files = append(files, req.Hires.Checkpoint)
		}
		r.note(append(files, slices.Collect(maps.Values(req.Files.LoRAs))...))
	}
	return res, err
}

func (r *recentModels) Load(ctx context.Context, files inference.Files, hooks inference.Hooks) error {
	err := r.Generator.Load(ctx, files, hooks)
	if err == nil {
		r.note([]string{files.Checkpoint, files.VAE})
	}
	return err
}

func (r *recentModels) note(paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range paths {
		if path == "" || time.Since(r.noted[path]) < noteEvery {
			continue
		}
		r.noted[path] = time.Now()
		r.cache.Touch(path)
	}
}
