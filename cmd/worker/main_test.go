package main

import (
	"os"
	"testing"
)

// asWorker in the environment turns the test binary into the worker.
const asWorker = "SDWORKER_TEST_AS_WORKER"

// TestMain lets tests start this binary as the worker, whose engine process is
// this binary again.
func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		main()
	}
	os.Exit(m.Run())
}
