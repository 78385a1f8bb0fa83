package runpod

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"
)

// refusedTries bounds how often a post is tried that the plane says it does not
// want; more than one, since the answer may come from something in between.
const refusedTries = 3

// outbox sends everything about one job, in order: progress, stream parts, and
// one final answer with nothing after it.
type outbox struct {
	plane    plane
	job      string
	log      zerolog.Logger
	interval time.Duration // between two progress posts
	give     time.Duration // how long the final answer is tried

	mu      sync.Mutex
	pending []byte        // newest progress not yet posted
	poster  chan struct{} // closed when the posting goroutine has ended; nil if there is none
	last    time.Time     // when the last progress was posted
	done    chan struct{} // closed by shut: no more progress
	shutOff sync.Once

	streamed bool
	parts    [][]byte // parts kept for the final answer, where the plane has no stream
}

func newOutbox(p plane, job string, cfg Config, log zerolog.Logger) *outbox {
	return &outbox{plane: p, job: job, log: log, interval: cfg.ProgressInterval, give: cfg.ResultRetry, done: make(chan struct{})}
}

// progress notes the newest state and makes sure that somebody posts it.
func (o *outbox) progress(output []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.done:
		return
	default:
	}
	o.pending = output
	if o.poster == nil {
		o.poster = make(chan struct{})
		go o.postProgress(o.poster)
	}
}

func (o *outbox) postProgress(ended chan struct{}) {
	defer close(ended)
	for {
		o.mu.Lock()
		wait := time.Until(o.last.Add(o.interval))
		o.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-o.done:
			timer.Stop()
		case <-timer.C:
		}

		o.mu.Lock()
		output := o.pending
		o.pending = nil
		select {
		case <-o.done:
			output = nil
		default:
		}
		if output == nil {
			o.poster = nil
			o.mu.Unlock()
			return
		}
		o.last = time.Now()
		o.mu.Unlock()

		body := bytes.Join([][]byte{[]byte(`{"status":"IN_PROGRESS","output":`), output, []byte("}")}, nil)
		if err := o.plane.post(context.Background(), postProgress, o.job, body); err != nil {
			o.log.Debug().Err(err).Msg("progress not accepted")
			if _, wait := judge(err); wait > 0 {
				o.mu.Lock()
				o.last = o.last.Add(wait)
				o.mu.Unlock()
			}
		}
	}
}

// shut drops progress that is not posted and waits for a post under way, so that
// none can arrive after what follows.
func (o *outbox) shut() {
	o.shutOff.Do(func() { close(o.done) })
	o.mu.Lock()
	poster := o.poster
	o.mu.Unlock()
	if poster != nil {
		<-poster
	}
}

// stream sends one part and returns when it was accepted.
func (o *outbox) stream(ctx context.Context, output []byte) error {
	o.streamed = true
	if !o.plane.streams() {
		o.parts = append(o.parts, output)
		return nil
	}
	body := bytes.Join([][]byte{[]byte(`{"output":`), output, []byte("}")}, nil)
	if v, err := o.deliver(ctx, postStreamPart, body, time.Minute); err != nil {
		if v == tooBig {
			return fmt.Errorf("stream: the part of %d bytes was refused (%w); send smaller parts", len(body), err)
		}
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

// finish posts the final answer until it is accepted, ctx ends or its time is
// over. An answer refused for its size is replaced by a small error, since the
// platform would show the job as completed without output.
func (o *outbox) finish(ctx context.Context, f final, stopPod bool) error {
	o.shut()
	kind := postFinal
	if o.streamed {
		kind = postStreamEnd
		if f.err == "" && string(f.output) == "null" {
			f.output = bytes.Join([][]byte{[]byte("["), bytes.Join(o.parts, []byte(",")), []byte("]")}, nil)
		}
	}
	body := f.body(stopPod)
	v, err := o.deliver(ctx, kind, body, o.give)
	if err == nil || v != tooBig {
		return err
	}
	o.log.Error().Err(err).Int("bytes", len(body)).Msg("the result was refused; the job is answered with an error instead")
	small := final{err: fmt.Sprintf("the result of %.1f MB was refused by RunPod (%v), most likely as too large; ask for fewer or smaller images, or let the worker upload them to a bucket", float64(len(body))/1e6, err)}
	_, err = o.deliver(ctx, kind, small.body(stopPod), o.give)
	return err
}

// deliver posts body until it is accepted, refused, or its time is over.
func (o *outbox) deliver(ctx context.Context, kind postKind, body []byte, give time.Duration) (verdict, error) {
	deadline := time.Now().Add(give)
	pause := newBackoff(200*time.Millisecond, 30*time.Second)
	for try := 1; ; try++ {
		err := o.plane.post(ctx, kind, o.job, body)
		if err == nil {
			return again, nil
		}
		v, wait := judge(err)
		if v == tooBig || v == refused && try >= refusedTries {
			return v, err
		}
		wait = max(wait, pause.NextBackOff())
		if time.Now().Add(wait).After(deadline) {
			return v, fmt.Errorf("not accepted after %d tries: %w", try, err)
		}
		o.log.Warn().Err(err).Int("try", try).Dur("wait_ms", wait).Msg("post not accepted, trying again")
		if !sleep(ctx, wait) {
			return v, fmt.Errorf("given up after %d tries: %w", try, err)
		}
	}
}

// newBackoff returns doubling pauses with a jitter of half their length.
func newBackoff(first, most time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{InitialInterval: first, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: most}
	b.Reset()
	return b
}

// sleep waits for d and tells whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
