package runpod

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// LocalAPI is RunPod's endpoint API on this machine, without an account: the
// routes that clients call (/run, /runsync, /status/{id}, /stream/{id},
// /cancel/{id}, /purge-queue, /health), at the root as the SDK serves them and
// under /v2/{endpoint} as RunPod does. Jobs go through the same worker as those
// of the queue.
type LocalAPI struct {
	cfg    Config
	queue  *memory
	worker *worker
	mux    *http.ServeMux
	hooks  sync.WaitGroup
	ended  chan struct{} // closed when webhooks are given up

	// Webhooks carries the calls of webhooks; nil means http.DefaultClient.
	Webhooks *http.Client
}

// NewLocalAPI returns the API; jobs are done while Work runs.
func NewLocalAPI(h Handler, cfg Config) *LocalAPI {
	cfg = cfg.withDefaults()
	queue := newMemory()
	a := &LocalAPI{cfg: cfg, queue: queue, worker: newWorker(cfg, h, queue), mux: http.NewServeMux(), ended: make(chan struct{})}
	for _, prefix := range []string{"", "/v2/{endpoint}"} {
		for pattern, f := range map[string]http.HandlerFunc{
			"POST %s/run":         a.run,
			"POST %s/runsync":     a.runSync,
			"GET %s/status/{id}":  a.status,
			"POST %s/status/{id}": a.status,
			"GET %s/stream/{id}":  a.stream,
			"POST %s/stream/{id}": a.stream,
			"POST %s/cancel/{id}": a.cancel,
			"POST %s/purge-queue": a.purge,
			"GET %s/health":       a.health,
		} {
			a.mux.HandleFunc(fmt.Sprintf(pattern, prefix), f)
		}
	}
	a.mux.HandleFunc("GET /{$}", a.index)
	a.mux.Handle("GET /docs", http.RedirectHandler("/", http.StatusTemporaryRedirect))
	if cfg.EndpointID != "" {
		a.mux.HandleFunc("POST /"+cfg.EndpointID+"/realtime", a.realtime)
	}
	return a
}

// Work prepares the handler and does the jobs until ctx ends. Call it once.
func (a *LocalAPI) Work(ctx context.Context) error {
	defer func() {
		a.queue.purge()
		defer time.AfterFunc(5*time.Second, func() { close(a.ended) }).Stop()
		a.hooks.Wait()
	}()
	if await, err := prepare(ctx, a.cfg); err != nil {
		await()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return a.worker.serve(ctx)
}

// ServeHTTP serves the API.
func (a *LocalAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *LocalAPI) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, `RunPod endpoint API, served locally.

POST /run          {"input": {...}}   queue a job
POST /runsync      {"input": {...}}   do a job and wait for it (?wait=milliseconds)
GET  /status/{id}                     state and output of a job
GET  /stream/{id}                     parts of its output that are new
POST /cancel/{id}                     stop a job
POST /purge-queue                     drop all jobs that have not started
GET  /health                          numbers of jobs and workers
`)
}

// submit reads a job from a request, or answers it with 422 as the SDK does.
func (a *LocalAPI) submit(w http.ResponseWriter, r *http.Request, prefix string) (Job, string, bool) {
	var wire struct {
		ID      string          `json:"id"`
		Input   json.RawMessage `json:"input"`
		Webhook string          `json:"webhook"`
		S3      *S3Config       `json:"s3Config"`
	}
	refuse := func(field, msg, kind string) (Job, string, bool) {
		reply(w, http.StatusUnprocessableEntity, map[string]any{"detail": []any{map[string]any{"loc": []string{"body", field}, "msg": msg, "type": kind}}})
		return Job{}, "", false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, SyncLimit))
	if err != nil {
		reply(w, http.StatusRequestEntityTooLarge, map[string]string{"error": fmt.Sprintf("the request exceeds RunPod's limit of %d MB", SyncLimit/1_000_000)})
		return Job{}, "", false
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return refuse("", err.Error(), "value_error.jsondecode")
	}
	if wire.Input == nil {
		return refuse("input", "field required", "value_error.missing")
	}
	if in := bytes.TrimSpace(wire.Input); in[0] != '{' {
		return refuse("input", "value is not a valid dict", "type_error.dict")
	}
	id := wire.ID
	if prefix != "" || id == "" {
		id = prefix + rand.Text()
	}
	return Job{ID: id, Input: wire.Input, S3: wire.S3, Raw: body}, wire.Webhook, true
}

func (a *LocalAPI) run(w http.ResponseWriter, r *http.Request) {
	job, webhook, ok := a.submit(w, r, "test-")
	if !ok {
		return
	}
	a.queue.enqueue(job)
	a.notify(job.ID, webhook)
	reply(w, http.StatusOK, map[string]string{"id": job.ID, "status": statusQueued})
}

// Bounds of the wait parameter of /runsync, and its default.
const (
	minWait     = time.Second
	maxWait     = 300 * time.Second
	defaultWait = 90 * time.Second
)

func (a *LocalAPI) runSync(w http.ResponseWriter, r *http.Request) {
	wait := defaultWait
	if ms, err := strconv.Atoi(r.URL.Query().Get("wait")); err == nil {
		wait = min(max(time.Duration(ms)*time.Millisecond, minWait), maxWait)
	}
	job, webhook, ok := a.submit(w, r, "sync-")
	if !ok {
		return
	}
	a.queue.enqueue(job)
	a.notify(job.ID, webhook)
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	status, _ := a.queue.wait(ctx, job.ID)
	reply(w, http.StatusOK, status)
}

// realtime answers with the bare result.
func (a *LocalAPI) realtime(w http.ResponseWriter, r *http.Request) {
	job, _, ok := a.submit(w, r, "")
	if !ok {
		return
	}
	a.queue.enqueue(job)
	status, _ := a.queue.wait(r.Context(), job.ID)
	if r.Context().Err() != nil {
		a.queue.cancel(job.ID)
		return
	}
	reply(w, http.StatusOK, struct {
		Error  string          `json:"error,omitempty"`
		Output json.RawMessage `json:"output,omitempty"`
	}{status.Error, status.Output})
}

// notFound is the SDK's answer for an id that it does not know.
func notFound(w http.ResponseWriter, id string) {
	reply(w, http.StatusOK, map[string]string{"id": id, "status": statusFailed, "error": "Job ID not found"})
}

func (a *LocalAPI) status(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	status, ok := a.queue.status(id)
	if !ok {
		notFound(w, id)
		return
	}
	reply(w, http.StatusOK, status)
}

func (a *LocalAPI) stream(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	parts, status, err := a.queue.nextParts(r.Context(), id)
	if err != nil {
		notFound(w, id)
		return
	}
	type part struct {
		Output json.RawMessage `json:"output"`
	}
	list := make([]part, len(parts))
	for i, p := range parts {
		list[i].Output = p
	}
	reply(w, http.StatusOK, map[string]any{"id": id, "status": status, "stream": list})
}

func (a *LocalAPI) cancel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	status, ok := a.queue.cancel(id)
	if !ok {
		notFound(w, id)
		return
	}
	reply(w, http.StatusOK, map[string]string{"id": id, "status": status.Status})
}

func (a *LocalAPI) purge(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{"removed": a.queue.purge(), "status": "completed"})
}

func (a *LocalAPI) health(w http.ResponseWriter, _ *http.Request) {
	n := a.queue.counts()
	running, idle := 0, 1
	if n[statusInProgress] > 0 {
		running, idle = 1, 0
	}
	reply(w, http.StatusOK, map[string]any{
		"jobs":    map[string]int{"completed": n[statusCompleted], "failed": n[statusFailed], "inProgress": n[statusInProgress], "inQueue": n[statusQueued], "retried": 0},
		"workers": map[string]int{"idle": idle, "running": running, "initializing": 0, "ready": idle, "throttled": 0},
	})
}

// Webhook calls are tried as often as the platform does.
const (
	hookTries   = 3
	hookPause   = 10 * time.Second
	hookTimeout = 10 * time.Second
)

// notify posts the finished job's status to its webhook, if it has one.
func (a *LocalAPI) notify(id, webhook string) {
	if webhook == "" {
		return
	}
	a.hooks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), retention)
		defer cancel()
		go func() {
			select {
			case <-a.ended:
				cancel()
			case <-ctx.Done():
			}
		}()
		status, ok := a.queue.wait(ctx, id)
		if !ok {
			return
		}
		for try := range hookTries {
			if try > 0 {
				sleep(ctx, hookPause)
			}
			err := callWebhook(ctx, cmp.Or(a.Webhooks, http.DefaultClient), webhook, status)
			if err == nil {
				return
			}
			a.cfg.Log.Warn().Err(err).Str(JobField, id).Msg("webhook not accepted")
		}
	})
}

func callWebhook(ctx context.Context, client *http.Client, url string, status Status) error {
	body, err := encodeValue(status)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func reply(w http.ResponseWriter, status int, v any) {
	body, err := encodeValue(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
