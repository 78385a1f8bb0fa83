package runpod

import (
	"fmt"
	"sync"
	"testing"

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
