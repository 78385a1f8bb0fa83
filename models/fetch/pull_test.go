package fetch_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
	"sdworker/models/modelstest"
)

// loraFile is a small LoRA that works here.
func loraFile(t *testing.T) []byte {
	t.Helper()
	return content(t, modelstest.Write(t, filepath.Join(t.TempDir(), "l.safetensors"), nil,
		modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_down.weight", 4, 768), modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_up.weight", 768, 4)))
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
			assert.NoError(t, err)
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
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "Stable Diffusion XL")
	only(t, filepath.Join(root, "Stable-diffusion"))
}

func TestKindsHaveFolders(t *testing.T) {
	seen := map[string]models.Kind{}
	for _, kind := range models.Kinds() {
		folder := catalog.FolderFor(kind)
		require.Empty(t, seen[folder])
		seen[folder] = kind
	}
}

func TestPullTakesTheServersName(t *testing.T) {
	for _, c := range []struct{ name, header, want string }{
		{"token", `attachment; filename=detail.safetensors`, "detail.safetensors"},
		{"quoted", `attachment; filename="add detail.safetensors"`, "add detail.safetensors"},
		{"quoted pair", `attachment; filename="a \"b\".safetensors"`, "a _b_.safetensors"},
		{"semicolon", `attachment; filename="a;b.safetensors"; size=3`, "a;b.safetensors"},
		{"unquoted blanks", `attachment; filename=add detail.safetensors`, "add detail.safetensors"},
		{"extended", `attachment; filename="d.safetensors"; filename*=UTF-8''d%C3%A9tail.safetensors`, "détail.safetensors"},
		{"extended first", `attachment; filename*=utf-8'en'%E2%82%AC.safetensors; filename=euro.safetensors`, "€.safetensors"},
		{"latin-1", `attachment; filename*=ISO-8859-1''d%E9tail.safetensors`, "détail.safetensors"},
		{"unknown charset", `attachment; filename=plain.safetensors; filename*=gb18030''%B5.safetensors`, "plain.safetensors"},
		{"raw UTF-8", `attachment; filename="détail.safetensors"`, "détail.safetensors"},
		{"raw latin-1", "attachment; filename=\"d\xe9tail.safetensors\"", "détail.safetensors"},
		{"encoded word", `attachment; filename="=?UTF-8?B?ZMOpdGFpbC5zYWZldGVuc29ycw==?="`, "détail.safetensors"},
		{"inline, upper case", `inline; FILENAME="d.safetensors"`, "d.safetensors"},
		{"another extension", `attachment; filename="d.zip"`, "d.zip.safetensors"},
		{"path", `attachment; filename="../../../evil.safetensors"`, "evil.safetensors"},
		{"path of Windows", `attachment; filename="C:\\models\\evil.safetensors"`, "evil.safetensors"},
		{"encoded path", `attachment; filename*=UTF-8''..%2F..%2Fevil.safetensors`, "evil.safetensors"},
		{"absolute", `attachment; filename=/etc/evil.safetensors`, "evil.safetensors"},
		{"hidden", `attachment; filename=".evil.safetensors"`, "evil.safetensors"},
		{"line break", `attachment; filename*=UTF-8''a%0Ab%00.safetensors`, "a_b_.safetensors"},
		{"dots only", `attachment; filename=".."`, "download.safetensors"},
		{"too long", `attachment; filename="` + strings.Repeat("n", 300) + `.safetensors"`, "download.safetensors"},
		{"no name", `attachment`, "download.safetensors"},
		{"empty", `attachment; filename=""`, "download.safetensors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, loraFile(t))
			s.answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Disposition", c.header)
				return false
			})
			root := t.TempDir()
			res, err := fetcher(t, nil).Pull(t.Context(), s.URL+"/download?id=3", root, fetch.PullOptions{})
			require.NoError(t, err)
			require.Equal(t, filepath.Join(root, "Lora", c.want), res.Path)

			res, err = fetcher(t, nil).Pull(t.Context(), s.URL+"/download?id=3", root, fetch.PullOptions{})
			require.NoError(t, err)
			require.True(t, res.Present)

			res, err = fetcher(t, nil).Pull(t.Context(), s.URL+"/download?id=3", root, fetch.PullOptions{Name: "mine"})
			require.NoError(t, err)
			require.Equal(t, filepath.Join(root, "Lora/mine.safetensors"), res.Path)
		})
	}
}
