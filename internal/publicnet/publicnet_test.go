package publicnet_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/publicnet"
)

func TestContains(t *testing.T) {
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "104.16.0.1", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450::1"} {
		require.True(t, publicnet.Contains(netip.MustParseAddr(s)), s)
	}
	for _, s := range []string{
		"127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
		"fec0::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001::1", "2001:db8::1", "100::1",
	} {
		require.False(t, publicnet.Contains(netip.MustParseAddr(s)), s)
	}
	require.False(t, publicnet.Contains(netip.Addr{}))
}

// What leads to this machine is refused, by address, by name and by redirect.
func TestTransport(t *testing.T) {
	reached := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer s.Close()
	client := &http.Client{Transport: publicnet.Transport()}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254", "100.64.0.1"} {
		_, err := client.Get("http://" + host + ":" + port)
		require.ErrorIs(t, err, publicnet.ErrNotPublic, host)
	}
	require.False(t, reached)
}
