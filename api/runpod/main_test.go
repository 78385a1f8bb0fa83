package runpod_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is one worker and its control plane in a bubble of virtual time.
type rig struct {
	*runpodtest.Server
	t    *testing.T
	stop context.CancelFunc // SIGTERM
	done chan error         // Start's result
	log  *logBuffer
}

// logBuffer is a bytes.Buffer for several goroutines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// setup changes what a rig is made of.
type setup struct {
	server runpodtest.Options
	config func(*runpod.Config)
	before func(*runpodtest.Server) // before the worker starts
}

// inBubble runs a worker with handler h under virtual time, then body, and after
// it stops the worker. No breach of the protocol is tolerated.
func inBubble(t *testing.T, s setup, h runpod.Handler, body func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := runpodtest.New(s.server)
		if s.before != nil {
			s.before(server)
		}
		cfg, err := runpod.LoadConfig(server.Env())
		require.NoError(t, err)
		log := &logBuffer{}
		cfg.Transport, cfg.Log = server.Transport(), zerolog.New(log)
		if s.config != nil {
			s.config(&cfg)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer server.Close() // also when body fails
		defer stop()
		r := &rig{Server: server, t: t, stop: stop, done: make(chan error, 1), log: log}
		go func() { r.done <- runpod.Start(ctx, h, cfg) }()
		body(r)
		r.stop()
		select {
		case err := <-r.done:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("the worker does not end")
		}
		require.NoError(t, server.Close())
		synctest.Wait()
		require.Empty(t, server.Violations(), "log:\n%s", log)
	})
}

// wait returns the record of an answered job.
func (r *rig) wait(id string) runpodtest.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	record, err := r.Wait(ctx, id)
	require.NoError(r.t, err, "log:\n%s", r.log)
	return record
}

// until waits for a state of a job, and for the worker to have noticed.
func (r *rig) until(id string, cond func(runpodtest.Record) bool) runpodtest.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	record, err := r.Until(ctx, id, cond)
	require.NoError(r.t, err, "log:\n%s", r.log)
	synctest.Wait()
	return record
}

func echo(_ context.Context, job runpod.Job) (any, error) { return job.Input, nil }
