package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"sdworker/internal/gpustat"
)

// gpus collects what the driver tells of each GPU.
type gpus struct {
	read   func() []gpustat.Card
	values []gpuValue
}

// gpuValue is a metric of a GPU.
type gpuValue struct {
	desc *prometheus.Desc
	of   func(gpustat.Card) float64 // negative: not known
}

func newGPUs(read func() []gpustat.Card) *gpus {
	g := &gpus{read: read}
	for _, v := range []struct {
		name, help string
		of         func(gpustat.Card) float64
	}{
		{"utilization_ratio", "Part of the last second in which the GPU ran something, 0 to 1.", func(c gpustat.Card) float64 { return c.Utilization }},
		{"temperature_celsius", "Temperature of the GPU.", func(c gpustat.Card) float64 { return c.Celsius }},
		{"power_watts", "Power that the GPU draws.", func(c gpustat.Card) float64 { return c.Watts }},
		{"memory_used_bytes", "Memory of the GPU that all processes hold.", func(c gpustat.Card) float64 { return float64(c.MemoryUsed) }},
		{"memory_total_bytes", "Memory of the GPU.", func(c gpustat.Card) float64 { return float64(c.MemoryTotal) }},
	} {
		desc := prometheus.NewDesc(namespace+"_gpu_"+v.name, v.help+" Absent without an NVIDIA driver.", []string{"gpu", "name", "uuid"}, nil)
		g.values = append(g.values, gpuValue{desc, v.of})
	}
	return g
}

func (g *gpus) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range g.values {
		ch <- v.desc
	}
}

func (g *gpus) Collect(ch chan<- prometheus.Metric) {
	for _, c := range g.read() {
		for _, v := range g.values {
			if n := v.of(c); n >= 0 {
				ch <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, n, strconv.Itoa(c.Index), c.Name, c.UUID)
			}
		}
	}
}
