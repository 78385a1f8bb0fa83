// Command worker makes Stable Diffusion 1.5 pictures: from the command line, as
// the AUTOMATIC1111 HTTP API and as a RunPod serverless worker.
package main

import (
	"context"
	"os"

	"github.com/caarlos0/env/v10"

	"sdworker/inference"
	"sdworker/internal/cli"
)

// program is one run of the worker with all that it reads and writes, so that
// tests can run it in their own process.
type program struct {
	cli.Terminal

	open inference.OpenFunc // loads checkpoints; nil is the engine
}

type verb = cli.Verb[*program]

// root is the command line's tree.
var root = &verb{
	Name: "worker", Short: "worker makes Stable Diffusion 1.5 pictures and speaks the AUTOMATIC1111 API.",
	Verbs: []*verb{generateVerb, serveVerb, runpodVerb, mcpVerb, modelsVerb, infoVerb, doctorVerb, benchVerb, versionVerb, envVerb, completionVerb, manVerb, engineVerb},
	Long:  "Every flag of the commands with an engine is also an environment variable: --models-dir is MODELS_DIR.",
}

func main() {
	os.Exit(newProgram().main(os.Args[1:]))
}

// newProgram is a run with what this process has.
func newProgram() *program {
	return &program{Terminal: cli.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: env.ToMap(os.Environ())}}
}

// main runs until a signal and returns the exit status.
func (p *program) main(args []string) int {
	ctx, stop := cli.UntilSignal()
	defer stop()
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	return cli.Run(ctx, &p.Terminal, p, root, args)
}
