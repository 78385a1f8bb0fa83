package fetch_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/models"
	"sdworker/models/fetch"
	"sdworker/models/modelstest"
)

// loraFile is a small LoRA that works here.
func loraFile(t *testing.T) []byte {
	t.Helper()
	return content(t, modelstest.Write(t, filepath.Join(t.TempDir(), "l.safetensors"), nil,
		modelstest.F16("lora_te_x.lora_down.weight", 4, 768), modelstest.F16("lora_te_x.lora_up.weight", 768, 4)))
}

func TestPullPutsAFileWhereItsContentBelongs(t *testing.T) {
	for name, inOnePiece := range map[string]bool{"ranges": false, "one piece": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, loraFile(t))
			if inOnePiece {
				s.answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
					_, _ = w.Write(s.body)
					return true
				})
			}
			root := t.TempDir()
			f := fetcher(t, nil)
			res, err := f.Pull(t.Context(), s.URL+"/l.safetensors", root, fetch.PullOptions{})
			require.NoError(t, err)
			require.Equal(t, filepath.Join(root, "Lora/l.safetensors"), res.Path)
			only(t, filepath.Join(root, "Stable-diffusion"))

			before := s.count()
			res, err = f.Pull(t.Context(), s.URL+"/l.safetensors", root, fetch.PullOptions{})
			require.NoError(t, err)
			require.True(t, res.Present)
			require.Equal(t, filepath.Join(root, "Lora/l.safetensors"), res.Path)
			require.Equal(t, before, s.count())
		})
	}
}

func TestPullOfOneFileByTwoIsOneDownload(t *testing.T) {
	s := serve(t, loraFile(t))
	root := t.TempDir()
	var wait sync.WaitGroup
	results := make([]fetch.Result, 2)
	for i := range results {
		wait.Go(func() {
			var err error
			results[i], err = fetcher(t, nil).Pull(t.Context(), s.URL+"/l.safetensors", root, fetch.PullOptions{})
			require.NoError(t, err)
		})
	}
	wait.Wait()
	require.NotEqual(t, results[0].Present, results[1].Present)
	require.Equal(t, results[0].Path, results[1].Path)
}

// A checkpoint of another family has gigabytes; its header says enough.
func TestPullRefusesByTheHeader(t *testing.T) {
	file := content(t, modelstest.Write(t, filepath.Join(t.TempDir(), "xl.safetensors"), nil,
		modelstest.F16("conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight", 8, 768),
		modelstest.F16("model.diffusion_model.input_blocks.0.0.weight", 320, 4, 3, 3),
		modelstest.F16("model.diffusion_model.output_blocks.0.0.in_layers.2.weight", 640, 640, 3, 3)))
	s := serve(t, file)
	s.answer(func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if !isProbe(r) && !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
			<-r.Context().Done() // the rest is never sent
			return true
		}
		return false
	})
	root := t.TempDir()
	_, err := fetcher(t, nil).Pull(context.Background(), s.URL+"/xl.safetensors", root, fetch.PullOptions{})
	require.Equal(t, inference.Invalid, inference.CodeOf(err))
	require.ErrorContains(t, err, "Stable Diffusion XL")
	only(t, filepath.Join(root, "Stable-diffusion"))
}

func TestKindsHaveFolders(t *testing.T) {
	seen := map[string]models.Kind{}
	for _, kind := range models.Kinds() {
		folder := models.FolderFor(kind)
		require.Empty(t, seen[folder])
		seen[folder] = kind
	}
}
