package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"sdworker/internal/cli"
)

var completionVerb = &verb{
	Name: "completion", Args: strings.ToUpper(strings.Join(cli.Shells(), "|")), Short: "print the script that completes commands and flags in a shell",
	Long: `For one session:  source <(worker completion bash)
For all of them:  worker completion bash > ~/.local/share/bash-completion/completions/worker
                  worker completion zsh > FOLDER/_worker, where FOLDER is one of $fpath
                  worker completion fish > ~/.config/fish/completions/worker.fish`,
	Examples: []string{"worker completion bash", "worker completion fish"},
	New:      func() cli.Command[*program] { return completionCommand{} },
}

// completionCommand is one run of worker completion.
type completionCommand struct{}

// Settings are none.
func (completionCommand) Settings() []cli.Settings { return nil }

// Run prints the script.
func (completionCommand) Run(_ context.Context, p *program, c *cli.Call) error {
	if len(c.Args) != 1 || !cli.WriteCompletion(p.Out, root, c.Args[0]) {
		return cli.Usagef("name one shell of %s", strings.Join(cli.Shells(), ", "))
	}
	return nil
}

var manVerb = &verb{
	Name: "man", Args: "FOLDER", Short: "write manual pages, one for each command",
	Examples: []string{"worker man ~/.local/share/man/man1"},
	New:      func() cli.Command[*program] { return manCommand{} },
}

// manCommand is one run of worker man.
type manCommand struct{}

// Settings are none.
func (manCommand) Settings() []cli.Settings { return nil }

// Run writes the pages.
func (manCommand) Run(_ context.Context, _ *program, c *cli.Call) error {
	if len(c.Args) != 1 {
		return cli.Usagef("name one folder")
	}
	if err := os.MkdirAll(c.Args[0], 0o755); err != nil {
		return err
	}
	for _, page := range cli.Pages(root) {
		f, err := os.Create(filepath.Join(c.Args[0], page.Name))
		if err != nil {
			return err
		}
		if err := errors.Join(page.Write(f, version()), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
