package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"sdworker/inference"
	"sdworker/inference/imageio"
)

// Still is a Generator whose pictures cost nothing, so that what remains is the
// cost of the door in front of it.
type Still struct{ inference.Generator }

var _ inference.Generator = Still{}

// Generate returns pictures with some texture, since flat ones compress too
// well.
func (Still) Generate(_ context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	res := &inference.Result{}
	for i := range req.Images() {
		m := imageio.NewRGB(req.Width, req.Height)
		for j := range m.Pix {
			m.Pix[j] = uint8(j*j>>8 ^ j)
		}
		res.Images = append(res.Images, inference.Image{Pixels: m, Seed: req.Seed + int64(i)})
	}
	hooks.Report(inference.Progress{Phase: inference.PhaseSampling, Step: req.Steps, Steps: req.Steps, Jobs: 1})
	return res, nil
}

// Load has nothing to load.
func (Still) Load(context.Context, inference.Files, inference.Hooks) error { return nil }

// Status is ready.
func (Still) Status() inference.Status { return inference.Status{Ready: true} }

// Close has nothing to close.
func (Still) Close() error { return nil }

// HTTPReport is what the HTTP API costs when pictures are free.
type HTTPReport struct {
	Machine  Machine     `json:"machine"`
	Width    int         `json:"width"`
	Height   int         `json:"height"`
	Requests int         `json:"requests"` // of each kind
	Picture  HTTPLatency `json:"txt2img"`  // one client, PNG of the size above
	Progress HTTPLatency `json:"progress"` // one client
	Parallel float64     `json:"txt2img_per_s_8_clients"`
}

// HTTPLatency is in milliseconds.
type HTTPLatency struct {
	Median float64 `json:"median_ms"`
	P99    float64 `json:"p99_ms"`
}

// clients is how many clients ask at the same time for HTTPReport.Parallel.
const clients = 8

// HTTP measures api, whose generator should be Still, over the loopback
// interface.
func HTTP(ctx context.Context, api http.Handler, requests, width, height int) (*HTTPReport, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()

	base := "http://" + listener.Addr().String() + "/sdapi/v1/"
	body := fmt.Appendf(nil, `{"prompt":"a lovely cat","steps":20,"width":%d,"height":%d,"seed":1}`, width, height)
	picture := func() error { return call(ctx, client, http.MethodPost, base+"txt2img", body) }
	progress := func() error { return call(ctx, client, http.MethodGet, base+"progress", nil) }

	r := &HTTPReport{Machine: ThisMachine(), Width: width, Height: height, Requests: requests}
	if r.Picture, err = latency(requests, picture); err != nil {
		return nil, err
	}
	if r.Progress, err = latency(requests, progress); err != nil {
		return nil, err
	}
	r.Parallel, err = throughput(requests, picture)
	return r, err
}

func call(ctx context.Context, client *http.Client, method, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	reply, err := client.Do(req)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, reply.Status)
	}
	return nil
}

func latency(n int, fn func() error) (HTTPLatency, error) {
	if err := fn(); err != nil { // opens the connection
		return HTTPLatency{}, err
	}
	var ms []float64
	for range n {
		start := time.Now()
		if err := fn(); err != nil {
			return HTTPLatency{}, err
		}
		ms = append(ms, float64(time.Since(start).Microseconds())/1000)
	}
	slices.Sort(ms)
	return HTTPLatency{Median: ms[n/2], P99: ms[n*99/100]}, nil
}

func throughput(n int, fn func() error) (perSecond float64, err error) {
	var wg sync.WaitGroup
	var once sync.Once
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for range n / clients {
				if e := fn(); e != nil {
					once.Do(func() { err = e })
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n/clients*clients) / time.Since(start).Seconds(), err
}
