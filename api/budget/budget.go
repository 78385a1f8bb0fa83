// Package budget bounds the memory that the requests in flight hold together:
// their bodies, and the pictures that are decoded from them.
package budget

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"sdworker/fault"
)

const (
	// free is the body, in bytes, that costs nothing: requests of a few fields
	// never wait for large ones.
	free = 1 << 20
	// perByte is what a byte of a body costs: the text as it came, the texts in it,
	// and the files that they encode.
	perByte = 3
	// PerPixel is what a pixel of a decoded picture costs in bytes: its palette
	// index or samples, RGBA and RGB.
	PerPixel = 8
	// perResult is what a pixel of a finished picture costs in bytes, until the reply
	// is sent: RGB, its file, and the file's base64 in the reply.
	perResult = 12
	// MaxPixels bounds the pictures of one request together, in pixels.
	MaxPixels = 1 << 28
)

// longestWait is how long a body waits for memory before its client is told to
// come again.
const longestWait = 2 * time.Minute

// Budget is a number of bytes that requests share. It is safe for concurrent use.
type Budget struct {
	size int64
	sem  *semaphore.Weighted
	wait time.Duration
}

// New returns a budget of so many bytes.
func New(size int64) *Budget {
	return &Budget{size: size, sem: semaphore.NewWeighted(size), wait: longestWait}
}

// Handler lets h read bodies as far as the budget goes. A body waits before its
// first byte is read, so that h may refuse the request before it costs anything;
// what a request took is free again when h returns, or later by Keep. Inside of
// another Handler it does nothing.
func (b *Budget) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaseOf(r.Context()) != nil {
			h.ServeHTTP(w, r)
			return
		}
		l := &lease{budget: b, users: 1}
		defer l.leave()
		r = r.WithContext(context.WithValue(r.Context(), leaseKey{}, l))
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &body{ReadCloser: r.Body, ctx: r.Context(), lease: l, announced: r.ContentLength}
		}
		h.ServeHTTP(w, r)
	})
}

// lease is what one request holds.
type lease struct {
	budget *Budget

	mu      sync.Mutex
	held    int64
	pixels  int64
	results int64 // pixels of the pictures that are asked for
	users   int
}

type leaseKey struct{}

func leaseOf(ctx context.Context) *lease {
	l, _ := ctx.Value(leaseKey{}).(*lease)
	return l
}

func (l *lease) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		l.budget.sem.Release(l.held)
		l.held = 0
	}
}

// Keep holds what the request of ctx has taken beyond its end, until release is
// called.
func Keep(ctx context.Context) (release func()) {
	l := leaseOf(ctx)
	if l == nil {
		return func() {}
	}
	l.mu.Lock()
	l.users++
	l.mu.Unlock()
	return sync.OnceFunc(l.leave)
}

// TakePixels takes the memory of a picture for the request of ctx, before it is
// decoded. The error is *fault.Error: Invalid when the request has too many
// pixels, Busy when others have the memory. Outside of a Handler there is no bound.
func TakePixels(ctx context.Context, w, h int) error {
	l := leaseOf(ctx)
	if l == nil {
		return nil
	}
	n := int64(w) * int64(h)
	l.mu.Lock()
	l.pixels += n
	all := l.pixels
	l.mu.Unlock()
	if limit := min(MaxPixels, l.budget.size/PerPixel); all > limit {
		return fault.Errorf(fault.Invalid, "memory", "the pictures of the request have more than %d million pixels together; send fewer or smaller ones", limit>>20)
	}
	return l.take(n * PerPixel)
}

// TakeResult is [TakePixels] for n pictures that a request asks for, before they are
// made.
func TakeResult(ctx context.Context, n, w, h int) error {
	l := leaseOf(ctx)
	if l == nil {
		return nil
	}
	pixels := int64(n) * int64(w) * int64(h)
	l.mu.Lock()
	l.results += pixels
	all := l.results
	l.mu.Unlock()
	if all > l.budget.size/perResult {
		return fault.Errorf(fault.Invalid, "memory", "the pictures that are asked for have %d million pixels together, the reply would need %d MiB of memory, and there are %d MiB for all requests; ask for fewer or smaller ones at a time",
			all/1_000_000, all*perResult>>20, l.budget.size>>20)
	}
	return l.take(pixels * perResult)
}

// take takes memory at once or not at all: one who holds some must not wait for
// more.
func (l *lease) take(n int64) error {
	if !l.budget.sem.TryAcquire(n) {
		return busy()
	}
	l.add(n)
	return nil
}

func (l *lease) add(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == 0 { // the request has ended
		l.budget.sem.Release(n)
		return
	}
	l.held += n
}

func busy() error {
	return fault.Errorf(fault.Busy, "memory", "the server has no memory for this request at the moment, try again later")
}

// body takes the memory of what is read through it.
type body struct {
	io.ReadCloser
	ctx       context.Context //nolint:containedctx // of the request that it is the body of
	lease     *lease
	announced int64 // -1 when unknown
	taken     int64 // bytes of the body that are paid for
	read      int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.taken == 0 {
		if err := b.begin(); err != nil {
			return 0, err
		}
	}
	if b.read >= b.taken {
		const step = 1 << 20
		if err := b.lease.take(step * perByte); err != nil {
			return 0, err
		}
		b.taken += step
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), max(b.taken-b.read, 1))])
	b.read += int64(n)
	return n, err
}

// begin waits for the memory of a body of known length. Of any other the first part
// is free and the rest is taken as it comes.
func (b *body) begin() error {
	if b.announced < 0 {
		b.taken = free
		return nil
	}
	paid := b.announced + 1 // that its end is read, too
	if b.announced <= free {
		b.taken = paid
		return nil
	}
	n := b.announced * perByte
	if n > b.lease.budget.size {
		return fault.Errorf(fault.Invalid, "memory", "a body of %d bytes needs more memory than the server has for requests", b.announced)
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.lease.budget.wait)
	defer cancel()
	if err := b.lease.budget.sem.Acquire(ctx, n); err != nil {
		return busy()
	}
	b.lease.add(n)
	b.taken = paid
	return nil
}
