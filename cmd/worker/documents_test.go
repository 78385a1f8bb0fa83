package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

// project is the folder of the repository.
var project, _ = filepath.Abs("../..")

// documents are the Markdown files of the project by their path in it.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	require.NoError(t, filepath.WalkDir(project, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(project, path)
		if d.IsDir() && (d.Name() == "out" || d.Name() == "node_modules" || strings.HasPrefix(name, "third_party/build") || name == ".git") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".md") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			pages[name] = string(text)
		}
		return nil
	}))
	return pages
}

var (
	fences    = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	links     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headlines = regexp.MustCompile(`(?m)^#+ (.+)$`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	unspoken  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are those that a Markdown page has on GitHub.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range headlines.FindAllStringSubmatch(fences.ReplaceAllString(page, ""), -1) {
		found[strings.ReplaceAll(unspoken.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	pages := documents(t)
	checked := 0
	for name, page := range pages {
		for _, m := range links.FindAllStringSubmatch(fences.ReplaceAllString(page, ""), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
				_, err := os.Stat(filepath.Join(project, target))
				require.NoError(t, err, "%s leads to %s", name, m[1])
			}
			if anchor != "" && strings.HasSuffix(target, ".md") {
				require.True(t, anchors(pages[target])[anchor], "%s leads to %s, which has no such headline", name, m[1])
			}
			checked++
		}
	}
	require.Greater(t, checked, 50)
}

// docs/README.md leads to every page.
func TestEveryPageIsListed(t *testing.T) {
	pages := documents(t)
	for name := range pages {
		if filepath.Dir(name) == "docs" && name != "docs/README.md" {
			require.Contains(t, pages["docs/README.md"], "("+filepath.Base(name)+")")
		}
	}
}

var runnable = regexp.MustCompile("(?ms)^ *```sh run\n(.*?)^ *```")

// TestCommandsOfTheDocuments runs the blocks that are marked with "sh run", one page after
// another, with this binary as worker and a server in the place of localhost:7860.
func TestCommandsOfTheDocuments(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		clienttest.Program(t, tool, tool)
	}
	home := newHome(t)
	_, c := serve(t, home, openGate)
	c.ready()
	bin := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "worker"), []byte("#!/bin/sh\nexec "+self+` "$@"`+"\n"), 0o755))
	ran := 0
	for name, page := range documents(t) {
		for _, m := range runnable.FindAllStringSubmatch(page, -1) {
			ran++
			t.Run(name, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(m[1], "localhost:7860", strings.TrimPrefix(c.base, "http://")))
				cmd.Dir = home
				cmd.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
				for key, value := range environ(home, openGate) {
					cmd.Env = append(cmd.Env, key+"="+value)
				}
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s\n%s", m[1], out)
			})
		}
	}
	require.GreaterOrEqual(t, ran, 5)
}

// scripts/lifecycle measures this binary.
func TestLifecycleIsMeasured(t *testing.T) {
	home := newHome(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(project, "scripts", "lifecycle"))
	clienttest.Program(t, "curl", "curl")
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "WORKER=" + os.Args[0]}
	for key, value := range environ(home, openGate) {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `^start to /healthz: \d+ ms\nstart to /readyz: \d+ ms\nfirst picture of 64x64, one step: \d+ ms\nSIGTERM to the end: \d+ ms\n$`, string(out))
}

// What docs/troubleshooting.md says that the program says stands in the source.
func TestSymptomsAreThoseOfTheProgram(t *testing.T) {
	var source strings.Builder
	require.NoError(t, filepath.WalkDir(project, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		return err
	}))
	page := documents(t)["docs/troubleshooting.md"]
	checked := 0
	for section := range strings.SplitSeq(page, "\n## ") {
		says := strings.Contains(section, "| Says")
		for line := range strings.Lines(section) {
			cells := strings.Split(line, "|")
			if len(cells) < 4 || strings.Contains(line, "---") {
				continue
			}
			column := cells[1] // what it says, or the reason
			if strings.Contains(section, "| Reason |") {
				column += cells[2]
			} else if !says {
				continue
			}
			for _, m := range codeSpan.FindAllStringSubmatch(column, -1) {
				assert.True(t, strings.Contains(source.String(), m[1]), "the source does not say %q", m[1]) //nolint:testifylint // it would print all of it
				checked++
			}
		}
	}
	require.Greater(t, checked, 30)
}

// docs/resources.md carries what worker bench memory prints.
func TestMemoryTableIsUpToDate(t *testing.T) {
	file := filepath.Join(project, "docs", "resources.md")
	const begin, end = "<!-- Below: the output of worker bench memory. make docs rewrites it. -->\n\n", "\n<!-- Above: the output of worker bench memory. -->"
	got := worker(t, "bench", "memory")
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(page), begin)
	require.True(t, ok)
	table, tail, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(head+begin+got.out+end+tail), 0o600))
		return
	}
	require.Equal(t, got.out, table, "rewrite it with: make docs")
	require.Contains(t, table, "| 512x512 | 1 | 271 |") // 2 rows of 64x64 cells and 77 tokens, and scratch: 22,100 x 4,096 x 2 + ...
}
