package remote_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference/remote"
)

func TestServeEndsWithItsConnection(t *testing.T) {
	near, ended := conn(t, &scripted{})
	_, err := near.Read(make([]byte, 1)) // the greeting
	require.NoError(t, err)
	require.NoError(t, near.Close())
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(t, "still serving")
	}
}

func TestServeEndsAtGarbage(t *testing.T) {
	near, ended := conn(t, &scripted{})
	go func() { _, _ = io.Copy(io.Discard, near) }()
	_, _ = near.Write([]byte(strings.Repeat("GET / HTTP/1.1\r\n", 10)))
	require.ErrorContains(t, <-ended, "read from the parent process")
}

func TestServeEndsWithItsContext(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = near.Read(make([]byte, 1)) // the greeting
		cancel()
		_, _ = io.Copy(io.Discard, near)
	}()
	require.ErrorIs(t, remote.Serve(ctx, far, &scripted{}), context.Canceled)
	far.Close()
}

func TestServeDoesNotWaitForADeafParent(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, remote.Serve(ctx, far, &scripted{}), "greet the parent process")
}
