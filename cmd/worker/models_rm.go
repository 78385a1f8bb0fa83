package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sdworker/internal/cli"
	"sdworker/models/fetch"
)

// removeOptions are the flags of worker models rm.
type removeOptions struct {
	Force bool `env:"FORCE" doc:"remove files that were not fetched by this program, too"`
}

var modelsRemoveVerb = &verb{
	Name: "rm", Args: "FILE ...", Short: "remove fetched model files",
	Examples: []string{"worker models rm model.safetensors"},
	New:      func() cli.Command[*program] { return new(removeCommand) },
}

// removeCommand is one run of worker models rm.
type removeCommand struct {
	options removeOptions
	fetch   fetchSettings
}

// Settings are those of the command.
func (c *removeCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Removal:", Target: &c.options}, c.fetch.settings()}
}

// Run removes the files.
func (c *removeCommand) Run(_ context.Context, p *program, call *cli.Call) error {
	if len(call.Args) == 0 {
		return cli.Usagef("no file is named")
	}
	cache := p.fetchCache(&c.fetch, nil)
	for _, path := range call.Args {
		if err := removeFile(cache, path, c.options.Force); err != nil {
			return err
		}
		fmt.Fprintln(p.Err, "removed", printable(path))
	}
	return nil
}

// removeFile deletes a fetched file, or, with force, any file; never a folder.
func removeFile(cache *fetch.Cache, path string, force bool) error {
	full, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	err = cache.Remove(full)
	if err == nil || !force {
		return err
	}
	if info, err := os.Lstat(full); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder, only files are removed", path)
	}
	return os.Remove(full)
}
