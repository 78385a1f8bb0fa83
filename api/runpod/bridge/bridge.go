// Package bridge turns RunPod jobs into requests to an AUTOMATIC1111-compatible
// http.Handler, in memory, and its replies into job results.
//
// It reads the inputs of the known A1111 workers: a bare txt2img or img2img
// request (runpod-workers/worker-a1111), optionally with a mode, and
// {"api":{"method","endpoint"},"payload"} for every route
// (ashleykleynhans/runpod-worker-a1111). Results that are too large for RunPod go
// to a bucket, are re-encoded, or become an error that says what to do.
package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"sdworker/api/loopback"
	"sdworker/api/runpod"
	"sdworker/api/runpod/bucket"
)

// Config holds the settings of the bridge.
type Config struct {
	Upload  string `env:"BUCKET_UPLOAD" envDefault:"always" doc:"when a bucket is set: always upload images, or only those too large for RunPod (large)"`
	Format  string `env:"RUNPOD_RECODE" doc:"re-encode images of a result too large for RunPod as jpeg or webp; default: fail with an error"`
	Quality int    `env:"RUNPOD_RECODE_QUALITY" envDefault:"90" doc:"first quality tried when images are re-encoded, 1 to 100"`

	Downloads   bool  `env:"RUNPOD_ALLOW_DOWNLOADS" doc:"let jobs have model files fetched into the model folders (endpoints v1/download and v1/sync)"`
	MaxDownload int64 `env:"RUNPOD_MAX_DOWNLOAD_BYTES" envDefault:"5368709120" doc:"largest file that a job may have downloaded"`

	Bucket bucket.Config
}

// Options is what a bridge is made of.
type Options struct {
	Config

	// API answers A1111's routes. It is called with the job's context, which ends
	// when the job is stopped, and without authentication.
	API http.Handler

	// SplitSampler resolves a sampler name of the time before A1111 1.9, which
	// included the scheduler, such as "DPM++ 2M Karras". ok is false for a name
	// that is none. A result counts only when it is the beginning of the name:
	// a misspelt name is refused by the API, not replaced by another sampler.
	// May be nil.
	SplitSampler func(name string) (sampler, scheduler string, ok bool)

	// Fields names the fields of a route, "txt2img" or "img2img", so that an input
	// that says nothing it understands is told so. May be nil.
	Fields func(route string) []string

	// Watch returns a context under which progress of the work is reported. May
	// be nil.
	Watch func(ctx context.Context, report func(progress any)) context.Context

	// Recode re-encodes a picture as jpeg or webp. May be nil.
	Recode func(picture []byte, format string, quality int) ([]byte, error)

	// Fetcher serves v1/download and v1/sync. May be nil.
	Fetcher Fetcher

	// ModelDirs are the folders that Fetcher may write into. Relative paths are
	// relative to the first one.
	ModelDirs []string
}

// New returns the job handler. It fails on settings that contradict each other.
func New(o Options) (runpod.Handler, error) {
	store, err := bucket.Open(o.Bucket)
	if err != nil {
		return nil, err
	}
	if o.Upload == "" {
		o.Upload = uploadAlways
	}
	if o.Upload != uploadAlways && o.Upload != uploadLarge {
		return nil, fmt.Errorf("BUCKET_UPLOAD is %q; it must be always or large", o.Upload)
	}
	if o.Format != "" && o.Format != "jpeg" && o.Format != "webp" {
		return nil, fmt.Errorf("RUNPOD_RECODE is %q; it must be jpeg or webp", o.Format)
	}
	b := &bridge{Options: o, store: store}
	return b.do, nil
}

type bridge struct {
	Options
	store *bucket.Bucket // nil: none configured
}

// do is the runpod.Handler.
func (b *bridge) do(ctx context.Context, job runpod.Job) (any, error) {
	call, err := b.parse(job.Input)
	if err != nil {
		return nil, err
	}
	if serve, ok := map[string]func(context.Context, json.RawMessage) (any, error){
		"v1/download": b.download,
		"v1/sync":     b.sync,
	}[call.endpoint]; ok {
		if call.method != http.MethodPost {
			return nil, fmt.Errorf("api.method: %s is not allowed for %s; use POST", call.method, call.endpoint)
		}
		return serve(ctx, call.payload)
	}
	if b.Watch != nil {
		ctx = b.Watch(ctx, job.Progress)
	}
	status, isJSON, body := b.roundTrip(ctx, call)
	if status != http.StatusOK && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if status != http.StatusOK {
		failure := &runpod.Failure{Message: sentence(status, body, call)}
		if call.structured && json.Valid(body) {
			failure.Output = runpod.Verbatim(body) // as ashley's worker does
		}
		return nil, failure
	}
	if !isJSON {
		return string(body), nil
	}
	return b.deliver(ctx, job, call, body)
}

// roundTrip calls the API in memory. isJSON goes by the reply's content type.
func (b *bridge) roundTrip(ctx context.Context, c call) (status int, isJSON bool, body []byte) {
	path := (&url.URL{Path: "/" + c.endpoint, RawQuery: c.query}).RequestURI()
	reply := loopback.Do(ctx, b.API, c.method, path, http.Header{"Accept": {"application/json"}}, c.payload)
	body = bytes.TrimSpace(reply.Body)
	return reply.Status, strings.HasPrefix(reply.Header.Get("Content-Type"), "application/json") && len(body) > 0, body
}

// allowed are the route prefixes that a job may reach; the rest of the server,
// such as its pages and metrics, is no business of jobs.
var allowed = []string{"sdapi/v1/", "controlnet/", "adetailer/v1/", "v1/"}

func allowedEndpoint(endpoint string) bool {
	for _, prefix := range allowed {
		if strings.HasPrefix(endpoint, prefix) && !strings.Contains(endpoint, "..") {
			return true
		}
	}
	return false
}
