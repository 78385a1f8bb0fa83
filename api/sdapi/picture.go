package sdapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sdworker/api/sdapi/options"
	"sdworker/inference/imageio"
)

// errNotPicture is the answer to a text that holds no picture. A1111 sends it
// with status 500, though it is the client's mistake.
func errNotPicture() error { return refuse(http.StatusUnprocessableEntity, "Invalid encoded image") }

// picture reads a picture from a request field: base64, with or without the
// header of a data URL, or the address of a file on the web.
func (s *Server) picture(ctx context.Context, v any, o options.Values) (imageio.Decoded, []byte, error) {
	text, ok := v.(string)
	if !ok {
		return imageio.Decoded{}, nil, crash("AttributeError", "an image must be a string")
	}
	if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
		return s.download(ctx, text, o)
	}
	if strings.HasPrefix(text, "data:image/") {
		_, rest, found := strings.Cut(text, ";")
		rest, _, _ = strings.Cut(rest, ";")
		_, payload, comma := strings.Cut(rest, ",")
		if !found || !comma {
			return imageio.Decoded{}, nil, crash("IndexError", "list index out of range")
		}
		text, _, _ = strings.Cut(payload, ",")
	}
	raw, err := decodeBase64(text)
	if err != nil {
		return imageio.Decoded{}, nil, errNotPicture()
	}
	return decodePicture(raw)
}

func decodePicture(raw []byte) (imageio.Decoded, []byte, error) {
	m, err := imageio.Decode(raw, imageio.MaxPixels)
	var large *imageio.TooLargeError
	if errors.As(err, &large) {
		return imageio.Decoded{}, nil, refuse(http.StatusUnprocessableEntity, "%s", large)
	}
	if err != nil {
		return imageio.Decoded{}, nil, errNotPicture()
	}
	return m, raw, nil
}

// decodeBase64 passes over characters that are not base64, as Python does.
func decodeBase64(text string) ([]byte, error) {
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
		return raw, nil
	}
	return base64.StdEncoding.DecodeString(keepBase64(text))
}

func keepBase64(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '+' || r == '/' || r == '=' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return -1
	}, text)
}

const (
	downloadTimeout = 30 * time.Second
	maxDownload     = 64 << 20 // bytes of a picture file
)

var errLocal = errors.New("the address is not on the public internet")

// download fetches a picture, if the server and the options allow it. Addresses
// of this machine and its network are refused when the connection is made, so
// that neither a redirect nor a name can lead there.
func (s *Server) download(ctx context.Context, address string, o options.Values) (imageio.Decoded, []byte, error) {
	forbidden := refuse(http.StatusInternalServerError, "Requests not allowed")
	local := refuse(http.StatusInternalServerError, "Request to local resource not allowed")
	if !o.Bool("api_enable_requests") {
		return imageio.Decoded{}, nil, forbidden
	}
	onlyPublic := o.Bool("api_forbid_local_requests")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return imageio.Decoded{}, nil, refuse(http.StatusInternalServerError, "Invalid image url")
	}
	if !s.cfg.ImageURLs {
		ip, err := netip.ParseAddr(req.URL.Hostname())
		if onlyPublic && (err == nil && !public(ip) || req.URL.Hostname() == "localhost") {
			return imageio.Decoded{}, nil, local
		}
		return imageio.Decoded{}, nil, forbidden
	}
	if agent := o.Text("api_useragent"); agent != "" {
		req.Header.Set("User-Agent", agent)
	}
	dialer := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if onlyPublic && !public(at.Addr()) {
			return errLocal
		}
		return nil
	}}
	client := http.Client{Timeout: downloadTimeout, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if errors.Is(err, errLocal) {
		return imageio.Decoded{}, nil, local
	}
	if err != nil {
		return imageio.Decoded{}, nil, refuse(http.StatusInternalServerError, "Invalid image url")
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxDownload+1))
	if err != nil || len(raw) > maxDownload {
		return imageio.Decoded{}, nil, refuse(http.StatusInternalServerError, "Invalid image url")
	}
	m, raw, err := decodePicture(raw)
	if err != nil {
		return imageio.Decoded{}, nil, refuse(http.StatusInternalServerError, "Invalid image url")
	}
	return m, raw, nil
}

// public reports whether an address is one of the internet at large.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !sharedSpace.Contains(ip) && !benchmarking.Contains(ip)
}

var (
	sharedSpace  = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	benchmarking = netip.MustParsePrefix("198.18.0.0/15") // RFC 2544
)

// colour reads #rgb or #rrggbb; anything else is white.
func colour(text string) [3]uint8 {
	hex := strings.TrimPrefix(text, "#")
	if len(hex) == 3 {
		hex = fmt.Sprintf("%c%c%c%c%c%c", hex[0], hex[0], hex[1], hex[1], hex[2], hex[2])
	}
	v, err := strconv.ParseUint(hex, 16, 24)
	if err != nil || len(hex) != 6 {
		return [3]uint8{255, 255, 255}
	}
	return [3]uint8{uint8(v >> 16), uint8(v >> 8), uint8(v)}
}
