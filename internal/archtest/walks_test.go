package archtest_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	walkRow  = regexp.MustCompile(`(?m)^\| ([a-z][^|]*) \| (.*) \|$`)
	walkFile = regexp.MustCompile("`((?:api|cmd|formats|inference|internal|models|scripts|third_party)/[^`]+)`")
)

// TestWalks holds what CONTRIBUTING.md says that a change touches: the files are
// there, and none of the changes needs more than six.
func TestWalks(t *testing.T) {
	_, table, ok := strings.Cut(read(t, filepath.Join(root, "CONTRIBUTING.md")), "## What some changes touch")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n## ")
	rows := walkRow.FindAllStringSubmatch(table, -1)
	require.NotEmpty(t, rows)
	for _, row := range rows {
		files := walkFile.FindAllStringSubmatch(row[2], -1)
		require.NotEmpty(t, files, row[1])
		require.LessOrEqual(t, len(files), 6, row[1])
		for _, f := range files {
			require.FileExists(t, filepath.Join(root, f[1]), row[1])
		}
	}
}

// mention counts the files of the program that know a name.
func mention(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	word := regexp.MustCompile(`\b` + name + `\b`)
	for _, pattern := range []string{"api/*/*.go", "api/*/*/*.go", "cmd/*/*.go", "inference/*.go", "inference/*/*.go"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			if !strings.HasSuffix(path, "_test.go") && word.MatchString(read(t, path)) {
				found = append(found, strings.TrimPrefix(path, root+"/"))
			}
		}
	}
	return found
}

// TestARequestFieldIsInFiveFiles counts by one that has a default, a flag, a range and
// a place in the texts: inpaint_full_res_padding, which the pipeline calls Padding. Units
// of ADetailer and tiles of a script, which are jobs of their own, have one, too.
func TestARequestFieldIsInFiveFiles(t *testing.T) {
	files := append(mention(t, "inpaint_full_res_padding"), mention(t, "Padding")...)
	slices.Sort(files)
	require.Equal(t, []string{
		"api/infotext/mask.go", "api/sdapi/generation/adetailer.go", "api/sdapi/generation/img2img.go", "api/sdapi/schema/generation.go",
		"api/sdapi/scripts/ultimate.go", "api/sdapi/tileplan/tileplan.go", "inference/img2img.go", "inference/request.go",
	}, slices.Compact(files))
}
