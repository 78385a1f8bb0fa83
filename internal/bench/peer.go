package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Peer is another program that runs the same networks, such as PyTorch. It speaks
// JSON lines as scripts/peers/peer.py describes them; its error output goes to a log.
type Peer struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Notes   string `json:"notes"` // how it computes

	log     string
	limit   time.Duration
	cmd     *exec.Cmd
	in      io.WriteCloser
	replies chan []byte   // closed at the end of its output
	gone    chan struct{} // closed when nobody reads replies any more
}

// peerRequest is one line to a peer.
type peerRequest struct {
	Do      string `json:"do"` // prepare, run, release
	Network string `json:"network,omitempty"`
	Width   int    `json:"width,omitempty"`
	Height  int    `json:"height,omitempty"`
	Rows    int    `json:"rows,omitempty"`
}

func (r peerRequest) String() string {
	if r.Network == "" {
		return r.Do
	}
	return fmt.Sprintf("%s the %s for %dx%d", r.Do, r.Network, r.Width, r.Height)
}

// peerReply is one line from a peer.
type peerReply struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Notes   string   `json:"notes"`
	Seconds *float64 `json:"seconds"`
	CPU     float64  `json:"cpu_seconds"`
	Error   string   `json:"error"`
}

// StartPeer starts a program and waits until it tells its name. The log is written
// into folder. No answer may take longer than limit.
func StartPeer(ctx context.Context, command []string, folder string, limit time.Duration) (*Peer, error) {
	what := strings.Join(command, " ")
	log, err := os.CreateTemp(folder, "peer-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Peer{
		Name: what, log: log.Name(), limit: limit, cmd: exec.CommandContext(ctx, command[0], command[1:]...),
		replies: make(chan []byte), gone: make(chan struct{}),
	}
	p.cmd.Stderr = log
	p.cmd.WaitDelay = 5 * time.Second
	in, inErr := p.cmd.StdinPipe()
	out, outErr := p.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, p.cmd.Start()); err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w", what, err)
	}
	p.in = in
	go p.read(out)
	hello, err := p.answer(ctx, "start")
	if err == nil && hello.Name == "" {
		err = fmt.Errorf("%s did not tell its name", what)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	p.Name, p.Version, p.Notes = hello.Name, hello.Version, hello.Notes
	return p, nil
}

// read hands over the lines of the program until they or their reader end.
func (p *Peer) read(out io.Reader) {
	defer close(p.replies)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		select {
		case p.replies <- bytes.Clone(lines.Bytes()):
		case <-p.gone:
			return
		}
	}
}

// Prepare makes a network ready for pictures of a size.
func (p *Peer) Prepare(ctx context.Context, network string, width, height, rows int) error {
	_, err := p.ask(ctx, peerRequest{Do: "prepare", Network: network, Width: width, Height: height, Rows: rows})
	return err
}

// Run runs it once.
func (p *Peer) Run(ctx context.Context) (Cost, error) { return p.ask(ctx, peerRequest{Do: "run"}) }

// Release frees what Prepare needed.
func (p *Peer) Release(ctx context.Context) error {
	_, err := p.ask(ctx, peerRequest{Do: "release"})
	return err
}

func (p *Peer) ask(ctx context.Context, request peerRequest) (Cost, error) {
	line, err := json.Marshal(request)
	if err != nil {
		return Cost{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return Cost{}, p.ended(request.String())
	}
	reply, err := p.answer(ctx, request.String())
	if err != nil {
		return Cost{}, err
	}
	if reply.Seconds == nil {
		return Cost{}, fmt.Errorf("%s did not tell how long it took to %s", p.Name, request)
	}
	return Cost{Seconds: *reply.Seconds, CPU: reply.CPU}, nil
}

// answer waits for the next line.
func (p *Peer) answer(ctx context.Context, what string) (peerReply, error) {
	limit := time.NewTimer(p.limit)
	defer limit.Stop()
	var reply peerReply
	select {
	case line, ok := <-p.replies:
		if !ok {
			return reply, p.ended(what)
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return reply, fmt.Errorf("%s was asked to %s and wrote %.200q, which is no JSON", p.Name, what, line)
		}
		if reply.Error != "" {
			return reply, fmt.Errorf("%s cannot %s: %s (its log is %s)", p.Name, what, reply.Error, p.log)
		}
		return reply, nil
	case <-limit.C:
		return reply, fmt.Errorf("%s did not %s within %v%s", p.Name, what, p.limit, p.lastWords())
	case <-ctx.Done():
		return reply, ctx.Err()
	}
}

// ended is the error of a program that has ended too early.
func (p *Peer) ended(what string) error {
	_ = p.in.Close()
	cause := "without an error"
	if err := p.cmd.Wait(); err != nil {
		cause = err.Error()
	}
	return fmt.Errorf("%s ended when it was to %s: %s%s", p.Name, what, cause, p.lastWords())
}

// lastWords are the end of the log.
func (p *Peer) lastWords() string {
	text, err := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || lines[0] == "" {
		return ""
	}
	return fmt.Sprintf("; the last it said (%s): %s", p.log, strings.Join(lines[max(0, len(lines)-3):], " | "))
}

// Close ends the program.
func (p *Peer) Close() {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill() // there is nothing that it would have to finish
	close(p.gone)
	_ = p.cmd.Wait()
}
