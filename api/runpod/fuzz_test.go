package runpod_test

import (
	"context"
	"testing"
	"testing/synctest"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

// FuzzTakeBody: no body of a job-take keeps the worker from the next job.
func FuzzTakeBody(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","input":{}}`, `[{"id":"a","input":1},{"id":2}]`, `null`, `[]`, `"text"`, `{`, ``, `7`, `[[]]`, `{"id":"a"}`, `{"id":{},"input":[]}`,
		`{"id":"a","input":{},"s3Config":{"accessId":1}}`, "\xff", `{"id":"a/b?c#d","input":1}`, `{"id":"$ID","input":1}`,
	} {
		f.Add([]byte(seed), "application/json")
	}
	f.Add([]byte("<html>"), "text/html")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		synctest.Test(t, func(t *testing.T) {
			server := runpodtest.New(runpodtest.Options{})
			server.Script(runpodtest.TakeRoute, runpodtest.Answer{Status: 200, Body: string(body), ContentType: kind})
			cfg, err := runpod.LoadConfig(server.Env())
			if err != nil {
				t.Fatal(err)
			}
			cfg.Transport = server.Transport()
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- runpod.Start(ctx, echo, cfg) }()
			if _, err := server.Wait(t.Context(), server.Submit(1)); err != nil {
				t.Fatal(err)
			}
			stop()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			_ = server.Close() // in memory: nothing to fail
		})
	})
}
