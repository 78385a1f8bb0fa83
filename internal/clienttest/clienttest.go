// Package clienttest finds other people's programs that tests drive: clients of the
// APIs, RunPod's SDK, a judge of pages. Scripts beside those tests install them.
package clienttest

import (
	"os"
	"os/exec"
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

// Program returns the path of a program that Debian's package of that name has. Where it
// is missing the test is skipped, or fails as Need says.
func Program(tb testing.TB, name, debian string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		require.Empty(tb, os.Getenv(required), "%s is not installed", name)
		tb.Skipf("%s is not installed: apt-get install %s", name, debian)
	}
	return path
}

// required is a variable under which what is missing fails tests.
const required = "SDWORKER_CLIENTS_REQUIRED"

// Need returns the path of a file in that folder. Where it is missing the test is skipped
// with the script that installs it, or fails if SDWORKER_CLIENTS_REQUIRED is set, as
// .ci/run does.
func Need(tb testing.TB, script string, file ...string) string {
	tb.Helper()
	path := filepath.Join(append([]string{Folder(tb)}, file...)...)
	if _, err := os.Stat(path); err != nil {
		require.Empty(tb, os.Getenv(required), "%s should have made %s", script, path)
		tb.Skipf("%s is not there: run %s", filepath.Join(file...), script)
	}
	return path
}
