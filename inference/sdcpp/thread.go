//go:build cgo && sdcpp

package sdcpp

import "runtime"

// thread runs functions one after another on one OS thread. The engine wants that:
// CUDA's current device and OpenMP's team of threads belong to the thread that
// calls, and Go moves goroutines about.
type thread struct {
	work chan func()
	gone chan struct{}
}

func newThread() *thread {
	t := &thread{work: make(chan func()), gone: make(chan struct{})}
	go func() {
		defer close(t.gone)
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		for f := range t.work {
			f()
		}
	}()
	return t
}

// run calls f on the thread and waits for it.
func (t *thread) run(f func()) {
	done := make(chan struct{})
	t.work <- func() { defer close(done); f() }
	<-done
}

// stop ends the thread. It must not run anything afterwards.
func (t *thread) stop() {
	close(t.work)
	<-t.gone
}
