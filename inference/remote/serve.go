package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"syscall"
	"time"

	"sdworker/fault"
	"sdworker/inference"
)

// statusEvery is how often the child looks for a changed status by itself;
// after each call it sends it anyway.
const statusEvery = time.Second

// beatEvery is how often the child shows that it lives.
const beatEvery = time.Second

// maxOpen bounds the calls that the parent may have open: the jobs that its queue gives
// the generator at once, and the reload of lost files.
const maxOpen = 256

// Serve runs the calls that arrive on conn on gen, which decides how many it works on
// at once, until the other side closes the connection (nil), breaks the protocol or
// ctx ends. The calls in hand are cancelled then and waited for. Serve closes neither
// conn nor gen.
func Serve(ctx context.Context, conn net.Conn, gen inference.Generator) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{gen: gen, out: newSender(conn), open: map[uint64]*served{}}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.out.send(message{Kind: kindHello, Protocol: protocol}); errors.Is(err, syscall.EPIPE) {
		return nil // the parent has ended
	} else if ctx.Err() != nil {
		return fmt.Errorf("greet the parent process: %w", ctx.Err()) // which also ended the writing
	} else if err != nil {
		return fmt.Errorf("greet the parent process: %w", err)
	}

	var wg sync.WaitGroup
	wg.Go(func() { s.reportStatus(ctx) })
	wg.Go(func() { s.beat(ctx) })
	err := s.read(ctx, newReceiver(conn))
	cancel()
	s.calls.Wait()
	wg.Wait()
	return err
}

// server is the child's side of a connection.
type server struct {
	gen   inference.Generator
	out   *sender
	calls sync.WaitGroup

	mu   sync.Mutex
	open map[uint64]*served // accepted and not done

	// telling is held while the status is asked for. A driver may hang there, so
	// that nothing that ends a call may need this lock.
	telling sync.Mutex
	last    inference.Status // sent last
}

// served is one call.
type served struct {
	message
	ctx     context.Context //nolint:containedctx // the call waits for its turn on another goroutine
	cancel  context.CancelFunc
	control *inference.Control
	skips   int
}

// read takes messages until the connection ends.
func (s *server) read(ctx context.Context, in *receiver) error {
	for {
		m, err := in.receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read from the parent process: %w", err)
		}
		switch m.Kind {
		case kindGenerate, kindUpscale, kindLoad, kindUnload:
			if err := s.accept(ctx, m); err != nil {
				return err
			}
		case kindControl, kindCancel:
			s.applyControl(m)
		default:
			return fmt.Errorf("message of kind %d from the parent process", m.Kind)
		}
	}
}

func (s *server) accept(ctx context.Context, m message) error {
	incomplete := m.Kind == kindGenerate && m.Request == nil ||
		m.Kind == kindUpscale && m.Upscale == nil || m.Kind == kindLoad && m.Files == nil
	if incomplete {
		return fmt.Errorf("message of kind %d without content from the parent process", m.Kind)
	}
	c := &served{message: m, control: inference.NewControl()}
	c.ctx, c.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	s.open[m.Call] = c
	open := len(s.open)
	s.mu.Unlock()
	if open > maxOpen {
		c.cancel()
		return fmt.Errorf("more than %d calls at once from the parent process", maxOpen)
	}
	err := s.out.send(message{Kind: kindAccepted, Call: m.Call})
	s.calls.Go(func() { s.work(c) })
	return err
}

// applyControl applies a control or cancel message; the call may have ended meanwhile.
func (s *server) applyControl(m message) {
	s.mu.Lock()
	c := s.open[m.Call]
	s.mu.Unlock()
	if c == nil {
		return
	}
	if m.Kind == kindCancel {
		c.cancel()
		return
	}
	for ; c.skips < m.Control.Skips; c.skips++ {
		c.control.Skip()
	}
	if m.Control.Interrupted && !c.control.Interrupted() {
		c.control.Interrupt()
	}
}

// work runs a call.
func (s *server) work(c *served) {
	done := s.run(c)
	c.cancel()
	s.mu.Lock()
	delete(s.open, c.Call)
	s.mu.Unlock()
	s.telling.Lock()
	status := s.gen.Status()
	s.last = status
	s.telling.Unlock()
	done.Kind, done.Call, done.Status = kindDone, c.Call, &status
	if err := s.out.send(done); errors.Is(err, errTooLarge) {
		_ = s.out.send(message{Kind: kindDone, Call: c.Call, Status: &status, Failure: &failure{
			Code: fault.Exhausted, Msg: "the result is too large for one message", Cause: err.Error(),
		}})
	} // a lost connection ends read, which ends everything
}

func (s *server) run(c *served) (done message) {
	hooks := inference.Hooks{Control: c.control, Progress: func(p inference.Progress) {
		_ = s.out.send(message{Kind: kindProgress, Call: c.Call, Progress: &p})
	}}
	var err error
	switch c.Kind {
	case kindGenerate:
		var res *inference.Result
		res, err = s.gen.Generate(c.ctx, c.Request, hooks)
		if res != nil {
			for i := range res.Images {
				_ = s.out.send(message{Kind: kindImage, Call: c.Call, Image: &res.Images[i]})
			}
			head := *res
			head.Images = nil
			done.Result = &head
		}
	case kindUpscale:
		picture, upErr := s.gen.Upscale(c.ctx, c.Upscale, hooks)
		done.Picture, err = &picture, upErr
	case kindLoad:
		err = s.gen.Load(c.ctx, *c.Files, hooks)
	case kindUnload:
		err = s.gen.Unload(c.ctx)
	default:
		err = fault.Errorf(fault.Internal, "engine", "a call of kind %v is not known", c.Kind)
	}
	done.Failure = failureOf(err)
	return done
}

// beat shows the parent that this process runs. It calls nothing that could hang,
// as asking a driver for the status could.
func (s *server) beat(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.out.send(message{Kind: kindAlive}) // a lost connection ends read
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) tellStatus() {
	s.telling.Lock()
	defer s.telling.Unlock()
	status := s.gen.Status()
	if reflect.DeepEqual(status, s.last) {
		return
	}
	s.last = status
	_ = s.out.send(message{Kind: kindStatus, Status: &status})
}

// reportStatus sends the status when it changed, until ctx ends.
func (s *server) reportStatus(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		s.tellStatus()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
