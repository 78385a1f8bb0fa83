package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sdworker/inference"
)

// state collects what a queue and its generator tell of themselves at the
// moment.
type state struct {
	queue                        *inference.Queue
	jobs, ready, loaded, weights *prometheus.Desc
	limit                        *prometheus.Desc
	calls, rows                  *prometheus.Desc
	loads, cache                 *prometheus.Desc
	free, total, resident        *prometheus.Desc
	deviceReady, deviceJobs      *prometheus.Desc
}

func newState(q *inference.Queue) *state {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return &state{
		queue:   q,
		jobs:    desc("queue_jobs", "Jobs in the queue by state: waiting or running.", "state"),
		limit:   desc("queue_limit_jobs", "Jobs that may be in the queue; absent when there is no limit."),
		ready:   desc("engine_ready", "1 when a job can start without waiting for the engine process."),
		loaded:  desc("model_loaded", "1 when a checkpoint is loaded."),
		weights: desc("model_weight_bytes", "Size of the loaded weights."),
		calls:   desc("unet_calls_total", "Calls of the UNet since the engine process started."),
		rows:    desc("unet_rows_total", "Rows in those calls together: two for a picture with guidance, more where jobs share a call."),
		loads:   desc("model_loads_total", "Checkpoints read from their files since the engine process started."),
		cache:   desc("cache_requests_total", "What was looked for in a cache since the engine process started, by cache (checkpoint: weights in memory, prompt: encoded texts) and result (hit or miss).", "cache", "result"),

		deviceReady: desc("device_ready", "Of each of several devices: 1 when a job can start there without waiting for its engine process.", "device"),
		deviceJobs:  desc("device_jobs", "Of each of several devices: jobs that it has.", "device"),

		free:  desc("device_memory_free_bytes", "Free memory of the device; absent when it is not known."),
		total: desc("device_memory_total_bytes", "Memory of the device; absent when it is not known."),

		resident: desc("engine_resident_memory_bytes", "Memory of the machine that the engine process holds, mapped weights included."),
	}
}

func (s *state) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

func (s *state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	waiting := len(s.queue.Waiting())
	gauge(s.jobs, float64(max(len(s.queue.IDs())-waiting, 0)), "running")
	gauge(s.jobs, float64(waiting), "waiting")
	status := s.queue.Generator().Status()
	gauge(s.ready, one(status.Ready))
	gauge(s.loaded, one(status.Engine.Checkpoint != ""))
	gauge(s.weights, float64(status.Engine.WeightBytes))
	gauge(s.resident, float64(status.Memory.HostUsed))
	if depth := s.queue.Depth(); depth > 0 {
		gauge(s.limit, float64(depth))
	}
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(s.calls, status.UNetCalls)
	count(s.rows, status.UNetRows)
	count(s.loads, status.ModelLoads)
	for _, c := range status.Caches {
		count(s.cache, c.Hits, c.Name, "hit")
		count(s.cache, c.Misses, c.Name, "miss")
	}
	for _, d := range status.Devices {
		gauge(s.deviceReady, one(d.Ready), d.Name)
		gauge(s.deviceJobs, float64(d.Jobs), d.Name)
	}
	if status.Memory.DeviceTotal > 0 {
		gauge(s.free, float64(status.Memory.DeviceFree))
		gauge(s.total, float64(status.Memory.DeviceTotal))
	}
}

// one is 1 for true.
func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
