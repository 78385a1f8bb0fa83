package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi/sixel"

	"sdworker/inference/imageio"
)

// showing writes a picture's file so that a terminal shows it.
type showing func(w io.Writer, data []byte) error

// showingIn is how the terminal that the environment tells of shows pictures.
func showingIn(environ map[string]string) (showing, error) {
	term, program := environ["TERM"], environ["TERM_PROGRAM"]
	switch {
	case environ["TMUX"] != "" || strings.HasPrefix(term, "screen") || strings.HasPrefix(term, "tmux"):
		return nil, errors.New("--show does not work inside tmux and screen, which keep pictures from the terminal; run it outside")
	case environ["KITTY_WINDOW_ID"] != "" || strings.Contains(term, "kitty") || strings.Contains(term, "ghostty") || program == "ghostty":
		return showKitty, nil
	case program == "iTerm.app" || environ["LC_TERMINAL"] == "iTerm2" || program == "WezTerm" || program == "vscode" || program == "mintty":
		return showITerm, nil
	case strings.Contains(term, "sixel") || strings.HasPrefix(term, "foot") || strings.HasPrefix(term, "mlterm") || strings.HasPrefix(term, "contour") || program == "WindowsTerminal" || environ["WT_SESSION"] != "":
		return showSixel, nil
	}
	return nil, fmt.Errorf("--show knows no way to show pictures in this terminal (TERM is %q); kitty, Ghostty, iTerm2, WezTerm, foot, mlterm and others can", term)
}

// kittyChunk is the most base64 that kitty takes at once.
const kittyChunk = 4096

// showKitty speaks kitty's graphics protocol, which takes PNG.
func showKitty(w io.Writer, data []byte) error {
	data, err := asPNG(data)
	if err != nil {
		return err
	}
	rest, control := base64.StdEncoding.EncodeToString(data), "a=T,f=100,"
	for {
		chunk := rest[:min(len(rest), kittyChunk)]
		rest = rest[len(chunk):]
		more := 0
		if rest != "" {
			more = 1
		}
		if _, err := fmt.Fprintf(w, "\x1b_G%sm=%d;%s\x1b\\", control, more, chunk); err != nil {
			return err
		}
		if more == 0 {
			_, err := fmt.Fprintln(w)
			return err
		}
		control = ""
	}
}

// showITerm speaks iTerm2's protocol, which takes any file.
func showITerm(w io.Writer, data []byte) error {
	_, err := fmt.Fprintf(w, "\x1b]1337;File=inline=1;size=%d:%s\a\n", len(data), base64.StdEncoding.EncodeToString(data))
	return err
}

// showSixel draws with the colours of a palette, as DEC's terminals did.
func showSixel(w io.Writer, data []byte) error {
	data, err := asPNG(data)
	if err != nil {
		return err
	}
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if err := new(sixel.Encoder).Encode(&body, m); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\x1bPq%s\x1b\\\n", &body)
	return err
}

// asPNG returns a picture's file as a PNG.
func asPNG(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\x89PNG")) {
		return data, nil
	}
	m, err := imageio.Decode(data, maxGridPixels)
	if err != nil {
		return nil, err
	}
	return imageio.EncodePNG(m.RGB([3]uint8{}))
}

// shower returns what shows each picture as --show asks, nil without it. Paths on
// standard output may go to another program; then the pictures go beside the progress.
func (p *program) shower(wanted bool) (func(data []byte) error, error) {
	if !wanted {
		return nil, nil
	}
	for _, w := range []io.Writer{p.Out, p.Err} {
		if isTerminal(w) {
			show, err := showingIn(p.Environ)
			return func(data []byte) error { return show(w, data) }, err
		}
	}
	return nil, errors.New("--show needs a terminal, and neither standard output nor standard error is one")
}
