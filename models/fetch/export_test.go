package fetch

import "net/netip"

// NewForTest fetches in small chunks and takes the rule for public addresses
// from the test, which has no public addresses at hand.
func NewForTest(config Config, allowed func(netip.Addr) bool, chunk int64) *Fetcher {
	full := New(config)
	return newFetcher(full.config, allowed, chunk)
}
