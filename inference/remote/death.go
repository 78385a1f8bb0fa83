package remote

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/inference"
)

// Reason says in a word why an engine process was lost.
type Reason string

// Reasons.
const (
	LostAtStart  Reason = "start"    // it could not be started or did not greet
	LostToMemory Reason = "memory"   // the container ran out of memory
	LostByAbort  Reason = "abort"    // the engine or the Go runtime gave up and said why
	LostBySignal Reason = "signal"   // another signal ended it
	LostByExit   Reason = "exit"     // it ended by itself
	LostSilent   Reason = "silent"   // it gave no sign of life and was ended
	LostStalled  Reason = "stalled"  // it made no progress and was ended
	LostCanceled Reason = "cancel"   // it did not heed a cancel and was ended
	LostGarbled  Reason = "protocol" // it sent what is no message, or hung up
)

// Reasons lists all reasons.
func Reasons() []Reason {
	return []Reason{LostAtStart, LostToMemory, LostByAbort, LostBySignal, LostByExit, LostSilent, LostStalled, LostCanceled, LostGarbled}
}

// reasonOf is the reason of a death that the parent did not bring about.
func reasonOf(state *os.ProcessState, words *output, oomKilled bool) Reason {
	ws, ok := waitStatus(state)
	switch {
	case oomKilled:
		return LostToMemory
	case words.rank >= rankRuntime:
		return LostByAbort
	case ok && ws.Signaled():
		return LostBySignal
	}
	return LostByExit
}

// deathOf explains why a child ended: the process's own status, and the last
// words it wrote.
func deathOf(state *os.ProcessState, reason, lastWords string, oomKilled bool) *fault.Error {
	how := "the engine process ended"
	if ws, ok := waitStatus(state); ok {
		switch {
		case ws.Signaled():
			how = fmt.Sprintf("the engine process was ended by signal %d (%s)", ws.Signal(), ws.Signal())
		case ws.Exited():
			how = fmt.Sprintf("the engine process ended with exit code %d", ws.ExitStatus())
		}
		switch {
		case oomKilled:
			how += ": the container ran out of memory"
		case ws.Signaled() && ws.Signal() == syscall.SIGKILL && reason == "":
			how += ", which the kernel also sends when memory runs out"
		case ws.Signaled() && ws.Signal() == syscall.SIGBUS:
			how += ", as when a model file is cut short while it is in use"
		}
	}
	if reason != "" {
		how = reason + "; " + how
	}
	if lastWords != "" {
		how += ": " + lastWords
	}
	return &fault.Error{Code: fault.Broken, Op: "engine", Msg: how}
}

func waitStatus(state *os.ProcessState) (syscall.WaitStatus, bool) {
	if state == nil {
		return 0, false
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	return ws, ok
}

// startFailure explains why a child never came up.
func startFailure(cmd *exec.Cmd, err error) *fault.Error {
	return &fault.Error{
		Code: fault.Broken, Op: "engine", Err: err,
		Msg: fmt.Sprintf("the engine process cannot be started: check that %s can be executed", cmd.Path),
	}
}

// oomKills reads how many processes of this container the kernel has killed for
// memory so far; 0 where cgroup v2 is not mounted.
func oomKills() int {
	text, err := os.ReadFile("/sys/fs/cgroup/memory.events")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			kills, _ := strconv.Atoi(n)
			return kills
		}
	}
	return 0
}

// maxLine bounds a line kept from the child's output.
const maxLine = 4096

// output receives what the child writes. Log lines in JSON go on to log with their
// own level. So do the other lines, which come from the engine or the Go runtime;
// the most telling one is kept for deathOf.
type output struct {
	log zerolog.Logger

	mu   sync.Mutex
	rest []byte
	best string
	rank int
}

// Write implements io.Writer for exec.Cmd.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range p {
		if b == '\n' || b == '\r' {
			o.line(string(o.rest))
			o.rest = o.rest[:0]
		} else if len(o.rest) < maxLine {
			o.rest = append(o.rest, b)
		}
	}
	return len(p), nil
}

// lastWords is the line that best explains a death, "" if none does.
func (o *output) lastWords() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line(string(o.rest))
	o.rest = nil
	return o.best
}

func (o *output) line(s string) {
	s = strings.TrimSpace(s)
	if s == "" {
		return
	}
	if level, msg, fields, ok := logLine(s); ok {
		o.log.WithLevel(level).Fields(fields).Msg(msg)
		if level >= zerolog.ErrorLevel {
			if cause, ok := fields["error"].(string); ok {
				msg += ": " + cause
			}
			o.keep(msg, rankLogged)
		}
		return
	}
	o.log.Warn().Str("line", s).Msg("engine output")
	o.keep(strings.TrimPrefix(s, inference.AbortPrefix), rankOf(s))
}

// keep prefers lines that explain more. Of equal lines it keeps the first, since a
// stack follows an assertion; of lines that explain nothing it keeps the last.
func (o *output) keep(s string, rank int) {
	if rank > o.rank || o.rank == rankNone {
		o.best, o.rank = s, rank
	}
}

// Ranks of lines by how well they explain a death.
const (
	rankNone = iota
	rankLogged
	rankRuntime // the Go runtime says that it dies
	rankEngine  // ggml or CUDA say why
)

func rankOf(line string) int {
	for _, mark := range []string{inference.AbortPrefix, "GGML_ASSERT", "CUDA error", "ggml_abort", "cudaMalloc failed", "out of memory", "terminate called", "what():"} {
		if strings.Contains(line, mark) {
			return rankEngine
		}
	}
	for _, mark := range []string{"panic: ", "fatal error: ", "SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"} {
		if strings.HasPrefix(line, mark) {
			return rankRuntime
		}
	}
	return rankNone
}

// logLine takes a JSON log line apart.
func logLine(s string) (level zerolog.Level, msg string, fields map[string]any, ok bool) {
	if !strings.HasPrefix(s, "{") || json.Unmarshal([]byte(s), &fields) != nil {
		return 0, "", nil, false
	}
	name, ok := fields[zerolog.LevelFieldName].(string)
	if !ok {
		return 0, "", nil, false
	}
	level, err := zerolog.ParseLevel(name)
	if err != nil {
		return 0, "", nil, false
	}
	msg, _ = fields[zerolog.MessageFieldName].(string)
	delete(fields, zerolog.LevelFieldName)
	delete(fields, zerolog.MessageFieldName)
	delete(fields, zerolog.TimestampFieldName)
	return level, msg, fields, true
}
