// Package picture reads pictures of requests and writes those of replies.
package picture

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sdworker/api/budget"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/options"
	"sdworker/inference/imageio"
	"sdworker/internal/publicnet"
)

// Reader reads pictures of requests.
type Reader struct {
	// URLs allows http and https addresses as pictures, within the options
	// api_enable_requests and api_forbid_local_requests.
	URLs bool
}

// errNotPicture is the answer to a text that holds no picture. A1111 sends it
// with status 500, though it is the client's mistake.
func errNotPicture() error {
	return exception.Refuse(http.StatusUnprocessableEntity, "Invalid encoded image")
}

// One reads a picture from a request field: base64, with or without the
// header of a data URL, or the address of a file on the web.
func (r Reader) One(ctx context.Context, v any, o options.Values) (imageio.Decoded, []byte, error) {
	text, ok := v.(string)
	if !ok {
		return imageio.Decoded{}, nil, exception.Crash("AttributeError", "an image must be a string")
	}
	if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
		return r.download(ctx, text, o)
	}
	if strings.HasPrefix(text, "data:image/") {
		_, rest, found := strings.Cut(text, ";")
		rest, _, _ = strings.Cut(rest, ";")
		_, payload, comma := strings.Cut(rest, ",")
		if !found || !comma {
			return imageio.Decoded{}, nil, exception.Crash("IndexError", "list index out of range")
		}
		text, _, _ = strings.Cut(payload, ",")
	}
	raw, err := decodeBase64(text)
	if err != nil {
		return imageio.Decoded{}, nil, errNotPicture()
	}
	return decodePicture(ctx, raw)
}

// All reads several pictures. It looks at the sizes of all of them before it
// decodes the first one, so that a request with too many costs nothing.
func (r Reader) All(ctx context.Context, list []any, o options.Values) ([]imageio.Decoded, [][]byte, error) {
	total := 0
	for _, v := range list {
		if text, ok := v.(string); ok {
			w, h := encodedSize(text)
			if total += min(w*h, budget.MaxPixels); total > budget.MaxPixels {
				return nil, nil, exception.Refuse(http.StatusUnprocessableEntity, "the pictures of the request have more than %d million pixels together; send fewer or smaller ones", budget.MaxPixels>>20)
			}
		}
	}
	decoded, raws := make([]imageio.Decoded, len(list)), make([][]byte, len(list))
	for i, v := range list {
		var err error
		if decoded[i], raws[i], err = r.One(ctx, v, o); err != nil {
			return nil, nil, err
		}
	}
	return decoded, raws, nil
}

// encodedSize is the size of a picture by its header, 0 when that is not among the
// first bytes of the text.
func encodedSize(text string) (w, h int) {
	const enough = 64 << 10 // a multiple of 4; a camera's EXIF comes before the size
	if strings.HasPrefix(text, "data:") {
		_, text, _ = strings.Cut(text, ",")
	}
	raw, err := decodeBase64(text[:min(len(text), enough)])
	if err != nil {
		return 0, 0
	}
	w, h, _ = imageio.Size(raw)
	return w, h
}

func decodePicture(ctx context.Context, raw []byte) (imageio.Decoded, []byte, error) {
	if w, h, err := imageio.Size(raw); err == nil && w <= imageio.MaxPixels/h { // else decoding says what is wrong
		if err := budget.TakePixels(ctx, w, h); err != nil {
			return imageio.Decoded{}, nil, err
		}
	}
	m, err := imageio.Decode(raw, imageio.MaxPixels)
	if large, ok := errors.AsType[*imageio.TooLargeError](err); ok {
		return imageio.Decoded{}, nil, exception.Refuse(http.StatusUnprocessableEntity, "%s", large)
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

// download fetches a picture, if the server and the options allow it. Addresses
// of this machine and its network are refused when the connection is made, so
// that neither a redirect nor a name can lead there.
func (r Reader) download(ctx context.Context, address string, o options.Values) (imageio.Decoded, []byte, error) {
	forbidden := exception.Refuse(http.StatusInternalServerError, "Requests not allowed")
	local := exception.Refuse(http.StatusInternalServerError, "Request to local resource not allowed")
	if !o.Bool("api_enable_requests") {
		return imageio.Decoded{}, nil, forbidden
	}
	onlyPublic := o.Bool("api_forbid_local_requests")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return imageio.Decoded{}, nil, exception.Refuse(http.StatusInternalServerError, "Invalid image url")
	}
	if !r.URLs {
		ip, err := netip.ParseAddr(req.URL.Hostname())
		if onlyPublic && (err == nil && !publicnet.Contains(ip) || req.URL.Hostname() == "localhost") {
			return imageio.Decoded{}, nil, local
		}
		return imageio.Decoded{}, nil, forbidden
	}
	if agent := o.Text("api_useragent"); agent != "" {
		req.Header.Set("User-Agent", agent)
	}
	transport := &http.Transport{}
	if onlyPublic {
		transport = publicnet.Transport()
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Timeout: downloadTimeout, Transport: transport}
	res, err := client.Do(req)
	if errors.Is(err, publicnet.ErrNotPublic) {
		return imageio.Decoded{}, nil, local
	}
	if err != nil {
		return imageio.Decoded{}, nil, exception.Refuse(http.StatusInternalServerError, "Invalid image url")
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxDownload+1))
	if err != nil || len(raw) > maxDownload {
		return imageio.Decoded{}, nil, exception.Refuse(http.StatusInternalServerError, "Invalid image url")
	}
	m, raw, err := decodePicture(ctx, raw)
	if err != nil {
		return imageio.Decoded{}, nil, exception.Refuse(http.StatusInternalServerError, "Invalid image url")
	}
	return m, raw, nil
}

// Colour reads #rgb or #rrggbb; anything else is white.
func Colour(text string) [3]uint8 {
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
