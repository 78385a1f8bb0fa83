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
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"sdworker/api/a1111"
	"sdworker/api/runpod"
	"sdworker/api/runpod/bucket"
	"sdworker/internal/publicnet"
)

// Config holds the settings of the bridge.
type Config struct {
	Upload  string `env:"BUCKET_UPLOAD" envDefault:"always" doc:"when a bucket is set: always upload images, or only those too large for RunPod (large)"`
	Format  string `env:"RUNPOD_RECODE" doc:"re-encode images of a result too large for RunPod as jpeg or webp; default: fail with an error"`
	Quality int    `env:"RUNPOD_RECODE_QUALITY" envDefault:"90" doc:"first quality tried when images are re-encoded, 1 to 100"`

	PrivateBuckets bool `env:"RUNPOD_PRIVATE_BUCKETS" doc:"let s3Config of a job name an endpoint on a private network"`

	Downloads   bool  `env:"RUNPOD_ALLOW_DOWNLOADS" doc:"let jobs have model files fetched into the model folders (endpoints v1/download and v1/sync)"`
	MaxDownload int64 `env:"RUNPOD_MAX_DOWNLOAD_BYTES" envDefault:"5368709120" doc:"largest file that a job may have downloaded"`

	Bucket bucket.Config
}

// Options is what a bridge is made of.
type Options struct {
	Config

	// API answers A1111's routes. It is called with the job's context, which ends
	// when the job is stopped.
	API a1111.Client

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

// Validate finds all settings that cannot be used. It is for a Config that was read
// from the environment: there zero is a value and no wish for the default.
func (c Config) Validate() []error {
	var errs []error
	if _, err := bucket.Open(c.Bucket); err != nil {
		errs = append(errs, err)
	}
	if c.Upload != "" && c.Upload != uploadAlways && c.Upload != uploadLarge {
		errs = append(errs, fmt.Errorf("BUCKET_UPLOAD is %q; it must be always or large", c.Upload))
	}
	if c.Format != "" && c.Format != "jpeg" && c.Format != "webp" {
		errs = append(errs, fmt.Errorf("RUNPOD_RECODE is %q; it must be jpeg or webp", c.Format))
	}
	if c.Quality < 1 || c.Quality > 100 {
		errs = append(errs, fmt.Errorf("RUNPOD_RECODE_QUALITY is %d; it must be 1 to 100", c.Quality))
	}
	if c.MaxDownload < 0 {
		errs = append(errs, fmt.Errorf("RUNPOD_MAX_DOWNLOAD_BYTES is %d; it must not be negative", c.MaxDownload))
	}
	return errs
}

// defaultQuality is used where Config.Quality is 0.
const defaultQuality = 90

// New returns the job handler. It fails on settings that contradict each other.
func New(o Options) (runpod.Handler, error) {
	o.Upload, o.Quality = cmp.Or(o.Upload, uploadAlways), cmp.Or(o.Quality, defaultQuality)
	if err := errors.Join(o.Validate()...); err != nil {
		return nil, err
	}
	store, err := bucket.Open(o.Bucket)
	if err != nil {
		return nil, err
	}
	b := &bridge{Options: o, store: store, public: publicnet.Transport()}
	return b.do, nil
}

type bridge struct {
	Options
	store  *bucket.Bucket  // nil: none configured
	public *http.Transport // for buckets that jobs name
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
	path := (&url.URL{Path: "/" + call.endpoint, RawQuery: call.query}).RequestURI()
	reply := b.API.Do(ctx, call.method, path, call.payload)
	body := bytes.TrimSpace(reply.Body)
	switch {
	case reply.Status != http.StatusOK && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case reply.Status != http.StatusOK:
		failure := &runpod.Failure{Message: sentence(reply.Fault(), call)}
		if call.structured && json.Valid(body) {
			failure.Output = runpod.Verbatim(body) // as ashley's worker does
		}
		return nil, failure
	case len(body) == 0 || !strings.HasPrefix(reply.Header.Get("Content-Type"), "application/json"):
		return string(body), nil
	}
	return b.deliver(ctx, job, call, body)
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
