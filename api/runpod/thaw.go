package runpod

import (
	"context"
	"time"
)

// A worker that was not running for frozenFor has most likely lost its
// connections: a platform that keeps workers frozen between jobs also closes
// what they left open.
const (
	clockTick = time.Second
	frozenFor = 5 * time.Second
)

// watchClock calls thawed after every gap in time, until ctx ends. It compares
// wall clocks, since the monotonic one may stand still while a process is frozen.
func watchClock(ctx context.Context, now func() time.Time, thawed func(gap time.Duration)) {
	ticker := time.NewTicker(clockTick)
	defer ticker.Stop()
	for last := now().Round(0); ; { // Round strips the monotonic reading
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t := now().Round(0)
		if gap := t.Sub(last); gap > frozenFor {
			thawed(gap)
		}
		last = t
	}
}
