package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"sdworker/inference/sdcpp"
	"sdworker/internal/cli"
)

// versionOptions are the flags of worker version.
type versionOptions struct {
	JSON bool `env:"JSON" doc:"print it as JSON"`
}

var versionVerb = &verb{
	Name: "version", Short: "print the version, the engine inside and the devices it finds",
	Examples: []string{"worker version", "worker version --json"},
	New:      func() cli.Command[*program] { return new(versionCommand) },
}

// versionCommand is one run of worker version.
type versionCommand struct {
	options versionOptions
}

// Settings are those of the command.
func (c *versionCommand) Settings() []cli.Settings {
	return []cli.Settings{{Title: "Output:", Target: &c.options}}
}

// Run prints the version.
func (c *versionCommand) Run(_ context.Context, p *program, _ *cli.Call) error {
	b := build{Version: version(), Go: runtime.Version(), Engine: sdcpp.Version(), CUDA: sdcpp.CUDAInfo()}
	if c.options.JSON {
		return printJSON(p.Out, b)
	}
	b.print(p)
	return nil
}

// build is what worker version prints.
type build struct {
	Version string
	Go      string
	Engine  sdcpp.Build
	CUDA    *sdcpp.CUDA // nil in a program that is not built for it
}

func (b *build) print(p *program) {
	e := b.Engine
	fmt.Fprintf(p.Out, "worker     %s (%s)\n", b.Version, b.Go)
	if e.Backend == "none" {
		fmt.Fprintf(p.Out, "engine     none: built without it, use make build\n")
		return
	}
	fmt.Fprintf(p.Out, "engine     %s, build %s, ggml %s\n", e.Pin, e.Key, e.GGML)
	fmt.Fprintf(p.Out, "backend    %s\n", e.Backend)
	if c := b.CUDA; c != nil {
		fmt.Fprintf(p.Out, "cuda       %s for compute capability %s; the driver knows %s\n", c.Runtime, c.ArchitectureList(), c.Driver)
	}
	if e.NoGPU != "" {
		fmt.Fprintf(p.Out, "vulkan     no GPU: %s\n", e.NoGPU)
	}
	fmt.Fprintf(p.Out, "cpu        %s\n", strings.Join(e.CPUFeatures, " "))
	fmt.Fprintf(p.Out, "allocator  %s\n", e.Allocator)
	for _, d := range e.Devices {
		fmt.Fprintf(p.Out, "device     %s: %s", d.Name, d.Description)
		if d.TotalBytes > 0 {
			fmt.Fprintf(p.Out, ", %d of %d MiB free", d.FreeBytes>>20, d.TotalBytes>>20)
		}
		if d.Software {
			fmt.Fprint(p.Out, ", software: used only when DEVICE names it")
		}
		fmt.Fprintln(p.Out)
	}
}

// stamped is the version that a build without history was given (-ldflags -X).
var stamped string

// version is the stamped version, the module's, or the commit it was built from.
func version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel " + s.Value
		}
	}
	return "devel"
}
