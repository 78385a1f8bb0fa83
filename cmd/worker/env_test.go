package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

// configurationPage carries what worker env prints, after its own introduction.
const (
	configurationPage = "../../docs/configuration.md"
	configurationMark = "<!-- Below: the output of worker env. make docs rewrites it. -->\n\n"
)

func TestConfigurationPageIsUpToDate(t *testing.T) {
	tables := worker(t, "env").out
	page, err := os.ReadFile(configurationPage)
	require.NoError(t, err)
	intro, got, ok := strings.Cut(string(page), configurationMark)
	require.True(t, ok, "%s has lost the line %q", configurationPage, configurationMark)
	if *update {
		require.NoError(t, os.WriteFile(configurationPage, []byte(intro+configurationMark+tables), 0o600))
		return
	}
	require.Equal(t, tables, got, "rewrite it with: make docs")
}

func TestEverySettingIsInTheTables(t *testing.T) {
	tables := worker(t, "env").out
	groups := map[string]int{}
	var visit func(v *verb)
	visit = func(v *verb) {
		for _, s := range v.Settings() {
			if !s.Environment || s.VariablesOnly {
				continue
			}
			title := "## " + strings.TrimSuffix(s.Title, ":") + "\n"
			groups[title]++
			require.Equal(t, 1, strings.Count(tables, title), title)
			for _, f := range s.Fields() {
				require.Equal(t, 1, strings.Count(tables, "| `"+f.Variable+"` | `--"+f.Flag+"` |"), f.Variable)
			}
		}
		for _, sub := range v.Verbs {
			visit(sub)
		}
	}
	visit(root)
	require.Greater(t, len(groups), 5)
}
