package runpod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Times and sizes of the protocol.
const (
	pollTimeout    = 90 * time.Second // the SDK gives up a long poll after this
	bodyTimeout    = 60 * time.Second // for the body of a job once its headers are here
	lastBody       = 5 * time.Second  // the same once no more jobs are wanted
	postTimeout    = 60 * time.Second // one try of a final post
	rateLimitPause = 5 * time.Second  // after 429
	maxRetryAfter  = time.Minute      // longer wishes of a Retry-After are cut
	maxTakeBody    = 64 << 20         // bytes; a batch of jobs with images
)

// client is RunPod's control plane over HTTP.
type client struct {
	cfg               Config
	http              *http.Client
	take1, takeN, end *url.URL // job-take, job-take-batch, job-stop; the last two may be nil
	agent             string
}

var _ plane = (*client)(nil)

func newClient(cfg Config) (*client, error) {
	take, err := expand(cfg.GetJob, cfg.PodID, cfg.PodID)
	if err != nil {
		return nil, fmt.Errorf("RUNPOD_WEBHOOK_GET_JOB is not a URL: %w", err)
	}
	return &client{
		cfg: cfg, http: newHTTP(cfg), agent: userAgent(cfg),
		take1: take, takeN: sibling(take, "job-take-batch"), end: sibling(take, "job-stop"),
	}, nil
}

// newHTTP returns a client with connections of its own. A worker may be frozen
// and thawed by the platform, so idle connections are short-lived and dead ones
// are noticed by keep-alive probes; HTTP/2 would put all calls on one of them.
func newHTTP(cfg Config) *http.Client {
	if cfg.Transport != nil {
		return &http.Client{Transport: cfg.Transport, CheckRedirect: keepPosts}
	}
	dialer := &net.Dialer{
		Timeout:         10 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{CheckRedirect: keepPosts, Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
		WriteBufferSize:     64 << 10,
		Protocols:           protocols,
	}}
}

// keepPosts refuses redirects that would turn a POST into a GET: the result would
// be lost and the call look like a success.
func keepPosts(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method || len(via) > 5 {
		return http.ErrUseLastResponse
	}
	return nil
}

func userAgent(cfg Config) string {
	s := fmt.Sprintf("sdworker-runpod/1 (%s; %s) Language/Go %s", runtime.GOOS, runtime.GOARCH, strings.TrimPrefix(runtime.Version(), "go"))
	if cfg.Integration != "" {
		s += " Integration/" + cfg.Integration
	}
	return s
}

func (c *client) get(ctx context.Context, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", c.cfg.APIKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.agent)
	return c.http.Do(req)
}

func (c *client) take(ctx context.Context, n int, busy bool) answer {
	u := c.take1
	if n > 1 && c.takeN != nil {
		u = withQuery(c.takeN, "batch_size", strconv.Itoa(n))
	}
	progress := "0"
	if busy {
		progress = "1"
	}

	// ctx ends the wait for the headers; once they are here the job is ours and
	// its body is read to the end.
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	release := context.AfterFunc(ctx, cancel)
	timer := time.AfterFunc(pollTimeout, cancel)
	defer timer.Stop()
	resp, err := c.get(call, withQuery(u, "job_in_progress", progress))
	if err != nil {
		if ctx.Err() == nil && call.Err() != nil {
			return answer{} // the long poll ended without a job
		}
		return answer{err: err}
	}
	defer resp.Body.Close()
	release()
	timer.Reset(bodyTimeout)
	defer context.AfterFunc(ctx, func() { timer.Reset(lastBody) })()

	switch {
	case resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusBadRequest:
		drain(resp) // 400 is normal while a worker is frozen or woken
		return answer{}
	case resp.StatusCode == http.StatusTooManyRequests:
		drain(resp)
		return answer{limited: max(rateLimitPause, retryAfter(resp))}
	case resp.StatusCode == http.StatusUnauthorized:
		drain(resp)
		return answer{err: errors.New("job-take answered HTTP 401: RUNPOD_AI_API_KEY is missing or wrong")}
	case resp.StatusCode != http.StatusOK:
		drain(resp)
		return answer{err: fmt.Errorf("job-take answered HTTP %d", resp.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTakeBody+1))
	if err != nil {
		return answer{err: fmt.Errorf("job-take: body cut short: %w", err)}
	}
	if len(body) > maxTakeBody {
		return answer{err: fmt.Errorf("job-take: body larger than %d bytes", maxTakeBody)}
	}
	if t := mediaType(resp); !mayBeJSON[t] && len(body) > 0 {
		return answer{err: fmt.Errorf("job-take answered with %q instead of JSON", t)}
	}
	jobs, skipped, err := decodeJobs(body)
	return answer{jobs: jobs, skipped: skipped, err: err}
}

func (c *client) stops(ctx context.Context) ([]string, time.Duration, bool) {
	if c.end == nil {
		return nil, 0, false
	}
	const pause = time.Second // after an answer without ids, and after anything unexpected
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	resp, err := c.get(ctx, c.end)
	if err != nil {
		return nil, pause, true
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		drain(resp)
		return nil, max(rateLimitPause, retryAfter(resp)), true
	}
	if resp.StatusCode != http.StatusOK {
		drain(resp)
		return nil, pause, true
	}
	var body struct {
		Jobs []any `json:"jobsToStop"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body) != nil {
		return nil, pause, true
	}
	drain(resp)
	var ids []string
	for _, v := range body.Jobs {
		if id, ok := v.(string); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, pause, true
	}
	return ids, 0, true
}

func (c *client) streams() bool { return c.cfg.PostStream != "" }

func (c *client) post(ctx context.Context, kind postKind, job string, body []byte) error {
	template, stream, timeout := c.cfg.PostOutput, "false", postTimeout
	switch kind {
	case postFinal:
	case postProgress:
		timeout = 5 * time.Second // the final answer waits for it
	case postStreamPart:
		template = c.cfg.PostStream
	case postStreamEnd:
		stream = "true"
	}
	u, err := expand(template, c.cfg.PodID, job)
	if err != nil {
		return &postError{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, withQuery(u, "isStream", stream).String(), bytes.NewReader(body))
	if err != nil {
		return &postError{err: err}
	}
	req.Header.Set("Authorization", c.cfg.APIKey)
	// JSON under a form's content type is what the SDK sends.
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("charset", "utf-8")
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("X-Request-ID", job)
	resp, err := c.http.Do(req)
	if err != nil {
		return &postError{err: err}
	}
	defer resp.Body.Close()
	drain(resp)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &postError{status: resp.StatusCode, retryAfter: retryAfter(resp)}
	}
	return nil
}

// mayBeJSON are the content types of a job. The platform sends application/json;
// the others are what servers say that do not care.
var mayBeJSON = map[string]bool{"application/json": true, "text/plain": true, "application/octet-stream": true, "": true}

func mediaType(resp *http.Response) string {
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return t
}

// drain reads what little is left of a body, so that the connection can be used
// again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
}

func retryAfter(resp *http.Response) time.Duration {
	s, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, maxRetryAfter)
}
