package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"sdworker/api/runpod"
	"sdworker/api/runpod/bridge"
	"sdworker/api/runpod/bucket"
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
			name := "`--" + f.flag + "`"
			if s.variablesOnly {
				name = ""
			}
			fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", f.variable, name, preset, strings.ReplaceAll(f.doc, "|", `\|`))
		}
	}
}

// everySetting lists all settings that the environment may give.
func everySetting() []settings {
	return append(new(common).settings(),
		apiSettingsOf(new(apiSettings)), servingSettings(new(serving)), accessSettings(new(access)),
		fetchSettingsOf(new(fetchSettings)), startSettingsOf(new(startSettings)),
		settings{title: "RunPod:", target: new(runpod.Config), environment: true, variablesOnly: true},
		bridgeSettings(new(bridge.Config)), bucketSettings(new(bucket.Config)))
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
