// Package httpd is an HTTP server: it listens, answers health checks while the
// program starts, gives slow clients their time and no more, and ends in stages.
package httpd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/gate"
)

// Config is what a Server is made of. Addr is required.
type Config struct {
	Addr  string        // host:port; port 0 takes a free one
	TLS   *tls.Config   // nil for plain HTTP
	Grace time.Duration // for requests in hand once the server ends
	// Hosts are names that it answers for, see gate.Hosts. Without any it answers for
	// every name unless it listens on a loopback address.
	Hosts []string
	// Hurry asks the jobs in hand to finish with what they have; nil when there
	// are none.
	Hurry func()
	Log   zerolog.Logger
}

// Server is a listening server.
type Server struct {
	cfg      Config
	local    bool // only this machine can reach it
	listener net.Listener
	requests context.Context //nolint:containedctx // the base context of all requests, as http.Server keeps it
	abort    context.CancelCauseFunc
	replies  bodyDeadlines
	stop     context.CancelFunc // says that the server stops
}

// Listen opens the port.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with --addr", cfg.Addr, err)
	}
	requests, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	replies := bodyDeadlines{piece: PieceWait, rest: lastWait, stopping: stopping}
	at, ok := listener.Addr().(*net.TCPAddr)
	return &Server{
		cfg: cfg, local: ok && at.IP.IsLoopback(), listener: writeDeadlineListener{listener, replies},
		requests: requests, abort: abort, replies: replies, stop: stop,
	}, nil
}

// URL is the address that the server answers at.
func (s *Server) URL() string {
	scheme := "http"
	if s.cfg.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// errAborted is the cause of a request's context that the end of the server ended.
var errAborted = errors.New("the server has ended")

// How long the stages of the end after the grace time may take.
const (
	hurryWait = 30 * time.Second // jobs that finish with what they have: a step and a decoding, slow on a CPU
	abortWait = 5 * time.Second  // replies of jobs that were aborted
)

// Serve answers requests until ctx ends, then lets those in hand finish within
// the grace time. After it they are asked to hurry, and at last aborted.
func (s *Server) Serve(ctx context.Context, h http.Handler) error {
	defer s.abort(nil)
	if s.local || len(s.cfg.Hosts) > 0 {
		h = gate.Hosts(s.cfg.Hosts, refuseHost)(h)
	}
	defer s.stop()
	h = withBodyDeadlines(h, bodyDeadlines{piece: PieceWait, rest: restWait, stopping: s.replies.stopping})
	h = withReplyDeadlines(withLastChunks(h), s.replies)
	server := &http.Server{
		Handler:           s.logged(h),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return s.requests },
		ErrorLog:          stdlog.New(s.cfg.Log, "", 0),
		TLSConfig:         s.cfg.TLS,
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() {
		if s.cfg.TLS != nil {
			served <- server.ServeTLS(s.listener, "", "")
		} else {
			served <- server.Serve(s.listener)
		}
	}()
	var err error
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	s.stop()
	for _, stage := range []struct {
		what   string
		before func()
		wait   time.Duration
	}{
		{"shutting down, waiting for the requests in hand", func() {}, s.cfg.Grace},
		{"the grace time is over, asking the jobs in hand to finish with what they have", s.cfg.Hurry, hurryWait},
		{"aborting the requests in hand", func() { s.abort(errAborted) }, abortWait},
	} {
		if stage.before == nil {
			continue
		}
		s.cfg.Log.Info().Dur("wait_ms", stage.wait).Msg(stage.what)
		stage.before()
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), stage.wait)
		err = server.Shutdown(wait)
		cancel()
		if err == nil {
			return nil
		}
	}
	return server.Close()
}

// refuseHost answers in A1111's shape before it is known which door is meant.
func refuseHost(w http.ResponseWriter, _ *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": "HTTPException", "detail": text, "body": "", "errors": ""}) // a client that went away is not our error
}

// logged writes a line for each request: those that change something at info,
// the others, which clients send every second, at debug.
func (s *Server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		watched := &statusWriter{ResponseWriter: w}
		defer func() {
			level := zerolog.DebugLevel
			if r.Method == http.MethodPost {
				level = zerolog.InfoLevel
			}
			s.cfg.Log.WithLevel(level).Str("method", r.Method).Str("path", r.URL.Path).Int("status", watched.status).
				Dur("duration_ms", time.Since(began)).Str("client", r.RemoteAddr).Msg("request")
		}()
		h.ServeHTTP(watched, r)
	})
}

// statusWriter notes the status of a reply.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
