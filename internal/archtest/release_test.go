package archtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

// repository is one with the release script, a changelog and a build of one line.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	clienttest.Program(t, "git", "git")
	r := &repository{t, t.TempDir()}
	for name, text := range map[string]string{
		"scripts/release": read(t, filepath.Join(root, "scripts/release")),
		"build":           "#!/bin/sh\nmkdir -p bin\nprintf '#!/bin/sh\\necho \"worker     %s (go)\"\\n' \"${1#VERSION=}\" >bin/worker\nchmod +x bin/worker\n",
		"CHANGELOG.md":    "# Changelog\n\n## Unreleased\n\n* `[FEATURE]` One.\n",
		".gitignore":      "/bin/\n/out/\n",
		"LICENSE":         "MIT", "README.md": "read", "third_party/LICENSES.md": "theirs",
	} {
		path := filepath.Join(r.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o755)) //nolint:gosec // scripts
	}
	r.run("git", "init", "-q", "-b", "main")
	r.commit()
	return r
}

func (r *repository) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.Context(), name, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "RELEASE_CHECK=true", "RELEASE_BUILD=./build", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	return cmd
}

func (r *repository) run(name string, args ...string) string {
	r.t.Helper()
	out, err := r.command(name, args...).CombinedOutput()
	require.NoError(r.t, err, "%s", out)
	return string(out)
}

func (r *repository) commit() {
	r.t.Helper()
	r.run("git", "add", ".")
	r.run("git", "commit", "-q", "-m", "all")
}

func (r *repository) write(name, text string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600))
}

func (r *repository) refused(because string, args ...string) {
	r.t.Helper()
	out, err := r.command("scripts/release", args...).CombinedOutput()
	require.Error(r.t, err)
	require.Contains(r.t, string(out), because)
}

func TestRelease(t *testing.T) {
	r := newRepository(t)
	day := time.Now().UTC().Format(time.DateOnly)
	require.Contains(t, r.run("scripts/release", "--dry-run", "0.1.0"), "made commit and tag v0.1.0")
	require.Empty(t, r.run("git", "tag"), "a dry run leaves nothing")

	r.write("README.md", "changed")
	r.refused("not clean", "0.1.0")
	r.run("git", "checkout", "README.md")
	r.refused("Usage", "1.0")
	require.Contains(t, r.run("scripts/release", "0.2.0"), "--build-arg VERSION=v0.2.0")
	require.Equal(t, "# Changelog\n\n## Unreleased\n\n## 0.2.0 ("+day+")\n\n* `[FEATURE]` One.\n", read(t, filepath.Join(r.dir, "CHANGELOG.md")))
	require.Equal(t, "Release 0.2.0\n", r.run("git", "log", "-1", "--format=%s"))
	require.Contains(t, r.run("git", "tag", "-n9", "v0.2.0"), "* `[FEATURE]` One.")
	archives, err := filepath.Glob(filepath.Join(r.dir, "out/release/worker_0.2.0_*.tar.gz"))
	require.NoError(t, err)
	require.Len(t, archives, 1)
	require.Contains(t, r.run("tar", "-tzf", archives[0]), "/worker\n")

	r.refused("no entry under Unreleased", "0.3.0")
	r.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n* `[BUGFIX]` Two.\n\n## 0.2.0 ("+day+")\n\n* `[FEATURE]` One.\n")
	r.commit()
	r.refused("there is a tag v0.2.0 already", "0.2.0")
	r.refused("0.1.9 is older than v0.2.0", "0.1.9")
	r.run("scripts/release", "0.10.0")
	require.NotContains(t, r.run("git", "tag", "-n9", "v0.10.0"), "One.", "only what is new")
}
