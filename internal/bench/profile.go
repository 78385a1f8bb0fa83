package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"sdworker/inference"
)

// ProfileOptions say what Profile looks at.
type ProfileOptions struct {
	Checkpoint string
	Open       inference.OpenFunc
	Sides      []int     // of the pictures, pixels
	Batch      int       // pictures of a CFG step; 1
	Progress   io.Writer // told what is being measured; nil for nobody
}

// ProfileReport tells where the time of a picture goes.
type ProfileReport struct {
	Machine  Machine              `json:"machine"`
	Engine   inference.EngineInfo `json:"engine"`
	Peak     float64              `json:"peak_flops"` // of the processor, 0 = unknown
	Networks []NetworkProfile     `json:"networks"`
}

// NetworkProfile is one call of one network. Operations of a kind are neighbours, and
// what takes longest comes first.
type NetworkProfile struct {
	Name       string                `json:"name"`
	Width      int                   `json:"width"`
	Height     int                   `json:"height"`
	Kinds      []inference.Operation `json:"kinds"`
	Operations []inference.Operation `json:"operations"`
}

// Profile runs the networks and sums up their operations.
func Profile(ctx context.Context, o ProfileOptions) (*ProfileReport, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	engine, err := o.Open(ctx, o.Checkpoint, nil)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	profiler, ok := engine.(inference.Profiler)
	if !ok {
		return nil, errors.New("the engine keeps no profile")
	}
	r := &ProfileReport{Machine: ThisMachine(), Engine: engine.Info()}
	if r.Peak, err = profiler.PeakFLOPS(ctx); err != nil {
		return nil, err
	}
	for _, side := range o.Sides {
		for _, network := range []struct {
			name string
			run  func(context.Context) error
		}{{"CFG step", step(engine, side, max(o.Batch, 1))}, {"VAE decode", decode(engine, side)}} {
			fmt.Fprintf(o.Progress, "measuring %s at %dx%d\n", network.name, side, side)
			if err := network.run(ctx); err != nil { // warms up
				return nil, err
			}
			operations, err := shortest(ctx, profiler, network.run)
			if err != nil {
				return nil, err
			}
			r.Networks = append(r.Networks, networkProfile(network.name, side, operations))
		}
	}
	return r, nil
}

// shortest profiles some runs and keeps the shortest time of each operation.
func shortest(ctx context.Context, profiler inference.Profiler, run func(context.Context) error) ([]inference.Operation, error) {
	var best []inference.Operation
	for range minRuns {
		operations, err := profiler.Profile(ctx, run)
		if err != nil {
			return nil, err
		}
		if best == nil {
			best = operations
			continue
		}
		if len(best) != len(operations) {
			return nil, errors.New("two runs of one network had different operations")
		}
		for i, o := range operations {
			best[i].Seconds, best[i].CPU = min(best[i].Seconds, o.Seconds), min(best[i].CPU, o.CPU)
		}
	}
	return best, nil
}

func networkProfile(name string, side int, operations []inference.Operation) NetworkProfile {
	sums := map[string]inference.Operation{}
	for _, o := range operations {
		sum := sums[o.Kind]
		sums[o.Kind] = inference.Operation{
			Kind: o.Kind, Calls: sum.Calls + o.Calls, Seconds: sum.Seconds + o.Seconds, CPU: sum.CPU + o.CPU, FLOPs: sum.FLOPs + o.FLOPs,
		}
	}
	p := NetworkProfile{Name: name, Width: side, Height: side, Operations: operations}
	for _, sum := range sums {
		p.Kinds = append(p.Kinds, sum)
	}
	longest := func(a, b inference.Operation) int {
		return cmp.Or(-cmp.Compare(a.Seconds, b.Seconds), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Shape, b.Shape))
	}
	slices.SortFunc(p.Kinds, longest)
	slices.SortFunc(p.Operations, func(a, b inference.Operation) int { return cmp.Or(longest(sums[a.Kind], sums[b.Kind]), longest(a, b)) })
	return p
}
