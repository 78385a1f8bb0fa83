package fetch_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/models/fetch"
)

// TestChildProcess is not a test of its own: TestAcrossProcesses runs it in
// another process to fetch one file.
func TestChildProcess(t *testing.T) {
	url, dest := os.Getenv("FETCH_CHILD_URL"), os.Getenv("FETCH_CHILD_DEST")
	if url == "" {
		t.Skip("runs only as a child of TestAcrossProcesses")
	}
	f := fetcher(t, func(c *fetch.Config) { c.Parallel = 1 })
	res, err := f.Fetch(context.Background(), fetch.Source{URL: url}, dest, fetch.Options{})
	require.NoError(t, err)
	fmt.Printf("present=%v\n", res.Present)
}

// A process that is killed in the middle leaves nothing under the name and holds
// no lock; the next one takes its part over.
func TestAcrossProcesses(t *testing.T) {
	body, sum := random(16*chunk, 50)
	s := serve(t, body)
	dest := filepath.Join(t.TempDir(), "m")
	child := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildProcess$", "-test.v")
		cmd.Env = append(os.Environ(), "FETCH_CHILD_URL="+s.URL, "FETCH_CHILD_DEST="+dest)
		return cmd
	}
	reached := make(chan struct{})
	s.answer(func(n int, _ http.ResponseWriter, r *http.Request) bool {
		if n == 6 {
			close(reached)
			<-r.Context().Done()
		}
		return false
	})
	killed := child()
	require.NoError(t, killed.Start())
	<-reached
	require.NoError(t, killed.Process.Kill())
	require.Error(t, killed.Wait())
	require.NoFileExists(t, dest)

	s.answer(func(int, http.ResponseWriter, *http.Request) bool {
		time.Sleep(2 * time.Millisecond)
		return false
	})
	first, second := child(), child()
	outputs := make(chan string, 2)
	for _, cmd := range []*exec.Cmd{first, second} {
		go func() {
			out, err := cmd.Output()
			outputs <- fmt.Sprint(string(out), err)
		}()
	}
	both := <-outputs + <-outputs
	require.Contains(t, both, "present=true")
	require.Contains(t, both, "present=false")
	require.Equal(t, sum, digest(content(t, dest)))
}
