// Package mcp offers picture making to language models by the Model Context
// Protocol: tools to make, change and enlarge a picture, to list models, to ask how
// far the work is and to end it. It stands on the A1111 API, which it calls in
// memory; the protocol is the official SDK's.
package mcp

import (
	"context"
	"net/http"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"sdworker/api/a1111"
	"sdworker/api/gate"
	"sdworker/inference"
)

// Config is what a Server is made of. API and Queue are required.
type Config struct {
	API     a1111.Client
	Queue   *inference.Queue // the queue in front of which API stands
	Version string           // of the program
}

// Server offers the tools. It is safe for concurrent use.
type Server struct {
	cfg    Config
	server *sdk.Server
	http   http.Handler

	quiet context.Context //nolint:containedctx // of all streams on which clients wait for news
	hush  context.CancelFunc
}

// sessionTimeout ends sessions of clients that do not come back.
const sessionTimeout = 30 * time.Minute

const instructions = `Makes pictures with Stable Diffusion 1.5. Prompts are lists of words and phrases, such as "a red fox in the snow, oil painting".
generate_image makes pictures of a text, edit_image changes one, upscale_image enlarges one. list_models names checkpoints, LoRAs (used as <lora:NAME:1> in a prompt), VAEs, samplers and upscalers.`

// New returns the server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg}
	s.server = sdk.NewServer(&sdk.Implementation{Name: "sdworker", Title: "Stable Diffusion worker", Version: cfg.Version}, &sdk.ServerOptions{Instructions: instructions})
	s.quiet, s.hush = context.WithCancel(context.Background())
	s.addTools()
	s.http = sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s.server }, &sdk.StreamableHTTPOptions{
		SessionTimeout:               sessionTimeout,
		MaxRequestBodyBytes:          -1, // bodies and host names are the gate's to judge
		DisableLocalhostProtection:   true,
		PropagateRequestCancellation: true,
	})
	return s
}

// path is where the protocol's streamable HTTP transport answers.
const path = "/mcp"

// Door is the server for a gate.Mux, which checks who calls it.
func (s *Server) Door() gate.Door {
	var routes []gate.Route
	for method, h := range map[string]http.Handler{http.MethodPost: s.http, http.MethodGet: http.HandlerFunc(s.news), http.MethodDelete: s.http} {
		routes = append(routes, gate.Route{Method: method, Path: path, Handler: h})
	}
	return gate.Door{Routes: routes, Refuse: func(w http.ResponseWriter, _ *http.Request, status int, text string) { http.Error(w, text, status) }}
}

// news is the stream on which a client waits for what it has not asked for.
func (s *Server) news(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.quiet, cancel)()
	s.http.ServeHTTP(w, r.WithContext(ctx))
}

// Hush ends the streams on which clients wait for news: no HTTP server ends well while
// they are open. Calls in hand go on.
func (s *Server) Hush() { s.hush() }

// Run serves one client on a transport until it leaves or ctx ends.
func (s *Server) Run(ctx context.Context, t sdk.Transport) error { return s.server.Run(ctx, t) }

// Close ends the sessions.
func (s *Server) Close() {
	for session := range s.server.Sessions() {
		_ = session.Close() // the client is gone, or will be
	}
}
