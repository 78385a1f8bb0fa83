package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/models/catalog"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// painted is what a reply with pictures tells.
type painted struct {
	images []string
	text   string // parameters of the first
}

func (c *client) paint(body string) painted {
	c.t.Helper()
	got := c.do(http.MethodPost, "/sdapi/v1/txt2img", body)
	require.Equal(c.t, http.StatusOK, got.status, got.body)
	var reply struct {
		Images []string
		Info   string
	}
	require.NoError(c.t, json.Unmarshal([]byte(got.body), &reply))
	var info struct{ Infotexts []string }
	require.NoError(c.t, json.Unmarshal([]byte(reply.Info), &info))
	return painted{reply.Images, info.Infotexts[0]}
}

// put writes a model file as trainers do: beside its place, then over it. Each
// content makes another file of the same size.
func put(t *testing.T, path, content string, shape ...int64) {
	t.Helper()
	if len(shape) == 0 {
		shape = []int64{4}
	}
	modelstest.Write(t, path+".tmp", map[string]string{"content": content}, modelstest.F16("x", shape...))
	require.NoError(t, os.Rename(path+".tmp", path))
}

func TestServeFollowsTheFiles(t *testing.T) {
	home := newHome(t)
	at := func(names ...string) string { return filepath.Join(append([]string{home, "models"}, names...)...) }
	checkpoint := at("Stable-diffusion", checkpointName+".safetensors")
	_, c := serve(t, home, openGate)
	c.ready()
	const plain = `{"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 3}`
	digest := func(path string) string {
		sum, err := catalog.Digest(context.Background(), path)
		require.NoError(t, err)
		return sum[:10]
	}
	first := c.paint(plain)
	require.Contains(t, first.text, "Model hash: "+digest(checkpoint))
	for _, content := range []string{"two", "six"} {
		put(t, checkpoint, content)
		got := c.paint(plain)
		require.NotEqual(t, first.images, got.images, "the old weights")
		require.Contains(t, got.text, "Model hash: "+digest(checkpoint))
		first = got
	}

	// A LoRA that is trained again and again.
	const styled = `{"prompt": "a cat <lora:style:1>", "steps": 2, "width": 64, "height": 64, "seed": 3}`
	var last painted
	for _, content := range []string{"one", "two"} {
		put(t, at("Lora", "style.safetensors"), content)
		got := c.paint(styled)
		require.NotEqual(t, first.images, got.images)
		require.NotEqual(t, last.images, got.images, "the old weights")
		require.Regexp(t, `Lora hashes: "style: [0-9a-f]{12}"`, got.text)
		last = got
	}
	require.Equal(t, first.images, c.paint(plain).images)

	// Files that come while the server runs.
	put(t, at("VAE", "late.safetensors"), "one")
	require.NotEqual(t, first.images, c.paint(`{"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 3, "override_settings": {"sd_vae": "late.safetensors"}}`).images)
	modelstest.Write(t, at("embeddings", "mychar.safetensors"), nil, safetensors.Tensor{Name: "emb_params", DType: safetensors.F16, Shape: []int64{2, 768}})
	require.Regexp(t, `TI hashes: "mychar: [0-9a-f]{12}"`, c.paint(`{"prompt": "a photo of mychar", "steps": 2, "width": 64, "height": 64}`).text)
	parameters := func(kind synth.Kind) []safetensors.Tensor { // lists hold what can be used
		list, err := synth.Parameters(synth.Options{Kind: kind})
		require.NoError(t, err)
		return list
	}
	modelstest.Write(t, at("ControlNet", "edges.safetensors"), nil, parameters(synth.ControlNet)...)
	require.Contains(t, c.get("/controlnet/model_list").body, "edges [")
	modelstest.Write(t, at("ESRGAN", "sharp.safetensors"), nil, parameters(synth.ESRGAN)...)
	require.Contains(t, c.get("/sdapi/v1/upscalers").body, "sharp")

	// What is loaded stays in use when its file goes.
	first = c.paint(plain)
	require.NoError(t, os.Remove(checkpoint))
	require.Equal(t, http.StatusOK, c.get("/controlnet/model_list").status) // looks at the folders again
	require.Equal(t, first, c.paint(plain))
	c.ready()
}
