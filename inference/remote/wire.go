package remote

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"sync"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// protocol changes when message or anything it holds changes its meaning. Parent
// and child are the same binary, so that a mismatch means a wrong command.
const protocol = 3

type kind uint8

const (
	_ kind = iota

	// From the child once, before anything else.
	kindHello

	// Calls, from the parent. The generator in the child decides their order.
	kindGenerate
	kindUpscale
	kindLoad
	kindUnload

	// About a call, from the parent, at any time.
	kindControl
	kindCancel

	// About a call, from the child: accepted first, done last.
	kindAccepted
	kindProgress
	kindImage
	kindDone

	// From the child, whenever its status changed.
	kindStatus

	// From the child, every beatEvery: it is not hung.
	kindAlive
)

// message is everything that crosses the socket, in either direction. Gob leaves
// out what is zero, and moves pixels as one run of bytes.
type message struct {
	Kind kind
	Call uint64 // 0 for hello and status

	Protocol int // hello

	Request *inference.Request        // generate
	Upscale *inference.UpscaleRequest // upscale
	Files   *inference.Files          // load
	Control control                   // control

	Progress *inference.Progress // progress
	Image    *inference.Image    // image: one of a result, sent ahead of done
	Result   *inference.Result   // done after generate, without its images
	Picture  *imageio.RGB        // done after upscale
	Failure  *failure            // done
	Status   *inference.Status   // done, status
}

// control is the whole state of an inference.Control, so that a lost or repeated
// message does no harm.
type control struct {
	Interrupted bool
	Skips       int
}

// failure is an error in a form that gob can carry.
type failure struct {
	Code           fault.Code
	Op, Field, Msg string
	Cause          string
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Code: fault.CodeOf(err), Msg: fault.Message(err)}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		f.Op, f.Field = e.Op, e.Field
		if e.Err != nil {
			f.Cause = e.Err.Error()
		}
	}
	return f
}

func (f *failure) err() error {
	if f == nil {
		return nil
	}
	e := &fault.Error{Code: f.Code, Op: f.Op, Field: f.Field, Msg: f.Msg}
	if f.Cause != "" {
		e.Err = errors.New(f.Cause)
	}
	return e
}

// sender writes messages from any goroutine.
type sender struct {
	mu  sync.Mutex
	w   watched
	enc *gob.Encoder
}

// watched tells a failed write from a value that cannot be encoded.
type watched struct {
	io.Writer
	err error
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

func newSender(w io.Writer) *sender {
	s := &sender{w: watched{Writer: w}}
	s.enc = gob.NewEncoder(&s.w)
	return s
}

// errTooLarge says that a message was not sent and the connection is intact.
var errTooLarge = errors.New("message cannot be encoded")

func (s *sender) send(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.enc.Encode(m)
	if err != nil && s.w.err == nil {
		return fmt.Errorf("%w: %w", errTooLarge, err) // gob's limit is 1 GiB
	}
	return err
}

// receiver reads messages, from one goroutine.
type receiver struct{ dec *gob.Decoder }

func newReceiver(r io.Reader) *receiver {
	return &receiver{gob.NewDecoder(bufio.NewReaderSize(r, 1<<16))}
}

func (r *receiver) receive() (message, error) {
	var m message
	err := r.dec.Decode(&m)
	return m, err
}
