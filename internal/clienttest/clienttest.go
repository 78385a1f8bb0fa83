// Package clienttest finds other people's programs that tests drive: clients of the
// APIs, RunPod's SDK, a judge of pages. Scripts beside those tests install them.
package clienttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Folder is where the install scripts put packages: SDWORKER_CLIENTS, or
// sdworker-clients in the user's cache.
func Folder(tb testing.TB) string {
	tb.Helper()
	if folder := os.Getenv("SDWORKER_CLIENTS"); folder != "" {
		return folder
	}
	cache, err := os.UserCacheDir()
	require.NoError(tb, err)
	return filepath.Join(cache, "sdworker-clients")
}

// Need returns the path of a file in that folder. Where it is missing the test is skipped
// with the script that installs it, or fails if SDWORKER_CLIENTS_REQUIRED is set, as
// .ci/run does.
func Need(tb testing.TB, script string, file ...string) string {
	tb.Helper()
	path := filepath.Join(append([]string{Folder(tb)}, file...)...)
	if _, err := os.Stat(path); err != nil {
		require.Empty(tb, os.Getenv("SDWORKER_CLIENTS_REQUIRED"), "%s should have made %s", script, path)
		tb.Skipf("%s is not there: run %s", filepath.Join(file...), script)
	}
	return path
}
