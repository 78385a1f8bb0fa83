package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/internal/cli"
	"sdworker/models/fetch"
	"sdworker/models/synth"
)

// fileServer serves files of a folder and counts requests.
func fileServer(t *testing.T, dir string) (address string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestFindModelFetchesWhatIsNotThere(t *testing.T) {
	home := newHome(t)
	require.NoError(t, os.Mkdir("source", 0o755))
	require.NoError(t, synth.Write(t.Context(), "source/new.safetensors", synth.Options{Kind: synth.Checkpoint, Size: synth.Tiny}))
	loraFile(t, "source/style.safetensors")
	address, asked := fileServer(t, "source")
	p := &program{Terminal: cli.Terminal{Err: io.Discard, Environ: environ(home, openGate)}}
	find := func(model, fallback string, allowed bool) (string, error) {
		var c common
		c.engine.Model, c.models.ModelsDir = model, "mine"
		err := p.findModel(t.Context(), &c, &findSettings{Fetch: allowed}, &fetchSettings{Parallel: 2}, fallback, zerolog.Nop())
		return c.engine.Model, err
	}

	_, err := find(address+"/new.safetensors", "", false)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Zero(t, asked.Load())

	path := filepath.Join(home, "mine", "Stable-diffusion", "new.safetensors")
	for range 2 {
		chosen, err := find(address+"/new.safetensors", "", true)
		require.NoError(t, err)
		require.Equal(t, path, chosen)
	}
	require.FileExists(t, path)
	before := asked.Load()
	chosen, err := find("new", "", true)
	require.NoError(t, err)
	require.Equal(t, "new", chosen, "what is there is not fetched")
	chosen, err = find("", address+"/never.safetensors", true)
	require.NoError(t, err)
	require.Empty(t, chosen, "any checkpoint will do without a choice")
	require.Equal(t, before, asked.Load())

	_, err = find(address+"/style.safetensors", "", true)
	require.ErrorContains(t, err, "holds a LoRA, not a checkpoint")
	require.NoFileExists(t, "mine/Lora/style.safetensors")
	_, err = find("/nowhere/x.safetensors", "", true)
	require.ErrorContains(t, err, `no checkpoint or file named "/nowhere/x.safetensors"`)
	require.ErrorContains(t, err, "nor can it be fetched")
}

func TestUsedFilesLeaveTheCacheLast(t *testing.T) {
	home := newHome(t)
	for _, name := range []string{"a", "b"} {
		loraFile(t, "source/"+name+".safetensors")
	}
	address, _ := fileServer(t, "source")
	for _, name := range []string{"a", "b"} {
		got := worker(t, "models", "pull", "--to", "mine", address+"/"+name+".safetensors")
		require.Equal(t, cli.StatusOK, got.status, got.err)
	}
	cache := &fetch.Cache{Record: cacheFile(environ(home, openGate), "fetched.json")}
	last := func() string {
		entries, err := cache.Entries()
		require.NoError(t, err)
		require.Len(t, entries, 2)
		return filepath.Base(entries[0].Path)
	}
	require.Equal(t, "b.safetensors", last())

	gen := newRecentModels(inference.NewPipeline(fakeOpener(openGate), inference.PipelineOptions{}), cache)
	defer gen.Close()
	a := filepath.Join(home, "mine", "Lora", "a.safetensors")
	require.NoError(t, gen.Load(t.Context(), inference.Files{Checkpoint: a}, inference.Hooks{}))
	require.Equal(t, "a.safetensors", last())
	require.NoError(t, os.WriteFile("broken.safetensors", []byte("broken"), 0o600))
	require.Error(t, gen.Load(t.Context(), inference.Files{Checkpoint: "broken.safetensors"}, inference.Hooks{}))
}
