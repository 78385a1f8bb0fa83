// Command worker makes Stable Diffusion 1.5 pictures: from the command line, as
// the AUTOMATIC1111 HTTP API and as a RunPod serverless worker.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/caarlos0/env/v10"
)

func main() {
	os.Exit(newProgram().main(os.Args[1:]))
}

// newProgram is a run with what this process has.
func newProgram() *program {
	return &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: env.ToMap(os.Environ())}
}

// main runs until a signal and returns the exit status.
func (p *program) main(args []string) int {
	ctx, stop := untilSignal()
	defer stop()
	return p.run(ctx, args)
}

// untilSignal returns a context that the first Ctrl-C or SIGTERM ends, with a
// signaled cause. The second one ends the program at once, as it does by
// default.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signaled{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// signaled is the cause of a context that a signal ended.
type signaled struct{ signal syscall.Signal }

func (s signaled) Error() string { return s.signal.String() }

// status is the exit status that shells give to a program ended by the signal.
func (s signaled) status() int { return 128 + int(s.signal) }
