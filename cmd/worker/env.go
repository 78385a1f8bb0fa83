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
	name: "env", short: "print every setting with its default and meaning, as Markdown tables",
	run: func(_ context.Context, p *program, _ *call) error {
		writeTables(p.out)
		return nil
	},
}

// writeTables prints a table for each group of settings, as docs/configuration.md
// carries them.
func writeTables(w io.Writer) {
	for i, s := range everySetting() {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "## %s\n\n", strings.TrimSuffix(s.title, ":"))
		fmt.Fprintln(w, "| Variable | Flag | Default | Meaning |")
		fmt.Fprintln(w, "|---|---|---|---|")
		for _, f := range s.fields() {
			name := code("--" + f.flag)
			if s.variablesOnly {
				name = ""
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", code(f.variable), name, code(f.preset), strings.ReplaceAll(f.doc, "|", `\|`))
		}
	}
}

// code is s as Markdown code; nothing stays nothing.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// everySetting lists all settings that the environment may give.
func everySetting() []settings {
	return append(new(common).settings(),
		servingSettings(new(serving)), accessSettings(new(access)), limitSettings(new(limits)), apiSettingsOf(new(apiSettings)), supervisionSettings(new(supervision)),
		fetchSettingsOf(new(fetchSettings)), settings{title: "Accounts and folders of others:", target: new(foreign), variablesOnly: true},
		findSettingsOf(new(findSettings)), demoSettingsOf(new(demoSettings)), startSettingsOf(new(startSettings)), bridgeSettings(new(bridge.Config)), bucketSettings(new(bucket.Config)),
		settings{title: "RunPod:", target: new(runpod.Config), environment: true, variablesOnly: true})
}

// foreign describes variables of other programs that packages models and fetch
// heed, for the table.
type foreign struct {
	HFToken      string `env:"HF_TOKEN" doc:"Hugging Face token, for models that need one"`
	HFOffline    bool   `env:"HF_HUB_OFFLINE" doc:"fetch nothing from Hugging Face"`
	HFEndpoint   string `env:"HF_ENDPOINT" envDefault:"https://huggingface.co" doc:"where Hugging Face files are fetched"`
	HFHubCache   string `env:"HF_HUB_CACHE" doc:"a Hugging Face cache in which models are found, too; else hub below HF_HOME"`
	HFHome       string `env:"HF_HOME" doc:"Hugging Face's folder"`
	CivitaiToken string `env:"CIVITAI_TOKEN" doc:"Civitai token, for models that need one"`
	Civitai      string `env:"CIVITAI_ENDPOINT" envDefault:"https://civitai.com" doc:"where Civitai files are fetched"`
	DataHome     string `env:"XDG_DATA_HOME" envDefault:"~/.local/share" doc:"fetched models go to sdworker/models below it"`
	CacheHome    string `env:"XDG_CACHE_HOME" envDefault:"~/.cache" doc:"hashes of model files are kept in sdworker below it"`
}

func apiSettingsOf(a *apiSettings) settings {
	return settings{title: "API:", target: a, environment: true}
}

func servingSettings(s *serving) settings {
	return settings{title: "Server:", target: s, environment: true}
}

func limitSettings(l *limits) settings {
	return settings{title: "Limits of a request:", target: l, environment: true}
}

func accessSettings(a *access) settings {
	return settings{title: "Access:", target: a, environment: true}
}
