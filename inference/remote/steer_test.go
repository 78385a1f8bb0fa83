package remote

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
)

// stuck is a generator whose job waits for its end and whose status hangs, as it
// does with a driver that does not answer.
type stuck struct {
	inference.Generator
	asked   chan struct{} // one for each question
	release chan struct{}
	ended   chan error
}

func (s *stuck) Generate(ctx context.Context, _ *inference.Request, _ inference.Hooks) (*inference.Result, error) {
	<-ctx.Done()
	s.ended <- ctx.Err()
	return nil, ctx.Err()
}

func (s *stuck) Status() inference.Status {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.release
	return inference.Status{}
}

func TestAHangingStatusDoesNotHoldACancelBack(t *testing.T) {
	near, far := net.Pipe()
	gen := &stuck{asked: make(chan struct{}, 1), release: make(chan struct{}), ended: make(chan error, 1)}
	served := make(chan error, 1)
	go func() { served <- Serve(context.Background(), far, gen) }()
	go func() { _, _ = io.Copy(io.Discard, near) }()
	<-gen.asked
	out := newSender(near)
	require.NoError(t, out.send(message{Kind: kindGenerate, Call: 1, Request: &inference.Request{}}))
	require.NoError(t, out.send(message{Kind: kindCancel, Call: 1}))
	select {
	case err := <-gen.ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(time.Minute):
		require.Fail(t, "the cancel did not reach the job")
	}
	close(gen.release)
	near.Close()
	require.NoError(t, <-served)
}
