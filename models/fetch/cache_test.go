package fetch_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/models/fetch"
)

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestCacheKeepsItsLimit(t *testing.T) {
	dir := t.TempDir()
	body, sum := random(2*chunk, 40)
	s := serve(t, body)
	inUse := ""
	cache := &fetch.Cache{Record: filepath.Join(dir, "state/fetched.json"), Limit: 5 * chunk, InUse: func() []string { return []string{inUse} }}
	f := fetcher(t, func(c *fetch.Config) { c.Cache = cache })
	get := func(name string) error {
		_, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL, Name: name}, filepath.Join(dir, name), fetch.Options{})
		return err
	}
	mine := filepath.Join(dir, "mine.safetensors")
	require.NoError(t, os.WriteFile(mine, body, 0o600))

	require.NoError(t, get("a"))
	require.NoError(t, get("b"))
	time.Sleep(2 * time.Millisecond)
	cache.Touch(filepath.Join(dir, "a"))
	entries, err := cache.Entries()
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, filepath.Join(dir, "a"), entries[0].Path)
	require.Equal(t, sum, entries[0].SHA256)

	require.NoError(t, get("c")) // b was used least recently
	require.NoFileExists(t, filepath.Join(dir, "b"))
	require.FileExists(t, filepath.Join(dir, "a"))

	inUse = filepath.Join(dir, "a")
	require.NoError(t, get("d")) // a would be next but is loaded
	require.FileExists(t, filepath.Join(dir, "a"))
	require.NoFileExists(t, filepath.Join(dir, "c"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "d"), body[:chunk], 0o600)) // the user's now
	require.NoError(t, get("e"))
	require.NoError(t, get("f"))
	require.FileExists(t, filepath.Join(dir, "d"))
	require.FileExists(t, mine)

	big, _ := random(6*chunk, 41)
	s.replace(big, `"big"`)
	require.Equal(t, fault.Exhausted, fault.CodeOf(get("g")))
	middle, _ := random(4*chunk, 42)
	s.replace(middle, `"middle"`)
	err = get("h")
	require.Equal(t, fault.Exhausted, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, "in use")
}

func TestCacheRemovesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	body, _ := random(chunk, 43)
	s := serve(t, body)
	cache := &fetch.Cache{Record: filepath.Join(dir, "fetched.json")}
	f := fetcher(t, func(c *fetch.Config) { c.Cache = cache })
	path := filepath.Join(dir, "a")
	_, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL + "/a?token=secret"}, path, fetch.Options{})
	require.NoError(t, err)
	require.NotContains(t, string(content(t, cache.Record)), "secret")

	mine := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(mine, body, 0o600))
	require.Equal(t, fault.Invalid, fault.CodeOf(cache.Remove(mine)))
	require.Equal(t, fault.NotFound, fault.CodeOf(cache.Remove(filepath.Join(dir, "none"))))
	require.FileExists(t, mine)

	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	require.Equal(t, fault.Invalid, fault.CodeOf(cache.Remove(path)), "changed since")
	require.NoError(t, os.WriteFile(cache.Record, []byte("{broken"), 0o600))
	require.Equal(t, fault.Invalid, fault.CodeOf(cache.Remove(path)), "a broken record protects everything")
}

// A known digest saves reading the file again.
func TestPresentByRecord(t *testing.T) {
	dir := t.TempDir()
	body, sum := random(chunk, 44)
	s := serve(t, body)
	f := fetcher(t, func(c *fetch.Config) { c.Cache = &fetch.Cache{Record: filepath.Join(dir, "fetched.json")} })
	for i := range 2 {
		res, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL, SHA256: sum}, filepath.Join(dir, "a"), fetch.Options{})
		require.NoError(t, err)
		require.Equal(t, i == 1, res.Present)
		require.Equal(t, sum, res.SHA256)
	}
}

func TestCacheIsShared(t *testing.T) {
	dir := t.TempDir()
	body, _ := random(100, 45)
	s := serve(t, body)
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			f := fetcher(t, func(c *fetch.Config) { c.Cache = &fetch.Cache{Record: filepath.Join(dir, "fetched.json")} })
			_, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL}, filepath.Join(dir, string(rune('a'+i))), fetch.Options{})
			assert.NoError(t, err)
		})
	}
	wait.Wait()
	entries, err := (&fetch.Cache{Record: filepath.Join(dir, "fetched.json")}).Entries()
	require.NoError(t, err)
	require.Len(t, entries, 6)
}
