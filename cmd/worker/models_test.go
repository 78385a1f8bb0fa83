package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/internal/cli"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// loraFile writes a small LoRA with hints of its training.
func loraFile(t *testing.T, path string) string {
	t.Helper()
	return modelstest.Write(t, path, map[string]string{
		"ss_network_dim": "4", "ss_network_alpha": "2", "ss_sd_model_name": "base.safetensors", "ss_resolution": "512,512",
		"ss_num_train_images": "30", "ss_num_epochs": "7", "ss_tag_frequency": `{"a":{"cat":3,"mat\u001b[2J":5}}`,
	}, modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_down.weight", 4, 768), modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_up.weight", 768, 4))
}

func TestModelsInfo(t *testing.T) {
	newHome(t)
	loraFile(t, "l.safetensors")
	got := worker(t, "models", "info", "l.safetensors")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	for _, line := range []string{
		"file      l.safetensors\n", "holds     lora, sd1, safetensors\n", "2 tensors, 6144 values, mostly F16\n", "usable    yes\n",
		"rank      4\n", "alpha     2\n", "changes   text encoder\n", "base      base.safetensors\n", "trained   512,512\n",
		"pictures  30\n", "epochs    7\n", `tags      "mat\x1b[2J" (5), cat (3)` + "\n", "metadata  ss_network_dim = 4\n",
	} {
		require.Contains(t, got.out, line)
	}
	require.NotContains(t, got.out, "\x1b")
	require.NotContains(t, got.out, "lora_down")
	require.Contains(t, worker(t, "models", "info", "--tensors", "l.safetensors").out, "tensor    lora_te_text_model_encoder_layers_0_mlp_fc2.lora_down.weight F16 [4 768]\n")

	var report struct {
		Kind, Arch string
		Usable     bool
		Tensors    []any
		Training   struct{ Rank int }
	}
	require.NoError(t, json.Unmarshal([]byte(worker(t, "models", "info", "--json", "l.safetensors").out), &report))
	require.Equal(t, "lora", report.Kind)
	require.True(t, report.Usable)
	require.Equal(t, 4, report.Training.Rank)
	require.Empty(t, report.Tensors)

	checkpoint := filepath.Join("models", "Stable-diffusion", "tiny.safetensors")
	require.NoError(t, os.WriteFile("empty.safetensors", nil, 0o600))
	got = worker(t, "models", "info", "empty.safetensors", checkpoint, "absent")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.out, "usable    no: "+checkpoint+" holds no model", "the others are told about all the same")
	require.Contains(t, got.err, "empty.safetensors is empty")
	require.Contains(t, got.err, "no file absent")
}

func TestModelsListTellsWhatFilesHold(t *testing.T) {
	testdataFolder, err := filepath.Abs("../../formats/embedding/testdata")
	require.NoError(t, err)
	home := newHome(t)
	loraFile(t, "models/Stable-diffusion/misplaced.safetensors")
	loraFile(t, "models/Lora/two\nlines.safetensors")
	picture, err := os.ReadFile(filepath.Join(testdataFolder, "image.png"))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir("models/embeddings", 0o755))
	require.NoError(t, os.WriteFile("models/embeddings/p.png", picture, 0o600))
	got := worker(t, "models", "ls")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Regexp(t, `(?m)^checkpoint +lora +misplaced.safetensors +0 +`+home+`/models/Stable-diffusion/misplaced.safetensors$`, got.out)
	require.Regexp(t, `(?m)^checkpoint +unknown +tiny.safetensors `, got.out)
	require.Regexp(t, `(?m)^lora +sd1 +"two\\nlines.safetensors" `, got.out)
	require.Regexp(t, `(?m)^embedding +picture +p.png `, got.out)
	require.NotContains(t, worker(t, "models", "verify").out, "p.png")
	var files []struct{ Kind string }
	require.NoError(t, json.Unmarshal([]byte(worker(t, "models", "ls", "--json").out), &files))
	require.Len(t, files, 4)
	require.Equal(t, "lora", files[2].Kind)
}

func TestModelsVerify(t *testing.T) {
	newHome(t)
	loraFile(t, "l.safetensors")
	whole, err := os.ReadFile("l.safetensors")
	require.NoError(t, err)
	copy(whole[len(whole)-4:], "\x00\x7c\x00\x7c") // two infinities
	require.NoError(t, os.WriteFile("inf.safetensors", whole, 0o600))
	require.NoError(t, os.WriteFile("cut.safetensors", whole[:len(whole)-1], 0o600))

	got := worker(t, "models", "verify", "l.safetensors")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Regexp(t, `^ok   [0-9a-f]{64}  l.safetensors\n$`, got.out)
	got = worker(t, "models", "verify", "inf.safetensors", "cut.safetensors")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.out, "(2 values are not finite, the first in lora_te_text_model_encoder_layers_0_mlp_fc2.lora_")
	require.Contains(t, got.out, "bad  cut.safetensors is not a valid safetensors file: it is truncated")
	require.Contains(t, got.err, "1 of 2 files cannot be used")

	other := "0000000000000000000000000000000000000000000000000000000000000000"
	got = worker(t, "models", "verify", "--sha256", other, "l.safetensors")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.out, "where "+other+" is expected")
	require.Equal(t, cli.StatusUsage, worker(t, "models", "verify", "--sha256", "12", "l.safetensors").status)

	got = worker(t, "models", "verify")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.out, "tiny.safetensors holds no model that is known here", "without names those of the folders")
}

func TestModelsPullAndRemove(t *testing.T) {
	home := newHome(t)
	source := loraFile(t, "source/style.safetensors")
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.ServeFile(w, r, source)
	}))
	defer server.Close()
	ref := server.URL + "/style.safetensors"

	got := worker(t, "models", "pull", "--to", "mine", ref)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	path := filepath.Join(home, "mine", "Lora", "style.safetensors")
	require.Equal(t, path+"\n", got.out)
	require.FileExists(t, path)
	before := asked
	got = worker(t, "models", "pull", "--to", "mine", ref)
	require.Equal(t, path+"\n", got.out)
	require.Contains(t, got.err, "there already")
	require.Equal(t, before, asked)

	got = worker(t, "models", "pull", "--to", "mine", "--name", "again", "--models-cache-limit", "20000", "--quiet", "--force", ref)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Empty(t, got.err)
	require.Equal(t, "again.safetensors\n", filepath.Base(got.out))
	got = worker(t, "models", "pull", "--to", "mine", "--models-cache-limit", "20000", "--force", ref)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "removed to make room")
	require.NoFileExists(t, "mine/Lora/again.safetensors")

	require.Equal(t, cli.StatusUsage, worker(t, "models", "pull", "--kind", "loras", ref).status)
	require.Equal(t, cli.StatusUsage, worker(t, "models", "pull", "--sha256", "xyz", ref).status)
	got = worker(t, "models", "pull", "--to", "mine", "--kind", "vae", ref)
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "holds a LoRA, not a VAE")
	require.NoFileExists(t, "mine/VAE/style.safetensors")

	got = worker(t, "models", "rm", "source/style.safetensors")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "was not fetched by this program")
	require.FileExists(t, source)
	require.Equal(t, cli.StatusOK, worker(t, "models", "rm", "mine/Lora/style.safetensors").status, "a relative path is as good")
	require.NoFileExists(t, path)
	require.Equal(t, cli.StatusOK, worker(t, "models", "rm", "--force", source).status)
	require.NoFileExists(t, source)
	got = worker(t, "models", "rm", "--force", "source")
	require.Contains(t, got.err, "is a folder")
	require.DirExists(t, "source")
}

func TestModelsConvert(t *testing.T) {
	newHome(t)
	modelstest.Write(t, "l.safetensors", nil,
		safetensors.Tensor{Name: "lora_te_text_model_encoder_layers_0_mlp_fc2.lora_down.weight", DType: safetensors.F32, Shape: []int64{4, 768}},
		safetensors.Tensor{Name: "lora_te_text_model_encoder_layers_0_mlp_fc2.lora_up.weight", DType: safetensors.F32, Shape: []int64{768, 4}})
	got := worker(t, "models", "convert", "l.safetensors", "half.safetensors")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, worker(t, "models", "info", "half.safetensors").out, "mostly F16")
	for _, args := range [][]string{
		{"--dtype", "q8_0", "l.safetensors", "small.safetensors"},
		{"--dtype", "keep", "l.safetensors", "small.gguf"},
		{"--dtype", "q9_9", "l.safetensors", "small.gguf"},
	} {
		got = worker(t, append([]string{"models", "convert"}, args...)...)
		require.Equal(t, cli.StatusUsage, got.status, args)
		require.Contains(t, got.err, "--dtype")
		require.NoFileExists(t, args[3])
	}
}

// What a chosen file is instead of a checkpoint is said in one sentence, whichever
// way it is used.
func TestGenerateWithAModelThatIsNone(t *testing.T) {
	newHome(t)
	require.NoError(t, os.Mkdir("folder.safetensors", 0o755))
	require.NoError(t, synth.Write(t.Context(), "old.ckpt", synth.Options{Kind: synth.LoRA, Size: synth.Tiny})) // whatever it holds
	for name, want := range map[string]string{
		"folder.safetensors": "folder.safetensors is a folder; name the single .safetensors or .gguf file",
		"absent.safetensors": `no checkpoint or file named "absent.safetensors"`,
	} {
		got := worker(t, "generate", "--prompt", "a cat", "--model", name, "--output", "o.png")
		require.NotEqual(t, cli.StatusOK, got.status)
		require.Contains(t, got.err, want)
		require.NoFileExists(t, "o.png")
	}
	got := worker(t, "generate", "--prompt", "a cat", "--model", "old.ckpt", "--output", "o.png")
	require.NotContains(t, got.err, "no checkpoint", "the engine decides about a file that is there")
}
