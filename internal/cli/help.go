package cli

import (
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
	group := "\x00" // the first title, which may be empty, is another one
	for _, f := range outlineOf(v, path).flags {
		if f.group != group {
			group = f.group
			fmt.Fprintf(w, "\n%s", f.group)
			if group != "" {
				fmt.Fprintln(w)
			}
		}
		fmt.Fprintf(w, "  --%s%s\n        %s\n", f.name, f.value, f.text)
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
