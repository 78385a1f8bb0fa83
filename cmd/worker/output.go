package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sdworker/api/sdapi/generation"
	"sdworker/internal/atomicfile"
	"sdworker/internal/cli"
)

// outputFiles names and writes the pictures.
type outputFiles struct {
	options *outputOptions
	stdout  io.Writer
	next    int // number of the next file in a folder
}

// check finds out before the work whether the pictures can be written.
func (o *outputFiles) check(stdoutIsTerminal bool) error {
	switch {
	case o.options.Output == "-":
		if stdoutIsTerminal {
			return cli.Usagef("--output - would write a picture to the terminal; send standard output to a file or another program")
		}
		return nil
	case o.options.isFolder():
		if err := os.MkdirAll(o.options.Output, 0o755); err != nil {
			return fmt.Errorf("the output folder cannot be made: %w", err)
		}
		o.next = generation.NextNumber(o.options.Output)
		return nil
	default:
		dir := filepath.Dir(o.options.Output)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return cli.Usagef("the folder of --output %s does not exist", o.options.Output)
		}
		return nil
	}
}

// write stores picture i of n and returns its path, "-" for standard output.
func (o *outputFiles) write(data []byte, i, n int, seed int64) (string, error) {
	if o.options.Output == "-" {
		if n > 1 {
			return "", errors.New("standard output takes one picture only: name a folder with --output")
		}
		_, err := o.stdout.Write(data)
		return "-", err
	}
	path := o.options.Output
	if o.options.isFolder() {
		path = filepath.Join(path, fmt.Sprintf("%05d-%d.%s", o.next, seed, o.options.format()))
		o.next++
	} else if n > 1 {
		ext := filepath.Ext(path)
		path = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), i+1, ext)
	}
	return path, writePicture(path, data)
}

func writePicture(path string, data []byte) error {
	if err := atomicfile.Write(path, data); err != nil {
		return fmt.Errorf("the picture cannot be written: %w", err)
	}
	return nil
}
