package jobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"sdworker/internal/publicnet"
)

// Webhooks says whether and how the ends of jobs are told to addresses that clients
// name. Messages are signed as standardwebhooks.com specifies.
type Webhooks struct {
	// Secret signs the messages; without it webhooks are refused.
	Secret []byte
	// Private allows addresses that are not public, and http.
	Private bool
	// Transport makes the requests; nil: connections to public addresses, or to any
	// with Private.
	Transport http.RoundTripper
}

// ParseSecret reads a secret in the form of the specification: whsec_ and 24 to 64
// bytes in base64.
func ParseSecret(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
	const least, most = 24, 64
	if err != nil || !strings.HasPrefix(text, secretPrefix) || len(raw) < least || len(raw) > most {
		return nil, errors.New("it must be " + secretPrefix + " followed by 24 to 64 bytes in base64, such as of: openssl rand -base64 32")
	}
	return raw, nil
}

const secretPrefix = "whsec_"

// How a message is delivered: until a 2xx comes, in growing pauses for about two
// hours.
const (
	webhookTries   = 10
	webhookFirst   = 5 * time.Second
	webhookPause   = 30 * time.Minute // the longest
	webhookTimeout = 15 * time.Second // of one try
	webhookAddress = 2048             // bytes of an address
)

// webhook is the message about the end of one job.
type webhook struct {
	address *url.URL

	mu    sync.Mutex
	state delivery
}

// delivery is what clients see of it.
type delivery struct {
	URL      string     `json:"url"`    // without its query
	Status   string     `json:"status"` // pending, delivered or failed
	Attempts int        `json:"attempts"`
	Answer   int        `json:"response_status,omitempty"` // of the last try; 0 when none came
	Error    string     `json:"error,omitempty"`           // of the last try
	At       *time.Time `json:"delivered_at"`              // null until then
}

// States of a delivery.
const (
	deliveryPending   = "pending"
	deliveryDelivered = "delivered"
	deliveryFailed    = "failed"
)

// newWebhook checks an address that a client names.
func (w Webhooks) newWebhook(address string) (*webhook, error) {
	if len(w.Secret) == 0 {
		return nil, invalid("webhook: this server has no secret to sign messages with (WEBHOOK_SECRET)")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || len(address) > webhookAddress || u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return nil, invalid("webhook is no address of the form https://host/path")
	case u.Scheme != "https" && (u.Scheme != "http" || !w.Private):
		return nil, invalid("webhook must be an https address")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); !w.Private && (err == nil && !publicnet.Contains(ip) || strings.EqualFold(u.Hostname(), "localhost")) {
		return nil, invalid("webhook must be a public address")
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return &webhook{address: u, state: delivery{URL: shown.String(), Status: deliveryPending}}, nil
}

func (h *webhook) look() *delivery {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	state := h.state
	return &state
}

// client does not follow redirects: they lead where nobody asked for.
func (w Webhooks) client() *http.Client {
	transport := w.Transport
	if transport == nil {
		own := publicnet.Transport()
		if w.Private {
			own = &http.Transport{TLSHandshakeTimeout: webhookTimeout, IdleConnTimeout: time.Minute}
		}
		transport = own
	}
	return &http.Client{Transport: transport, Timeout: webhookTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// message is the body: what happened, when, and the job without its output.
func message(d *document, now time.Time) ([]byte, error) {
	d.Webhook = nil
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      *document `json:"data"`
	}{"job." + string(d.Status), now.UTC(), d})
}

// deliver tells the end of j, once: what was taken is not sent again. closing ends
// the pauses between tries.
func (s *Server) deliver(j *job) {
	h := j.webhook
	body, err := message(j.document().withoutOutput(), j.finishedAt())
	if err != nil {
		h.note(0, err, true)
		return
	}
	id := "msg_" + strings.ToLower(rand.Text())
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier = webhookFirst, webhookPause, 2
	for try := 1; ; try++ {
		status, err := s.send(h.address, id, body)
		last := err == nil || try == webhookTries || !retryable(status, err) || s.isClosing()
		h.note(status, err, last)
		if last {
			return
		}
		timer := time.NewTimer(pauses.NextBackOff())
		select {
		case <-timer.C:
		case <-s.closing:
			timer.Stop()
		}
	}
}

// send is one try. Any 2xx is success.
func (s *Server) send(address *url.URL, id string, body []byte) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sdworker")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", stamp)
	req.Header.Set("Webhook-Signature", sign(s.cfg.Webhooks.Secret, id, stamp, body))
	res, err := s.hooks.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	const enough = 64 << 10
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, enough)) // what it says does not count
	if res.StatusCode/100 != 2 {
		err = fmt.Errorf("the receiver answered with status %d", res.StatusCode)
	}
	return res.StatusCode, err
}

// sign is the signature of the specification: HMAC-SHA256 of id, time and body.
func sign(secret []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%s.%s.", id, stamp) // a hash takes all
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// retryable reports whether another try may have another end.
func retryable(status int, err error) bool {
	if errors.Is(err, publicnet.ErrNotPublic) {
		return false
	}
	return status == 0 || status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// note keeps how a try ended.
func (h *webhook) note(status int, err error, last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Attempts++
	h.state.Answer, h.state.Error = status, ""
	switch {
	case err == nil:
		now := time.Now().UTC()
		h.state.Status, h.state.At = deliveryDelivered, &now
	case last:
		h.state.Status = deliveryFailed
	}
	if err != nil {
		h.state.Error = reason(err)
	}
}

// reason is an error without the address, whose query may be a secret.
func reason(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return cmp.Or(err.Error(), "unknown error")
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

func (j *job) finishedAt() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.finished
}
