// Package publicnet keeps what others name, such as the addresses in a request,
// on the public Internet: away from this machine, its network and its cloud's
// metadata service.
package publicnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrNotPublic marks a refused address.
var ErrNotPublic = errors.New("the address is not public")

// reserved are the ranges that are not on the public Internet beside those that
// net/netip knows (IANA special-purpose registries), and those that embed an
// IPv4 address where it would not be checked.
var reserved = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10", "3fff::/20", "5f00::/16",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

// Contains tells whether an address belongs to the public Internet.
func Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

const dialTimeout = 10 * time.Second

// Dial connects only to hosts all of whose addresses are allowed, and to
// the very addresses that were checked. It looks again when the kernel is about
// to connect.
func Dial(allowed func(netip.Addr) bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(at.Addr()) {
			return fmt.Errorf("%s: %w", address, ErrNotPublic)
		}
		return nil
	}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if !allowed(a) {
				return nil, fmt.Errorf("%s is %s: %w", host, a.Unmap(), ErrNotPublic)
			}
		}
		for _, a := range list {
			var conn net.Conn
			if conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}
}

// Transport returns HTTP connections to public addresses, without a proxy, which
// would connect unchecked.
func Transport() *http.Transport {
	return &http.Transport{
		DialContext: Dial(Contains), TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
}
