package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// blankGenerator is a Generator whose pictures cost next to nothing, so that what remains is
// the cost of the door in front of it.
type blankGenerator struct {
	inference.Generator
	busy atomic.Int64 // nanoseconds in Generate
}

// Generate returns pictures with some texture, since flat ones compress too
// well.
func (s *blankGenerator) Generate(_ context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	began := time.Now()
	defer func() { s.busy.Add(int64(time.Since(began))) }()
	res := &inference.Result{}
	for i := range req.Images() {
		res.Images = append(res.Images, inference.Image{Pixels: texture(req.Width, req.Height), Seed: req.Seed + int64(i)})
	}
	hooks.Report(inference.Progress{Phase: inference.PhaseSampling, Step: req.Steps, Steps: req.Steps, Jobs: 1})
	return res, nil
}

func texture(w, h int) imageio.RGB {
	m := imageio.NewRGB(w, h)
	for j := range m.Pix {
		m.Pix[j] = uint8(j*j>>8 ^ j)
	}
	return m
}

// Load has nothing to load.
func (*blankGenerator) Load(context.Context, inference.Files, inference.Hooks) error { return nil }

// Status is ready.
func (*blankGenerator) Status() inference.Status { return inference.Status{Ready: true} }

// HTTPOptions says what HTTP measures.
type HTTPOptions struct {
	Width, Height int
	Requests      int // for each figure, at least 64
	Small         int // small requests between the two looks at memory
}

// HTTPReport is what the HTTP API costs when pictures are free.
type HTTPReport struct {
	Machine  Machine    `json:"machine"`
	Width    int        `json:"width"`
	Height   int        `json:"height"`
	Requests int        `json:"requests"` // of each kind
	PNG      float64    `json:"png_ms"`   // encoding one picture of the size above
	Loads    []HTTPLoad `json:"loads"`
	Progress float64    `json:"progress_ms"` // GET progress, median of one client
	Small    HTTPMemory `json:"small"`
}

// HTTPLoad is what a request costs beside the generator's own time, in
// milliseconds, while Clients ask at the same time: the whole time divided by the
// number of requests, since the generator makes one picture after another.
type HTTPLoad struct {
	Clients int     `json:"clients"`
	Picture float64 `json:"picture_ms"` // a picture of the report's size, its PNG included
	Small   float64 `json:"small_ms"`   // a picture of 64x64
}

// HTTPMemory is the heap after a collection, in KiB, before and after many small
// requests.
type HTTPMemory struct {
	Requests int    `json:"requests"`
	Before   uint64 `json:"heap_before_kib"`
	After    uint64 `json:"heap_after_kib"`
}

// HTTPClients are the numbers of clients of a report's Loads.
var HTTPClients = []int{1, 8, 64}

// HTTP measures the A1111 API over the loopback interface, in front of a generator
// without a model.
func HTTP(ctx context.Context, o HTTPOptions) (*HTTPReport, error) {
	gen := new(blankGenerator)
	api, err := sdapi.New(sdapi.Config{Config: generation.Config{Queue: inference.NewQueue(gen, inference.QueueOptions{}), Catalog: sdapitest.NewCatalog().Catalog, Hashes: sdapitest.NewCatalog(), Log: zerolog.Nop()}})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: slices.Max(HTTPClients)}}
	defer client.CloseIdleConnections()

	base := "http://" + listener.Addr().String() + "/sdapi/v1/"
	picture := func(w, h int) func() error {
		body := fmt.Appendf(nil, `{"prompt":"a lovely cat","steps":20,"width":%d,"height":%d,"seed":1}`, w, h)
		return func() error { return call(ctx, client, http.MethodPost, base+"txt2img", body) }
	}
	large, small := picture(o.Width, o.Height), picture(64, 64)
	cost := func(n, clients int, fn func() error) (ms float64, err error) {
		if err := fn(); err != nil { // warms up
			return 0, err
		}
		busy := gen.busy.Load()
		took, err := together(n, clients, fn)
		return (took - time.Duration(gen.busy.Load()-busy)).Seconds() * 1000 / float64(n), err
	}

	r := &HTTPReport{Machine: ThisMachine(), Width: o.Width, Height: o.Height, Requests: o.Requests}
	m := texture(o.Width, o.Height)
	series, err := repeat(ctx, time.Second, func(context.Context) error {
		_, err := imageio.EncodePNG(m)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.PNG = 1000 * series.Median
	for _, clients := range HTTPClients {
		load := HTTPLoad{Clients: clients}
		if load.Picture, err = cost(o.Requests, clients, large); err != nil {
			return nil, err
		}
		if load.Small, err = cost(o.Requests, clients, small); err != nil {
			return nil, err
		}
		r.Loads = append(r.Loads, load)
	}
	series, err = repeat(ctx, time.Second, func(context.Context) error { return call(ctx, client, http.MethodGet, base+"progress", nil) })
	if err != nil {
		return nil, err
	}
	r.Progress = 1000 * series.Median
	r.Small = HTTPMemory{Requests: o.Small, Before: heapKiB()}
	_, err = together(o.Small, 8, small)
	r.Small.After = heapKiB()
	return r, err
}

// heapKiB is the memory that is still used after a collection.
func heapKiB() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied in two steps
	runtime.ReadMemStats(&m)
	return m.HeapAlloc >> 10
}

// together calls fn n times, by several callers at the same time.
func together(n, callers int, fn func() error) (time.Duration, error) {
	var group errgroup.Group
	group.SetLimit(callers)
	start := time.Now()
	for range n {
		group.Go(fn)
	}
	err := group.Wait()
	return time.Since(start), err
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
	if reply.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(reply.Body, 1000))
		return errors.Join(fmt.Errorf("%s answered %s: %s", url, reply.Status, text), err)
	}
	_, err = io.Copy(io.Discard, reply.Body)
	return err
}
