//go:build cgo && sdcpp

package main

import (
	"crypto/sha256"
	"encoding/json"
	"image"
	"image/draw"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
)

// renamed copies a safetensors file with other names of tensors, none of them longer.
func renamed(t *testing.T, from, to string, names *strings.Replacer) {
	t.Helper()
	h, err := safetensors.ReadHeaderFile(from)
	require.NoError(t, err)
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	header := make([]byte, h.DataStart-8)
	_, err = in.ReadAt(header, 8)
	require.NoError(t, err)
	changed := names.Replace(string(header))
	require.LessOrEqual(t, len(changed), len(header))
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	out, err := os.Create(to)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	_, err = out.WriteAt([]byte(changed+strings.Repeat(" ", len(header)-len(changed))), 8)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// What the start of a worker makes of a checkpoint is what a request to the API makes of
// it: that of 2022 without a VAE inside, told by its config to predict v, is the model
// that it is under today's names with the trainer's note.
func TestRunPodOddCheckpoints(t *testing.T) {
	tiny := tinyCheckpoint(t)
	volume := t.TempDir() // as a network volume
	folder := filepath.Join(volume, "Stable-diffusion")
	old := strings.NewReplacer("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.", "first_stage_model.", "zirst_stage_model.")
	renamed(t, tiny, filepath.Join(folder, "a-odd.safetensors"), old)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a-odd.yaml"), []byte("model: {params: {parameterization: v}}\n"), 0o600))
	renamed(t, tiny, filepath.Join(folder, "a-odd.vae.safetensors"), strings.NewReplacer("model.diffusion_model.", "x.", "cond_stage_model.", "y."))
	require.NoError(t, os.Rename(tiny, filepath.Join(folder, "b-plain.safetensors")))

	w := startWorker(t, "MODELS_DIR="+volume)
	paint := func(checkpoint string) [sha256.Size]byte { // of the pixels: the text names the file
		input := "{" + shortJob + "}"
		if checkpoint != "" {
			input = `{"override_settings":{"sd_model_checkpoint":"` + checkpoint + `"},` + shortJob + `}`
		}
		r := decodeResult(t, w.do(input))
		require.Len(t, r.Images, 1)
		picture := decodePNG(t, r.Images[0])
		size := picture.Bounds().Size()
		pixels := image.NewNRGBA(image.Rectangle{Max: size})
		draw.Draw(pixels, pixels.Rect, picture, picture.Bounds().Min, draw.Src)
		return sha256.Sum256(pixels.Pix)
	}
	started := paint("")
	require.Equal(t, started, paint("a-odd"))
	require.NotEqual(t, started, paint("b-plain"), "it predicts epsilon")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "b-plain.yaml"), []byte("model: {params: {parameterization: v}}\n"), 0o600))
	require.Equal(t, started, paint("b-plain"), "the weights are the same")

	var listed []struct {
		Name string `json:"model_name"`
	}
	require.NoError(t, json.Unmarshal(w.do(api("GET", "/sdapi/v1/sd-models", "{}")).Output, &listed))
	require.Len(t, listed, 2)
}

// A checkpoint that cannot be used ends the start with the sentence that the lists have
// for it, wherever it comes from.
func TestRunPodRefusesCheckpoints(t *testing.T) {
	pipeline := func(dir string) string {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "model_index.json"), []byte("{}"), 0o600))
		return dir
	}
	volume := t.TempDir()
	cached := filepath.Join(volume, "huggingface-cache/hub/models--org--sd")
	pipeline(filepath.Join(cached, "snapshots/0123"))
	require.NoError(t, os.MkdirAll(filepath.Join(cached, "refs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(cached, "refs/main"), []byte("0123"), 0o600))
	tiny, noVAE := tinyCheckpoint(t), filepath.Join(t.TempDir(), "no-vae.safetensors")
	renamed(t, tiny, noVAE, strings.NewReplacer("first_stage_model.", "zirst_stage_model."))

	for name, tc := range map[string]struct{ environ, want string }{
		"a folder of diffusers by its path":        {"MODEL=" + pipeline(filepath.Join(t.TempDir(), "sd15")), "`worker models convert"},
		"a folder of diffusers that RunPod cached": {"MODELS_DIR=" + volume, "`worker models convert"},
		"without a VAE": {"MODEL=" + noVAE, "no-vae.safetensors has no VAE of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorker(t, tc.environ, "FETCH_MODEL=false")
			w.fails = true
			final := w.answer(w.Submit(json.RawMessage("{" + shortJob + "}")))
			require.Contains(t, final.Error, `"event":"prestart_failed"`)
			require.Contains(t, final.Error, tc.want)
			<-w.exited
		})
	}
}
