package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"sdworker/inference"
)

// Cost is what one run took.
type Cost struct {
	Seconds float64
	CPU     float64 // seconds of all cores together
}

// PeersOptions say what Peers compares. Zero values mean the defaults named here.
type PeersOptions struct {
	Checkpoint string
	Open       inference.OpenFunc
	Commands   [][]string    // that start the peers
	Sides      []int         // of the pictures, pixels; 256 and 512
	Rounds     int           // 3; each runs every program once
	Limit      time.Duration // for one answer of a peer; 10 minutes
	Progress   io.Writer     // told what is being measured; nil for nobody
}

func (o *PeersOptions) setDefaults() {
	if o.Sides == nil {
		o.Sides = []int{256, 512}
	}
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if o.Limit == 0 {
		o.Limit = 10 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
}

// PeersReport compares this program with others that run networks of the same shape.
type PeersReport struct {
	Machine Machine              `json:"machine"`
	Engine  inference.EngineInfo `json:"engine"`
	Peers   []*Peer              `json:"peers"`
	Rows    []PeersRow           `json:"rows"`
}

// PeersRow is one network at one size. Peers are in the order of the report.
type PeersRow struct {
	Name   string       `json:"name"`
	Width  int          `json:"width"`
	Height int          `json:"height"`
	Own    PeerFigure   `json:"own"`
	Peers  []PeerFigure `json:"peers"`
}

// PeerFigure is what one program needed.
type PeerFigure struct {
	Seconds Series  `json:"seconds"`
	CPU     float64 `json:"cpu_s"` // least processor time of all cores together
	// Ratio is how many times as long as this program's the shortest run took.
	Ratio float64 `json:"ratio"`
}

// pictureSteps are those of the whole picture that is put together of the figures.
const pictureSteps = 20

// Peers measures UNet calls with guidance and VAE decoding. The programs take turns,
// so that all meet the same machine.
func Peers(ctx context.Context, o PeersOptions) (*PeersReport, error) {
	o.setDefaults()
	r := &PeersReport{Machine: ThisMachine()}
	logs, err := os.MkdirTemp("", "bench-peers")
	if err != nil {
		return nil, err
	}
	for _, command := range o.Commands {
		fmt.Fprintln(o.Progress, "starting", strings.Join(command, " "))
		peer, err := StartPeer(ctx, command, logs, o.Limit)
		if err != nil {
			return nil, err
		}
		defer peer.Close()
		r.Peers = append(r.Peers, peer)
	}
	engine, err := o.Open(ctx, o.Checkpoint, nil)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	r.Engine = engine.Info()
	for _, side := range o.Sides {
		unet, err := o.row(ctx, r.Peers, "unet", side, 2, step(engine, side, 1))
		if err != nil {
			return nil, err
		}
		decoder, err := o.row(ctx, r.Peers, "decoder", side, 1, decode(engine, side))
		if err != nil {
			return nil, err
		}
		unet.Name, decoder.Name = "CFG step", "VAE decode"
		r.Rows = append(r.Rows, *unet, *decoder, wholePicture(unet, decoder))
	}
	return r, os.RemoveAll(logs)
}

// row measures one network at one size.
func (o *PeersOptions) row(ctx context.Context, peers []*Peer, network string, side, rows int, own func(context.Context) error) (*PeersRow, error) {
	for _, p := range peers {
		fmt.Fprintf(o.Progress, "preparing the %s of %s for %dx%d\n", network, p.Name, side, side)
		if err := p.Prepare(ctx, network, side, side, rows); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(o.Progress, "measuring the %s at %dx%d\n", network, side, side)
	runs := []func(context.Context) (Cost, error){func(ctx context.Context) (Cost, error) {
		start, before := time.Now(), cpuSeconds()
		err := own(ctx)
		return Cost{time.Since(start).Seconds(), cpuSeconds() - before}, err
	}}
	for _, p := range peers {
		runs = append(runs, p.Run)
	}
	costs := make([][]Cost, len(runs))
	for range o.Rounds {
		for i, run := range runs {
			cost, err := run(ctx)
			if err != nil {
				return nil, err
			}
			costs[i] = append(costs[i], cost)
		}
	}
	for _, p := range peers {
		if err := p.Release(ctx); err != nil {
			return nil, err
		}
	}
	row := &PeersRow{Width: side, Height: side, Own: figure(costs[0])}
	for _, c := range costs[1:] {
		row.Peers = append(row.Peers, figure(c))
	}
	row.compare()
	return row, nil
}

func figure(costs []Cost) PeerFigure {
	seconds := make([]float64, len(costs))
	cpu := costs[0].CPU
	for i, c := range costs {
		seconds[i] = c.Seconds
		cpu = min(cpu, c.CPU)
	}
	return PeerFigure{Seconds: summarize(seconds), CPU: cpu}
}

func (r *PeersRow) compare() {
	r.Own.Ratio = 1
	for i := range r.Peers {
		r.Peers[i].Ratio = r.Peers[i].Seconds.Min / r.Own.Seconds.Min
	}
}

// wholePicture is the sum of a picture's calls; what lies between them is left out.
func wholePicture(unet, decoder *PeersRow) PeersRow {
	sum := func(u, d PeerFigure) PeerFigure {
		return PeerFigure{CPU: pictureSteps*u.CPU + d.CPU, Seconds: Series{
			Median: pictureSteps*u.Seconds.Median + d.Seconds.Median, Min: pictureSteps*u.Seconds.Min + d.Seconds.Min,
			Max: pictureSteps*u.Seconds.Max + d.Seconds.Max, Runs: u.Seconds.Runs,
		}}
	}
	row := PeersRow{Name: fmt.Sprintf("%d steps and decode, summed", pictureSteps), Width: unet.Width, Height: unet.Height, Own: sum(unet.Own, decoder.Own)}
	for i := range unet.Peers {
		row.Peers = append(row.Peers, sum(unet.Peers[i], decoder.Peers[i]))
	}
	row.compare()
	return row
}
