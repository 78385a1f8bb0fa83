package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"sdworker/fault"
	"sdworker/internal/publicnet"
)

// errChanged means that the file on the server is not the one the download
// began with.
var errChanged = errors.New("the file changed on the server during the download")

// errUnfit means that the beginning of the file shows that it is not wanted.
var errUnfit = errors.New("the file is not fetched to its end")

// statusError turns an answer that is no success into an error: permanent where
// asking again cannot help, with the server's waiting time where it gives one.
func (f *Fetcher) statusError(src Source, resp *http.Response) error {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	code := fault.Invalid
	var msg string
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		msg = fmt.Sprintf("%s refuses access to %s (HTTP %d); %s", resp.Request.URL.Host, src.label(), s, f.tokenHint(src))
	case s == http.StatusNotFound, s == http.StatusGone:
		code, msg = fault.NotFound, fmt.Sprintf("%s has no such file (HTTP %d); check the name and the revision", redacted(src.URL), s)
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		err := fmt.Errorf("HTTP %s from %s", resp.Status, resp.Request.URL.Host)
		if after := retryAfter(resp); after > 0 {
			return &waitError{err, after}
		}
		return err
	default:
		msg = fmt.Sprintf("unexpected answer HTTP %s from %s", resp.Status, resp.Request.URL.Host)
	}
	return backoff.Permanent(&fault.Error{Code: code, Op: "fetch", Msg: msg})
}

func (f *Fetcher) tokenHint(src Source) string {
	switch {
	case src.Public:
		return "it must be readable without a login"
	case src.token != "":
		return "the token may be wrong, or its owner has not accepted the model's terms"
	case sameURLHost(src.URL, f.endpoint(envCivitaiEndpoint, civitaiEndpoint)):
		return "set " + envCivitaiToken + " to an API key of Civitai"
	}
	return "check the name; if the file needs a login, set " + envHFToken + " to a token of an account that has access"
}

// waitError is a failure after which the server asked for a pause.
type waitError struct {
	error
	after time.Duration
}

func (e *waitError) Unwrap() error { return e.error }

// maxWait bounds the pause that a server may ask for.
const maxWait = 2 * time.Minute

func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), maxWait)
	}
	return 0
}

// permanent tells whether trying again is pointless.
func permanent(err error) bool {
	var p *backoff.PermanentError
	return errors.As(err, &p) || errors.Is(err, publicnet.ErrNotPublic) || errors.Is(err, errChanged) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || isDisk(err) || isCertificate(err)
}

func isCertificate(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}

func isDisk(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO)
}

// failure gives an error its final form for the caller.
func (f *Fetcher) failure(src Source, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, publicnet.ErrNotPublic):
		return &fault.Error{Code: fault.Invalid, Op: "fetch", Msg: "the URL leads to an address that is not public", Err: err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &fault.Error{Code: fault.Invalid, Op: "fetch", Msg: "the model folder cannot be written to; choose another one or change its permissions", Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &fault.Error{Code: fault.Exhausted, Op: "fetch", Msg: "the disk is full; free some space, the download goes on where it stopped", Err: err}
	case errors.Is(err, syscall.EFBIG):
		return &fault.Error{Code: fault.Exhausted, Op: "fetch", Msg: "the file system takes no file of this size; choose another folder", Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &fault.Error{Code: fault.Canceled, Op: "fetch", Msg: "the download of " + src.label() + " was stopped; it goes on from there next time", Err: err}
	}
	return &fault.Error{Code: fault.Busy, Op: "fetch", Msg: "the download of " + src.label() + " failed; try again, it goes on from there", Err: err}
}

// redacted drops what may be secret in a URL: a signature or token in the query, a
// password.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
