package main

import (
	"context"
	"errors"
	"io"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"sdworker/api/mcp"
	"sdworker/internal/cli"
)

var mcpVerb = &verb{
	Name: "mcp", Short: "offer picture making to a language model on standard input and output",
	Long: `It speaks the Model Context Protocol to the program that started it, such as an
assistant or an editor. worker serve offers the same tools at POST /mcp. The log goes to
standard error.`,
	Examples: []string{"worker mcp --model deliberate-v6"},
	New:      func() cli.Command[*program] { return new(mcpCommand) },
}

// mcpCommand is one run of worker mcp.
type mcpCommand struct {
	common common
	api    apiSettings
	engine supervisionSettings
	demo   demoSettings
}

// Settings are those of the command.
func (m *mcpCommand) Settings() []cli.Settings {
	return append([]cli.Settings{m.api.settings(), m.engine.settings()}, append(m.common.settings(), m.demo.settings())...)
}

// Run serves one client until it leaves or ctx ends.
func (m *mcpCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	log := p.logger(&m.common.log)
	use, err := p.useDemo(&m.common, &m.demo)
	if err != nil {
		return err
	}
	if use {
		if err := p.prepareDemo(ctx, &m.common, &m.demo, log); err != nil {
			return err
		}
	}
	shareMemory(&m.common.engine, &m.api, log)
	gen := newSupervisor(p.Environ, &m.common, &m.engine, log, nil)
	defer gen.Close()
	s, err := newServices(p, &m.common, &m.api, gen, log, defaultLimits, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	tools := s.mcp()
	defer tools.Close()
	err = tools.Run(ctx, &sdk.IOTransport{Reader: io.NopCloser(p.In), Writer: stdout{p.Out}, MaxLineLength: int(defaultLimits.MaxBody)})
	if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		return nil // the usual ends
	}
	return err
}

// stdout stays open when the client has left.
type stdout struct{ io.Writer }

func (stdout) Close() error { return nil }

// mcp returns the server of the tools for language models, which calls the API of
// the services.
func (s *services) mcp() *mcp.Server {
	return mcp.New(mcp.Config{API: s.api, Queue: s.queue, Version: version()})
}
