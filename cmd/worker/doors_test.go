package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/cli"
	"sdworker/models"
	"sdworker/models/modelstest"
)

// Every door says the same of a model file: models info, models verify and the lists
// of the API.
func TestEveryDoorSaysTheSameOfAFile(t *testing.T) {
	home := newHome(t)
	root := filepath.Join(home, "models")
	const most = 100 << 20 // bytes that models verify reads here, and the lists hash
	var cases []modelstest.Case
	paths := map[string]string{}
	for _, c := range modelstest.Cases(t) {
		path := c.Write(t, root)
		if info, err := os.Stat(path); c.Kind == models.Checkpoint && c.Problem == "" && err == nil && info.Size() > most {
			require.NoError(t, os.Remove(path))
			continue
		}
		cases, paths[c.Name] = append(cases, c), path
	}
	loraFile(t, "models/Stable-diffusion/misplaced.safetensors")

	_, client := serve(t, home, openGate)
	lists := map[models.Kind]string{
		models.Checkpoint: client.get("/sdapi/v1/sd-models").body, models.VAE: client.get("/sdapi/v1/sd-vae").body,
		models.Upscaler: client.get("/sdapi/v1/upscalers").body, models.ControlNet: client.get("/controlnet/model_list").body,
		models.LoRA: client.get("/sdapi/v1/loras").body, models.Embedding: client.get("/sdapi/v1/embeddings").body,
	}
	require.NotContains(t, lists[models.Checkpoint], "misplaced")
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			path := paths[c.Name]
			if list, ok := lists[c.Kind]; ok {
				require.Equal(t, c.Problem == "", strings.Contains(list, strings.TrimSuffix(c.FileName(), ".safetensors")), list)
			}
			got := worker(t, "models", "info", "--json", path)
			if got.status == cli.StatusError { // no container, or a broken one
				require.NotEmpty(t, c.Problem, got.err)
				require.Contains(t, got.err, c.Problem)
			} else {
				var info struct {
					Kind    models.Kind
					Usable  bool
					Problem string
				}
				require.NoError(t, json.Unmarshal([]byte(got.out), &info))
				if info.Kind == c.Kind { // it is judged as what it holds
					require.Equal(t, c.Problem == "", info.Usable, info.Problem)
					require.Contains(t, info.Problem, c.Problem)
				}
			}
			if stat, err := os.Stat(path); err == nil && stat.Size() > most {
				return
			}
			got = worker(t, "models", "verify", path)
			if c.Problem == "" {
				require.Equal(t, cli.StatusOK, got.status, got.out+got.err)
				require.Equal(t, c.NoNumbers, strings.Contains(got.out, "values are not finite"), got.out)
			} else if got.status != cli.StatusOK {
				require.Contains(t, got.out, path)
			}
		})
	}
}

// Without names models verify judges a file by its folder.
func TestModelsVerifyByFolder(t *testing.T) {
	newHome(t)
	require.NoError(t, os.Remove(filepath.Join("models", "Stable-diffusion", checkpointName+".safetensors")))
	loraFile(t, "models/Stable-diffusion/misplaced.safetensors")
	loraFile(t, "models/Lora/right.safetensors")
	got := worker(t, "models", "verify")
	require.Equal(t, cli.StatusError, got.status)
	require.Regexp(t, `(?m)^bad  .*misplaced.safetensors holds a LoRA, not a checkpoint`, got.out)
	require.Regexp(t, `(?m)^ok   [0-9a-f]{64}  .*right.safetensors$`, got.out)
}
