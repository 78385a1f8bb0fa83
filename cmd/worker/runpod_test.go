//go:build cgo && sdcpp

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
	"sdworker/models/synth"
)

// tinyCheckpoint is written at first use and removed by the last test.
func tinyCheckpoint(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.safetensors")
	require.NoError(t, synth.Write(t.Context(), path, synth.Options{Kind: synth.Checkpoint, Size: synth.Tiny}))
	return path
}

// workerProcess is worker runpod in a process of its own, on the queue of a
// strict control plane.
type workerProcess struct {
	*runpodtest.Server
	t   *testing.T
	cmd *exec.Cmd
	log console

	fails bool // it is expected to end with an error

	exited chan struct{} // closed when it has, with err set
	err    error
}

// startWorker starts a worker and ends it with the test. No breach of the
// protocol is tolerated, nor a line on standard output that RunPod's console
// does not understand.
func startWorker(t *testing.T, environ ...string) *workerProcess {
	t.Helper()
	server, err := runpodtest.Listen(runpodtest.Options{Patience: 10})
	require.NoError(t, err)
	home := t.TempDir()
	w := &workerProcess{Server: server, t: t, cmd: exec.Command("/proc/self/exe", "runpod"), exited: make(chan struct{})}
	w.cmd.Dir = home
	w.cmd.Env = append([]string{
		asWorker + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"DEVICE=" + cmp.Or(os.Getenv("SDWORKER_TEST_DEVICE"), "cpu"),
	}, environ...)
	for name, value := range server.Env() {
		w.cmd.Env = append(w.cmd.Env, name+"="+value)
	}
	out, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	w.cmd.Stderr = w.log.unexpected()
	require.NoError(t, w.cmd.Start())
	go func() {
		defer close(w.exited)
		w.log.read(out)
		w.err = w.cmd.Wait()
	}()
	t.Cleanup(func() {
		w.signal(syscall.SIGTERM)
		<-w.exited
		require.NoError(t, server.Close())
		if t.Failed() {
			t.Logf("the worker's log:\n%s", w.log.String())
		}
		require.Equal(t, w.fails, w.err != nil, "exit status: %v", w.err)
		require.Empty(t, server.Violations())
		if !w.fails {
			require.Empty(t, w.log.strange)
		}
	})
	return w
}

// signal sends a signal to the worker, unless it is gone.
func (w *workerProcess) signal(s syscall.Signal) {
	select {
	case <-w.exited:
	default:
		_ = w.cmd.Process.Signal(s) // it may be gone now
	}
}

// engine returns the id of the worker's engine process.
func (w *workerProcess) engine() int {
	w.t.Helper()
	return engineOf(w.t, w.cmd.Process.Pid)
}

// engineOf returns the id of the engine process of a worker.
func engineOf(t *testing.T, worker int) int {
	t.Helper()
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", worker))
	require.NoError(t, err)
	for _, file := range children {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for id := range strings.FieldsSeq(string(text)) {
			command, err := os.ReadFile("/proc/" + id + "/cmdline")
			require.NoError(t, err)
			if strings.Contains(string(command), "\x00engine\x00") {
				pid, err := strconv.Atoi(id)
				require.NoError(t, err)
				return pid
			}
		}
	}
	require.Fail(t, "the worker has no engine process")
	return 0
}

func (w *workerProcess) until(id string, cond func(runpodtest.Record) bool) runpodtest.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	go func() {
		select {
		case <-w.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	record, err := w.Until(ctx, id, cond)
	require.NoError(w.t, err)
	return record
}

// answer waits for a job's one answer.
func (w *workerProcess) answer(id string) runpodtest.Final {
	w.t.Helper()
	return w.until(id, func(r runpodtest.Record) bool { return len(r.Finals) > 0 }).Finals[0]
}

// do has a job done.
func (w *workerProcess) do(input string) runpodtest.Final {
	w.t.Helper()
	return w.answer(w.Submit(json.RawMessage(input)))
}

// sampling submits a job and returns when the engine works on it.
func (w *workerProcess) sampling(input string) string {
	w.t.Helper()
	id := w.Submit(json.RawMessage(input))
	w.until(id, func(r runpodtest.Record) bool {
		for _, p := range r.Progress {
			if strings.Contains(string(p), `"phase":"sampling"`) {
				return true
			}
		}
		require.Empty(w.t, r.Finals)
		return false
	})
	return id
}

// held waits until the worker says that it has a job.
func (w *workerProcess) held(id string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		pings := w.Pings()
		return slices.Contains(pings[len(pings)-1].Jobs, id)
	}, patience, time.Millisecond)
}

// console checks the lines of the worker's log.
type console struct {
	mu      sync.Mutex
	text    bytes.Buffer
	strange []string
}

func (c *console) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			RequestID *string `json:"requestId"`
			Message   string  `json:"message"`
			Level     string  `json:"level"`
		}
		dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		dec.DisallowUnknownFields()
		err := dec.Decode(&line)
		c.mu.Lock()
		fmt.Fprintf(&c.text, "%s\n", lines.Bytes())
		if err != nil || line.Message == "" || line.Level == "" {
			c.strange = append(c.strange, lines.Text())
		}
		c.mu.Unlock()
	}
}

// unexpected is where standard error goes: the log belongs on standard output.
func (c *console) unexpected() io.Writer { return strangeLines{c} }

type strangeLines struct{ *console }

func (c strangeLines) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strange = append(c.strange, string(p))
	return len(p), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// shortJob is a job of a few steps; endless is one that nobody waits for.
const (
	shortJob = `"prompt":"a lovely cat","steps":2,"width":64,"height":64,"seed":7,"sampler_name":"DPM++ 2M Karras"`
	endless  = `{"prompt":"a very long story","steps":150,"width":256,"height":256,"n_iter":50}`
)

// result is the output of a job that makes pictures.
type result struct {
	Images     []string
	Parameters map[string]any
	Info       string
}

func decodeResult(t *testing.T, f runpodtest.Final) result {
	t.Helper()
	require.Empty(t, f.Error)
	var r result
	require.NoError(t, json.Unmarshal(f.Output, &r))
	return r
}

func decodePNG(t *testing.T, text string) image.Image {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	m, err := png.Decode(bytes.NewReader(raw))
	require.NoError(t, err)
	return m
}

// noisePNG is a picture that does not compress, in base64.
func noisePNG(t *testing.T, side int) string {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = byte(random.Uint32())
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, m))
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func api(method, endpoint, payload string) string {
	return fmt.Sprintf(`{"api":{"method":%q,"endpoint":%q},"payload":%s}`, method, endpoint, payload)
}

func TestRunPodWorker(t *testing.T) {
	w := startWorker(t, "MODEL="+tinyCheckpoint(t))

	t.Run("flat fields", func(t *testing.T) {
		r := decodeResult(t, w.do("{"+shortJob+"}"))
		require.Len(t, r.Images, 1)
		require.Equal(t, image.Pt(64, 64), decodePNG(t, r.Images[0]).Bounds().Size())
		require.Equal(t, "a lovely cat", r.Parameters["prompt"])
		require.Contains(t, r.Info, "Sampler: DPM++ 2M, Schedule type: Karras", "the name of the time before A1111 1.9 is split")

		same := decodeResult(t, w.do(api("POST", "/sdapi/v1/txt2img", "{"+shortJob+"}")))
		require.Equal(t, r.Images, same.Images, "the shape of the input does not change the picture")

		changed := decodeResult(t, w.do(`{"init_images":["`+r.Images[0]+`"],"denoising_strength":0.5,`+shortJob+`}`))
		require.Equal(t, image.Pt(64, 64), decodePNG(t, changed.Images[0]).Bounds().Size())
		require.NotEqual(t, r.Images, changed.Images)
	})

	t.Run("every route of the structured worker", func(t *testing.T) {
		for _, route := range []string{
			"options", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-models", "sd-vae", "hypernetworks", "face-restorers",
			"realesrgan-models", "prompt-styles", "embeddings", "memory", "scripts", "script-info", "extensions", "loras",
		} {
			f := w.do(api("GET", "/sdapi/v1/"+route, "{}"))
			require.Empty(t, f.Error, route)
			require.NotEmpty(t, f.Output, route)
		}
		for _, route := range []string{"refresh-embeddings", "refresh-checkpoints", "refresh-vae", "refresh-loras", "options"} {
			f := w.do(api("POST", "sdapi/v1/"+route, "{}"))
			require.Empty(t, f.Error, route)
			require.Equal(t, "null", string(f.Output), route)
		}
		require.Contains(t, string(w.do(api("GET", "/controlnet/model_list", "{}")).Output), "model_list")

		still := noisePNG(t, 32)
		f := w.do(api("POST", "/sdapi/v1/extra-single-image", `{"image":"`+still+`","upscaling_resize":2,"upscaler_1":"Lanczos"}`))
		require.Empty(t, f.Error)
		var enlarged struct{ Image string }
		require.NoError(t, json.Unmarshal(f.Output, &enlarged))
		require.Equal(t, image.Pt(64, 64), decodePNG(t, enlarged.Image).Bounds().Size())

		require.Contains(t, string(w.do(api("GET", "/sdapi/v1/sd-models", "{}")).Output), "tiny")
		require.Contains(t, string(w.do(api("GET", "/sdapi/v1/progress?skip_current_image=true", "{}")).Output), "eta_relative")
	})

	// A detector in the worker's folder of models is used by jobs of both shapes alike; of
	// random weights it finds something everywhere.
	t.Run("ADetailer", func(t *testing.T) {
		model, err := os.ReadFile("../../inference/detect/testdata/detect.pt")
		require.NoError(t, err)
		folder := filepath.Join(w.cmd.Dir, "models", "adetailer")
		require.NoError(t, os.MkdirAll(folder, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "face.pt"), model, 0o600))
		const unit = `"alwayson_scripts":{"ADetailer":{"args":[true,false,{"ad_model":"face.pt","ad_confidence":0,"ad_mask_k":1,"ad_denoising_strength":0.9}]}},`
		plain := decodeResult(t, w.do("{"+shortJob+"}"))
		flat := decodeResult(t, w.do("{"+unit+shortJob+"}"))
		structured := decodeResult(t, w.do(api("POST", "/sdapi/v1/txt2img", "{"+unit+shortJob+"}")))
		require.Contains(t, flat.Info, "ADetailer model: face.pt, ADetailer confidence: 0")
		require.NotContains(t, flat.Info, "found nothing")
		require.NotEqual(t, plain.Images, flat.Images)
		require.Equal(t, flat.Images, structured.Images)
		require.Contains(t, string(w.do(api("GET", "/adetailer/v1/ad_model", "{}")).Output), "face.pt")
	})

	t.Run("jobs that cannot be done", func(t *testing.T) {
		for _, tc := range []struct{ input, want string }{
			{`"a red fox"`, "input must be an object"},
			{`[]`, "input must be an object"},
			{`null`, "input"},
			{`{}`, "input is empty"},
			{`{"prompt":"a","steps":"many"}`, "steps: "},
			{`{"prompt":"a","steps":-1}`, "steps"},
			{`{"prompt":"a","width":100000}`, "width"},
			{`{"prompt":"a","sampler_name":"Eulr"}`, "sampler_name: "},
			{`{"prompt":"a","mode":"video"}`, "mode is"},
			{`{"init_images":["not a picture"],"prompt":"a"}`, "init_images"},
			{api("POST", "/sdapi/v1/txt2img", `{"prompt":["a"]}`), "prompt: "},
			{api("PUT", "/sdapi/v1/txt2img", `{}`), "api.method"},
			{api("GET", "/sdapi/v1/txt2img", `{}`), "api.method: GET is not allowed"},
			{api("POST", "/sdapi/v1/txt2vid", `{}`), "api.endpoint: there is no route"},
			{api("GET", "/metrics", `{}`), "api.endpoint: there is no route"},
			{`{"api":{"endpoint":"/sdapi/v1/txt2img"}}`, "api.method is missing"},
			{api("POST", "/v1/download", `{"source_url":"https://example.com/a"}`), "does not download"},
		} {
			f := w.do(tc.input)
			require.Contains(t, f.Error, tc.want, tc.input)
			require.NotContains(t, f.Error, "\n", tc.input)
			require.NotContains(t, f.Error, "Traceback", tc.input)
		}
		w.SubmitRaw("bare-e1", `{"id":"bare-e1"}`)
		require.Contains(t, w.answer("bare-e1").Error, "no input")
		w.SubmitRaw("", `{"input":{}}`)
		require.Empty(t, w.do("{"+shortJob+"}").Error, "jobs go on after one that cannot be answered")
	})

	t.Run("a result that is too large", func(t *testing.T) {
		id := w.Submit(json.RawMessage(api("POST", "/sdapi/v1/extra-single-image", `{"image":"`+noisePNG(t, 512)+`","upscaling_resize":5,"upscaler_1":"Lanczos"}`)))
		require.Contains(t, w.answer(id).Error, "more than RunPod takes")
		require.Zero(t, w.Job(id).Refused, "it is not even posted")
	})

	t.Run("a stopped job", func(t *testing.T) {
		id := w.sampling(endless)
		ahead := w.Submit(json.RawMessage(endless))
		w.held(ahead)
		w.Cancel(ahead)
		w.Cancel(id)
		require.Empty(t, w.do("{"+shortJob+"}").Error)
		require.Empty(t, w.Job(id).Finals)
		require.Empty(t, w.Job(ahead).Finals)
	})

	t.Run("the engine is killed", func(t *testing.T) {
		before := w.engine()
		id := w.sampling(endless)
		require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
		require.Contains(t, w.answer(id).Error, "engine")
		require.Contains(t, w.answer(id).Error, "killed")
		require.Empty(t, w.do("{"+shortJob+"}").Error)
		require.NotEqual(t, before, w.engine())
	})

	t.Run("heartbeats while the engine is busy", func(t *testing.T) {
		id := w.sampling(endless)
		pings := len(w.Pings())
		require.Eventually(t, func() bool { return len(w.Pings()) >= pings+3 }, patience, 10*time.Millisecond)
		for _, p := range w.Pings()[pings+1:] {
			require.Equal(t, []string{id}, p.Jobs)
		}
		w.Cancel(id)
		require.Empty(t, w.do("{"+shortJob+"}").Error)
	})

	log := w.log.String()
	for _, phase := range []string{"find model", "check device", "load model", "warm up"} {
		require.Regexp(t, `start phase duration_ms=[0-9.e-]+ phase=`+phase+` `, log)
	}
	require.NotContains(t, log, "lovely cat", "no prompts at info")
}

func TestRunPodShutdown(t *testing.T) {
	checkpoint := tinyCheckpoint(t)
	t.Run("the job in hand is finished", func(t *testing.T) {
		w := startWorker(t, "MODEL="+checkpoint)
		id := w.sampling(`{"prompt":"a cat","steps":20,"width":64,"height":64}`)
		w.signal(syscall.SIGTERM)
		require.Len(t, decodeResult(t, w.answer(id)).Images, 1)
		<-w.exited
	})
	t.Run("what cannot be finished is given back", func(t *testing.T) {
		w := startWorker(t, "MODEL="+checkpoint, "RUNPOD_SHUTDOWN_GRACE=2s")
		id := w.sampling(endless)
		ahead := w.Submit(json.RawMessage(endless))
		w.held(ahead)
		w.signal(syscall.SIGTERM)
		require.Equal(t, runpod.ErrShutdown.Error(), w.answer(id).Error)
		require.Equal(t, runpod.ErrShutdown.Error(), w.answer(ahead).Error)
		<-w.exited
	})
	t.Run("before it is ready", func(t *testing.T) {
		w := startWorker(t, "MODEL="+checkpoint)
		require.Eventually(t, func() bool { return len(w.Pings()) > 0 }, patience, time.Millisecond)
		w.signal(syscall.SIGTERM)
		<-w.exited
		require.Empty(t, w.Takes())
	})
}

func TestRunPodFailedStart(t *testing.T) {
	w := startWorker(t, "MODEL=/nowhere/model.safetensors", "FETCH_MODEL=false")
	w.fails = true
	final := w.answer(w.Submit(json.RawMessage("{" + shortJob + "}")))
	require.Contains(t, final.Error, `"event":"prestart_failed"`)
	require.Contains(t, final.Error, "find model")
	<-w.exited
	pings := w.Pings()
	require.True(t, pings[len(pings)-1].Unhealthy)
	require.Equal(t, "find model", pings[len(pings)-1].Check)
}
