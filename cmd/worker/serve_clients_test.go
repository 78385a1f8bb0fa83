package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference/enginetest"
	"sdworker/internal/cli"
	"sdworker/internal/httpd"
)

// TestServeAndBodiesThatNeverCome: neither a reply nor the end of the server waits for
// what a client announced.
func TestServeAndBodiesThatNeverCome(t *testing.T) {
	r, c := serve(t, newHome(t), openGate, "--max-body", "1000", "--shutdown-grace", "1h")
	c.ready()
	open := func(path string, length int) net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, length)
		require.NoError(t, err)
		return conn
	}
	for path, want := range map[string]int{
		"/sdapi/v1/interrupt": http.StatusOK, // reads no body
		"/sdapi/v1/txt2img":   http.StatusRequestEntityTooLarge,
		"/v1/nothing":         http.StatusNotFound,
	} {
		began := time.Now()
		reply, err := http.ReadResponse(bufio.NewReader(open(path, 5000)), nil)
		require.NoError(t, err, path)
		require.Equal(t, want, reply.StatusCode, path)
		require.Less(t, time.Since(began), httpd.PieceWait, path)
	}
	waiting := open("/sdapi/v1/txt2img", 500)
	_, err := io.WriteString(waiting, "{")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, c.get("/healthz").status)
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait(), "within less than the grace time")
}

// TestProcessEndsWithBodiesOutstanding: the program itself, in a process of its own, ends at
// SIGTERM though clients announced bodies that they never send.
func TestProcessEndsWithBodiesOutstanding(t *testing.T) {
	home := newHome(t)
	bounded, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(bounded, "/proc/self/exe", "serve", "--addr", "127.0.0.1:0", "--shutdown-grace", "1h")
	for name, value := range environ(home, openGate) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	said := newTranscript()
	cmd.Stderr = said
	require.NoError(t, cmd.Start())
	said.await(t, "listening on http://")
	_, rest, _ := strings.Cut(said.String(), "listening on http://")
	addr, _, _ := strings.Cut(rest, "\n")
	for _, path := range []string{"/sdapi/v1/txt2img", "/sdapi/v1/interrupt", "/v1/jobs", "/nothing"} {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", path)
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "within less than the grace time")
}

// TestHalfClosedConnection: a client that closes its half of the connection looks like one
// that has gone, so that its job ends. It is told so, and the next one has the engine.
func TestHalfClosedConnection(t *testing.T) {
	g := newGate(t, enginetest.OpPredictNoise)
	_, c := serve(t, newHome(t), g.environ(), "--batch-jobs", "1")
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(small), small)
	require.NoError(t, err)
	step := g.next()
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	text, err := io.ReadAll(reply.Body)
	require.NoError(t, err)
	require.Equal(t, 499, reply.StatusCode, "%s", text)
	require.Contains(t, string(text), "keep it open until the reply has come")
	g.open()
	step.release()
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", small).pictures(t))
}

// TestServeWithoutAPlaceToWrite: as in a container whose root is read-only.
func TestServeWithoutAPlaceToWrite(t *testing.T) {
	home := newHome(t)
	variables := environ("/proc/nothing", openGate, "MODELS_DIR="+filepath.Join(home, "models"))
	r := begin(t, variables, "serve", "--addr", "127.0.0.1:0")
	c := &client{t: t, base: r.await("listening on "), http: &http.Client{Timeout: patience}, header: http.Header{}}
	defer c.http.CloseIdleConnections()
	c.ready()
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", small).pictures(t))
	require.Contains(t, c.get("/sdapi/v1/sd-models").body, "[")
	require.Equal(t, http.StatusOK, c.do(http.MethodPost, "/sdapi/v1/options", `{"CLIP_stop_at_last_layers":2}`).status)
}

// TestLogInjection: what a client writes into a path makes no line of its own in the log.
func TestLogInjection(t *testing.T) {
	r, c := serve(t, newHome(t), openGate, "--log-format", "json", "--log-level", "debug")
	c.ready()
	c.get("/sdapi/v1/x%0a%7b%22level%22%3a%22error%22%2c%22message%22%3a%22forged%22%7d")
	r.await("/sdapi/v1/x")
	for line := range strings.Lines(r.err.String()) {
		require.False(t, strings.HasPrefix(line, `{"level":"error","message":"forged"`), line)
	}
}

// TestSmuggledRequests: a request whose length is told in two ways is refused, or ends its
// connection; nothing of it counts as another request.
func TestSmuggledRequests(t *testing.T) {
	_, c := serve(t, newHome(t), openGate, "--api-token", "t0ken")
	c.header.Set("Authorization", "Bearer t0ken")
	c.ready()
	for _, head := range []string{
		"Content-Length: 5\r\nContent-Length: 6\r\n",
		"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
		"Content-Length: 80\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"Content-Length: +5\r\n",
		"Content-Length : 5\r\n",
		"X-A: b\r\n Content-Length: 5\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, "POST /sdapi/v1/interrupt HTTP/1.1\r\nHost: localhost\r\n"+head+"\r\n0\r\n\r\nPOST /sdapi/v1/unload-checkpoint HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t0ken\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		replies, _ := io.ReadAll(conn) // the server may close with the rest unread
		conn.Close()
		require.NotContains(t, string(replies), "HTTP/1.1 200", head)
	}
	require.Equal(t, http.StatusOK, c.get("/readyz").status, "the checkpoint is still loaded")
}

// TestHangupIsNoEnd: a terminal that is closed sends SIGHUP.
func TestHangupIsNoEnd(t *testing.T) {
	own := make(chan os.Signal, 1)
	signal.Notify(own, syscall.SIGHUP) // before the server does, so that it never ends the tests
	defer signal.Stop(own)
	r, c := serve(t, newHome(t), openGate, "--log-level", "info")
	c.ready()
	require.Eventually(t, func() bool {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		return strings.Contains(fmt.Sprint(r.err), "looked at the model folders again")
	}, patience, 20*time.Millisecond)
	require.Equal(t, 1, (<-c.later(small)).pictures(t))
}

// TestNamesOfALoopbackServer: a page that renames itself to this machine gets nothing.
func TestNamesOfALoopbackServer(t *testing.T) {
	_, c := serve(t, newHome(t), openGate, "--allowed-hosts", "pictures.example")
	c.ready()
	for host, want := range map[string]int{"evil.example:7860": http.StatusForbidden, "pictures.example": http.StatusOK, "localhost": http.StatusOK} {
		require.Equal(t, want, c.asked(host), host)
	}
}

// TestNamesOfAPublicServer: beyond a loopback address names count only where some are
// configured.
func TestNamesOfAPublicServer(t *testing.T) {
	for allowed, want := range map[string]int{"": http.StatusOK, "pictures.example": http.StatusForbidden} {
		_, c := serve(t, newHome(t), openGate, "--addr", "0.0.0.0:0", "--allowed-hosts", allowed)
		_, port, err := net.SplitHostPort(strings.TrimPrefix(c.base, "http://"))
		require.NoError(t, err)
		c.base = "http://127.0.0.1:" + port
		require.Equal(t, want, c.asked("other.example"), allowed)
		require.Equal(t, http.StatusOK, c.asked("pictures.example"))
		require.Equal(t, http.StatusOK, c.asked("127.0.0.1:"+port), "as health checks ask")
	}
}

// asked is the status of a request for a host.
func (c *client) asked(host string) int {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.base+"/sdapi/v1/samplers", nil)
	require.NoError(c.t, err)
	req.Host = host
	reply, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	reply.Body.Close()
	return reply.StatusCode
}
