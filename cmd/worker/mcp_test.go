package main

import (
	"context"
	"io"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

// worker mcp speaks the protocol on standard input and output, and ends when its
// client does.
func TestMCPOnStandardInputAndOutput(t *testing.T) {
	home := newHome(t)
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		p := newProgram()
		p.Environ, p.In, p.Out, p.Err = environ(home, openGate), in, out, newTranscript()
		ended <- p.run(context.Background(), []string{"mcp"})
		_ = out.Close()
	}()
	client := sdk.NewClient(&sdk.Implementation{Name: "test"}, nil)
	session, err := client.Connect(t.Context(), &sdk.IOTransport{Reader: fromServer, Writer: toServer}, nil)
	require.NoError(t, err)
	res, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "generate_image", Arguments: map[string]any{"prompt": "x", "steps": 1, "width": 64, "height": 64}})
	require.NoError(t, err)
	require.False(t, res.IsError, "%v", res.Content)
	require.IsType(t, &sdk.ImageContent{}, res.Content[0])
	require.NoError(t, session.Close())
	require.NoError(t, toServer.Close())
	require.Equal(t, 0, <-ended)
}

// worker serve has the same tools, behind the credentials of the API.
func TestMCPOverHTTP(t *testing.T) {
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test"}, nil).Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: c.base + "/mcp"}, nil)
	require.NoError(t, err)
	defer session.Close()
	res, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "list_models"})
	require.NoError(t, err)
	require.False(t, res.IsError)
}
