package sampler_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

// inputs are the tensors and formulas of numeric/inputs.json.
type inputs struct {
	m                 []float32
	unit, noise, init [][]float32
}

// variance is v of the formulas.
const variance = 0.49

func loadInputs(tb testing.TB) inputs {
	tb.Helper()
	var file struct {
		Cases []struct {
			ID     string
			Count  int
			Values any
		}
	}
	vectors.Load(tb, "numeric/inputs.json", &file)
	tensor := func(v any) []float32 {
		var out []float32
		for _, x := range v.([]any) {
			out = append(out, float32(x.(float64)))
		}
		return out
	}
	var in inputs
	for _, c := range file.Cases {
		if c.ID == "m" {
			in.m = tensor(c.Values)
			continue
		}
		var list [][]float32
		for _, v := range c.Values.([]any) {
			list = append(list, tensor(v))
		}
		require.Len(tb, list, c.Count)
		switch c.ID {
		case "unit":
			in.unit = list
		case "noise":
			in.noise = list
		case "init":
			in.init = list
		}
	}
	return in
}

// denoise is the model D(x, sigma).
func (in inputs) denoise(dst, x []float32, sigma float32) {
	s := float64(sigma)
	a, b := variance/(variance+s*s), s/(1+s)
	for k := range dst {
		v, m := float64(x[k]), float64(in.m[k%len(in.m)])
		dst[k] = float32(v*a + m*(1-a) + 0.1*math.Sin(3*v/(1+s))*b)
	}
}

// eps is the model eps(x, t, c).
func (in inputs) eps(dst, x []float32, t, c float64) {
	tau := (t + 1) / 1000
	q := math.Exp(-(0.85*tau + 2.3437*tau*tau + 2.1542*tau*tau*tau))
	r := math.Sqrt(1 - q)
	for k := range dst {
		v, m := float64(x[k]), float64(in.m[k%len(in.m)])
		dst[k] = float32(r*(v-math.Sqrt(q)*c*m)/(q*variance+1-q) + 0.05*math.Sin(3*v)*r)
	}
}

// latentShape is the shape of all inputs.
var latentShape = rng.Shape{C: 4, H: 4, W: 4}

// conditions hands out handles for the conditioning numbers of a case.
type conditions struct{ values []float64 }

func (c *conditions) handle(v float64) int {
	c.values = append(c.values, v)
	return len(c.values) - 1
}

func (c *conditions) schedule(entries [][2]float64) sampler.Schedule {
	var s sampler.Schedule
	for _, e := range entries {
		s = append(s, sampler.Entry{EndAt: int(e[0]), Cond: c.handle(e[1])})
	}
	return s
}

// part is one AND part as the vectors write it: [weight, [[end, c], ...]].
type part struct {
	weight  float64
	entries [][2]float64
}

func (p *part) UnmarshalJSON(raw []byte) error {
	return unmarshalPair(raw, &p.weight, &p.entries)
}

func (c *conditions) prompts(images [][]part) [][]sampler.Part {
	var out [][]sampler.Part
	for _, parts := range images {
		var list []sampler.Part
		for _, p := range parts {
			list = append(list, sampler.Part{Weight: p.weight, Schedule: c.schedule(p.entries)})
		}
		out = append(out, list)
	}
	return out
}

func (c *conditions) negatives(images [][][2]float64) []sampler.Schedule {
	var out []sampler.Schedule
	for _, entries := range images {
		out = append(out, c.schedule(entries))
	}
	return out
}

// unetLog records the UNet calls of a job.
type unetLog struct {
	batch []int
	t     []float64
}

// unet is the analytic model as a UNet.
func (in inputs) unet(c *conditions, log *unetLog) sampler.UNet {
	return func(_ ctx, b *sampler.Batch) ([]float32, error) {
		if log != nil {
			log.batch = append(log.batch, len(b.Rows))
			log.t = append(log.t, float64(b.Timestep[0]))
		}
		out := make([]float32, len(b.X))
		size := len(b.X) / len(b.Rows)
		for i, row := range b.Rows {
			from, to := i*size, (i+1)*size
			in.eps(out[from:to], b.X[from:to], float64(b.Timestep[i]), c.values[row.Cond])
		}
		return out, nil
	}
}
