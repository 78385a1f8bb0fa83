//go:build soak

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

// The soak runs worker serve, in a process of its own, under a mixed load of 16 clients for
// the time in SOAK, with faults at random, and fails on growth. SOAK_MODEL names a
// checkpoint for the real engine, which takes the engine's build tags; without it the
// engine process has fake networks. Figures go to SOAK_CHART, an SVG.
const soakClients = 16

// soak is a server under load.
type soak struct {
	t    *testing.T
	home string
	cmd  *exec.Cmd
	base string
	http *http.Client

	mu        sync.Mutex
	latencies []float64      // seconds, of pictures that were made since the last sample
	answers   map[string]int // by kind and status
	strange   []string       // answers that nobody may get
	struck    int
}

// sample is what was seen at one moment.
type sample struct {
	at                                            float64 // seconds since the start
	front, engine, heap, goroutines, files, temps float64
	p50, p95, p99                                 float64
	work                                          float64 // seconds that the machine takes for something that stays the same
}

func startSoak(t *testing.T) *soak {
	home := newHome(t)
	s := &soak{t: t, home: home, answers: map[string]int{}, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: soakClients}, Timeout: patience}}
	args := []string{"serve", "--addr", "127.0.0.1:0", "--output-dir", home, "--queue-depth", "48", "--log-level", "error"}
	s.cmd = exec.Command("/proc/self/exe", args...)
	s.cmd.Env = []string{"HOME=" + home, "DEVICE=cpu", asWorker + "=1", "PATH=" + os.Getenv("PATH"), "WEBHOOK_SECRET="}
	if model := os.Getenv("SOAK_MODEL"); model != "" {
		s.cmd.Env = append(s.cmd.Env, "MODEL="+model)
	} else {
		s.cmd.Env = append(s.cmd.Env, fakeEngine+"="+openGate)
	}
	said, err := s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	})
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if base, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			s.base = base
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	require.NotEmpty(t, s.base)
	c := &client{t: t, base: s.base, http: s.http, header: http.Header{}}
	c.ready()
	return s
}

// send makes one request. What it may be answered with depends on the faults, but it is
// answered.
func (s *soak) send(ctx context.Context, kind, method, path, body string, allowed ...int) string {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, strings.NewReader(body))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream") // as MCP asks
	began := time.Now()
	res, err := s.http.Do(req)
	if err != nil {
		s.note(kind, "gone", ctx.Err() == nil, err.Error())
		return ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	s.note(kind, strconv.Itoa(res.StatusCode), err != nil || !slices.Contains(allowed, res.StatusCode), string(text[:min(len(text), 300)]))
	if kind == "txt2img" && res.StatusCode == http.StatusOK {
		s.mu.Lock()
		s.latencies = append(s.latencies, time.Since(began).Seconds())
		s.mu.Unlock()
	}
	return string(text)
}

func (s *soak) note(kind, what string, strange bool, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[kind+" "+what]++
	if strange && len(s.strange) < 20 {
		s.strange = append(s.strange, kind+" "+what+": "+text)
	}
}

// client sends requests of all kinds until ctx ends.
func (s *soak) client(ctx context.Context, n uint64, picture string) {
	random := rand.New(rand.NewPCG(n, 7))
	work := []int{200, 429, 499, 500, 503} // a killed engine is 500, a full queue 429
	for ctx.Err() == nil {
		prompt := fmt.Sprintf("a cat %d (in:1.2) the [sun:rain:0.5]", random.IntN(50))
		size := 64 * (1 + random.IntN(3))
		body := fmt.Sprintf(`{"prompt":%q,"steps":%d,"width":%d,"height":%d,"seed":%d,"batch_size":%d}`, prompt, 1+random.IntN(8), size, 64, random.IntN(1000), 1+random.IntN(2))
		switch random.IntN(14) {
		case 0, 1, 2:
			s.send(ctx, "txt2img", http.MethodPost, "/sdapi/v1/txt2img", body, work...)
		case 3:
			s.send(ctx, "img2img", http.MethodPost, "/sdapi/v1/img2img", strings.Replace(body, "{", `{"init_images":["`+picture+`"],`, 1), work...)
		case 4:
			s.send(ctx, "jobs", http.MethodPost, "/v1/jobs?wait=5", `{"endpoint":"txt2img","input":`+body+`}`, 200, 202, 429, 503)
		case 5:
			s.send(ctx, "OpenAI", http.MethodPost, "/v1/images/generations", `{"prompt":"a cat","size":"256x256"}`, work...)
		case 6:
			s.send(ctx, "extras", http.MethodPost, "/sdapi/v1/extra-single-image", `{"image":"`+picture+`","upscaler_1":"Lanczos","upscaling_resize":2}`, work...)
		case 7:
			s.send(ctx, "png-info", http.MethodPost, "/sdapi/v1/png-info", `{"image":"`+picture+`"}`, 200, 429)
		case 8:
			s.send(ctx, "options", http.MethodPost, "/sdapi/v1/options", `{"CLIP_stop_at_last_layers":1}`, 200)
		case 9:
			for _, path := range []string{"/sdapi/v1/progress", "/sdapi/v1/sd-models", "/v1/models", "/metrics", "/queue/status"} {
				s.send(ctx, "lists", http.MethodGet, path, "", 200)
			}
		case 10:
			s.send(ctx, "wrong", http.MethodPost, "/sdapi/v1/txt2img", `{"steps":"many"}`, 422, 429)
		case 11: // a client that goes away
			short, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(100))*time.Millisecond)
			s.send(short, "left", http.MethodPost, "/sdapi/v1/txt2img", strings.Replace(body, `"steps":`, `"steps":10`, 1), work...)
			cancel()
		case 12: // one that announces more than it sends
			if conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://")); err == nil {
				fmt.Fprintf(conn, "POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
				conn.Close()
			}
		case 13:
			s.send(ctx, "MCP", http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, 200, 202, 400)
		}
	}
}

// strike does something to the engine process now and then.
func (s *soak) strike(ctx context.Context, every time.Duration) {
	random := rand.New(rand.NewPCG(9, 9))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every/2 + time.Duration(random.Int64N(int64(every)))):
		}
		if pid := childOf(s.cmd.Process.Pid); pid != 0 {
			signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT}
			_ = syscall.Kill(pid, signals[random.IntN(len(signals))])
			s.mu.Lock()
			s.struck++
			s.mu.Unlock()
		}
	}
}

// childOf is the engine process of a worker, 0 while there is none.
func childOf(worker int) int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", worker))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return pid
		}
	}
	return 0
}

func residentMiB(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, _ := strconv.Atoi(strings.TrimSpace(line))
	return float64(kib) / 1024
}

func (s *soak) sample(at time.Duration) sample {
	front := s.cmd.Process.Pid
	out := sample{at: at.Seconds(), front: residentMiB(front), engine: residentMiB(childOf(front))}
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", front))
	out.files = float64(len(fds))
	if res, err := s.http.Get(s.base + "/metrics"); err == nil {
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			n, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "go_goroutines":
				out.goroutines = n
			case "go_memstats_heap_inuse_bytes":
				out.heap = n / (1 << 20)
			}
		}
		res.Body.Close()
	}
	_ = filepath.WalkDir(s.home, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			out.temps++
		}
		return nil
	})
	out.work = fixedWork()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.latencies)
	if n := len(s.latencies); n > 0 {
		out.p50, out.p95, out.p99 = s.latencies[n/2], s.latencies[n*95/100], s.latencies[n*99/100]
	}
	s.latencies = nil
	return out
}

// fixedWork is how long a fixed amount of work takes, in seconds: what others do on the
// machine makes it longer, as it does pictures.
func fixedWork() float64 {
	began := time.Now()
	block := make([]byte, 1<<20)
	for range 64 {
		sum := sha256.Sum256(block)
		copy(block, sum[:])
	}
	return time.Since(began).Seconds()
}

// curves are what is drawn, and how much each may grow from the second quarter of the time
// to the last: a part of what it was, and a little. What is timed may grow with fixedWork.
var curves = []struct {
	name, unit   string
	of           func(sample) float64
	part, little float64
}{
	{"memory of the server", "MiB", func(s sample) float64 { return s.front }, 0.25, 48},
	{"memory of the engine", "MiB", func(s sample) float64 { return s.engine }, 0.25, 48},
	{"heap of the server", "MiB", func(s sample) float64 { return s.heap }, 0.3, 32},
	{"goroutines", "", func(s sample) float64 { return s.goroutines }, 0.2, 20},
	{"descriptors", "", func(s sample) float64 { return s.files }, 0.2, 12},
	{"unfinished files", "", func(s sample) float64 { return s.temps }, 0, 2},
	{"median of a picture", "s", func(s sample) float64 { return s.p50 }, 1, 0.5},
	{"95th percentile", "s", func(s sample) float64 { return s.p95 }, 1, 1},
	{"99th percentile", "s", func(s sample) float64 { return s.p99 }, 1, 2},
}

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "3m"))
	require.NoError(t, err)
	s := startSoak(t)
	file, err := imageio.EncodePNG(imageio.Fill(64, 64, [3]uint8{200, 100, 50}))
	require.NoError(t, err)
	picture := base64.StdEncoding.EncodeToString(file)

	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var clients sync.WaitGroup
	for n := range uint64(soakClients) {
		clients.Go(func() { s.client(ctx, n, picture) })
	}
	clients.Go(func() { s.strike(ctx, 10*time.Second) })
	began, every := time.Now(), max(length/180, time.Second)
	var samples []sample
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(every):
			samples = append(samples, s.sample(time.Since(began)))
		}
	}
	clients.Wait()

	require.Empty(t, s.strange)
	t.Logf("%s, the engine was struck %d times, answers: %v", length, s.struck, s.answers)
	quarter := len(samples) / 4
	require.NotZero(t, quarter, "the time is too short")
	if chart := os.Getenv("SOAK_CHART"); chart != "" {
		require.NoError(t, os.WriteFile(chart, drawSoak(samples, length), 0o644))
	}
	second, last := samples[quarter:2*quarter], samples[len(samples)-quarter:]
	busier := max(median(last, func(s sample) float64 { return s.work })/median(second, func(s sample) float64 { return s.work }), 1)
	t.Logf("the machine takes %.2f times as long for the same work in the last quarter as in the second", busier)
	for _, c := range curves {
		early, late := median(second, c.of), median(last, c.of)
		t.Logf("%-22s %9.2f then %9.2f %s", c.name, early, late, c.unit)
		if c.unit == "s" {
			early *= busier
		}
		assert.LessOrEqual(t, late, early*(1+c.part)+c.little, "%s grows", c.name)
	}
	c := &client{t: t, base: s.base, http: s.http, header: http.Header{}}
	require.Eventually(t, func() bool { return c.do(http.MethodPost, "/sdapi/v1/txt2img", small).status == http.StatusOK }, patience, 100*time.Millisecond)
}

// drawSoak draws the curves, one below the other, each from 0 to its highest value.
func drawSoak(samples []sample, length time.Duration) []byte {
	const width, height, left, gap = 640, 60, 190, 14
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`, left+width+80, len(curves)*(height+gap)+40)
	fmt.Fprintf(&b, "\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/><text x=\"10\" y=\"20\" font-size=\"14\">%d clients and faults for %s</text>\n", soakClients, length)
	for i, c := range curves {
		top := 34 + i*(height+gap)
		highest := 1e-9
		for _, s := range samples {
			highest = max(highest, c.of(s))
		}
		var points strings.Builder
		for _, s := range samples {
			fmt.Fprintf(&points, "%.1f,%.1f ", float64(left)+s.at/length.Seconds()*width, float64(top+height)-c.of(s)/highest*height)
		}
		fmt.Fprintf(&b, `<text x="10" y="%d">`, top+height/2)
		_ = xml.EscapeText(&b, []byte(c.name))
		fmt.Fprintf(&b, "</text><text x=\"%d\" y=\"%d\">%.4g %s</text>", left+width+6, top+10, highest, c.unit)
		fmt.Fprintf(&b, "<path d=\"M%d %dv%dh%d\" fill=\"none\" stroke=\"#999\"/><polyline points=\"%s\" fill=\"none\" stroke=\"#0369a1\" stroke-width=\"1.2\"/>\n", left, top, height, width, strings.TrimSpace(points.String()))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
