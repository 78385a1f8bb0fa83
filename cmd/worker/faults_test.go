package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/api/runpod/runpodtest"
	"sdworker/inference/enginetest"
)

// everyFault has TestFaults try every fault in every phase at every door, which takes
// minutes. Without it each fault, each phase and each door is tried with some of the
// others. The build tag faults sets it.
var everyFault bool

// engineFault is something that befalls the engine process in the middle of a job.
type engineFault struct {
	name   string
	befall func(t *testing.T, call *held)
	says   string        // in the answer to the job; "" when nothing is lost
	bears  enginetest.Op // where nothing is lost all the same
}

func signaled(s syscall.Signal) func(*testing.T, *held) {
	return func(t *testing.T, call *held) { assert.NoError(t, syscall.Kill(call.pid, s)) } // beside the test's goroutine
}

func ordered(what byte) func(*testing.T, *held) {
	return func(_ *testing.T, call *held) { call.order(what) }
}

var engineFaults = []engineFault{
	{"killed", signaled(syscall.SIGKILL), "ended by signal 9", ""},
	{"segmentation fault", signaled(syscall.SIGSEGV), "SIGSEGV", ""},
	{"abort", signaled(syscall.SIGABRT), "SIGABRT", ""},
	{"bus error", signaled(syscall.SIGBUS), "SIGBUS", ""},
	{"garbage on the socket", ordered(orderGarbage), "sent what is no message", ""},
	{"panic", ordered(orderPanic), "panic: index out of range", ""},
	{"no memory", ordered(orderMemory), "out of memory", enginetest.OpPredictNoise}, // whose rows are fewer then,
	{"slow", ordered(orderSlow), "", ""},
}

// engineHangs are faults that are noticed by how long nothing comes.
var engineHangs = []engineFault{
	{"stopped", signaled(syscall.SIGSTOP), "gave no sign of life", ""},
	{"no progress", ordered(orderHang), "made no progress", ""},
}

// phases of a job, by the call that is made in them.
var phases = []enginetest.Op{opOpen, enginetest.OpEncodeText, enginetest.OpPredictNoise, enginetest.OpDecode}

// ending is how a job ended.
type ending struct {
	made bool
	text string // the whole answer
}

// entrance is one way by which jobs come in.
type entrance struct {
	name   string
	unload func()        // so that the next job loads the checkpoint
	ask    func() ending // sends a job and waits for its end
	check  func()        // of what all jobs left
}

const secret = "tok3n-of-the-test"

// asked counts the jobs, each of which has a prompt of its own: what is encoded is kept.
var asked atomic.Int64

func another(body string) string {
	return strings.Replace(body, "a cat", fmt.Sprint("a cat ", asked.Add(1)), 1)
}

// posted is an entrance of HTTP. made tells by status and body.
func posted(c *client, name, path, body string, made func(reply) bool) entrance {
	c.ready()
	return entrance{name: name, unload: func() { c.do(http.MethodPost, "/sdapi/v1/unload-checkpoint", "{}") }, check: func() {}, ask: func() ending {
		got, err := c.try(http.MethodPost, path, another(body))
		if err != nil {
			return ending{text: "no answer: " + err.Error()}
		}
		return ending{made(got), got.body}
	}}
}

// asked by a language model.
func mcpEntrance(t *testing.T, c *client) entrance {
	t.Helper()
	transport := &sdk.StreamableClientTransport{Endpoint: c.base + "/mcp", HTTPClient: &http.Client{Transport: withHeader{c.http.Transport, c.header}}}
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test"}, nil).Connect(t.Context(), transport, nil)
	require.NoError(t, err)
	t.Cleanup(func() { session.Close() })
	return entrance{name: "MCP", check: func() {}, unload: func() { c.do(http.MethodPost, "/sdapi/v1/unload-checkpoint", "{}") }, ask: func() ending {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		arguments := map[string]any{"prompt": another("a cat"), "steps": 3, "width": 64, "height": 64}
		res, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "generate_image", Arguments: arguments})
		if err != nil {
			return ending{text: "no answer: " + err.Error()}
		}
		text, err := json.Marshal(res.Content)
		require.NoError(t, err)
		return ending{!res.IsError, string(text)}
	}}
}

// withHeader sends credentials along.
type withHeader struct {
	http.RoundTripper
	header http.Header
}

func (w withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	maps.Copy(r.Header, w.header)
	return w.RoundTripper.RoundTrip(r)
}

// httpEntrances are those of a server at c.
func httpEntrances(t *testing.T, c *client) []entrance {
	t.Helper()
	ok := func(r reply) bool { return r.status == http.StatusOK }
	saved := strings.Replace(small, "{", `{"save_images": true, `, 1)
	return []entrance{
		posted(c, "A1111", "/sdapi/v1/txt2img", saved, ok),
		posted(c, "jobs", "/v1/jobs?wait=60", `{"endpoint": "txt2img", "input": `+small+`}`, func(r reply) bool { return strings.Contains(r.body, `"status":"completed"`) }),
		posted(c, "OpenAI", "/v1/images/generations", `{"prompt": "a cat", "size": "256x256"}`, ok),
		mcpEntrance(t, c),
	}
}

// entrances starts the servers that the faults befall, all with their engines at gate.
func entrances(t *testing.T, home string, gate *barrier, more ...string) []entrance {
	t.Helper()
	_, c := serve(t, home, gate.environ(), append(more, "--api-token", secret, "--output-dir", home)...)
	c.header.Set("Authorization", "Bearer "+secret)
	list := httpEntrances(t, c)

	_, runPod := runPodEntrance(t, home, gate.environ(), more...)
	// Its engine loads the checkpoint when it starts: a fault that is meant for another door
	// would befall that load.
	require.True(t, runPod.ask().made)
	return append(list, runPod)
}

// runPodEntrance starts a worker on the queue of a strict control plane.
func runPodEntrance(t *testing.T, home, gate string, more ...string) (*queueWorker, entrance) {
	t.Helper()
	server, err := runpodtest.Listen(runpodtest.Options{Patience: 10})
	require.NoError(t, err)
	variables := environ(home, gate, "WARM_UP=false", "API_TOKEN="+secret)
	maps.Copy(variables, server.Env())
	w := &queueWorker{run: begin(t, variables, append([]string{"runpod"}, more...)...), Server: server}
	t.Cleanup(func() {
		w.signal(syscall.SIGTERM)
		<-w.done
		require.NoError(t, server.Close())
	})
	return w, entrance{
		name: "RunPod",
		unload: func() {
			w.result(t, `{"api": {"method": "POST", "endpoint": "/sdapi/v1/unload-checkpoint"}, "payload": {}}`)
		},
		ask:   func() ending { return w.result(t, another(small)) },
		check: func() { require.Empty(t, server.Violations()) },
	}
}

// queueWorker is worker runpod in this process, its engine in another.
type queueWorker struct {
	*run
	*runpodtest.Server
}

// result submits a job and waits for its end.
func (w *queueWorker) result(t *testing.T, input string) ending {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	record, err := w.Wait(ctx, w.Submit(json.RawMessage(input)))
	if err != nil {
		return ending{text: "no answer: " + err.Error()}
	}
	final := record.Finals[0]
	return ending{final.Error == "", string(final.Output) + final.Error}
}

// striker lets all calls pass its gate but one, which something befalls.
type striker struct {
	t *testing.T

	mu    sync.Mutex
	op    enginetest.Op
	fault *engineFault // nil when none is to come
	pid   int          // of the process that it befell
}

// run works until the gate is open.
func (s *striker) run(gate *barrier) {
	for {
		call, err := gate.accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the process has ended
		}
		s.mu.Lock()
		if f := s.fault; f != nil && call.op == s.op {
			s.fault, s.pid = nil, call.pid
			f.befall(s.t, call)
		} else {
			call.release()
		}
		s.mu.Unlock()
	}
}

// aim has f befall the next call of op.
func (s *striker) aim(op enginetest.Op, f *engineFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.op, s.fault, s.pid = op, f, 0
}

// hit is the process that was struck, 0 while none was.
func (s *striker) hit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// TestFaults: whatever befalls the engine in whichever phase of a job from whichever door,
// the job ends once and says why, the next one is made, no process stays behind, nothing
// half-written is visible, and no secret is told.
func TestFaults(t *testing.T) { befallAll(t, engineFaults) }

// TestHangs is TestFaults for engines that do nothing any more.
func TestHangs(t *testing.T) {
	engineSilence = 6 * time.Second
	t.Cleanup(func() { engineSilence = 0 })
	befallAll(t, engineHangs, "--engine-stall-timeout", "8s")
}

// befallAll starts servers with more flags and has each fault befall them in each phase.
func befallAll(t *testing.T, faults []engineFault, more ...string) {
	home := newHome(t)
	gate := newGate(t, phases...)
	strike := &striker{t: t}
	go strike.run(gate)
	doors := entrances(t, home, gate, more...)
	for d, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			for i, f := range faults {
				for p, phase := range phases {
					if !everyFault && (i+p+d)%len(phases) != 0 {
						continue
					}
					t.Run(f.name+" at "+string(phase), func(t *testing.T) {
						if phase == opOpen {
							door.unload()
						}
						strike.aim(phase, &f)
						end := door.ask()
						pid := strike.hit()
						require.NotZero(t, pid, "the phase was not reached: %+v", end)
						lost := f.says != "" && f.bears != phase
						require.Equal(t, lost, !end.made, end.text)
						if lost {
							require.Contains(t, end.text, f.says)
						}
						require.NotContains(t, end.text, secret)
						require.NotContains(t, end.text, "goroutine ")

						next := door.ask()
						require.True(t, next.made, next.text)
						engines := children(t)
						require.Len(t, engines, 2, "one for each server")
						if f.says != "" && f.name != "no memory" {
							require.NotContains(t, engines, pid)
							require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "its process is gone, and not as a zombie")
						}
					})
				}
			}
		})
		door.check()
	}
	pictures := 0
	require.NoError(t, filepath.WalkDir(home, func(path string, file fs.DirEntry, err error) error {
		require.False(t, strings.HasPrefix(file.Name(), ".") && !file.IsDir(), "%s is half-written", path)
		if filepath.Ext(path) == ".png" {
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			requirePicture(t, raw, "png", 64, 64)
			pictures++
		}
		return err
	}))
	require.NotZero(t, pictures)
	gate.open()
}

// children are the engine processes of this one.
func children(t *testing.T) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has ended
		}
		require.NoError(t, err)
		for id := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(id)
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestDescriptorsUsedUp: a server that cannot open anything any more, not even its engine's
// socket, works again once it can.
func TestDescriptorsUsedUp(t *testing.T) {
	home := newHome(t)
	_, c := serve(t, home, openGate, "--output-dir", home)
	doors := httpEntrances(t, c)
	for _, door := range doors {
		require.True(t, door.ask().made, door.name)
	}
	engine := children(t)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	low := before
	low.Cur = 256
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) }()
	var open []*os.File
	useUp := func() {
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				require.ErrorIs(t, err, syscall.EMFILE)
				return
			}
			open = append(open, f)
		}
	}
	useUp()
	// A client that has no connection left needs a descriptor for one, and so does the server.
	ask := func(door entrance) {
		for range 2 {
			open[len(open)-1].Close()
			open = open[:len(open)-1]
		}
		require.NotContains(t, door.ask().text, "no answer", "%s: it is answered, whatever with", door.name)
		useUp()
	}
	for _, door := range doors {
		ask(door)
	}
	require.NoError(t, syscall.Kill(engine[0], syscall.SIGKILL))
	for _, door := range doors {
		ask(door)
	}
	for _, f := range open {
		f.Close()
	}
	for _, door := range doors {
		require.Eventually(t, func() bool { return door.ask().made }, patience, 100*time.Millisecond, door.name)
	}
}
