package httpd

import (
	"context"
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
	s := httptest.NewServer(withBodyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
		w.WriteHeader(http.StatusBadRequest)
	}), bodyDeadlines{time.Millisecond, time.Millisecond, t.Context()}))
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
	s.Listener = writeDeadlineListener{s.Listener, bodyDeadlines{time.Millisecond, time.Millisecond, t.Context()}}
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
}

// overHTTP2 serves h and returns a client whose requests go over one connection of HTTP/2.
func overHTTP2(t *testing.T, h http.Handler) (*httptest.Server, *http.Client) {
	t.Helper()
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = only
	s.Start()
	transport := &http.Transport{Protocols: only}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
	})
	return s, &http.Client{Transport: transport}
}

// Over HTTP/2 a client that stops reading a reply goes on with others on the same
// connection, and says by nothing but its silence that it takes no more.
func TestHTTP2ClientThatStopsReading(t *testing.T) {
	for _, size := range []int64{
		1 << 32,     // more than a client takes unread
		4<<20 + 100, // the end of it is sent when the handler has returned
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			returned := make(chan error, 1)
			s, client := overHTTP2(t, withReplyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/other" {
					fmt.Fprint(w, "hello")
					return
				}
				_, err := io.Copy(w, io.LimitReader(zeros{}, size))
				returned <- err
			}), bodyDeadlines{50 * time.Millisecond, time.Hour, t.Context()}))
			stopped, err := client.Get(s.URL)
			require.NoError(t, err)
			defer stopped.Body.Close()
			if err := <-returned; size == 1<<32 {
				require.Error(t, err)
			}
			other, err := client.Get(s.URL + "/other")
			require.NoError(t, err)
			text, err := io.ReadAll(other.Body)
			require.NoError(t, err)
			require.Equal(t, "hello", string(text))
			other.Body.Close()
			require.NoError(t, s.Config.Shutdown(t.Context()), "it waits for the requests in hand")
			_, err = io.ReadAll(stopped.Body)
			require.ErrorContains(t, err, "stream error", "a cut reply must not pass for a whole one")
		})
	}
}

// A reply that comes in pieces with long pauses, as events do, is no slow client.
func TestHTTP2ReplyWithPauses(t *testing.T) {
	const wait = 100 * time.Millisecond
	s, client := overHTTP2(t, withReplyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			fmt.Fprint(w, "event ")
			assert.NoError(t, http.NewResponseController(w).Flush())
			time.Sleep(2 * wait)
		}
	}), bodyDeadlines{wait, wait, t.Context()}))
	reply, err := client.Get(s.URL)
	require.NoError(t, err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	require.NoError(t, err)
	require.Equal(t, "event event event ", string(text))
}

// When the server stops, a reply that nobody reads does not hold it for long.
func TestStopEndsTheWaitForAReader(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			stopping, stop := context.WithCancel(t.Context())
			defer stop()
			wait := bodyDeadlines{time.Hour, 10 * time.Millisecond, stopping}
			failed := make(chan error, 1)
			s := httptest.NewUnstartedServer(withReplyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, err := io.Copy(w, io.LimitReader(zeros{}, 1<<32))
				failed <- err
			}), wait))
			s.Listener = writeDeadlineListener{s.Listener, wait}
			protocols := new(http.Protocols)
			protocols.SetHTTP1(version == "HTTP/1.1")
			protocols.SetUnencryptedHTTP2(version == "HTTP/2")
			s.Config.Protocols = protocols
			s.Start()
			defer s.Close()
			transport := &http.Transport{Protocols: protocols}
			defer transport.CloseIdleConnections()
			reply, err := (&http.Client{Transport: transport}).Get(s.URL)
			require.NoError(t, err)
			defer reply.Body.Close()
			require.Empty(t, failed, "there is an hour")
			stop()
			require.Error(t, <-failed)
		})
	}
}

// A body that never comes withholds no reply, whether or not somebody would read it.
func TestBodyThatNeverComes(t *testing.T) {
	for _, length := range []string{"Content-Length: 100", "Content-Length: 99999999", "Transfer-Encoding: chunked"} {
		s := httptest.NewServer(withBodyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			fmt.Fprint(w, "too much")
		}), bodyDeadlines{time.Hour, 10 * time.Millisecond, t.Context()}))
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		require.NoError(t, err)
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", length)
		reply, err := io.ReadAll(conn) // up to the end of the connection
		require.NoError(t, err)
		require.Contains(t, string(reply), "413 Request Entity Too Large")
		require.Contains(t, string(reply), "too much")
		conn.Close()
		s.Close()
	}
}

// When the server stops, a body that is on its way does not hold it.
func TestStopEndsTheWaitForABody(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	reading := make(chan struct{})
	s := httptest.NewServer(withBodyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		close(reading)
		_, err := io.ReadAll(r.Body)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		w.WriteHeader(http.StatusBadRequest)
	}), bodyDeadlines{time.Hour, 10 * time.Millisecond, stopping}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	<-reading
	stop()
	reply, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(reply), "400 Bad Request")
}

// A request whose body was read keeps its connection.
func TestReadBodyKeepsTheConnection(t *testing.T) {
	s := httptest.NewServer(withBodyDeadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		time.Sleep(30 * time.Millisecond)
		fmt.Fprint(w, r.RemoteAddr)
	}), bodyDeadlines{time.Hour, 10 * time.Millisecond, t.Context()}))
	defer s.Close()
	var from []string
	for range 2 {
		reply, err := s.Client().Post(s.URL, "", strings.NewReader("hello"))
		require.NoError(t, err)
		text, err := io.ReadAll(reply.Body)
		require.NoError(t, err)
		reply.Body.Close()
		from = append(from, string(text))
	}
	require.Equal(t, from[0], from[1])
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Between the pieces, and while the server works, there is no deadline.
func TestDeadlineEndsWithThePiece(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	h := withBodyDeadlines(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "hello", string(body))
		assert.NotZero(t, w.set)
		assert.Zero(t, w.last)
	}), bodyDeadlines{time.Hour, time.Hour, t.Context()})
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
