package archtest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wallClock finds times that have no monotonic reading. Go compares all others by a clock
// that nobody sets, so that deadlines, waits and ages do not jump with the machine's time.
var wallClock = regexp.MustCompile(`\.Round\(0\)|\btime\.(Unix\w*|Date|Parse\w*)\(|\bhttp\.ParseTime\(`)

// TestClocksThatJump: where the time of day counts is known, and why it does no harm there.
func TestClocksThatJump(t *testing.T) {
	known := map[string]string{
		"api/runpod/thaw.go":        "looks for jumps",
		"api/jobs/openapi.go":       "an example in a document",
		"inference/remote/serve.go": "a deadline that has passed, whatever the time",
		"models/fetch/errors.go":    "a server's wish, bounded below and above",
	}
	found := map[string]bool{}
	for _, folder := range []string{"api", "cmd", "convnet", "formats", "inference", "internal", "models"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if name, _ := filepath.Rel(root, path); wallClock.Match(text) {
				found[name] = true
				require.Contains(t, known, name, "it has a time without a monotonic reading: %s", wallClock.Find(text))
			}
			return err
		}))
	}
	for name, why := range known {
		require.True(t, found[name], "%s: %s", name, why)
	}
}
