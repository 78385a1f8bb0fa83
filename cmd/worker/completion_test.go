package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/cli"
	"sdworker/internal/clienttest"
)

// completes says what shells must offer behind a beginning of a command line, and not.
var completes = []struct {
	words []string // the last one is being typed
	some  []string
	none  string
}{
	{[]string{"worker", "ge"}, []string{"generate"}, "serve"},
	{[]string{"worker", ""}, []string{"serve", "models", "doctor", "completion"}, "engine"},
	{[]string{"worker", "models", ""}, []string{"pull", "verify"}, "serve"},
	{[]string{"worker", "generate", "--neg"}, []string{"--negative-prompt"}, "--prompt"},
	{[]string{"worker", "models", "pull", "--q"}, []string{"--quiet"}, "--prompt"},
	{[]string{"worker", "runpod", "--test"}, []string{"--test_input"}, "--prompt"},
	{[]string{"worker", "generate", "--init-image", "pic"}, []string{"picture.png"}, "--prompt"},
	{[]string{"worker", "generate", "--prompt", "models", "--st"}, []string{"--steps"}, "pull"},
}

func TestCompletionInShells(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("picture.png", nil, 0o600))
	for _, shell := range cli.Shells() {
		t.Run(shell, func(t *testing.T) {
			clienttest.Program(t, shell, shell)
			got := worker(t, "completion", shell)
			require.Equal(t, cli.StatusOK, got.status, got.err)
			script := filepath.Join(t.TempDir(), "_worker")
			require.NoError(t, os.WriteFile(script, []byte(got.out), 0o600))
			for _, c := range completes {
				offered := offers[shell](t, script, c.words)
				for _, want := range c.some {
					require.Contains(t, offered, want, "%v: %v", c.words, offered)
				}
				require.NotContains(t, offered, c.none, "%v", c.words)
			}
		})
	}
	require.Equal(t, cli.StatusUsage, worker(t, "completion", "tcsh").status)
	require.Contains(t, worker(t, "completion").err, "name one shell of bash, fish, zsh")
}

// offers ask a shell what it would complete.
var offers = map[string]func(t *testing.T, script string, words []string) []string{
	"bash": func(t *testing.T, script string, words []string) []string {
		// As readline does, with files where the function offers nothing (-o default).
		return shellLines(t, "bash", "-c", `source "$1"; shift
			COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _worker
			if ((${#COMPREPLY[@]})); then printf '%s\n' "${COMPREPLY[@]}"; else compgen -f -- "${COMP_WORDS[COMP_CWORD]}"; fi`, append([]string{"bash", script}, words...)...)
	},
	"fish": func(t *testing.T, script string, words []string) []string {
		var out []string
		for _, line := range shellLines(t, "fish", "-c", "source "+script+"; complete -C "+quoted(strings.Join(words, " "))) {
			name, _, _ := strings.Cut(line, "\t")
			out = append(out, name)
		}
		return out
	},
	"zsh": func(t *testing.T, script string, words []string) []string {
		// Where zsh would draw a menu, the functions that are called print what they got.
		all := shellLines(t, "zsh", "-fc", `compdef() { }
			_describe() { print -rl -- ${(P)@[-1]%%:*} }
			_arguments() {
				local spec
				for spec in "$@"; do
					if [[ $spec == "$words[CURRENT-1]["*:_files ]]; then print -rl -- *(N); return; fi
				done
				print -rl -- ${@%%\[*}
			}
			source "$1"; shift
			words=("$@"); CURRENT=$#; _worker`, append([]string{"zsh", script}, words...)...)
		var out []string
		for _, one := range all {
			if strings.HasPrefix(one, words[len(words)-1]) {
				out = append(out, one)
			}
		}
		return out
	},
}

func quoted(s string) string { return "'" + s + "'" }

func shellLines(t *testing.T, name, flag, code string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(name, append([]string{flag, code}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && name != "bash" {
		t.Logf("%s: %v", name, err)
	}
	var list []string
	for line := range strings.SplitSeq(string(out), "\n") {
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

// Every example of the help is a command line that the verb takes.
func TestExamplesAreTaken(t *testing.T) {
	newHome(t)
	var visit func(v *verb, path string)
	visit = func(v *verb, path string) {
		if v.New != nil && !v.Hidden {
			require.NotEmpty(t, v.Examples, path)
		}
		for _, line := range v.Examples {
			rest, ok := strings.CutPrefix(line, path)
			require.True(t, ok, "%s: %s", path, line)
			_, err := cli.Load(v, v.New(), map[string]string{}, words(t, rest))
			require.NoError(t, err, line)
			require.Contains(t, worker(t, append([]string{"help"}, strings.Fields(path)[1:]...)...).out, line)
		}
		for _, sub := range v.Verbs {
			visit(sub, path+" "+sub.Name)
		}
	}
	visit(root, root.Name)
}

// words are those of a command line as a shell reads them.
func words(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `printf '%s\n' `+line).Output()
	require.NoError(t, err)
	var list []string
	for word := range strings.Lines(string(out)) {
		if word = strings.TrimSuffix(word, "\n"); word != "" {
			list = append(list, word)
		}
	}
	return list
}

func TestManualPages(t *testing.T) {
	t.Chdir(t.TempDir())
	require.Equal(t, cli.StatusOK, worker(t, "man", "man1").status)
	for _, name := range []string{"worker.1", "worker-generate.1", "worker-models-pull.1", "worker-doctor.1"} {
		require.FileExists(t, filepath.Join("man1", name))
	}
	require.NoFileExists(t, "man1/worker-engine.1")
	text, err := os.ReadFile("man1/worker-generate.1")
	require.NoError(t, err)
	for _, part := range []string{".TH WORKER\\-GENERATE 1", `\fB\-\-negative\-prompt\fR TEXT`, ".SH EXAMPLES", `worker generate \-\-from cat.png`, "worker(1)"} {
		require.Contains(t, string(text), part)
	}
	require.Equal(t, cli.StatusUsage, worker(t, "man").status)
	clienttest.Program(t, "groff", "groff-base")
	pages, err := filepath.Glob("man1/*.1")
	require.NoError(t, err)
	out, err := exec.Command("groff", append([]string{"-man", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(out), "no warnings")
}
