package fetch

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"

	"sdworker/internal/publicnet"
)

const connectTimeout = 10 * time.Second

// transport builds the connections for trusted sources, or for those that came
// with a request. HTTP/2 would send all ranges through one connection and is
// off.
func transport(public bool, allowed func(netip.Addr) bool, stall time.Duration) *http.Transport {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	t := &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: stall,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		Protocols:             new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	if public {
		t.Proxy = nil // a proxy would connect for us, unchecked
		t.DialContext = publicnet.Dial(allowed)
	}
	return t
}
