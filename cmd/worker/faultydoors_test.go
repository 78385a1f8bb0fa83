package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod/runpodtest"
	"sdworker/inference/enginetest"
	"sdworker/internal/cli"
)

// TestEndInEveryPhase: a server or worker that is told to end in whichever phase of a job
// from whichever door answers the job first, and ends well.
func TestEndInEveryPhase(t *testing.T) {
	for p, phase := range phases {
		for d := range len(phases) + 1 {
			if !everyFault && p != d%len(phases) {
				continue
			}
			r, log, g, door := doorAt(t, phase, d)
			t.Run(door.name+" at "+string(phase), func(t *testing.T) {
				if phase == opOpen {
					door.unload()
				}
				answer := make(chan ending, 1)
				go func() { answer <- door.ask() }()
				call := g.next()
				r.signal(syscall.SIGTERM)
				log.await(t, "shutting down")
				g.open()
				call.release()
				end := <-answer
				require.True(t, end.made, end.text)
				require.Equal(t, cli.StatusOK, r.wait())
				require.NotContains(t, log.String(), "the grace time is over", "nothing else held up the end")
				door.check()
			})
		}
	}
}

// doorAt starts what has door number d, those of HTTP before RunPod's, with its engine
// at a gate that holds the calls of one phase.
func doorAt(t *testing.T, phase enginetest.Op, d int) (r *run, log *transcript, g *barrier, door entrance) {
	t.Helper()
	home := newHome(t)
	g = newGate(t, phase)
	if d == len(phases) {
		w, door := runPodEntrance(t, home, g.environ())
		if phase == opOpen {
			g.next().release() // of the start
		}
		return w.run, w.out, g, door
	}
	r, c := serve(t, home, g.environ(), "--output-dir", home)
	if phase == opOpen {
		g.next().release()
	}
	return r, r.err, g, httpEntrances(t, c)[d]
}

// TestRunPodNetworkFaults: whatever the network makes of the calls of a worker, each job
// ends once with its picture, and the platform has nothing to complain of.
func TestRunPodNetworkFaults(t *testing.T) {
	w, door := runPodEntrance(t, newHome(t), openGate)
	require.True(t, door.ask().made)
	for _, f := range []struct {
		name   string
		answer runpodtest.Answer
	}{
		{"dropped", runpodtest.Answer{Drop: true}},
		{"lost", runpodtest.Answer{Lose: true}},
		{"cut in the body", runpodtest.Answer{Cut: true}},
		{"in small pieces", runpodtest.Answer{Slow: 200 * time.Millisecond}},
		{"no JSON", runpodtest.Answer{Status: http.StatusOK, Body: "<html>", ContentType: "text/html"}},
		{"of a proxy", runpodtest.Answer{Status: http.StatusBadGateway, Body: "<html>", ContentType: "text/html"}},
		{"somewhere else", runpodtest.Answer{Status: http.StatusTemporaryRedirect, Location: "http://127.0.0.1:1/"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			for _, route := range []runpodtest.Route{runpodtest.TakeRoute, runpodtest.DoneRoute, runpodtest.ProgressRoute, runpodtest.PingRoute, runpodtest.StopRoute} {
				if route == runpodtest.DoneRoute && f.answer.Status == http.StatusOK {
					continue // it says that the platform has the result
				}
				w.Script(route, f.answer)
			}
			for range 2 {
				end := door.ask()
				require.True(t, end.made, end.text)
			}
			require.Zero(t, w.Scripted(runpodtest.DoneRoute), "it has befallen a result")
		})
	}
	door.check()
}

// requests that begin work, by the route of each door.
var requests = []struct{ path, body string }{
	{"/sdapi/v1/txt2img", small},
	{"/v1/jobs?wait=60", `{"endpoint": "txt2img", "input": ` + small + `}`},
	{"/v1/images/generations", `{"prompt": "a cat", "size": "256x256"}`},
	{"/mcp", `{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "generate_image", "arguments": ` + small + `}}`},
	{"/sdapi/v1/img2img", `{"init_images": [], "prompt": "a cat"}`},
	{"/sdapi/v1/options", `{"CLIP_stop_at_last_layers": 1}`},
	{"/controlnet/detect", `{"controlnet_module": "none", "controlnet_input_images": []}`},
}

// networkFaults are what clients and the network between do with a connection.
var networkFaults = []struct {
	name string
	do   func(t *testing.T, conn *net.TCPConn, path, body string)
}{
	{"cut in the header", func(t *testing.T, conn *net.TCPConn, path, _ string) {
		_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: local", path)
		require.NoError(t, err)
	}},
	{"cut before the body", func(t *testing.T, conn *net.TCPConn, path, _ string) { head(t, conn, path, "Content-Length: 1000") }},
	{"cut in the body", func(t *testing.T, conn *net.TCPConn, path, body string) {
		head(t, conn, path, "Content-Length: 1000")
		_, err := io.WriteString(conn, body[:len(body)/2])
		require.NoError(t, err)
	}},
	{"reset in the body", func(t *testing.T, conn *net.TCPConn, path, body string) {
		head(t, conn, path, "Content-Length: 1000")
		_, err := io.WriteString(conn, body[:len(body)/2])
		require.NoError(t, err)
		require.NoError(t, conn.SetLinger(0))
	}},
	{"half-closed in the body", func(t *testing.T, conn *net.TCPConn, path, body string) {
		head(t, conn, path, "Content-Length: 1000")
		_, err := io.WriteString(conn, body[:len(body)/2])
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		refused(t, conn)
	}},
	{"chunks that are none", func(t *testing.T, conn *net.TCPConn, path, _ string) {
		head(t, conn, path, "Transfer-Encoding: chunked")
		_, err := io.WriteString(conn, "zz\r\nnothing")
		require.NoError(t, err)
		refused(t, conn)
	}},
	{"gone while it waits", func(t *testing.T, conn *net.TCPConn, path, body string) {
		head(t, conn, path, fmt.Sprint("Content-Length: ", len(body)))
		_, err := io.WriteString(conn, body)
		require.NoError(t, err)
	}},
}

func head(t *testing.T, conn *net.TCPConn, path, length string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n%s\r\n\r\n", path, length)
	require.NoError(t, err)
}

// refused expects an answer that tells that the request is wrong.
func refused(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.GreaterOrEqual(t, res.StatusCode, 400, "%s", text)
	require.Less(t, res.StatusCode, 500, "%s", text)
}

// TestNetworkFaults: whatever happens to a connection at whichever door, the server has
// no work of it afterwards and does the next job.
func TestNetworkFaults(t *testing.T) {
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	for _, f := range networkFaults {
		for _, r := range requests {
			t.Run(f.name+" at "+r.path, func(t *testing.T) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
				require.NoError(t, err)
				f.do(t, conn.(*net.TCPConn), r.path, r.body)
				require.NoError(t, conn.Close())
			})
		}
		require.Eventually(t, func() bool { return strings.Contains(c.get("/queue/status").body, `"queue_size":0`) }, patience, 5*time.Millisecond)
		require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", another(small)).pictures(t), f.name)
	}
}

// TestClientGoneInEveryPhase: the job of a client that goes away ends in whichever phase
// it is, and does not hold up the next one.
func TestClientGoneInEveryPhase(t *testing.T) {
	for _, phase := range []enginetest.Op{enginetest.OpEncodeText, enginetest.OpPredictNoise, enginetest.OpDecode} {
		g := newGate(t, phase)
		_, c := serve(t, newHome(t), g.environ(), "--batch-jobs", "1")
		c.ready()
		for _, r := range requests[:4] {
			if r.path != "/sdapi/v1/txt2img" && r.path != "/v1/images/generations" {
				continue // a job goes on without its client, and a session of MCP has none here
			}
			body := another(r.body)
			conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
			require.NoError(t, err)
			head(t, conn.(*net.TCPConn), r.path, fmt.Sprint("Content-Length: ", len(body)))
			_, err = io.WriteString(conn, body)
			require.NoError(t, err)
			call := g.next()
			require.NoError(t, conn.Close())
			require.Eventually(t, func() bool { return strings.Contains(c.get("/queue/status").body, `"queue_size":0`) }, patience, 5*time.Millisecond, "%s at %s", r.path, phase)
			call.release()
		}
		g.open()
		require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", another(small)).pictures(t))
	}
}
