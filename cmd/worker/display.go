package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"sdworker/inference"
)

// display shows the progress of a job. It is called from one goroutine.
type display interface {
	show(p inference.Progress)
	done()
}

// newDisplay returns a bar for a terminal and plain lines for everything else.
func (p *program) newDisplay(quiet bool) display {
	switch {
	case quiet:
		return silence{}
	case isTerminal(p.Err):
		return &bars{w: p.Err}
	default:
		return &lines{w: p.Err}
	}
}

type silence struct{}

func (silence) show(inference.Progress) {}
func (silence) done()                   {}

// stage tells one bar or group of lines from the next.
type stage struct {
	phase     inference.Phase
	job, jobs int
	steps     int
}

func stageOf(p inference.Progress) stage { return stage{p.Phase, p.Job, p.Jobs, p.Steps} }

// title is the phase, with the pass where there are several.
func (s stage) title() string {
	if s.jobs > 1 && s.phase == inference.PhaseSampling {
		return fmt.Sprintf("%s %d/%d", s.phase, min(s.job+1, s.jobs), s.jobs)
	}
	return string(s.phase)
}

// bars draws one progress bar a phase, and only the name of a phase whose length
// is not known.
type bars struct {
	w     io.Writer
	stage stage
	bar   *progressbar.ProgressBar
	named bool // the name of the phase is on the line
}

func (b *bars) show(p inference.Progress) {
	if p.Phase == "" {
		return
	}
	next := stageOf(p)
	if next != b.stage {
		b.done()
		b.stage = next
		if next.steps > 0 {
			b.bar = newBar(b.w, next)
		} else {
			fmt.Fprint(b.w, next.title())
			b.named = true
		}
	}
	if b.bar != nil {
		_ = b.bar.Set(p.Step) // beyond the end: drawn as the end
	}
}

// clearLine returns to the line's start and empties it.
const clearLine = "\r\x1b[K"

func newBar(w io.Writer, s stage) *progressbar.ProgressBar {
	options := []progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(fmt.Sprintf("%-16s", s.title())),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(50 * time.Millisecond),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(w) }),
	}
	if s.phase == inference.PhaseSampling {
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("it"))
	}
	return progressbar.NewOptions(s.steps, options...)
}

func (b *bars) done() {
	if b.named {
		fmt.Fprint(b.w, clearLine)
		b.named = false
	}
	if b.bar != nil && !b.bar.IsFinished() {
		_ = b.bar.Exit() // leaves the bar as it is and ends its line
		fmt.Fprintln(b.w)
	}
	b.bar = nil
}

// lines prints a line when a phase begins and then at most every few seconds.
type lines struct {
	w      io.Writer
	stage  stage
	began  time.Time
	spoken time.Time
}

const linesEvery = 5 * time.Second

func (l *lines) show(p inference.Progress) {
	if p.Phase == "" {
		return
	}
	now := time.Now()
	next := stageOf(p)
	switch {
	case next != l.stage:
		l.stage, l.began = next, now
	case now.Sub(l.spoken) < linesEvery && p.Step != p.Steps:
		return
	}
	l.spoken = now
	line := next.title()
	if p.Steps > 0 {
		line += fmt.Sprintf(" %d/%d", p.Step, p.Steps)
		if elapsed := now.Sub(l.began).Seconds(); p.Step > 0 && p.Phase == inference.PhaseSampling && elapsed > 0 {
			rate := float64(p.Step) / elapsed
			left := time.Duration(float64(p.Steps-p.Step) / rate * float64(time.Second))
			line += fmt.Sprintf(", %.2f it/s, %s left", rate, left.Round(time.Second))
		}
	}
	fmt.Fprintln(l.w, line)
}

func (l *lines) done() {}
