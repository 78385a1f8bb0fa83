package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cenkalti/backoff/v5"

	"sdworker/fault"
	"sdworker/models/catalog"
)

// remote is what the server says about the file.
type remote struct {
	url       string // after redirects; may be signed and expire
	size      int64  // -1 when the server does not tell
	ranges    bool   // it sends parts
	validator string // strong ETag or date of the file, "" when there is neither
	sha256    string // from Hugging Face's headers, "" elsewhere
}

// client returns the HTTP client for a source.
func (f *Fetcher) client(src Source) *http.Client {
	hops := 10
	t := f.trusted
	if src.Public {
		t, hops = f.public, 5
	}
	return &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		from := via[len(via)-1].URL
		switch {
		case len(via) > hops:
			return backoff.Permanent(fmt.Errorf("more than %d redirects", hops))
		case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || from.Scheme == "https"):
			return backoff.Permanent(fmt.Errorf("a redirect from %s to %s is not followed", from.Scheme, req.URL.Scheme))
		case req.URL.Host != via[0].URL.Host:
			req.Header.Del("Authorization")
		}
		return nil
	}}
}

// get sends one request. The token goes to the source's own host only.
func (f *Fetcher) get(ctx context.Context, client *http.Client, address string, src Source, byteRange string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	req.Header.Set("User-Agent", "sdworker")
	req.Header.Set("Accept-Encoding", "identity") // lengths and ranges must be those of the file
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	if src.token != "" && sameURLHost(address, src.URL) {
		req.Header.Set("Authorization", "Bearer "+src.token)
	}
	resp, err := client.Do(req)
	if err != nil {
		if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
			return nil, backoff.Permanent(&fault.Error{Code: fault.Invalid, Op: "fetch", Msg: p.Unwrap().Error()})
		}
		return nil, hideQuery(err)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		resp.Body.Close()
		return nil, backoff.Permanent(fault.Errorf(fault.Invalid, "fetch", "%s sends the file compressed as %q", resp.Request.URL.Host, e))
	}
	return resp, nil
}

// hideQuery keeps signatures out of messages.
func hideQuery(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		u.URL = redacted(u.URL)
	}
	return err
}

func sameURLHost(a, b string) bool {
	u, err := url.Parse(a)
	return err == nil && sameHost(u, b)
}

// probe asks for the first byte and learns everything else from the headers.
func (f *Fetcher) probe(ctx context.Context, src Source) (r remote, err error) {
	err = f.retry(ctx, func() error {
		resp, err := f.get(ctx, f.client(src), src.URL, src, "bytes=0-0")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		r = remote{url: resp.Request.URL.String(), size: -1, validator: validatorOf(resp), sha256: hubHeader(resp)}
		switch resp.StatusCode {
		case http.StatusOK:
			r.size = resp.ContentLength
			return nil
		case http.StatusPartialContent:
			first, last, total, err := parseContentRange(resp.Header.Get("Content-Range"))
			if err != nil || first != 0 || last != 0 {
				return fmt.Errorf("%s answers a request for the first byte with Content-Range %q", resp.Request.URL.Host, resp.Header.Get("Content-Range"))
			}
			r.size, r.ranges = total, total > 0
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 2))
			return nil
		case http.StatusRequestedRangeNotSatisfiable:
			return backoff.Permanent(fault.Errorf(fault.Invalid, "fetch", "%s is an empty file", redacted(src.URL)))
		}
		return f.statusError(src, resp)
	})
	if err == nil && r.size == 0 {
		err = fault.Errorf(fault.Invalid, "fetch", "%s is an empty file", redacted(src.URL))
	}
	return r, err
}

// validatorOf returns what tells two versions of a file apart: a strong ETag,
// else the date. A weak ETag does not promise equal bytes.
func validatorOf(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return resp.Header.Get("Last-Modified")
}

// hubHeader finds the sha256 that Hugging Face sends along, in the answer or in
// the redirect to its storage.
func hubHeader(resp *http.Response) string {
	for r := resp; r != nil; r = r.Request.Response {
		if sum := strings.Trim(r.Header.Get("X-Linked-Etag"), `"`); catalog.IsSHA256(sum) {
			return sum
		}
	}
	return ""
}

// parseContentRange reads "bytes first-last/total"; total is -1 for "*".
func parseContentRange(v string) (first, last, total int64, err error) {
	rest, ok := strings.CutPrefix(v, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, 0, fmt.Errorf("bad Content-Range %q", v)
	}
	first, err = strconv.ParseInt(from, 10, 64)
	if err == nil {
		last, err = strconv.ParseInt(to, 10, 64)
	}
	total = -1
	if err == nil && size != "*" {
		total, err = strconv.ParseInt(size, 10, 64)
	}
	if err != nil || first < 0 || last < first {
		return 0, 0, 0, fmt.Errorf("bad Content-Range %q", v)
	}
	return first, last, total, nil
}
