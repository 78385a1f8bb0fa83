package fetch

import (
	"context"
	"net/netip"
)

// NewForTest fetches in small chunks and takes the rule for public addresses
// from the test, which has no public addresses at hand.
func NewForTest(config Config, allowed func(netip.Addr) bool, chunk int64) *Fetcher {
	full := New(config)
	return newFetcher(full.config, allowed, chunk)
}

// PullConfig is what a pull does once it has a checkpoint.
func (f *Fetcher) PullConfig(ctx context.Context, src Source, checkpoint string, force bool) error {
	return f.pullConfig(ctx, src, checkpoint, force)
}
