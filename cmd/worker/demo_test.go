package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/internal/cli"
	"sdworker/models/demo"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// newDemoHome makes an empty home without a checkpoint the working folder. The demo
// model in its cache is one of no content, which the fake engine takes.
func newDemoHome(t *testing.T) (home, checkpoint string) {
	t.Helper()
	home = t.TempDir()
	t.Chdir(home)
	place, err := (&program{Terminal: cli.Terminal{Environ: environ(home, openGate)}}).demoPlace()
	require.NoError(t, err)
	for _, kind := range demo.Kinds() {
		tensors := []safetensors.Tensor{modelstest.F16("x", 4)}
		if kind == demo.Checkpoint { // lists hold what can be used
			var err error
			tensors, err = synth.Parameters(synth.Options{})
			require.NoError(t, err)
		}
		modelstest.Write(t, place.Path(kind), map[string]string{"sdworker.demo": string(kind)}, tensors...)
	}
	return home, place.Path(demo.Checkpoint)
}

func TestGenerateWithoutACheckpoint(t *testing.T) {
	newDemoHome(t)
	const warning = "no checkpoint was found, so the demo model draws"
	got := worker(t, "generate", "--prompt", "a cat", "--seed", "1", "--output", "cat.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, warning)
	require.Contains(t, got.err, "Steps: 20, Sampler: Euler a,")
	require.Contains(t, got.err, "Size: 256x256, Model hash: "+demo.Digest[:10]+", Model: demo,")
	got = worker(t, "generate", "--prompt", "a cat", "--width", "64", "--height", "64", "--steps", "2", "--output", "cat.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "Steps: 2,")
	require.Contains(t, got.err, "Size: 64x64,")

	got = worker(t, "generate", "--prompt", "a cat", "--demo=false")
	require.Equal(t, cli.StatusError, got.status)
	require.Contains(t, got.err, "No checkpoints found")
	got = workerWith(t, func(p *program) { p.Environ["RUNPOD_POD_ID"] = "x" }, "generate", "--prompt", "a cat")
	require.Equal(t, cli.StatusError, got.status, "a toy must not hide that the model is missing")
	require.Contains(t, got.err, "No checkpoints found")
	got = worker(t, "generate", "--prompt", "a cat", "--demo", "--model", "other")
	require.Equal(t, cli.StatusUsage, got.status)
	require.Contains(t, got.err, "--demo and --model exclude each other")

	// Beside a checkpoint it is used on demand only.
	modelstest.Write(t, filepath.Join("models", "Stable-diffusion", "mine.safetensors"), nil, modelstest.F16("x", 4))
	small := []string{"generate", "--prompt", "a cat", "--steps", "2", "--width", "64", "--height", "64", "--output", "cat.png"}
	got = worker(t, small...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "Model: mine,")
	require.NotContains(t, got.err, "demo model")
	got = worker(t, append(small, "--demo")...)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "Model: demo,")
	require.NotContains(t, got.err, warning)
}

// Started in the folder of the source, which has a models folder of another kind, the
// program finds no model there: neither the demo model's stored weights nor test data.
func TestRunInTheSourceFolder(t *testing.T) {
	source, err := filepath.Abs("../../models")
	require.NoError(t, err)
	home, checkpoint := newDemoHome(t)
	require.NoError(t, os.CopyFS("models", os.DirFS(source)))
	require.FileExists(t, "models/demo/demo.go")
	got := worker(t, "generate", "--prompt", "a cat", "--steps", "2", "--output", "cat.png")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "no checkpoint was found, so the demo model draws")
	require.FileExists(t, "cat.png")

	_, c := serve(t, home, openGate)
	c.ready()
	var list []struct{ Filename string }
	require.NoError(t, json.Unmarshal([]byte(c.get("/sdapi/v1/sd-models").body), &list))
	require.Len(t, list, 1)
	require.Equal(t, checkpoint, list[0].Filename)
	for _, path := range []string{"loras", "sd-vae", "embeddings"} {
		require.NotContains(t, c.get("/sdapi/v1/"+path).body, filepath.Join(home, "models"), path)
	}
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", small).pictures(t))
}

func TestServeWithoutACheckpoint(t *testing.T) {
	home, checkpoint := newDemoHome(t)
	r, c := serve(t, home, openGate)
	c.ready()
	require.Contains(t, r.err.String(), "no checkpoint was found, so the demo model draws")
	title := "demo.safetensors [" + demo.Digest[:10] + "]"
	var list []struct{ Title, Filename string }
	require.NoError(t, json.Unmarshal([]byte(c.get("/sdapi/v1/sd-models").body), &list))
	require.Len(t, list, 1)
	require.Equal(t, title, list[0].Title)
	require.Equal(t, checkpoint, list[0].Filename)
	var toys struct{ Titles, Prompts []string }
	require.NoError(t, json.Unmarshal([]byte(c.get("/webui/toys.json").body), &toys))
	require.Equal(t, []string{title}, toys.Titles)
	require.NotEmpty(t, toys.Prompts)
	require.Contains(t, c.get("/sdapi/v1/embeddings").body, "robot")
	require.Equal(t, 1, c.do(http.MethodPost, "/sdapi/v1/txt2img", small).pictures(t))
	r.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, r.wait())
}

func TestServeWithoutACheckpointAndDemo(t *testing.T) {
	home, _ := newDemoHome(t)
	r, c := serve(t, home, openGate, "--demo=false")
	r.await("the model cannot be loaded")
	require.NotEqual(t, http.StatusOK, c.get("/readyz").status)
	require.NotContains(t, c.get("/sdapi/v1/sd-models").body, "demo")
}

func TestGenerateSheet(t *testing.T) {
	newHome(t)
	require.NoError(t, os.WriteFile("prompts.txt", []byte("a cat\n\n  a dog \na fox\na bird"), 0o600))
	got := worker(t, "generate", "--prompts", "prompts.txt", "--grid", "sheet.png", "--output", "all", "--seed", "5", "--steps", "2", "--width", "64", "--height", "72")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Equal(t, "all/00000-5.png\nall/00001-5.png\nall/00002-5.png\nall/00003-5.png\nsheet.png\n", got.out)
	sheet, err := os.ReadFile("sheet.png")
	require.NoError(t, err)
	requirePicture(t, sheet, "png", 128, 144)
	require.Contains(t, parametersOf(t, "all/00001-5.png"), "a dog\n")
	require.Contains(t, parametersOf(t, "sheet.png"), "a cat\n")

	for _, c := range []struct {
		args []string
		err  string
	}{
		{[]string{"--prompts", "prompts.txt", "--prompt", "a"}, "exclude each other"},
		{[]string{"--prompts", "none.txt"}, "read the prompts"},
		{[]string{"--prompts", "/dev/null"}, "there is no prompt in"},
		{[]string{"--prompts", "prompts.txt", "--output", "-"}, "takes one picture only, not 4"},
	} {
		got := worker(t, append([]string{"generate"}, c.args...)...)
		require.NotEqual(t, cli.StatusOK, got.status)
		require.Contains(t, got.err, c.err)
	}
}

func TestSynthDemo(t *testing.T) {
	newHome(t)
	got := worker(t, "models", "synth", "--kind", "demo-embedding", "robot.safetensors")
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "a toy that draws cartoons")
	require.Contains(t, worker(t, "models", "info", "robot.safetensors").out, "the demo model")
	for _, c := range []struct {
		args []string
		err  string
	}{
		{[]string{"--kind", "demos"}, `--kind "demos" is none of`},
		{[]string{"--kind", "demo", "--size", "tiny"}, "has neither --size nor --seed"},
		{[]string{"--kind", "demo-family", "--seed", "1"}, "has neither --size nor --seed"},
	} {
		got := worker(t, append([]string{"models", "synth", "x"}, c.args...)...)
		require.Equal(t, cli.StatusUsage, got.status)
		require.Contains(t, got.err, c.err)
		require.NoFileExists(t, "x")
	}
}
