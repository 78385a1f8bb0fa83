package runpod_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
)

func TestGapsInTimeAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var frozen atomic.Int64 // what the wall clock is ahead
		var gaps []time.Duration
		ctx, stop := context.WithCancel(t.Context())
		go runpod.WatchClock(ctx, func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }, func(gap time.Duration) {
			gaps = append(gaps, gap)
		})
		time.Sleep(10*time.Second + time.Millisecond)
		frozen.Add(int64(time.Minute))
		time.Sleep(10 * time.Second)
		frozen.Add(int64(2 * time.Second)) // a busy machine
		time.Sleep(10 * time.Second)
		frozen.Add(-int64(time.Hour)) // the clock was set
		time.Sleep(10 * time.Second)
		stop()
		synctest.Wait()
		require.Equal(t, []time.Duration{time.Minute + time.Second}, gaps)
	})
}
