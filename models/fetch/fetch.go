// Package fetch brings model files from the network to the disk: in parallel
// ranges, going on after cuts and restarts, checked, and visible under their
// name only when they are complete.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/internal/publicnet"
	"sdworker/models/catalog"
)

// Config of a Fetcher. The zero value fetches with standard settings, without
// tokens, and nothing that a request names.
type Config struct {
	Getenv           func(string) string // tokens and endpoints; nil means none
	Log              zerolog.Logger
	Parallel         int           // connections per file, 8 when zero
	StallTimeout     time.Duration // silence that ends a connection, 30 s when zero
	MaxTries         int           // failures in a row before giving up, 8 when zero
	FirstWait        time.Duration // pause after the first failure, doubling up to 30 s; 500 ms when zero
	AllowRequestURLs bool          // see FromRequest
	Cache            *Cache        // records what was fetched and makes room; may be nil
}

// Fetcher downloads model files. It is safe for concurrent use; two downloads of
// one destination, in this process or another, are one.
type Fetcher struct {
	config  Config
	chunk   int64
	trusted *http.Transport
	public  *http.Transport
}

// New returns a Fetcher.
func New(config Config) *Fetcher {
	if config.Parallel <= 0 {
		config.Parallel = 8
	}
	if config.StallTimeout <= 0 {
		config.StallTimeout = 30 * time.Second
	}
	if config.MaxTries <= 0 {
		config.MaxTries = 8
	}
	if config.FirstWait <= 0 {
		config.FirstWait = 500 * time.Millisecond
	}
	return newFetcher(config, publicnet.Contains, chunkBytes)
}

func newFetcher(config Config, allowed func(netip.Addr) bool, chunk int64) *Fetcher {
	return &Fetcher{
		config: config, chunk: chunk,
		trusted: transport(false, allowed, config.StallTimeout),
		public:  transport(true, allowed, config.StallTimeout),
	}
}

// Close ends idle connections.
func (f *Fetcher) Close() {
	f.trusted.CloseIdleConnections()
	f.public.CloseIdleConnections()
}

// Options of one download.
type Options struct {
	Progress func(Progress)          // called some times a second from one goroutine; may be nil
	Verify   func(path string) error // looks at the complete file before it gets its name; may be nil
	// Place, unless nil, looks at the complete file after Verify and says under which
	// name it goes, instead of the one that Fetch was given. Find then says where an
	// earlier call may have put it; it is asked when no other is at work.
	Place func(path string) (dest string, err error)
	Find  func() string
	// Early, unless nil, looks at the beginning of the file as soon as it is there,
	// so that a file that will be refused is not fetched to its end. Behind the first
	// valid bytes r reads zeros, or bytes of an older file.
	Early    func(r io.ReaderAt, size, valid int64) error
	MaxBytes int64 // refuse larger files; 0 means any size, or 5 GiB for a Public source
	Force    bool  // fetch even if the destination exists
}

// publicLimit is the largest file that is fetched for a request, the limit of
// RunPod's own SDK.
const publicLimit = 5 << 30

// Progress of a download.
type Progress struct {
	Done    int64 // bytes on disk, those of earlier attempts included
	Total   int64 // -1 while unknown
	Resumed int64 // bytes that were there at the start
	Elapsed time.Duration
}

// Result of a download.
type Result struct {
	Path    string
	Bytes   int64
	SHA256  string
	Present bool // it was there already and nothing was fetched
	Elapsed time.Duration
}

// Fetch downloads src to the file dest, creating its folder. Whatever goes
// wrong, dest either does not change or is the complete, verified file; an
// unfinished download lies beside it as dest.part and is continued by the next
// call if the server still has the same file. If dest exists with the expected
// content nothing is fetched. Errors are *fault.Error: Invalid, NotFound,
// Exhausted (disk), Canceled, or Busy for a network that may recover.
func (f *Fetcher) Fetch(ctx context.Context, src Source, dest string, o Options) (Result, error) {
	start := time.Now()
	res, err := f.fetch(ctx, src, dest, o)
	res.Elapsed = time.Since(start)
	return res, f.failure(src, err)
}

// restarts is how often a file that changes on the server is begun anew.
const restarts = 3

func (f *Fetcher) fetch(ctx context.Context, src Source, dest string, o Options) (Result, error) {
	if src.Public && o.MaxBytes == 0 {
		o.MaxBytes = publicLimit
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return Result{}, &fault.Error{Code: fault.Invalid, Op: "fetch", Msg: "the folder " + filepath.Dir(dest) + " cannot be made", Err: err}
	}
	unlock, err := lock(ctx, dest+".lock", func() {
		f.config.Log.Info().Str("file", dest).Msg("waiting for another download of the same file")
	})
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	if o.Find != nil {
		dest = o.Find()
	}
	if !o.Force {
		if res, ok, err := f.present(ctx, src, dest); ok || err != nil {
			return res, err
		}
	}
	for again := 1; ; again++ {
		res, err := f.once(ctx, src, dest, o, again == restarts)
		if again == restarts || !errors.Is(err, errChanged) {
			return res, err
		}
		f.config.Log.Warn().Str("file", src.Name).Msg("the file changed on the server, starting again")
	}
}

// present tells whether the file is there already. Without an expected digest
// any file of that name will do.
func (f *Fetcher) present(ctx context.Context, src Source, dest string) (Result, bool, error) {
	info, err := os.Stat(dest)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, false, nil
	}
	if err != nil {
		return Result{}, false, err
	}
	res := Result{Path: dest, Bytes: info.Size(), Present: true}
	if f.config.Cache != nil {
		res.SHA256 = f.config.Cache.digest(dest, info)
		f.config.Cache.Touch(dest)
	}
	if src.SHA256 == "" || res.SHA256 == src.SHA256 {
		return res, true, nil
	}
	sum, err := catalog.Digest(ctx, dest)
	if err != nil {
		return Result{}, false, err
	}
	res.SHA256 = sum
	if sum == src.SHA256 {
		return res, true, nil
	}
	f.config.Log.Warn().Str("file", dest).Str("sha256", sum).Str("expected", src.SHA256).Msg("the file on disk is another one, fetching again")
	return Result{}, false, nil
}

// once makes one attempt at the whole file; oneStream keeps it to one request,
// which no change on the server can mix up.
func (f *Fetcher) once(ctx context.Context, src Source, dest string, o Options, oneStream bool) (res Result, err error) {
	r, err := f.probe(ctx, src)
	if err != nil {
		return res, err
	}
	if src.SHA256 == "" {
		src.SHA256 = r.sha256
	}
	if err := f.allowedSize(src, r.size, o.MaxBytes); err != nil {
		return res, err
	}
	if src.Bytes > 0 && r.size >= 0 && src.Bytes != r.size {
		return res, fault.Errorf(fault.Invalid, "fetch", "%s has %d bytes where %d are expected", redacted(src.URL), r.size, src.Bytes)
	}
	inOnePiece := oneStream || !r.ranges || r.validator == ""
	state := r
	if inOnePiece {
		state.validator = "" // nothing of an earlier attempt can be used
		state.size = max(r.size, 0)
	}
	if err := f.makeRoom(ctx, dest, r.size); err != nil {
		return res, err
	}
	p, err := openPart(dest+partSuffix, src.URL, state, f.chunk)
	if err != nil {
		return res, err
	}
	resumed := p.have()
	d := &download{f: f, src: src, client: f.client(src), part: p, remote: r, bytes: new(atomic.Int64), early: o.Early}
	d.bytes.Store(resumed)
	f.config.Log.Info().Str("file", src.Name).Str("url", redacted(src.URL)).Int64("bytes", r.size).Int64("resumed", resumed).Msg("downloading")
	stop := report(o.Progress, d.bytes, r.size, resumed)
	var sum string
	if inOnePiece {
		sum, err = d.stream(ctx, o.MaxBytes)
	} else {
		sum, err = d.ranges(ctx)
	}
	stop()
	switch {
	case errors.Is(err, errChanged), errors.Is(err, errUnfit), err != nil && (inOnePiece || p.have() == 0):
		return res, errors.Join(err, p.discard())
	case err != nil:
		return res, errors.Join(err, p.keep())
	}
	if err := f.verify(src, p, sum, o); err != nil {
		if resumed > 0 && errors.Is(err, errWrongBytes) {
			err = errChanged // the old part may be to blame: begin again
		}
		return res, errors.Join(err, p.discard())
	}
	if o.Place != nil {
		if dest, err = o.Place(p.path); err == nil {
			err = os.MkdirAll(filepath.Dir(dest), 0o755)
		}
		if err != nil {
			return res, errors.Join(err, p.discard())
		}
	}
	return f.publish(src, p, dest, sum)
}

var errWrongBytes = errors.New("the bytes are not those of the expected file")

func (f *Fetcher) verify(src Source, p *part, sum string, o Options) error {
	if src.SHA256 != "" && sum != src.SHA256 {
		return &fault.Error{
			Code: fault.Invalid, Op: "fetch", Err: errWrongBytes,
			Msg: fmt.Sprintf("%s has the sha256 %s where %s is expected; it was thrown away", redacted(src.URL), sum, src.SHA256),
		}
	}
	if o.Verify == nil {
		return nil
	}
	return o.Verify(p.path)
}

// publish gives the complete file its name.
func (f *Fetcher) publish(src Source, p *part, dest, sum string) (Result, error) {
	err := errors.Join(p.file.Truncate(p.size), p.file.Sync())
	if err == nil {
		err = os.Rename(p.path, dest)
	}
	if err != nil {
		return Result{}, errors.Join(err, p.keep())
	}
	if err := p.discard(); err != nil {
		f.config.Log.Warn().Err(err).Str("file", dest).Msg("a rest of the download could not be removed")
	}
	if dir, err := os.Open(filepath.Dir(dest)); err == nil { // make the new name last; not all file systems can
		_ = dir.Sync()
		dir.Close()
	}
	res := Result{Path: dest, Bytes: p.size, SHA256: sum}
	if f.config.Cache != nil {
		if err := f.config.Cache.add(dest, redacted(src.URL), sum); err != nil {
			f.config.Log.Warn().Err(err).Str("file", dest).Msg("the download could not be recorded; it will not be removed to make room")
		}
	}
	return res, nil
}

func (f *Fetcher) allowedSize(src Source, size, limit int64) error {
	if limit > 0 && size > limit {
		return fault.Errorf(fault.Invalid, "fetch", "%s is larger than the %d bytes allowed", redacted(src.URL), limit)
	}
	return nil
}

// report calls progress some times a second until stop is called, and once more
// then.
func report(progress func(Progress), done *atomic.Int64, total, resumed int64) (stop func()) {
	if progress == nil {
		return func() {}
	}
	start := time.Now()
	tell := func() {
		progress(Progress{Done: done.Load(), Total: total, Resumed: resumed, Elapsed: time.Since(start)})
	}
	end := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				tell()
				return
			case <-tick.C:
				tell()
			}
		}
	})
	return func() {
		close(end)
		wait.Wait()
	}
}

// retry is attempts for work that has no progress of its own.
func (f *Fetcher) retry(ctx context.Context, op func() error) error {
	return f.attempts(ctx, func() (bool, error) { return false, op() })
}

// attempts repeats op until it succeeds, fails for good, or has failed too often
// in a row; progress starts the count again.
func (f *Fetcher) attempts(ctx context.Context, op func() (progress bool, err error)) error {
	wait := &backoff.ExponentialBackOff{InitialInterval: f.config.FirstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 30 * time.Second}
	wait.Reset()
	for tries := 1; ; tries++ {
		progress, err := op()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if permanent(err) {
			return err
		}
		if progress {
			tries = 1
			wait.Reset()
		}
		if tries >= f.config.MaxTries {
			return fmt.Errorf("gave up after %d failures: %w", tries, err)
		}
		pause := wait.NextBackOff()
		if asked, ok := errors.AsType[*waitError](err); ok {
			pause = max(pause, asked.after)
		}
		level := zerolog.InfoLevel
		if progress {
			level = zerolog.DebugLevel
		}
		f.config.Log.WithLevel(level).Err(err).Dur("wait_ms", pause).Msg("download interrupted, trying again")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
