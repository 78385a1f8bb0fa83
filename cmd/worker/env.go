package main

import (
	"context"

	"sdworker/api/runpod"
	"sdworker/api/runpod/bridge"
	"sdworker/api/runpod/bucket"
	"sdworker/internal/cli"
)

var envVerb = &verb{
	Name: "env", Short: "print every setting with its default and meaning, as Markdown tables",
	Examples: []string{"worker env"},
	New:      func() cli.Command[*program] { return envCommand{} },
}

// envCommand is one run of worker env.
type envCommand struct{}

// Settings are none.
func (envCommand) Settings() []cli.Settings { return nil }

// Run prints the tables that docs/configuration.md carries.
func (envCommand) Run(_ context.Context, p *program, _ *cli.Call) error {
	cli.WriteTables(p.Out, everySetting())
	return nil
}

// everySetting lists all settings that the environment may give.
func everySetting() []cli.Settings {
	return append(new(common).settings(),
		new(serverSettings).settings(), new(accessSettings).settings(), new(webhookSettings).settings(), new(limitSettings).settings(), new(apiSettings).settings(), new(supervisionSettings).settings(), new(traceSettings).settings(),
		new(fetchSettings).settings(), new(foreignSettings).settings(),
		new(findSettings).settings(), new(demoSettings).settings(), new(startSettings).settings(), bridgeSettings(new(bridge.Config)), bucketSettings(new(bucket.Config)),
		platformSettings(new(runpod.Config)))
}

// foreignSettings describes variables of other programs that packages models and fetch
// heed, for the table.
type foreignSettings struct {
	HFToken      string `env:"HF_TOKEN" secret:"true" doc:"Hugging Face token, for models that need one"`
	HFOldToken   string `env:"HUGGING_FACE_HUB_TOKEN" secret:"true" doc:"older name of HF_TOKEN, used when that is not set"`
	HFOffline    bool   `env:"HF_HUB_OFFLINE" doc:"fetch nothing from Hugging Face"`
	HFEndpoint   string `env:"HF_ENDPOINT" envDefault:"https://huggingface.co" doc:"where Hugging Face files are fetched"`
	HFHubCache   string `env:"HF_HUB_CACHE" doc:"a Hugging Face cache in which models are found, too; else hub below HF_HOME"`
	HFHome       string `env:"HF_HOME" doc:"Hugging Face's folder"`
	CivitaiToken string `env:"CIVITAI_TOKEN" secret:"true" doc:"Civitai token, for models that need one"`
	Civitai      string `env:"CIVITAI_ENDPOINT" envDefault:"https://civitai.com" doc:"where Civitai files are fetched"`
	DataHome     string `env:"XDG_DATA_HOME" envDefault:"~/.local/share" doc:"fetched models go to sdworker/models below it"`
	CacheHome    string `env:"XDG_CACHE_HOME" envDefault:"~/.cache" doc:"hashes of model files are kept in sdworker below it"`
}

func (f *foreignSettings) settings() cli.Settings {
	return cli.Settings{Title: "Accounts and folders of others:", Target: f, VariablesOnly: true}
}
