package catalog_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/embedding"
	"sdworker/models/catalog"
	"sdworker/models/modelstest"
)

func TestEmbeddingsOfFilesAndPictures(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "embeddings")
	modelstest.Write(t, filepath.Join(dir, "flat.safetensors"), nil, modelstest.F16("emb_params", 768))
	for from, to := range map[string]string{
		"image.png": "a.png", "preview.png": "b.png", "packed.png": "d.png", "international.png": "e.png", "notes.pt": "notes.pt",
	} {
		raw, err := os.ReadFile(filepath.Join("../../formats/embedding/testdata", from))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), raw, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "c.preview.png"), raw, 0o600))
	}
	c := open(t, catalog.Config{Roots: []string{root}, AllowPickle: true})
	carried := embedding.Embedding{Name: "carried", Vectors: 1, Shape: 768, Step: new(7)}
	for range 2 {
		got := map[string]embedding.Embedding{}
		for _, e := range c.Embeddings() {
			got[e.Name] = e.Content
		}
		require.Equal(t, map[string]embedding.Embedding{
			"a.png": carried, "d.png": carried, "e.png": carried,
			"flat.safetensors": {Name: "flat", Vectors: 1, Shape: 768},
			"notes.pt": {
				Name: "notes", Vectors: 2, Shape: 768,
				Step: new(1500), Checkpoint: new("6ce0161689"), CheckpointName: new("v1-5-pruned-emaonly"),
			},
		}, got)
	}
}
