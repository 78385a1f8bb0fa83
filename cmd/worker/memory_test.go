package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryShares(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		name                   string
		host, requests, engine int64
		onCPU                  int
		wantRequests, want     int64
	}{
		{"a container of 8 GiB on the CPU", 8 * gib, 0, 0, 1, 2 * gib, 8*gib - 5*gib/2 - ownMemory},
		{"two engines", 8 * gib, 0, 0, 2, 2 * gib, (8*gib - 5*gib/2 - ownMemory) / 2},
		{"with a GPU", 8 * gib, 0, 0, 0, 4 * gib, 0},
		{"a chosen budget", 8 * gib, gib, 0, 1, gib, 8*gib - 5*gib/4 - ownMemory},
		{"both chosen", 8 * gib, gib, 3 * gib, 1, gib, 3 * gib},
		{"hardly anything", 100 << 20, 0, 0, 1, minMemoryBudget, 1},
	} {
		requests, engine := memoryShares(tc.host, tc.requests, tc.engine, tc.onCPU)
		require.Equal(t, tc.wantRequests, requests, tc.name)
		require.Equal(t, tc.want, engine, tc.name)
		if tc.engine == 0 && engine > 1 {
			require.LessOrEqual(t, requests+requests/4+engine*int64(tc.onCPU)+ownMemory, tc.host, tc.name)
		}
	}
}
