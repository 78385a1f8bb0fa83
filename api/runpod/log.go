package runpod

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
)

// maxMessage is the length in characters above which RunPod's console does not
// take a message; the SDK cuts the middle out too.
const maxMessage = 4096

// level reads the log level by the SDK's names or their index.
func (c Config) level() (zerolog.Level, error) {
	name := c.LogLevel
	if name == "" {
		name = c.DebugLevel
	}
	name = strings.ToUpper(strings.TrimSpace(name))
	if name == "" {
		return zerolog.InfoLevel, nil
	}
	names := []string{"NOTSET", "TRACE", "DEBUG", "INFO", "WARN", "ERROR"}
	levels := []zerolog.Level{zerolog.TraceLevel, zerolog.TraceLevel, zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel}
	i := slices.Index(names, name)
	if n, err := strconv.Atoi(name); err == nil {
		i = n
	}
	if i < 0 || i >= len(levels) {
		return zerolog.InfoLevel, fmt.Errorf("RUNPOD_LOG_LEVEL is %q; it must be one of %s", name, strings.Join(names, ", "))
	}
	return levels[i], nil
}

// NewLogger returns a logger that writes what RunPod's console understands: with
// an endpoint id JSON lines {"requestId","message","level"}, which the console
// groups by job, otherwise lines "LEVEL   | job | message". Fields follow the
// message as key=value.
func NewLogger(out io.Writer, cfg Config) zerolog.Logger {
	level, _ := cfg.level() // an unknown name is LoadConfig's to report
	return zerolog.New(consoleWriter{out: out, lines: cfg.EndpointID != ""}).Level(level)
}

// consoleWriter turns zerolog's events into lines of RunPod's console.
type consoleWriter struct {
	out   io.Writer
	lines bool // JSON lines
}

func (w consoleWriter) Write(event []byte) (int, error) {
	fields := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(event))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return w.out.Write(event)
	}
	take := func(key string) string {
		s, _ := fields[key].(string)
		delete(fields, key)
		return s
	}
	level, message, job := strings.ToUpper(take(zerolog.LevelFieldName)), take(zerolog.MessageFieldName), take(JobField)
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var text strings.Builder
	text.WriteString(message)
	for _, key := range keys {
		fmt.Fprintf(&text, " %s=%v", key, fields[key])
	}

	var line []byte
	if w.lines {
		var id *string
		if job != "" {
			id = &job
		}
		var err error
		line, err = encodeValue(struct {
			RequestID *string `json:"requestId"`
			Message   string  `json:"message"`
			Level     string  `json:"level"`
		}{id, cutMiddle(text.String()), level})
		if err != nil {
			return 0, err
		}
		line = append(line, '\n')
	} else {
		if job != "" {
			job += " | "
		}
		line = fmt.Appendf(nil, "%-7s | %s%s\n", level, job, text.String())
	}
	if _, err := w.out.Write(line); err != nil {
		return 0, err
	}
	return len(event), nil
}

// cutMiddle shortens a message to what the console takes.
func cutMiddle(s string) string {
	r := []rune(s)
	if len(r) <= maxMessage {
		return s
	}
	half := maxMessage / 2
	return fmt.Sprintf("%s\n...TRUNCATED %d CHARACTERS...\n%s", string(r[:half]), len(r)-2*half, string(r[len(r)-half:]))
}
