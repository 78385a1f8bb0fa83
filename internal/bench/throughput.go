package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"sdworker/inference"
)

// ThroughputOptions say what Throughput measures. Zero values mean the defaults named
// here.
type ThroughputOptions struct {
	Checkpoint string
	Open       inference.OpenFunc
	Sides      []int     // of the pictures, pixels; 64 and 256
	Clients    []int     // that ask at the same time; 1, 2, 4 and 8
	Steps      int       // of a picture; 8
	Pictures   int       // that each client asks for, one after another, in a round; 1
	Rounds     int       // 3
	CallCells  int       // see inference.PipelineOptions
	Progress   io.Writer // told what is being measured; nil for nobody
}

func (o *ThroughputOptions) setDefaults() {
	if o.Sides == nil {
		o.Sides = []int{64, 256}
	}
	if o.Clients == nil {
		o.Clients = []int{1, 2, 4, 8}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Steps, 8}, {&o.Pictures, 1}, {&o.Rounds, 3}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
}

// ThroughputReport is what several clients get of one engine.
type ThroughputReport struct {
	Machine Machine              `json:"machine"`
	Engine  inference.EngineInfo `json:"engine"`
	Steps   int                  `json:"steps"`
	Loads   []ThroughputLoad     `json:"loads"`
}

// ThroughputLoad compares jobs one after another with jobs that share UNet calls. Both
// were measured in turn, round by round.
type ThroughputLoad struct {
	Side      int   `json:"side"`
	Clients   int   `json:"clients"`
	InTurn    Flow  `json:"in_turn"`
	Shared    Flow  `json:"shared"`
	Speedup   Ratio `json:"speedup"`    // of pictures a second, shared to in turn, of each round
	FirstCost Ratio `json:"first_cost"` // latency of the job that came first, shared to in turn, of each round
}

// Flow is what one way of working gave.
type Flow struct {
	PerSecond   float64 `json:"pictures_per_second"` // of the best round
	P50         float64 `json:"latency_p50_s"`       // of all pictures
	P95         float64 `json:"latency_p95_s"`
	First       float64 `json:"first_latency_p95_s"` // of those that came first in their round
	RowsPerCall float64 `json:"rows_per_call"`
}

// Ratio is a quotient of two measurements of the same round.
type Ratio struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Throughput measures how many pictures a second several clients get.
func Throughput(ctx context.Context, o ThroughputOptions) (*ThroughputReport, error) {
	o.setDefaults()
	engine, err := o.Open(ctx, o.Checkpoint, nil)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	r := &ThroughputReport{Machine: ThisMachine(), Engine: engine.Info(), Steps: o.Steps}
	for _, side := range o.Sides {
		for _, clients := range o.Clients {
			fmt.Fprintf(o.Progress, "measuring %d client(s) at %dx%d\n", clients, side, side)
			l, err := o.load(ctx, engine, side, clients)
			if err != nil {
				return nil, err
			}
			r.Loads = append(r.Loads, *l)
		}
	}
	return r, nil
}

// kept is an engine that a pipeline does not close. Its optional abilities are hidden:
// these jobs need none.
type kept struct{ inference.Engine }

func (kept) Close() error { return nil }

// way is one way of working.
type way struct {
	gen       *inference.Pipeline
	queue     *inference.Queue
	rates     []float64 // pictures a second of each round
	latencies []float64
	firsts    []float64 // of the first job of each round
}

func newWay(engine inference.Engine, jobs, cells int) *way {
	gen := inference.NewPipeline(func(context.Context, string, func(done, total int)) (inference.Engine, error) {
		return kept{engine}, nil
	}, inference.PipelineOptions{Jobs: jobs, CallCells: cells})
	return &way{gen: gen, queue: inference.NewQueue(gen, inference.QueueOptions{Jobs: jobs})}
}

func (o *ThroughputOptions) load(ctx context.Context, engine inference.Engine, side, clients int) (*ThroughputLoad, error) {
	inTurn, shared := newWay(engine, 1, 0), newWay(engine, max(clients, 2), o.CallCells)
	defer inTurn.gen.Close()
	defer shared.gen.Close()
	for _, w := range []*way{inTurn, shared} { // warms up, and encodes the prompts of all rounds
		if _, err := w.queue.Generate(ctx, inference.Job{}, o.request(side, 0)); err != nil {
			return nil, err
		}
	}
	before, beforeRows := shared.gen.Status().UNetCalls, shared.gen.Status().UNetRows
	for range o.Rounds {
		for _, w := range []*way{inTurn, shared} {
			if err := w.round(ctx, o, side, clients); err != nil {
				return nil, err
			}
		}
	}
	l := &ThroughputLoad{
		Side: side, Clients: clients, InTurn: inTurn.flow(), Shared: shared.flow(),
		Speedup: ratios(shared.rates, inTurn.rates), FirstCost: ratios(shared.firsts, inTurn.firsts),
	}
	after := shared.gen.Status()
	l.InTurn.RowsPerCall = 2
	l.Shared.RowsPerCall = float64(after.UNetRows-beforeRows) / float64(after.UNetCalls-before)
	return l, nil
}

func (o *ThroughputOptions) request(side int, seed int64) *inference.Request {
	return &inference.Request{
		Prompt: "a lovely cat", Seed: seed, Sampler: "Euler a", Steps: o.Steps, CFGScale: 7,
		Width: side, Height: side, BatchSize: 1, BatchNum: 1,
		Files: inference.Files{Checkpoint: o.Checkpoint}, Settings: inference.DefaultSettings(),
	}
}

// round has all clients ask at once.
func (w *way) round(ctx context.Context, o *ThroughputOptions, side, clients int) error {
	var mu sync.Mutex
	var failure error
	var wg sync.WaitGroup
	began := time.Now()
	for client := range clients {
		asked := make(chan struct{})
		wg.Go(func() {
			for n := range o.Pictures {
				start := time.Now()
				job := inference.Job{Observer: func(e inference.Event) {
					if n == 0 && e.Kind == inference.Admitted {
						close(asked)
					}
				}}
				_, err := w.queue.Generate(ctx, job, o.request(side, int64(client)))
				took := time.Since(start).Seconds()
				mu.Lock()
				w.latencies = append(w.latencies, took)
				if client == 0 && n == 0 {
					w.firsts = append(w.firsts, took)
				}
				if err != nil {
					failure = err
				}
				mu.Unlock()
			}
		})
		<-asked // so that the first one is the first
	}
	wg.Wait()
	w.rates = append(w.rates, float64(clients*o.Pictures)/time.Since(began).Seconds())
	return failure
}

func (w *way) flow() Flow {
	return Flow{PerSecond: slices.Max(w.rates), P50: quantile(w.latencies, 0.5), P95: quantile(w.latencies, 0.95), First: quantile(w.firsts, 0.95)}
}

// quantile is the value below which a share of the values lies.
func quantile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func ratios(of, to []float64) Ratio {
	list := make([]float64, len(of))
	for i := range of {
		list[i] = of[i] / to[i]
	}
	s := summarize(list)
	return Ratio{Median: s.Median, Min: s.Min, Max: s.Max}
}
