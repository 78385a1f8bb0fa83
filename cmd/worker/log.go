package main

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// logger writes one line an event to standard error.
func (p *program) logger(c *logSettings) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // validate has complained
	}
	w := p.Err
	if c.Format == "console" || c.Format == "auto" && isTerminal(p.Err) {
		w = zerolog.ConsoleWriter{Out: p.Err, TimeFormat: time.TimeOnly, NoColor: !isTerminal(p.Err)}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
