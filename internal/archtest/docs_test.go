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

const root = "../.."

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)[`/]")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
	link     = regexp.MustCompile(`\]\(([^)#: ]+)[^):]*\)`)
)

// TestDocumentsNameRealTests keeps docs/compatibility.md, whose rows name the
// tests that show them, from naming ones that are gone.
func TestDocumentsNameRealTests(t *testing.T) {
	known := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range testFunc.FindAllStringSubmatch(read(t, path), -1) {
			known[m[1]] = true
		}
		return nil
	}))
	for _, path := range documents(t) {
		for _, m := range testName.FindAllStringSubmatch(read(t, path), -1) {
			require.True(t, known[m[1]], "%s names %s, which does not exist", path, m[1])
		}
	}
}

// TestLinksOfDocumentsLead checks links from one file of the tree to another.
func TestLinksOfDocumentsLead(t *testing.T) {
	for _, path := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, path), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(path), m[1]))
			require.NoError(t, err, "link in %s", path)
		}
	}
}

// documents are the Markdown files that people read first.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "third_party/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		out = append(out, found...)
	}
	require.NotEmpty(t, out)
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// TestOnlyTheBindingKnowsBackends keeps "is it a GPU?" from being asked by the name of
// a backend again: the engine says so (EngineInfo.GPU).
func TestOnlyTheBindingKnowsBackends(t *testing.T) {
	asks := regexp.MustCompile(`[Bb]ackend [!=]= "(cuda|cpu)"`)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		require.NotRegexp(t, asks, read(t, path), path)
		return nil
	}))
}

// TestPatchesSayWhetherTheyGoUpstream holds the form of git format-patch, in which git
// am takes them: one change each, and a word about where it belongs.
func TestPatchesSayWhetherTheyGoUpstream(t *testing.T) {
	paths, err := filepath.Glob(root + "/third_party/*/*.patch")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	table := read(t, root+"/third_party/README.md")
	form := regexp.MustCompile(`(?s)^From 0{40} Mon Sep 17 00:00:00 2001\nFrom: .*\nDate: .*\nSubject: \[PATCH\] .*\n\n.*\nUpstream: (no, |to be offered to |sent to ).*\.\n\ndiff --git a/`)
	for _, path := range paths {
		require.Regexp(t, form, read(t, path), path)
		if filepath.Base(filepath.Dir(path)) == "patches" {
			require.Contains(t, table, "| "+strings.TrimSuffix(filepath.Base(path), ".patch")+" |")
		}
	}
}
