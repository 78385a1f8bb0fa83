package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference/enginetest"
	"sdworker/internal/cli"
	"sdworker/models/synth"
)

// client talks to a server under test.
type client struct {
	t      *testing.T
	base   string
	http   *http.Client
	header http.Header
}

// serve starts worker serve on a free port. The engine process is this binary
// with fake engines.
func serve(t *testing.T, home, gate string, args ...string) (*run, *client) {
	t.Helper()
	r := begin(t, environ(home, gate), append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	base := r.await("listening on ")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return r, &client{t: t, base: base, http: &http.Client{Transport: transport, Timeout: patience}, header: http.Header{}}
}

// reply is what came back.
type reply struct {
	status int
	body   string
}

func (c *client) do(method, path, body string) reply {
	c.t.Helper()
	got, err := c.try(method, path, body)
	require.NoError(c.t, err)
	return got
}

func (c *client) try(method, path, body string) (reply, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), method, c.base+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header = c.header.Clone()
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, string(text)}, err
}

func (c *client) get(path string) reply { c.t.Helper(); return c.do(http.MethodGet, path, "") }

// ready waits for the model.
func (c *client) ready() {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.get("/readyz").status == http.StatusOK }, patience, 5*time.Millisecond)
}

// small is a request for a picture of three steps.
const small = `{"prompt": "a cat", "steps": 3, "width": 64, "height": 64, "seed": 42}`

// later sends a request for a picture and gives its reply when it comes.
func (c *client) later(body string) <-chan reply {
	replies := make(chan reply, 1)
	go func() {
		got, err := c.try(http.MethodPost, "/sdapi/v1/txt2img", body)
		if err != nil {
			got = reply{0, err.Error()}
		}
		replies <- got
	}()
	return replies
}

// images are the pictures of a reply, as they were sent.
func (r reply) images(t *testing.T) []string {
	t.Helper()
	require.Equal(t, http.StatusOK, r.status, r.body)
	var body struct{ Images []string }
	require.NoError(t, json.Unmarshal([]byte(r.body), &body))
	return body.Images
}

// pictures counts them.
func (r reply) pictures(t *testing.T) int { t.Helper(); return len(r.images(t)) }

func TestServeAnswersWhileTheModelLoads(t *testing.T) {
	home := newHome(t)
	require.NoError(t, synth.Write(t.Context(), filepath.Join("models", "Stable-diffusion", checkpointName+".safetensors"), synth.Options{})) // lists hold what works
	g := newGate(t, opOpen)
	r, c := serve(t, home, g.environ())
	require.Regexp(t, `^http://127\.0\.0\.1:[1-9]\d*$`, c.base)
	load := g.next()
	require.Equal(t, reply{http.StatusOK, `{"status":"ok"}`}, c.get("/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, c.get("/readyz").status)
	require.Equal(t, http.StatusNoContent, c.get("/ping").status)
	require.Contains(t, c.get("/sdapi/v1/sd-models").body, checkpointName)
	waiting := c.later(small)
	load.release()
	require.Equal(t, 1, (<-waiting).pictures(t))
	c.ready()
	require.Equal(t, http.StatusOK, c.get("/ping").status)
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait())
}

func TestServeAnswersWhileTheModelIsFetched(t *testing.T) {
	home := newHome(t)
	require.NoError(t, os.Mkdir("source", 0o755))
	require.NoError(t, synth.Write(t.Context(), "source/new.safetensors", synth.Options{Kind: synth.Checkpoint, Size: synth.Tiny}))
	files, release := http.FileServer(http.Dir("source")), make(chan struct{})
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		files.ServeHTTP(w, r)
	}))
	defer source.Close()
	args := []string{"--models-dir", "mine", "--model", source.URL + "/new.safetensors"}

	r, c := serve(t, home, openGate, args...)
	require.Equal(t, http.StatusOK, c.get("/healthz").status)
	require.Equal(t, http.StatusServiceUnavailable, c.get("/readyz").status)
	require.Equal(t, http.StatusNoContent, c.get("/ping").status)
	got := c.do(http.MethodPost, "/sdapi/v1/txt2img", small)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Contains(t, got.body, "the model is being fetched")
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait())

	r, c = serve(t, home, openGate, args...)
	close(release)
	c.ready()
	require.Contains(t, c.get("/sdapi/v1/options").body, "new.safetensors")
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", small).pictures(t))
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait())
}

func TestServeWithoutAUsableModel(t *testing.T) {
	home := newHome(t)
	require.NoError(t, os.WriteFile("broken.safetensors", []byte("broken"), 0o600))
	r, c := serve(t, home, openGate, "--model", "broken.safetensors")
	r.await("the model cannot be loaded")
	got := c.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Contains(t, got.body, "broken.safetensors is no model")
	require.Equal(t, http.StatusOK, c.get("/healthz").status)
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img",
		`{"steps": 1, "width": 64, "height": 64, "override_settings": {"sd_model_checkpoint": "`+checkpointName+`"}}`).pictures(t))
	c.ready()
}

func TestServeWantsCredentials(t *testing.T) {
	home := newHome(t)
	_, c := serve(t, home, openGate, "--api-auth", "ann:secret,bob:word", "--api-token", "t0ken")
	c.ready() // health checks and the load at start need none
	for path, shape := range map[string]string{
		"/sdapi/v1/sd-models": `{"error":"HTTPException"`, "/metrics": `{"error":"HTTPException"`,
		"/v1/jobs": `{"detail":`, "/v1/models": `{"error":{"message"`,
	} {
		got := c.get(path)
		require.Equal(t, http.StatusUnauthorized, got.status, path)
		require.True(t, strings.HasPrefix(got.body, shape), "%s: %s", path, got.body)
	}
	for _, credentials := range []func(r *http.Request){
		func(r *http.Request) { r.SetBasicAuth("bob", "word") },
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer t0ken") },
	} {
		r := http.Request{Header: http.Header{}}
		credentials(&r)
		c.header = r.Header
		require.Equal(t, http.StatusOK, c.get("/sdapi/v1/sd-models").status)
		require.Equal(t, http.StatusOK, c.get("/metrics").status)
		require.Equal(t, http.StatusAccepted, c.do(http.MethodPost, "/v1/jobs?wait=60", `{"endpoint": "txt2img", "input": `+small+`}`).status)
	}
	c.header.Set("Authorization", "Bearer wrong")
	require.Equal(t, http.StatusUnauthorized, c.get("/sdapi/v1/sd-models").status)
	c.header.Set("Authorization", "Bearer t0ken")
	require.Contains(t, c.get("/metrics").body, `sdworker_http_request_duration_seconds_count{code="202",route="/v1/jobs"} 2`)
}

// certificate writes one for 127.0.0.1 and returns what trusts it.
func certificate(t *testing.T) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

func TestServeSpeaksTLS(t *testing.T) {
	home := newHome(t)
	pool := certificate(t)
	_, c := serve(t, home, openGate, "--tls-certfile", "cert.pem", "--tls-keyfile", "key.pem")
	require.True(t, strings.HasPrefix(c.base, "https://"), c.base)
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	require.Equal(t, http.StatusOK, c.get("/healthz").status)

	require.NoError(t, os.WriteFile("key.pem", []byte("no key"), 0o600))
	got := worker(t, "serve", "--addr", "127.0.0.1:0", "--tls-certfile", "cert.pem", "--tls-keyfile", "key.pem")
	require.Equal(t, cli.StatusUsage, got.status)
	require.Contains(t, got.err, "the certificate of TLS_CERTFILE and TLS_KEYFILE cannot be used")
	require.NotContains(t, got.err, "listening")
}

func TestServeOnATakenPort(t *testing.T) {
	newHome(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	got := worker(t, "serve", "--addr", taken.Addr().String())
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "cannot listen on "+taken.Addr().String())
	require.Contains(t, got.err, "choose another address with --addr")
}

func TestServeOnRunPodsPorts(t *testing.T) {
	home := newHome(t)
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		return port
	}
	port, health := free(), free()
	variables := environ(home, openGate, "PORT="+port, "PORT_HEALTH="+health)
	r := begin(t, variables, "serve")
	require.Equal(t, "http://[::]:"+port, r.await("listening on "))
	c := &client{t: t, base: "http://127.0.0.1:" + health, http: http.DefaultClient, header: http.Header{}}
	require.Eventually(t, func() bool { return c.get("/ping").status == http.StatusOK }, patience, 5*time.Millisecond)
	require.Equal(t, http.StatusNotFound, c.get("/sdapi/v1/sd-models").status)
	c.base = "http://127.0.0.1:" + port
	require.Equal(t, http.StatusOK, c.get("/sdapi/v1/sd-models").status)
	http.DefaultClient.CloseIdleConnections()
}

func TestServeFinishesWhatItHasBeforeItEnds(t *testing.T) {
	home := newHome(t)
	g := newGate(t, enginetest.OpPredictNoise)
	r, c := serve(t, home, g.environ())
	running := c.later(small)
	step := g.next()
	r.signal(syscall.SIGTERM)
	r.await("shutting down")
	require.Eventually(t, func() bool {
		_, err := c.try(http.MethodGet, "/healthz", "")
		return err != nil
	}, patience, 5*time.Millisecond, "new connections are refused")
	step.release()
	for range 2 {
		g.next().release()
	}
	require.Equal(t, 1, (<-running).pictures(t))
	require.Equal(t, cli.StatusOK, r.wait())
}

func TestServeHurriesAfterItsGrace(t *testing.T) {
	home := newHome(t)
	g := newGate(t, enginetest.OpPredictNoise)
	r, c := serve(t, home, g.environ(), "--shutdown-grace", "1ms", "--batch-jobs", "1")
	c.ready() // the load at the start is a job too, and would be the one that waits
	running := c.later(strings.Replace(small, `"steps": 3`, `"steps": 150`, 1))
	step := g.next()
	waiting := c.later(small)
	require.Eventually(t, func() bool { return strings.Contains(c.get("/queue/status").body, `"queue_size":1`) }, patience, 5*time.Millisecond)
	r.signal(syscall.SIGINT)
	r.await("asking the jobs in hand to finish with what they have")
	g.open()
	step.release()
	require.Equal(t, 1, (<-running).pictures(t), "as after an interrupt")
	refused := <-waiting
	require.Equal(t, http.StatusServiceUnavailable, refused.status)
	require.Contains(t, refused.body, "the server is shutting down")
	require.Equal(t, cli.StatusOK, r.wait())
}

func TestServeWorksOnSeveralDevices(t *testing.T) {
	home := newHome(t)
	g := newGate(t, enginetest.OpPredictNoise)
	r, c := serve(t, home, g.environ(), "--device", "cpu,cpu", "--batch-jobs", "1")
	require.Eventually(t, func() bool { return strings.Count(c.get("/readyz").body, `"ready":true`) == 2 }, patience, 5*time.Millisecond, "both")
	require.Contains(t, c.get("/readyz").body, `"name":"cpu-1"`)
	first, second := c.later(small), c.later(small)
	a, b := g.next(), g.next()
	require.NotEqual(t, a.pid, b.pid, "each device has a process of its own, and both work at once")
	require.NoError(t, syscall.Kill(a.pid, syscall.SIGKILL))
	g.open()
	b.release()
	one, other := <-first, <-second
	lost, made := one, other
	if one.status == http.StatusOK {
		lost, made = other, one
	}
	require.Contains(t, lost.body, "ended by signal 9")
	require.Equal(t, 1, made.pictures(t), "the other device goes on")
	require.Equal(t, 1, (<-c.later(small)).pictures(t))
	require.Contains(t, r.err.String(), `"device":"cpu`)
}

func TestServeSurvivesItsEngine(t *testing.T) {
	home := newHome(t)
	g := newGate(t, enginetest.OpPredictNoise)
	r, c := serve(t, home, g.environ(), "--batch-jobs", "1")
	c.ready()
	running := c.later(small)
	step := g.next()
	waiting := c.later(small)
	require.Eventually(t, func() bool {
		return strings.Contains(c.get("/internal/progress").body+c.get("/queue/status").body, `"queue_size":1`)
	},
		patience, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(step.pid, syscall.SIGKILL))

	lost := <-running
	require.Equal(t, http.StatusInternalServerError, lost.status, lost.body)
	require.Contains(t, lost.body, "ended by signal 9")
	next := g.next()
	require.NotEqual(t, step.pid, next.pid)
	g.open()
	next.release()
	require.Equal(t, 1, (<-waiting).pictures(t), "the next job runs in the new process")
	c.ready()
	require.Contains(t, r.err.String(), "engine process lost")
}

func TestServeStopsForAClient(t *testing.T) {
	home := newHome(t)
	_, c := serve(t, home, openGate)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodPost, "/sdapi/v1/server-stop", "{}").status)
	r, c := serve(t, home, openGate, "--api-server-stop")
	_, _ = c.try(http.MethodPost, "/sdapi/v1/server-stop", "{}")
	require.Equal(t, cli.StatusOK, r.wait())
}

// What a server logs at its usual level tells nobody what people ask for.
func TestServeLogsNoPrompts(t *testing.T) {
	home := newHome(t)
	r, c := serve(t, home, openGate, "--api-token", "t0ken", "--log-format", "json")
	c.header.Set("Authorization", "Bearer t0ken")
	body := strings.Replace(small, "a cat", "a private wish", 1)
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", body).pictures(t))
	require.NotEqual(t, http.StatusOK, c.do(http.MethodPost, "/sdapi/v1/txt2img", strings.Replace(body, `"steps": 3`, `"steps": "x"`, 1)).status)
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait())
	log := r.err.String()
	require.NotContains(t, log, "private")
	require.NotContains(t, log, "t0ken")
	require.Contains(t, log, `"path":"/sdapi/v1/txt2img","status":200`)
	for line := range bytes.Lines([]byte(log)) {
		if !bytes.HasPrefix(line, []byte("listening")) {
			require.True(t, json.Valid(line), "%s", line)
		}
	}
}

func TestWhoCanReachAServer(t *testing.T) {
	for addr, beyond := range map[string]bool{
		"127.0.0.1:7860": false, "localhost:7860": false, "[::1]:0": false, "127.5.0.1:1": false,
		":7860": true, "0.0.0.0:7860": true, "[::]:7860": true, "192.168.1.5:7860": true, "some.name:7860": true,
	} {
		require.Equal(t, beyond, (&serverSettings{Addr: addr}).beyond(), addr)
	}
	require.True(t, (&serverSettings{Addr: "127.0.0.1:7860", Port: 8000}).beyond())
}
