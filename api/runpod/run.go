package runpod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"sdworker/internal/publicnet"
)

// testInputFile is read when there is neither a queue nor --test_input.
const testInputFile = "test_input.json"

// Run chooses as the SDK does: --rp_serve_api serves the endpoint API locally,
// RUNPOD_REALTIME_PORT serves it on all interfaces, RUNPOD_WEBHOOK_GET_JOB takes
// jobs from the queue, and without any of them one job from --test_input or
// test_input.json is done, its answer printed to stdout. A failed job is an
// error.
func Run(ctx context.Context, h Handler, cfg Config, f Flags, stdout io.Writer) error {
	switch {
	case f.ServeAPI:
		cfg.Concurrency = f.Concurrency
		return serveAPI(ctx, h, cfg, net.JoinHostPort(f.APIHost, strconv.Itoa(f.APIPort)))
	case cfg.RealtimePort > 0:
		cfg.Concurrency = cfg.RealtimeConcurrency
		return serveAPI(ctx, h, cfg, net.JoinHostPort("0.0.0.0", strconv.Itoa(cfg.RealtimePort)))
	case cfg.GetJob != "":
		return Start(ctx, h, cfg)
	default:
		return runOnce(ctx, h, cfg, f.TestInput, stdout)
	}
}

// runOnce does one local job.
func runOnce(ctx context.Context, h Handler, cfg Config, input string, stdout io.Writer) error {
	source := "--test_input"
	if input == "" {
		source = testInputFile
		body, err := os.ReadFile(testInputFile)
		if errors.Is(err, os.ErrNotExist) {
			return errors.New("nothing to do: RUNPOD_WEBHOOK_GET_JOB is not set, --test_input is not given and there is no test_input.json; try --test_input '{\"input\": {\"prompt\": \"a red fox\"}}' or --rp_serve_api")
		}
		if err != nil {
			return err
		}
		input = string(body)
	}
	var wire map[string]json.RawMessage
	if err := json.Unmarshal([]byte(input), &wire); err != nil {
		return fmt.Errorf("%s is not a JSON object: %w", source, err)
	}
	if wire["input"] == nil {
		return fmt.Errorf("%s has no \"input\"; it should look like {\"input\": {\"prompt\": \"a red fox\"}}", source)
	}
	if wire["id"] == nil {
		wire["id"] = json.RawMessage(`"local_test"`)
	}
	body, err := json.Marshal(wire)
	if err != nil {
		return err
	}
	jobs, _, err := decodeJobs(body)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		return fmt.Errorf("%s has an \"id\" that is not a text", source)
	}

	cfg = cfg.withDefaults()
	if await, err := prepare(ctx, cfg); err != nil {
		await()
		return err
	}
	local := newMemory()
	w := newWorker(cfg, h, local)
	w.post = context.WithoutCancel(ctx)
	local.admit(jobs[0])
	w.accept(ctx, jobs[0], time.Now())
	w.idle()

	status, _ := local.status(jobs[0].ID)
	switch {
	case status.Status == statusCompleted:
		_, err = fmt.Fprintf(stdout, "%s\n", status.Output)
		return err
	case status.Error != "":
		return errors.New(status.Error)
	default:
		return context.Cause(ctx)
	}
}

// serveAPI serves the local API until ctx ends.
func serveAPI(ctx context.Context, h Handler, cfg Config, addr string) error {
	api := NewLocalAPI(h, cfg)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("the API cannot be served on %s: %w; choose another with --rp_api_port", addr, err)
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		// Whoever can reach the server may send jobs, and must not reach its network by them.
		api.Webhooks = &http.Client{Transport: publicnet.Transport()}
	}
	// No page of another site has business with it.
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(api), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	cfg.Log.Info().Str("url", "http://"+listener.Addr().String()).Msg("serving the endpoint API")

	work, stop := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	defer pinging.Wait()
	defer stop()
	if cfg.PingURL != "" {
		p, err := newPinger(api.cfg, cfg.Log, api.worker.ids)
		if err != nil {
			return err
		}
		pinging.Go(func() { p.run(work) })
	}
	worked := make(chan error, 1)
	go func() { worked <- api.Work(work) }()
	select {
	case err = <-served: // the listener failed
		stop()
		return errors.Join(err, <-worked)
	case err = <-worked:
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(closing))
}
