package main

import (
	"os"
	"testing"
	"time"
)

// asWorker in the environment turns the test binary into the worker; fakeEngine
// beside it lets that work without an engine, see fake_test.go.
const (
	asWorker   = "SDWORKER_TEST_AS_WORKER"
	fakeEngine = "SDWORKER_TEST_FAKE_ENGINE"
)

// patience bounds every wait; a worker that is stuck must fail the test.
const patience = 2 * time.Minute

// TestMain lets tests start this binary as the worker, whose engine process is
// this binary again.
func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		p := newProgram()
		if gate := os.Getenv(fakeEngine); gate != "" {
			p.open = fakeOpener(gate)
		}
		os.Exit(p.main(os.Args[1:]))
	}
	os.Exit(m.Run())
}
