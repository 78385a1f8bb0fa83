package rng

import (
	"runtime"
	"sync"
)

// spread calls f for parts of [0,n) that lie side by side, on as many goroutines
// as there are processors, and returns when all are done. No part is smaller
// than grain, except where n is.
func spread(n, grain int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n/grain)
	if workers <= 1 {
		f(0, n)
		return
	}
	part := (n + workers - 1) / workers
	var others sync.WaitGroup
	for from := part; from < n; from += part {
		others.Go(func() { f(from, min(from+part, n)) })
	}
	f(0, part)
	others.Wait()
}
