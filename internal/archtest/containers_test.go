package archtest_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stages are the parts of a Dockerfile.
func stages(text string) []string {
	starts := regexp.MustCompile(`(?m)^FROM `).FindAllStringIndex(text, -1)
	var out []string
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		out = append(out, text[at[0]:end])
	}
	return out
}

// TestContainersHaveNoRights: the image that serves strangers is not root's, takes nothing
// along that it could be told to run, and is made of what is named by version.
func TestContainersHaveNoRights(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "Dockerfile*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text := read(t, file)
		own := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\S+))?`).FindAllStringSubmatch(text, -1) {
			_, image, _ := strings.Cut(m[1], ":")
			require.True(t, own[m[1]] || image != "" && image != "latest", "%s: %s is an image without a version", file, m[1])
			own[m[2]] = true
		}
		require.NotContains(t, text, "--privileged", file)
		require.NotContains(t, text, "setcap", file)
		require.NotRegexp(t, `(?m)^(ENV|ARG) .*(TOKEN|SECRET|PASSWORD|API_KEY)=\S`, text, "%s: a secret would stay in the image", file)
		served := 0
		for _, stage := range stages(text) {
			if strings.Contains(stage, "\nCMD [\"serve\"]") {
				served++
				require.Contains(t, stage, "\nUSER worker\n", file)
			}
		}
		require.Equal(t, 1, served, "%s: one image serves", file)
		if strings.Contains(text, "MODEL_URL") {
			require.Contains(t, text, "sha256sum -c", "%s: a model that is fetched has a digest to check", file)
		}
	}
}
