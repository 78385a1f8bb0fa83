package main

import (
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

// TestExamples runs every program of examples/ against a server.
func TestExamples(t *testing.T) {
	examples, err := filepath.Abs("../../examples")
	require.NoError(t, err)
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	folder := t.TempDir()
	first := filepath.Join(folder, "go.png")
	for _, example := range []struct {
		needs []string
		args  []string
		file  string
	}{
		{[]string{"go"}, []string{"go", "run", filepath.Join(examples, "go/txt2img"), "a red fox", first}, first},
		{[]string{"bash", "curl", "jq"}, []string{filepath.Join(examples, "curl/txt2img.sh"), "a red fox"}, filepath.Join(folder, "curl.png")},
		{[]string{"bash", "curl", "jq"}, []string{filepath.Join(examples, "curl/job.sh"), "a red fox"}, filepath.Join(folder, "job.png")},
		{[]string{"python3"}, []string{filepath.Join(examples, "python/img2img.py"), "a red fox", first}, filepath.Join(folder, "python.png")},
	} {
		t.Run(filepath.Base(example.file), func(t *testing.T) {
			for _, name := range example.needs {
				clienttest.Program(t, name, name)
			}
			args := example.args
			if args[len(args)-1] != example.file {
				args = append(args, example.file)
			}
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Dir = filepath.Dir(examples)
			cmd.Env = append(os.Environ(), "SDWORKER_URL="+c.base)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			picture, err := os.Open(example.file)
			require.NoError(t, err)
			defer picture.Close()
			decoded, err := png.Decode(picture)
			require.NoError(t, err, "%s", out)
			assert.Positive(t, decoded.Bounds().Dx())
		})
	}
}
