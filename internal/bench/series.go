package bench

import (
	"context"
	"slices"
	"time"
)

// Series summarises repeated measurements, in seconds.
type Series struct {
	Median float64 `json:"median_s"`
	Min    float64 `json:"min_s"`
	Max    float64 `json:"max_s"`
	Runs   int     `json:"runs"`
}

// summarize makes a Series of at least one value.
func summarize(seconds []float64) Series {
	s := slices.Sorted(slices.Values(seconds))
	return Series{Median: s[len(s)/2], Min: s[0], Max: s[len(s)-1], Runs: len(s)}
}

// How often something is repeated: at least minRuns times, and until budget is
// spent, but not more than maxRuns times.
const (
	minRuns = 3
	maxRuns = 200
)

// repeat measures fn after one run that does not count.
func repeat(ctx context.Context, budget time.Duration, fn func(context.Context) error) (Series, error) {
	if err := fn(ctx); err != nil {
		return Series{}, err
	}
	var seconds []float64
	for began := time.Now(); len(seconds) < minRuns || len(seconds) < maxRuns && time.Since(began) < budget; {
		start := time.Now()
		if err := fn(ctx); err != nil {
			return Series{}, err
		}
		seconds = append(seconds, time.Since(start).Seconds())
	}
	return summarize(seconds), nil
}
