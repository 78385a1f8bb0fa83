package runpod

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// pinger sends heartbeats on its own connections. The list of ids is all that it
// shares with the jobs.
type pinger struct {
	url   *url.URL // nil: no heartbeat
	cfg   Config
	http  *http.Client
	log   zerolog.Logger
	ids   func() []string // jobs held, oldest first
	agent string
}

func newPinger(cfg Config, log zerolog.Logger, ids func() []string) (*pinger, error) {
	p := &pinger{cfg: cfg, http: newHTTP(cfg), log: log, ids: ids, agent: userAgent(cfg)}
	if cfg.PingURL == "" {
		return p, nil
	}
	u, err := expand(cfg.PingURL, cfg.PodID, cfg.PodID)
	if err != nil {
		return nil, fmt.Errorf("RUNPOD_WEBHOOK_PING is not a URL: %w", err)
	}
	p.url = u
	return p, nil
}

// pingsInFlight bounds the heartbeats that wait for an answer. Each runs by
// itself: one that hangs does not delay the next.
const pingsInFlight = 3

// run sends heartbeats until ctx ends, the first one at once.
func (p *pinger) run(ctx context.Context) {
	if p.url == nil {
		p.log.Warn().Msg("RUNPOD_WEBHOOK_PING is not set: no heartbeats")
		return
	}
	var flying sync.WaitGroup
	defer p.http.CloseIdleConnections()
	defer flying.Wait()
	slots := make(chan struct{}, pingsInFlight)
	every := p.cfg.pingEvery()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case slots <- struct{}{}:
			flying.Go(func() {
				p.beat(ctx, every)
				<-slots
			})
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// beat sends one heartbeat and repeats it when it fails: at once, after 2 and
// after 4 seconds, as far as the next one is not due before.
func (p *pinger) beat(ctx context.Context, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, 2*every)
	defer cancel()
	var err error
	for _, wait := range []time.Duration{0, 0, 2 * time.Second, 4 * time.Second} {
		if wait >= every || !sleep(ctx, wait) {
			break
		}
		pairs := []string{"runpod_version", ProtocolVersion}
		if ids := p.ids(); len(ids) > 0 {
			pairs = append(pairs, "job_id", strings.Join(ids, ","))
		}
		var retry bool
		if retry, err = p.send(ctx, pairs); err == nil || !retry {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		p.log.Warn().Err(err).Msg("heartbeat failed")
	}
}

func (p *pinger) send(ctx context.Context, pairs []string) (retry bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, withQuery(p.url, pairs...).String(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", p.cfg.APIKey)
	req.Header.Set("User-Agent", p.agent)
	resp, err := p.http.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	drain(resp)
	if resp.StatusCode >= 400 {
		return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500, fmt.Errorf("ping answered HTTP %d", resp.StatusCode)
	}
	return false, nil
}

// unhealthy tells the platform once that this worker cannot work.
func (p *pinger) unhealthy(check, reason string) {
	if p.url == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	pairs := []string{"status", "unhealthy", "check", check, "reason", clip(reason, 256), "runpod_version", ProtocolVersion}
	if _, err := p.send(ctx, pairs); err != nil {
		p.log.Warn().Err(err).Msg("the platform could not be told that the start failed")
	}
}

// clip cuts s to at most n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
