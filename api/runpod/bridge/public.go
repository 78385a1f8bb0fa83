package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// maxRedirects is how often a download may be sent elsewhere.
const maxRedirects = 5

// Address ranges that netip does not class as private.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // NAT64 reaches IPv4
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4 reaches IPv4
}

// Public tells whether an address belongs to the public internet.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// PublicClient returns the HTTP client for URLs that jobs name: public addresses
// only, checked after name resolution and after every redirect, no proxy, and a
// cap on the size of a file.
func PublicClient(cfg Config) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if cfg.AllowPrivateSources {
				return dialer.DialContext(ctx, network, address)
			}
			return dialPublic(ctx, dialer, network, address)
		},
	}
	return &http.Client{
		Transport: capped{transport, cfg.MaxDownload},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
				return fmt.Errorf("redirect to a %s URL", req.URL.Scheme)
			}
			return nil
		},
	}
}

// dialPublic connects to a host all of whose addresses are public, by the address
// that was checked.
func dialPublic(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !Public(a) {
			return nil, fmt.Errorf("%s is not a public address", host)
		}
	}
	var errs []error
	for _, a := range addrs {
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// capped refuses bodies above max bytes, by their declared length and by count.
type capped struct {
	next http.RoundTripper
	max  int64 // 0: no cap
}

func (c capped) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil || c.max <= 0 {
		return resp, err
	}
	if resp.ContentLength > c.max {
		resp.Body.Close()
		return nil, errTooLarge(c.max)
	}
	resp.Body = &countedBody{ReadCloser: resp.Body, left: c.max, max: c.max}
	return resp, nil
}

type countedBody struct {
	io.ReadCloser
	left, max int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge(b.max)
	}
	return n, err
}

func errTooLarge(limit int64) error {
	return fmt.Errorf("the file is larger than %d bytes; raise RUNPOD_MAX_DOWNLOAD_BYTES to allow it", limit)
}
