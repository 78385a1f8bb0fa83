package runpod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLocalStreamGivesEachPartOnce: also to clients that ask at the same time.
func TestLocalStreamGivesEachPartOnce(t *testing.T) {
	m := newMemory()
	m.enqueue(Job{ID: "j"})
	m.take(t.Context(), 1, false)
	const parts = 40
	var mu sync.Mutex
	seen := map[string]int{}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				got, status, err := m.nextParts(t.Context(), "j")
				if err != nil || status != statusInProgress && len(got) == 0 {
					return
				}
				mu.Lock()
				for _, p := range got {
					seen[string(p)]++
				}
				mu.Unlock()
			}
		})
	}
	for i := range parts {
		require.NoError(t, m.post(t.Context(), postStreamPart, "j", fmt.Appendf(nil, `{"output":%d}`, i)))
	}
	require.NoError(t, m.post(t.Context(), postStreamEnd, "j", []byte(`{}`)))
	clients.Wait()
	require.Len(t, seen, parts)
	for part, n := range seen {
		require.Equal(t, 1, n, part)
	}
	got, _, err := m.nextParts(t.Context(), "j")
	require.NoError(t, err)
	require.Empty(t, got, "they stay given out")
}

// A job that is handed out once more while its result is on the way is done once; one
// that failed may have been sent again, and one that is handed out later was.
func TestHandedOutWhileItsAnswerIsOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := map[string]int{}
		plane := newMemory()
		w := newWorker(Config{Concurrency: 1}.withDefaults(), func(_ context.Context, job Job) (any, error) {
			calls[job.ID]++
			if job.ID == "failed" {
				return nil, errors.New("no such model")
			}
			return "a picture", nil
		}, plane)
		w.post = t.Context()
		do := func(id string, asked time.Time) {
			job := Job{ID: id, Input: json.RawMessage(`{}`)}
			plane.admit(job)
			w.accept(t.Context(), job, asked)
			synctest.Wait()
		}
		asked := time.Now()
		time.Sleep(time.Second)
		for _, id := range []string{"made", "failed"} {
			do(id, asked)
			do(id, asked)
		}
		require.Equal(t, map[string]int{"made": 1, "failed": 2}, calls)
		time.Sleep(time.Second)
		do("made", time.Now())
		require.Equal(t, 2, calls["made"])
	})
}
