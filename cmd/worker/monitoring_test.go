package main

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/stretchr/testify/require"

	"sdworker/api/metrics"
	"sdworker/inference"
	"sdworker/internal/gpustat"
)

// deployFolder holds what others run beside the worker.
var deployFolder, _ = filepath.Abs("../../deploy")

// equipped is a generator on a machine with a GPU.
type equipped struct{ inference.Generator }

func (equipped) Status() inference.Status {
	return inference.Status{
		Memory:  inference.Memory{DeviceFree: 3, DeviceTotal: 8},
		Devices: []inference.DeviceStatus{{Name: "cuda0", Ready: true, Jobs: 1}},
	}
}

// missingHere is what /metrics says beside the rest on a machine with GPUs, of the metrics
// whose names are given.
func missingHere(t *testing.T, names ...string) string {
	t.Helper()
	m := metrics.New()
	m.Watch(inference.NewQueue(equipped{}, inference.QueueOptions{}))
	m.Machine(1, func() []gpustat.Card {
		return []gpustat.Card{{Name: "L4", UUID: "GPU-1", Utilization: 0.5, Celsius: 60, Watts: 70, MemoryUsed: 5, MemoryTotal: 24}}
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var kept strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		for _, name := range names {
			if strings.HasPrefix(line, name) {
				kept.WriteString(line)
			}
		}
	}
	require.NotEmpty(t, kept.String())
	return kept.String()
}

// scrapedWorker is a Prometheus that has scraped a worker four times, between pictures.
func scrapedWorker(t *testing.T) *samples {
	t.Helper()
	_, c := serve(t, newHome(t), openGate, "--device", "cpu,cpu", "--batch-jobs", "2")
	c.ready()
	db := newSamples(t)
	const slow = `{"prompt": "a fox", "steps": 3, "width": 64, "height": 64, "batch_size": 2}`
	for i := range 4 {
		require.Equal(t, 2, c.do(http.MethodPost, "/sdapi/v1/txt2img", slow).pictures(t))
		var text string
		require.Eventually(t, func() bool { // what an engine process tells of itself comes a moment later
			text = c.get("/metrics").body
			return db.later(text, "sdworker_unet_calls_total", float64(3*(i+1)))
		}, patience, 20*time.Millisecond)
		db.scraped(i, text+missingHere(t, "sdworker_gpu_", "sdworker_device_memory_"))
	}
	return db
}

// later reports whether a scrape shows a value that is not smaller.
func (s *samples) later(text, name string, value float64) bool {
	probe := newSamples(s.t)
	probe.scraped(0, text)
	found := probe.query(name, 0)
	return len(found) == 1 && found[0].F >= value
}

// Each query of the dashboard finds something in what a worker that has made pictures says.
func TestDashboardShowsWhatMetricsSay(t *testing.T) {
	type target struct{ Expr, LegendFormat string }
	var board struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []target
		}
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
	}
	text, err := os.ReadFile(filepath.Join(deployFolder, "grafana", "sdworker.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &board))
	db := scrapedWorker(t)
	queries := 0
	for _, p := range board.Panels {
		require.True(t, p.Type == "row" || len(p.Targets) > 0, p.Title)
		for _, q := range p.Targets {
			queries++
			expr := strings.NewReplacer("$__rate_interval", "4m", "$instance", ".*").Replace(q.Expr)
			require.NotContains(t, expr, "$", "a variable that is not known")
			found := db.query(expr, 3)
			require.NotEmpty(t, found, "%s: %s", p.Title, expr)
			require.True(t, slices.ContainsFunc(found, func(s promql.Sample) bool { return !math.IsNaN(s.F) }), "%s: %s has no value", p.Title, expr)
			for _, s := range found {
				require.False(t, math.IsInf(s.F, 0), "%s: %s of %s", p.Title, expr, s.Metric)
				for _, label := range between(q.LegendFormat, "{{", "}}") {
					require.NotEmpty(t, s.Metric.Get(label), "%s: the legend's %s of %s", p.Title, label, expr)
				}
			}
		}
	}
	require.Greater(t, queries, 20)
	require.NotEmpty(t, db.query("sdworker_build_info", 3), "the dashboard's list of workers is made from it")
}

// between lists what stands between two marks.
func between(s, left, right string) (found []string) {
	for {
		_, rest, ok := strings.Cut(s, left)
		if !ok {
			return found
		}
		name, after, _ := strings.Cut(rest, right)
		found, s = append(found, strings.TrimSpace(name)), after
	}
}

// alerts are the rules by name.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(deployFolder, "prometheus", "alerts.yml"), false, model.UTF8Validation)
	require.Empty(t, errs)
	rules := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			rules[r.Alert] = r
		}
	}
	return rules
}

// fires tells whether an alert fires at a minute: its expression has given something
// for as long as it must.
func (s *samples) fires(rule rulefmt.Rule, at int) bool {
	for since := range int(time.Duration(rule.For)/time.Minute) + 1 {
		if len(s.query(rule.Expr, at-since)) == 0 {
			return false
		}
	}
	return true
}

func TestAlerts(t *testing.T) {
	rules := alerts(t)
	for _, tc := range []struct {
		alert        string
		fires, quiet []string // series, a value a minute
	}{
		{"SdworkerNotReady", []string{"sdworker_engine_ready 0x30"}, []string{"sdworker_engine_ready 0x28 1 0"}},
		{"SdworkerNoModel", []string{"sdworker_model_loaded 0x30"}, []string{"sdworker_model_loaded 1x20 0x10"}},
		{
			"SdworkerEngineLost",
			[]string{`sdworker_engine_losses_total{reason="memory"} 0x20 1 2 3x10`},
			[]string{`sdworker_engine_losses_total{reason="memory"} 0x20 1x10`, `sdworker_engine_losses_total{reason="abort"} 3x30`},
		},
		{
			"SdworkerJobsFail",
			[]string{`sdworker_jobs_total{kind="txt2img",outcome="ok"} 0+4x30`, `sdworker_jobs_total{kind="txt2img",outcome="exhausted"} 0+1x30`},
			[]string{`sdworker_jobs_total{kind="txt2img",outcome="ok"} 0+4x30`, `sdworker_jobs_total{kind="txt2img",outcome="invalid"} 0+4x30`, `sdworker_jobs_total{kind="load",outcome="broken"} 0+9x30`},
		},
		{
			"SdworkerQueueFull",
			[]string{`sdworker_queue_jobs{state="waiting"} 60x30`, `sdworker_queue_jobs{state="running"} 2x30`, "sdworker_queue_limit_jobs 64x30"},
			[]string{`sdworker_queue_jobs{state="waiting"} 50x30`, `sdworker_queue_jobs{state="running"} 2x30`, "sdworker_queue_limit_jobs 64x30"},
		},
		{
			"SdworkerQueueSlow",
			[]string{`sdworker_queue_wait_seconds_bucket{le="60"} 0+9x30`, `sdworker_queue_wait_seconds_bucket{le="120"} 0+10x30`, `sdworker_queue_wait_seconds_bucket{le="+Inf"} 0+10x30`},
			[]string{`sdworker_queue_wait_seconds_bucket{le="60"} 0+98x30`, `sdworker_queue_wait_seconds_bucket{le="120"} 0+100x30`, `sdworker_queue_wait_seconds_bucket{le="+Inf"} 0+100x30`},
		},
		{"SdworkerCheckpointsThrash", []string{"sdworker_model_loads_total 0+3x30"}, []string{"sdworker_model_loads_total 0+1x30"}},
		{
			"SdworkerMemory",
			[]string{"sdworker_engine_resident_memory_bytes 90x30", "process_resident_memory_bytes 8x30", "sdworker_host_memory_limit_bytes 100x30"},
			[]string{"sdworker_engine_resident_memory_bytes 80x30", "process_resident_memory_bytes 8x30", "sdworker_host_memory_limit_bytes 100x30"},
		},
		{"SdworkerGPUHot", []string{`sdworker_gpu_temperature_celsius{gpu="0"} 92x30`}, []string{`sdworker_gpu_temperature_celsius{gpu="0"} 80x30`}},
	} {
		t.Run(tc.alert, func(t *testing.T) {
			rule, ok := rules[tc.alert]
			require.True(t, ok)
			delete(rules, tc.alert)
			for series, want := range map[*[]string]bool{&tc.fires: true, &tc.quiet: false} {
				db := newSamples(t)
				for _, s := range *series {
					db.described(s)
				}
				require.Equal(t, want, db.fires(rule, 30), "%q", *series)
			}
		})
	}
	require.Empty(t, rules, "alerts without a case here")
}

// A worker that does its work alerts nobody, and has what the alerts ask for.
func TestAlertsAreQuietAboutAHealthyWorker(t *testing.T) {
	db := scrapedWorker(t)
	known := map[string]bool{}
	for _, s := range db.series {
		known[s.Metric.Get(model.MetricNameLabel)] = true
	}
	for name, rule := range alerts(t) {
		require.Empty(t, db.query(rule.Expr, 3), name)
		for _, selector := range selectors(t, rule.Expr) {
			require.True(t, known[selector], "%s asks for %s", name, selector)
		}
		require.NotEmpty(t, rule.Annotations["summary"], name)
	}
}
