package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// samples is a Prometheus in memory: series that were scraped once a minute.
type samples struct {
	t      *testing.T
	engine *promql.Engine
	series []promql.Series
}

func newSamples(t *testing.T) *samples {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: patience, LookbackDelta: 5 * time.Minute})
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	return &samples{t: t, engine: engine}
}

// minute is the time of a scrape.
func minute(n int) time.Time { return time.UnixMilli(0).Add(time.Duration(n) * time.Minute) }

func (s *samples) add(at int, set labels.Labels, value float64) {
	i := slices.IndexFunc(s.series, func(known promql.Series) bool { return labels.Equal(known.Metric, set) })
	if i < 0 {
		i = len(s.series)
		s.series = append(s.series, promql.Series{Metric: set})
	}
	s.series[i].Floats = append(s.series[i].Floats, promql.FPoint{T: minute(at).UnixMilli(), F: value})
}

// scraped adds what GET /metrics answered.
func (s *samples) scraped(at int, text string) {
	s.t.Helper()
	reader := expfmt.NewTextParser(model.UTF8Validation)
	families, err := reader.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(s.t, err)
	list := make([]*dto.MetricFamily, 0, len(families))
	for _, f := range families {
		list = append(list, f)
	}
	vector, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.Time(minute(at).UnixMilli())}, list...)
	require.NoError(s.t, err)
	for _, v := range vector {
		b := labels.NewBuilder(labels.EmptyLabels()).Set("instance", "a:7860").Set("job", "sdworker")
		for name, value := range v.Metric {
			b.Set(string(name), string(value))
		}
		s.add(at, b.Labels(), float64(v.Value))
	}
}

// described adds a series in the notation of promtool's tests, such as
// `up{job="x"} 1 1 0x5`, with a value for each minute from 0 on.
func (s *samples) described(text string) {
	s.t.Helper()
	set, values, err := parser.ParseSeriesDesc(text)
	require.NoError(s.t, err, text)
	for i, v := range values {
		if !v.Omitted {
			s.add(i, labels.NewBuilder(set).Set("instance", "a:7860").Labels(), v.Value)
		}
	}
}

// query evaluates PromQL at a minute.
func (s *samples) query(expr string, at int) promql.Vector {
	s.t.Helper()
	q, err := s.engine.NewInstantQuery(s.t.Context(), s, nil, expr, minute(at))
	require.NoError(s.t, err, expr)
	defer q.Close()
	result := q.Exec(s.t.Context())
	require.NoError(s.t, result.Err, expr)
	vector, err := result.Vector()
	require.NoError(s.t, err, expr)
	return slices.Clone(vector)
}

// Querier makes samples a storage.Queryable.
func (s *samples) Querier(int64, int64) (storage.Querier, error) { return s, nil }

// Select implements storage.Querier.
func (s *samples) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &seriesSet{at: -1}
	for _, known := range s.series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(known.Metric.Get(m.Name)) }) {
			found.list = append(found.list, known)
		}
	}
	slices.SortFunc(found.list, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return found
}

func (s *samples) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (s *samples) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (s *samples) Close() error { return nil }

// seriesSet is what Select found.
type seriesSet struct {
	list []promql.Series
	at   int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.list) }
func (s *seriesSet) At() storage.Series                { return promql.NewStorageSeries(s.list[s.at]) }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// selectors names the metrics of an expression.
func selectors(t *testing.T, expr string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	require.NoError(t, err, expr)
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			names = append(names, v.Name)
		}
		return nil
	})
	return names
}
