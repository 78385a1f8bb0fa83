package sdapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
)

// The file of a checkpoint is read beside the job, which does not wait for it.
func TestHashIsReadBesideTheJob(t *testing.T) {
	f := start(t)
	f.catalog.Tell(sdapitest.Files(sdapitest.Checkpoint("a.safetensors", ""))...)
	begun := make(chan struct{}, 2)
	f.catalog.Sum = func(context.Context, string) (string, error) {
		begun <- struct{}{}
		return strings.Repeat("b", 64), nil
	}
	f.gen.Wait = func(context.Context, inference.Hooks, int) error {
		<-begun // while the engine samples
		return nil
	}
	g := f.post("/sdapi/v1/txt2img", small(nil)).generated(t)
	require.Equal(t, "bbbbbbbbbb", g.info["sd_model_hash"])
	require.Contains(t, g.info["infotexts"].([]any)[0], "Model hash: bbbbbbbbbb, Model: a")
	require.Empty(t, g.info["notes"])
}

// A reply goes out without a hash that takes too long, and the next one has it.
func TestSlowHash(t *testing.T) {
	f := start(t, func(c *sdapi.Config) { c.HashWait = time.Nanosecond })
	f.catalog.Tell(sdapitest.Files(sdapitest.Checkpoint("a.safetensors", ""))...)
	release := make(chan struct{})
	f.catalog.Sum = func(ctx context.Context, _ string) (string, error) {
		select {
		case <-release:
			return strings.Repeat("b", 64), nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	body := small(map[string]any{"prompt": "<lora:foo:1>", "override_settings": map[string]any{"sd_vae": "sharp.safetensors"}})
	g := f.post("/sdapi/v1/txt2img", body).generated(t)
	text := g.info["infotexts"].([]any)[0].(string)
	require.NotContains(t, text, "Model hash")
	require.NotContains(t, text, "VAE hash")
	require.Contains(t, text, "Size: 64x64, Model: a, VAE: sharp.safetensors, Lora hashes")
	require.Empty(t, g.info["sd_model_hash"])
	require.Contains(t, g.info["notes"].([]any)[0], "still being hashed")
	close(release)
	f.catalog.Sum = nil
	g = f.post("/sdapi/v1/txt2img", small(nil)).generated(t)
	require.Equal(t, "aaaaaaaaaa", g.info["sd_model_hash"])
}

// The VAEs of Stable Diffusion XL load like those of 1.x; their digests give them
// away.
func TestVAEOfAnotherFamily(t *testing.T) {
	f := start(t)
	notes := func(digest string) any {
		f.catalog.Sum = func(context.Context, string) (string, error) { return digest, nil }
		return f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": map[string]any{"sd_vae": "sharp.safetensors"}})).generated(t).info["notes"]
	}
	for _, digest := range []string{
		"63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e",
		"235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1",
	} {
		require.Equal(t, []any{"VAE 'sharp.safetensors' is that of Stable Diffusion XL: it paints wrong colours with this checkpoint"}, notes(digest))
	}
	require.Empty(t, notes(strings.Repeat("b", 64)))
}
