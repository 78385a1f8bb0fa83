package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
		next, err := nextNumber(o.options.Output)
		o.next = next
		return err
	default:
		dir := filepath.Dir(o.options.Output)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return cli.Usagef("the folder of --output %s does not exist", o.options.Output)
		}
		return nil
	}
}

// nextNumber is one above the largest number that a file name in dir begins
// with, as A1111 counts.
func nextNumber(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("the output folder cannot be read: %w", err)
	}
	next := 0
	for _, e := range entries {
		digits, _, ok := strings.Cut(e.Name(), "-")
		if n, err := strconv.Atoi(digits); ok && err == nil && n >= next {
			next = n + 1
		}
	}
	return next, nil
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
	return path, writeFile(path, data)
}

// writeFile never leaves half a picture under the final name.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".worker-*")
	if err != nil {
		return fmt.Errorf("the picture cannot be written: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("the picture cannot be written: %w", err)
	}
	return nil
}
