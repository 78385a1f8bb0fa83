package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"sdworker/fault"
)

// errStalled ends a connection that sends nothing any more.
var errStalled = errors.New("the server stopped sending")

// enough is how much of a chunk must arrive, if not a quarter, for a cut connection
// to count as progress and not as another failure in a row.
const enough = 256 << 10

// download is one file under way.
type download struct {
	f      *Fetcher
	src    Source
	client *http.Client
	part   *part
	bytes  *atomic.Int64 // arrived, for the progress report
	early  func(r io.ReaderAt, size, valid int64) error

	mu     sync.Mutex
	remote remote
}

// ranges gets all missing chunks with several connections and returns the
// sha256 of the whole file, computed in the background while chunks arrive.
func (d *download) ranges(ctx context.Context) (string, error) {
	todo := make(chan int)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(todo)
		for _, i := range d.part.missing() {
			select {
			case todo <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range d.f.config.Parallel {
		group.Go(func() error {
			for i := range todo {
				if err := d.chunk(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	sum := sha256.New()
	var hashing sync.WaitGroup
	var hashErr error
	hashing.Go(func() {
		if hashErr = d.hash(sum); hashErr != nil {
			cancel()
		}
	})
	err := group.Wait()
	d.part.end()
	hashing.Wait()
	if hashErr != nil { // the other one is that of being stopped for it
		return "", hashErr
	}
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// hash follows the finished chunks in the order of the file, with a look at the
// first one.
func (d *download) hash(sum hash.Hash) error {
	buf := make([]byte, 1<<20)
	for i := range d.part.done {
		if !d.part.wait(i) {
			return nil // the download failed and says why
		}
		offset, size := d.part.span(i)
		if i == 0 && d.early != nil {
			if err := d.early(d.part.file, d.part.size, size); err != nil {
				return fmt.Errorf("%w: %w", errUnfit, err)
			}
		}
		if _, err := io.CopyBuffer(sum, io.NewSectionReader(d.part.file, offset, size), buf); err != nil {
			return err
		}
	}
	return nil
}

// chunk gets one chunk, going on after cuts where the bytes stopped.
func (d *download) chunk(ctx context.Context, i int) error {
	offset, size := d.part.span(i)
	end := offset + size
	err := d.f.attempts(ctx, func() (bool, error) {
		n, err := d.span(ctx, offset, end)
		offset += n
		return n >= min(enough, size/4), err
	})
	if err != nil {
		return err
	}
	return d.part.finish(i)
}

// span asks for the bytes from offset to end and stores what arrives.
func (d *download) span(ctx context.Context, offset, end int64) (n int64, err error) {
	ctx, watch := d.f.watch(ctx)
	defer watch.stop()
	r := d.current()
	resp, err := d.f.get(ctx, d.client, r.url, d.src, fmt.Sprintf("bytes=%d-%d", offset, end-1))
	if err != nil {
		return 0, watch.explain(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK, http.StatusRequestedRangeNotSatisfiable:
		return 0, errChanged // it sent parts a moment ago
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		if r.url != d.src.URL { // a signed address that expired
			return 0, d.renew(ctx, r.url)
		}
		return 0, d.f.statusError(d.src, resp)
	default:
		return 0, d.f.statusError(d.src, resp)
	}
	if v := validatorOf(resp); v != r.validator {
		return 0, errChanged
	}
	first, last, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	switch {
	case err == nil && total != r.size:
		return 0, errChanged
	case err != nil || first != offset || last != end-1:
		return 0, fmt.Errorf("%s sends %q where bytes %d-%d were asked for", resp.Request.URL.Host, resp.Header.Get("Content-Range"), offset, end-1)
	case resp.ContentLength >= 0 && resp.ContentLength != end-offset:
		return 0, fmt.Errorf("%s announces %d bytes where %d were asked for", resp.Request.URL.Host, resp.ContentLength, end-offset)
	}
	n, err = d.store(io.LimitReader(resp.Body, end-offset), offset, watch)
	if err == nil && offset+n < end {
		err = fmt.Errorf("%s: %w", resp.Request.URL.Host, io.ErrUnexpectedEOF)
	}
	return n, watch.explain(err)
}

// store copies a body into the unfinished file.
func (d *download) store(body io.Reader, offset int64, watch *watchdog) (n int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		k, err := body.Read(buf)
		if k > 0 {
			watch.alive()
			if _, err := d.part.file.WriteAt(buf[:k], offset+n); err != nil {
				return n, err
			}
			n += int64(k)
			d.bytes.Add(int64(k))
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (d *download) current() remote {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remote
}

// renew asks the origin for a fresh address of the same file. The error it
// returns when that works makes the caller try again.
func (d *download) renew(ctx context.Context, stale string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.remote.url == stale {
		fresh, err := d.f.probe(ctx, d.src)
		if err != nil {
			return err
		}
		if fresh.size != d.remote.size || fresh.validator != d.remote.validator || !fresh.ranges {
			return errChanged
		}
		if fresh.url == stale {
			return backoff.Permanent(fault.Errorf(fault.Invalid, "fetch", "the storage behind %s refuses access", redacted(d.src.URL)))
		}
		d.remote.url = fresh.url
	}
	return errors.New("the address expired")
}

// stream gets the file in one piece from servers that send no parts, or do not
// say which version they send. A cut means to begin again.
func (d *download) stream(ctx context.Context, limit int64) (string, error) {
	sum := sha256.New()
	err := d.f.attempts(ctx, func() (bool, error) {
		sum.Reset()
		d.bytes.Store(0)
		if err := d.part.file.Truncate(0); err != nil {
			return false, err
		}
		ctx, watch := d.f.watch(ctx)
		defer watch.stop()
		resp, err := d.f.get(ctx, d.client, d.src.URL, d.src, "")
		if err != nil {
			return false, watch.explain(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, d.f.statusError(d.src, resp)
		}
		if err := d.f.allowedSize(d.src, resp.ContentLength, limit); err != nil {
			return false, backoff.Permanent(err)
		}
		body := io.Reader(resp.Body)
		if limit > 0 {
			body = io.LimitReader(body, limit+1)
		}
		n, err := d.store(io.TeeReader(body, sum), 0, watch)
		if err == nil && limit > 0 && n > limit {
			return false, backoff.Permanent(d.f.allowedSize(d.src, n, limit))
		}
		if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		d.part.size = n
		return false, watch.explain(err)
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// watchdog ends a request when no byte has arrived for too long.
type watchdog struct {
	timer  *time.Timer
	after  time.Duration
	fired  atomic.Bool
	cancel context.CancelFunc
}

func (f *Fetcher) watch(parent context.Context) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancel(parent)
	w := &watchdog{after: f.config.StallTimeout, cancel: cancel}
	w.timer = time.AfterFunc(w.after, func() {
		w.fired.Store(true)
		cancel()
	})
	return ctx, w
}

func (w *watchdog) alive() { w.timer.Reset(w.after) }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel()
}

// explain replaces the cancellation that the watchdog caused, which would look
// like the caller's.
func (w *watchdog) explain(err error) error {
	if err != nil && w.fired.Load() {
		return errStalled
	}
	return err
}
