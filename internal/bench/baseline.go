package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// Comparison is what another program needed for the same pictures.
type Comparison struct {
	Command []string `json:"command"`
	Open    float64  `json:"open_s"`
	Picture Series   `json:"seconds"`
	Speedup float64  `json:"speedup"` // how many times faster this program is
}

// Baseline is a running program to compare with, such as one that calls the
// engine's own generate_image. It is started with the arguments
//
//	--model FILE --width W --height H --steps N --batch B
//
// and speaks JSON lines: it loads the model and writes {"open_s": seconds}; for
// each line that it reads it makes a batch and writes {"picture_s": seconds}. It
// ends when its input ends.
type Baseline struct {
	Open float64 // seconds

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// StartBaseline starts the program of o and waits until it has loaded the model.
func StartBaseline(ctx context.Context, o *EngineOptions) (*Baseline, error) {
	args := append(o.Baseline[1:len(o.Baseline):len(o.Baseline)],
		"--model", o.Checkpoint, "--width", strconv.Itoa(o.Width), "--height", strconv.Itoa(o.Height),
		"--steps", strconv.Itoa(o.Steps), "--batch", strconv.Itoa(o.Batch))
	b := &Baseline{cmd: exec.CommandContext(ctx, o.Baseline[0], args...)}
	b.cmd.Stderr = os.Stderr
	in, inErr := b.cmd.StdinPipe()
	out, outErr := b.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	b.in, b.out = in, bufio.NewScanner(out)
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("the baseline program cannot be started: %w", err)
	}
	var reply struct {
		Open *float64 `json:"open_s"`
	}
	if err := b.read(&reply); err != nil || reply.Open == nil {
		b.Close()
		return nil, fmt.Errorf("the baseline program did not tell that it is ready: %w", err)
	}
	b.Open = *reply.Open
	if _, err := b.Picture(); err != nil { // warms up
		b.Close()
		return nil, err
	}
	return b, nil
}

// Picture makes one batch and returns the seconds that took.
func (b *Baseline) Picture() (float64, error) {
	if _, err := io.WriteString(b.in, "\n"); err != nil {
		return 0, fmt.Errorf("the baseline program has ended: %w", err)
	}
	var reply struct {
		Picture float64 `json:"picture_s"`
	}
	if err := b.read(&reply); err != nil {
		return 0, fmt.Errorf("the baseline program did not tell how long it took: %w", err)
	}
	return reply.Picture, nil
}

func (b *Baseline) read(v any) error {
	if !b.out.Scan() {
		return errors.Join(b.out.Err(), io.ErrUnexpectedEOF)
	}
	return json.Unmarshal(b.out.Bytes(), v)
}

// Close ends the program.
func (b *Baseline) Close() {
	_ = b.in.Close()
	_ = b.cmd.Wait() // its figures are in; how it ends does not matter
}
