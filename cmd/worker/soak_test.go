//go:build soak

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"math"
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
// engine process has fake networks. Figures go to SOAK_CHART, an SVG. With SOAK_TIMES=false
// times are recorded and not judged, for a few minutes on a machine that nobody knows.
const soakClients = 16

// soak is a server under load.
type soak struct {
	t    *testing.T
	home string
	cmd  *exec.Cmd
	base string
	http *http.Client

	control *client // of another server, which has nothing to do but tell how fast the machine is

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
	took                                          []float64 // seconds, of each picture since the sample before, in order of size
	answers, cpu                                  float64   // up to now: answers, seconds of processors that the server took
	work                                          float64   // seconds that the other server takes for a picture
}

// startSoak starts the two servers. Variables are for the one under load.
func startSoak(t *testing.T, variables ...string) *soak {
	home := newHome(t)
	s := &soak{t: t, home: home, answers: map[string]int{}, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: soakClients}, Timeout: patience}}
	engine := fakeEngine + "=" + openGate
	if model := os.Getenv("SOAK_MODEL"); model != "" {
		engine = "MODEL=" + model
	}
	var c *client
	s.cmd, c = soakServer(t, home, s.http, append([]string{engine}, variables...)...)
	s.base = c.base
	_, s.control = soakServer(t, newHome(t), &http.Client{Transport: &http.Transport{}, Timeout: patience}, fakeEngine+"="+openGate)
	return s
}

// soakServer starts worker serve in a process of its own and waits until it has its model.
func soakServer(t *testing.T, home string, over *http.Client, variables ...string) (*exec.Cmd, *client) {
	cmd := exec.Command("/proc/self/exe", "serve", "--addr", "127.0.0.1:0", "--output-dir", home, "--queue-depth", "48", "--log-level", "error")
	cmd.Dir = home
	cmd.Env = append([]string{"HOME=" + home, "DEVICE=cpu", asWorker + "=1", "PATH=" + os.Getenv("PATH"), "WEBHOOK_SECRET="}, variables...)
	said, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	c := &client{t: t, http: over, header: http.Header{}}
	for lines := bufio.NewScanner(said); c.base == "" && lines.Scan(); {
		c.base, _ = strings.CutPrefix(lines.Text(), "listening on ")
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	require.NotEmpty(t, c.base)
	c.ready()
	return cmd, c
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
			s.job(ctx, `{"endpoint":"txt2img","input":`+body+`}`, random.IntN(20) > 0)
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

// job submits a job and removes it with its output, as clients do; one that forgets to leaves
// it to the server, which keeps the newest thousand.
func (s *soak) job(ctx context.Context, body string, remove bool) {
	text := s.send(ctx, "jobs", http.MethodPost, "/v1/jobs?wait=5", body, 200, 202, 429, 503)
	var job struct{ ID, Status string }
	if json.Unmarshal([]byte(text), &job) != nil || job.ID == "" || !remove {
		return
	}
	path := "/v1/jobs/" + job.ID
	for job.Status == "queued" || job.Status == "running" {
		job.Status = ""
		_ = json.Unmarshal([]byte(s.send(ctx, "jobs", http.MethodGet, path+"?wait=5", "", 200)), &job)
	}
	s.send(ctx, "jobs", http.MethodDelete, path, "", 204)
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
	out.cpu = processorTime(front)
	out.work = s.otherServer()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.answers {
		out.answers += float64(n)
	}
	slices.Sort(s.latencies)
	out.took, s.latencies = s.latencies, nil
	return out
}

// processorTime is how many seconds of processors a process has taken.
func processorTime(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	const ticks = 100 // a second, on Linux everywhere
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks
}

// otherServer is how many seconds the server without load takes for a picture, the median of a
// few. Whatever else the machine does makes these longer as it does the ones under load; what
// grows in the server under load does not.
func (s *soak) otherServer() float64 {
	var took []float64
	for range 5 {
		began := time.Now()
		if got, err := s.control.try(http.MethodPost, "/sdapi/v1/txt2img", another(small)); err == nil && got.status == http.StatusOK {
			took = append(took, time.Since(began).Seconds())
		}
	}
	return middle(took)
}

// curves are what is drawn, and how much each may grow from the second quarter of the time
// to the last: a part of what it was, and a little. What is timed may grow with the pictures
// of the other server.
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
	{"median of a picture", "s", percentile(50), 1, 0.5},
	{"95th percentile", "s", percentile(95), 1, 1},
	{"99th percentile", "s", percentile(99), 1, 2},
}

// percentile is that of the times of pictures, 0 without any.
func percentile(n int) func(sample) float64 {
	return func(s sample) float64 {
		if len(s.took) == 0 {
			return 0
		}
		return s.took[len(s.took)*n/100]
	}
}

// median is that of a curve, 0 of nothing.
func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return middle(values)
}

func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// together is one sample with the times of all.
func together(samples []sample) (all sample) {
	for _, s := range samples {
		all.took = append(all.took, s.took...)
	}
	slices.Sort(all.took)
	return all
}

// growth compares the second quarter of the samples with the last one, curve by curve.
// grown names the curves that grow, of times only if they are judged.
func growth(samples []sample, times bool) (table string, grown []string) {
	quarter := len(samples) / 4
	second, last := samples[quarter:2*quarter], samples[len(samples)-quarter:]
	var b strings.Builder
	judge := func(name, unit string, early, late, limit float64) {
		fmt.Fprintf(&b, "%-24s %9.3f then %9.3f %s, at most %.3f\n", name, early, late, unit, limit)
		if late > limit && (times || unit != "s" && unit != "ms") {
			grown = append(grown, name)
		}
	}
	work := func(s sample) float64 { return s.work }
	busier := 1.0
	if early := median(second, work); early > 0 {
		busier = max(median(last, work)/early, 1)
	}
	fmt.Fprintf(&b, "the other server takes %.2f times as long for a picture\n", busier)
	before, after := together(second), together(last)
	for _, c := range curves {
		if c.unit != "s" {
			early, late := median(second, c.of), median(last, c.of)
			judge(c.name, c.unit, early, late, early*(1+c.part)+c.little)
			continue
		}
		early, late := c.of(before), c.of(after)
		if len(after.took) == 0 { // no picture is made any more
			late = math.Inf(1)
		}
		judge(c.name, c.unit, early, late, early*busier*(1+c.part)+c.little)
	}
	perAnswer := func(s []sample) float64 {
		from, to := s[0], s[len(s)-1]
		return 1000 * (to.cpu - from.cpu) / max(to.answers-from.answers, 1)
	}
	early, late := perAnswer(second), perAnswer(last)
	judge("processors for an answer", "ms", early, late, early*1.5+2)
	return b.String(), grown
}

// run puts the server under load for a while and gives what was seen.
func (s *soak) run(length time.Duration) (samples []sample) {
	file, err := imageio.EncodePNG(imageio.Fill(64, 64, [3]uint8{200, 100, 50}))
	require.NoError(s.t, err)
	picture := base64.StdEncoding.EncodeToString(file)
	ctx, cancel := context.WithTimeout(s.t.Context(), length)
	defer cancel()
	var clients sync.WaitGroup
	for n := range uint64(soakClients) {
		clients.Go(func() { s.client(ctx, n, picture) })
	}
	clients.Go(func() { s.strike(ctx, 10*time.Second) })
	began, every := time.Now(), max(length/180, time.Second)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(every):
			samples = append(samples, s.sample(time.Since(began)))
		}
	}
	clients.Wait()
	require.GreaterOrEqual(s.t, len(samples), 8, "the time is too short")
	return samples
}

func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "3m"))
	require.NoError(t, err)
	s := startSoak(t)
	samples := s.run(length)
	require.Empty(t, s.strange)
	times, err := strconv.ParseBool(cmp.Or(os.Getenv("SOAK_TIMES"), "true"))
	require.NoError(t, err)
	table, grown := growth(samples, times)
	t.Logf("%s, the engine was struck %d times, answers: %v\n%s", length, s.struck, s.answers, table)
	if chart := os.Getenv("SOAK_CHART"); chart != "" {
		require.NoError(t, os.WriteFile(chart, drawSoak(samples, length), 0o644))
	}
	require.Empty(t, grown)
	c := &client{t: t, base: s.base, http: s.http, header: http.Header{}}
	require.Eventually(t, func() bool { return c.do(http.MethodPost, "/sdapi/v1/txt2img", small).status == http.StatusOK }, patience, 100*time.Millisecond)
}

// leak in the environment has a server that grows in all that TestSoak looks at.
const leak = "SDWORKER_TEST_LEAK"

func init() {
	if os.Getenv(leak) == "" || len(os.Args) < 2 || os.Args[1] != "serve" {
		return
	}
	go func() {
		var kept [][]byte
		for range time.Tick(100 * time.Millisecond) {
			kept = append(kept, bytes.Repeat([]byte{1}, 2<<20))
			go func() { select {} }()
			if _, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0); err != nil {
				return
			}
		}
		_ = kept
	}()
}

// TestSoakSeesGrowth: the judgement of TestSoak is not blind to a server that loses memory,
// goroutines, descriptors and files. TestSoakBearsNeighbours has one that becomes slower.
func TestSoakSeesGrowth(t *testing.T) {
	s := startSoak(t, leak+"=1")
	go func() {
		for n := 0; t.Context().Err() == nil; n++ {
			_ = os.WriteFile(filepath.Join(s.home, fmt.Sprint(".", n)), nil, 0o600)
			time.Sleep(time.Second)
		}
	}()
	table, grown := growth(s.run(24*time.Second), false)
	t.Log("\n" + table)
	for _, name := range []string{"memory of the server", "heap of the server", "goroutines", "descriptors", "unfinished files"} {
		assert.Contains(t, grown, name)
	}
}

// TestSoakBearsNeighbours: what others on the machine do is not taken for growth.
func TestSoakBearsNeighbours(t *testing.T) {
	var quiet, busy, slow, stuck []sample
	for i := range 180 {
		s := sample{
			at: float64(i), front: 150, engine: 60, heap: 80, goroutines: 50, files: 30, work: 0.03, answers: float64(300 * i), cpu: float64(3 * i),
			took: slices.Repeat([]float64{0.2}, 60),
		}
		quiet = append(quiet, s)
		if i > 90 { // nine times as much to do for everyone
			s.took, s.work = slices.Repeat([]float64{1.8}, 20), 9*s.work
		}
		busy = append(busy, s)
		s = quiet[i]
		if i > 90 { // the server alone
			s.took, s.cpu = slices.Repeat([]float64{1.8}, 20), 3*90+float64(6*(i-90))
		}
		slow = append(slow, s)
		s = quiet[i]
		if i > 120 {
			s.took = nil
		}
		stuck = append(stuck, s)
	}
	for _, c := range []struct {
		samples []sample
		grown   []string
	}{
		{quiet, nil}, {busy, nil}, {slow, []string{"median of a picture", "95th percentile", "processors for an answer"}}, {stuck, []string{"median of a picture", "95th percentile", "99th percentile"}},
	} {
		table, grown := growth(c.samples, true)
		require.Equal(t, c.grown, grown, table)
		table, grown = growth(c.samples, false)
		require.Empty(t, grown, table)
	}
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
