package main

import (
	"context"
	"fmt"
	"runtime/debug"
)

var versionVerb = &verb{
	name: "version", short: "print the version, the engine it is built on and the devices it finds",
	run: func(_ context.Context, p *program, _ *call) error {
		fmt.Fprintf(p.out, "worker %s\n", version())
		return nil
	},
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += " " + s.Value
			}
		}
	}
	return v
}
