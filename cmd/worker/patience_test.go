package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientThatStopsSending(t *testing.T) {
	failed := make(chan error, 1)
	s := httptest.NewServer(impatient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
		w.WriteHeader(http.StatusBadRequest)
	}), time.Millisecond))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
	reply, err := io.ReadAll(conn) // up to the end of the connection
	require.NoError(t, err)
	require.Contains(t, string(reply), "400 Bad Request")
}

func TestClientThatStopsReading(t *testing.T) {
	failed := make(chan error, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.Copy(w, io.LimitReader(zeros{}, 1<<32)) // more than the buffers of both sides hold
		failed <- err
	}))
	s.Listener = impatientListener{s.Listener, time.Millisecond}
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Between the pieces, and while the server works, there is no deadline.
func TestDeadlineEndsWithThePiece(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	h := impatient(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "hello", string(body))
		assert.NotZero(t, w.set)
		assert.Zero(t, w.last)
	}), time.Hour)
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello")))
}

// deadlines is a ResponseWriter that notes its read deadlines.
type deadlines struct {
	http.ResponseWriter
	set  int
	last time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set++
	d.last = at
	return nil
}
