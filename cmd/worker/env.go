package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

var envVerb = &verb{
	name: "env", short: "print every setting with its default and meaning, as a Markdown table",
	run: func(_ context.Context, p *program, _ *call) error {
		writeTable(p.out)
		return nil
	},
}

// writeTable prints the table that README.md carries.
func writeTable(w io.Writer) {
	fmt.Fprintln(w, "| Variable | Flag | Default | Meaning |")
	fmt.Fprintln(w, "|---|---|---|---|")
	for _, s := range everySetting() {
		for _, f := range s.fields() {
			preset := ""
			if f.preset != "" {
				preset = "`" + f.preset + "`"
			}
			fmt.Fprintf(w, "| `%s` | `--%s` | %s | %s |\n", f.variable, f.flag, preset, strings.ReplaceAll(f.doc, "|", `\|`))
		}
	}
}

// everySetting lists all settings that the environment may give.
func everySetting() []settings {
	return append(new(common).settings(),
		apiSettingsOf(new(apiSettings)), servingSettings(new(serving)), accessSettings(new(access)))
}

func apiSettingsOf(a *apiSettings) settings {
	return settings{title: "API:", target: a, environment: true}
}

func servingSettings(s *serving) settings {
	return settings{title: "Server:", target: s, environment: true}
}

func accessSettings(a *access) settings {
	return settings{title: "Access:", target: a, environment: true}
}
