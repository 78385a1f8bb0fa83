package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
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
	c, err := newCatalog(catalog.Config{Roots: []string{root}, AllowPickle: true})
	require.NoError(t, err)
	for range 2 {
		require.Equal(t, []sdapi.Embedding{
			{Path: filepath.Join(dir, "a.png"), Name: "carried", Vectors: 1, Width: 768, Step: new(7)},
			{Path: filepath.Join(dir, "d.png"), Name: "carried", Vectors: 1, Width: 768, Step: new(7)},
			{Path: filepath.Join(dir, "e.png"), Name: "carried", Vectors: 1, Width: 768, Step: new(7)},
			{Path: filepath.Join(dir, "flat.safetensors"), Name: "flat", Vectors: 1, Width: 768},
			{
				Path: filepath.Join(dir, "notes.pt"), Name: "notes", Vectors: 2, Width: 768,
				Step: new(1500), Checkpoint: new("6ce0161689"), CheckpointName: new("v1-5-pruned-emaonly"),
			},
		}, c.Embeddings())
	}
}
