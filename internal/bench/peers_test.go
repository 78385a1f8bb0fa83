package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/internal/bench"
)

const hello = `echo '{"name": "Other", "version": "1.2", "notes": "f32"}'; `

// takes plays a peer whose runs take so many seconds, and which notes what it is asked.
func takes(seconds float64, log string) string {
	return hello + fmt.Sprintf(`while read -r line; do echo "$line" >>%s; echo '{"seconds": %g, "cpu_seconds": %g}'; done`, log, seconds, 2*seconds)
}

func TestPeersTakeTurns(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	r, err := bench.Peers(t.Context(), bench.PeersOptions{
		Checkpoint: "x", Open: fake, Sides: []int{64, 128}, Rounds: 2,
		Commands: [][]string{program(t, takes(1000, log)), program(t, takes(3000, log))},
	})
	require.NoError(t, err)
	require.Len(t, r.Peers, 2)
	require.Equal(t, "Other", r.Peers[0].Name)
	require.Equal(t, "1.2", r.Peers[0].Version)

	var names []string
	for _, row := range r.Rows {
		names = append(names, fmt.Sprintf("%s %dx%d", row.Name, row.Width, row.Height))
		require.Positive(t, row.Own.Seconds.Min)
		require.InDelta(t, 1, row.Own.Ratio, 0)
		require.InDelta(t, 3*row.Peers[0].Ratio, row.Peers[1].Ratio, 1e-6*row.Peers[1].Ratio)
		require.InDelta(t, row.Peers[0].Seconds.Min/row.Own.Seconds.Min, row.Peers[0].Ratio, 0)
	}
	require.Equal(t, []string{
		"CFG step 64x64", "VAE decode 64x64", "20 steps and decode, summed 64x64",
		"CFG step 128x128", "VAE decode 128x128", "20 steps and decode, summed 128x128",
	}, names)
	require.InDelta(t, 1000, r.Rows[0].Peers[0].Seconds.Min, 0)
	require.InDelta(t, 2000, r.Rows[0].Peers[0].CPU, 0)
	require.Equal(t, 2, r.Rows[1].Peers[1].Seconds.Runs)
	require.InDelta(t, 20*3000+3000, r.Rows[2].Peers[1].Seconds.Min, 0)

	asked, err := os.ReadFile(log)
	require.NoError(t, err)
	unet := `{"do":"prepare","network":"unet","width":64,"height":64,"rows":2}`
	run := `{"do":"run"}`
	require.Equal(t, []string{unet, unet, run, run, run, run, `{"do":"release"}`, `{"do":"release"}`},
		strings.Split(string(asked), "\n")[:8], "each request goes to both peers before the next one")
}

func TestPeerThatFails(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"is not there", "", "cannot be started"},
		{"says nothing", "echo no module named torch >&2; exit 3", "ended when it was to start: exit status 3; the last it said"},
		{"has no name", "echo '{}'; read line", "did not tell its name"},
		{"writes prose", "echo Downloading", `"Downloading", which is no JSON`},
		{"cannot", hello + `read line; echo '{"error": "no memory"}'; read line`, "Other cannot prepare the unet for 64x64: no memory"},
		{"dies", hello + `read line; echo one >&2; echo Killed >&2; exit 9`, "Other ended when it was to prepare the unet for 64x64: exit status 9"},
		{"dies quietly", hello + `read line; exit 0`, "to prepare the unet for 64x64: without an error"},
		{"hangs", hello + `read line; echo converting >&2; exec sleep 600`, "Other did not prepare the unet for 64x64 within 3s; the last it said"},
		{"forgets the time", hello + `read line; echo '{}'; read line`, "did not tell how long it took to prepare the unet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			command := []string{"/nowhere/peer"}
			if tc.script != "" {
				command = program(t, tc.script)
			}
			limit := time.Minute
			if tc.name == "hangs" {
				limit = 3 * time.Second // enough to say hello
			}
			_, err := bench.Peers(t.Context(), bench.PeersOptions{Checkpoint: "x", Open: fake, Sides: []int{64}, Limit: limit, Commands: [][]string{command}})
			require.ErrorContains(t, err, tc.want)
		})
	}
}
