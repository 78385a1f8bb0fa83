package cli

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

func printVerbs[P any](v *Verb[P], path string, w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage: %s COMMAND [flags]\n\n", v.Short, path)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, s := range v.Verbs {
		if !s.Hidden {
			fmt.Fprintf(tw, "  %s\t%s\n", s.Name, s.Short)
		}
	}
	tw.Flush()
	fmt.Fprintf(w, "\n%s help COMMAND describes one of them.\n", path)
	if v.Long != "" {
		fmt.Fprintf(w, "\n%s\n", v.Long)
	}
}

func printFlags[P any](v *Verb[P], path string, w io.Writer) {
	command := v.New()
	usage := path
	if len(command.Settings()) > 0 {
		usage += " [flags]"
	}
	if v.Args != "" {
		usage += " " + v.Args
	}
	fmt.Fprintf(w, "%s\n\nUsage: %s\n", v.Short, usage)
	if v.Long != "" {
		fmt.Fprintf(w, "\n%s\n", v.Long)
	}
	for i, line := range v.Examples {
		if i == 0 {
			fmt.Fprintln(w, "\nExamples:")
		}
		fmt.Fprintf(w, "  %s\n", line)
	}
	if f, ok := command.(Flagger); ok {
		fs := flag.NewFlagSet(v.Name, flag.ContinueOnError)
		f.RegisterFlags(fs)
		fmt.Fprintln(w)
		fs.VisitAll(func(f *flag.Flag) { fmt.Fprintf(w, "  --%s\n        %s\n", f.Name, f.Usage) })
	}
	for _, s := range command.Settings() {
		if s.VariablesOnly {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", s.Title)
		for _, f := range s.Fields() {
			fmt.Fprintf(w, "  --%s%s\n        %s\n", f.Flag, f.argument(), f.describe(s.Environment))
		}
	}
}

// WriteTables prints a Markdown table for each group of settings.
func WriteTables(w io.Writer, all []Settings) {
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "## %s\n\n", strings.TrimSuffix(s.Title, ":"))
		fmt.Fprintln(w, "| Variable | Flag | Default | Meaning |")
		fmt.Fprintln(w, "|---|---|---|---|")
		for _, f := range s.Fields() {
			name := code("--" + f.Flag)
			if s.VariablesOnly {
				name = ""
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", code(f.Variable), name, code(f.Default), strings.ReplaceAll(f.Doc, "|", `\|`))
		}
	}
}

// code returns s as Markdown code, and "" for "".
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
