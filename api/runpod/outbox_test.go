package runpod_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

func TestResultIsPostedUntilAccepted(t *testing.T) {
	for name, script := range map[string][]runpodtest.Answer{
		"reset":          {{Drop: true}},
		"slow reset":     {{Delay: 3 * time.Second, Drop: true}},
		"server errors":  {{Status: 500}, {Status: 502}, {Status: 503}, {Status: 500}, {Status: 504}},
		"rate limit":     {{Status: 429}, {Status: 429, RetryAfter: "30"}},
		"credentials":    {{Status: 401}, {Status: 403}},
		"one odd answer": {{Status: 404}},
		"redirect":       {{Status: 302, Location: "/elsewhere"}},
		"silence":        {{Delay: 5 * time.Minute, Drop: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, setup{}, echo, func(r *rig) {
				r.Script(runpodtest.DoneRoute, script...)
				record := r.wait(r.Submit("keep me"))
				require.Equal(t, `"keep me"`, string(record.Finals[0].Output))
				require.Equal(t, len(script), record.Refused)
			})
		})
	}
}

func TestResultSurvivesALongOutage(t *testing.T) {
	inBubble(t, setup{}, echo, func(r *rig) {
		for range 20 { // with pauses of up to 30 s about 6 minutes
			r.Script(runpodtest.DoneRoute, runpodtest.Answer{Status: 503})
		}
		id := r.Submit(1)
		require.Len(t, r.wait(id).Finals, 1)
		var named int
		for _, p := range r.Pings() {
			if len(p.Jobs) == 1 && p.Jobs[0] == id {
				named++
			}
		}
		require.Greater(t, named, 60, "heartbeats name the job until its answer is accepted")
	})
}

func TestLostAcknowledgementIsRepeated(t *testing.T) {
	inBubble(t, setup{}, echo, func(r *rig) {
		r.Script(runpodtest.DoneRoute, runpodtest.Answer{Lose: true})
		id := r.Submit(1)
		r.until(id, func(rec runpodtest.Record) bool { return len(rec.Finals) == 2 })
	})
}

func TestJobsGoOnWhileAResultIsStuck(t *testing.T) {
	inBubble(t, setup{}, echo, func(r *rig) {
		r.Script(runpodtest.DoneRoute, runpodtest.Answer{Delay: 20 * time.Second, Drop: true})
		ids := []string{r.Submit(1), r.Submit(2)}
		first, second := r.wait(ids[0]), r.wait(ids[1])
		stuck, next := first, second
		if second.Refused > 0 {
			stuck, next = second, first
		}
		require.Equal(t, 1, stuck.Refused)
		require.Greater(t, stuck.Finals[0].At.Sub(next.HandedOut[0]), 20*time.Second)
		require.Less(t, next.Finals[0].At.Sub(next.HandedOut[0]), time.Second)
	})
}

func TestRefusedResultBecomesASmallError(t *testing.T) {
	inBubble(t, setup{server: runpodtest.Options{MaxResult: 1000}}, func(context.Context, runpod.Job) (any, error) {
		return strings.Repeat("x", 5_000), nil
	}, func(r *rig) {
		record := r.wait(r.Submit(1))
		require.Nil(t, record.Finals[0].Output)
		require.Contains(t, record.Finals[0].Error, "too large")
		require.Contains(t, record.Finals[0].Error, "bucket")
		require.Equal(t, 1, record.Refused)
	})
}

func TestLimitsAreCheckedBeforePosting(t *testing.T) {
	for _, tc := range []struct {
		name, id string
		bytes    int
		ok       bool
	}{
		{"run below", "a-e1", runpod.RunLimit - 100, true},
		{"run above", "a-e1", runpod.RunLimit, false},
		{"runsync below", "sync-a-e1", runpod.SyncLimit - 100, true},
		{"runsync above", "sync-a-e1", runpod.SyncLimit, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, setup{}, func(context.Context, runpod.Job) (any, error) {
				return strings.Repeat("x", tc.bytes), nil
			}, func(r *rig) {
				r.SubmitRaw(tc.id, `{"id":"`+tc.id+`","input":1}`)
				record := r.wait(tc.id)
				require.Zero(t, record.Refused)
				if tc.ok {
					require.Empty(t, record.Finals[0].Error)
					require.Len(t, record.Finals[0].Output, tc.bytes+2)
				} else {
					require.Contains(t, record.Finals[0].Error, "exceeds RunPod's limit")
				}
			})
		})
	}
}

func TestProgressIsMergedAndComesBeforeTheAnswer(t *testing.T) {
	inBubble(t, setup{}, func(_ context.Context, job runpod.Job) (any, error) {
		for i := range 100 { // 10 s
			job.Progress(i)
			time.Sleep(100 * time.Millisecond)
		}
		job.Progress("dropped")
		return "end", nil
	}, func(r *rig) {
		// A progress post that hangs must not arrive after the answer.
		r.Script(runpodtest.ProgressRoute, runpodtest.Answer{}, runpodtest.Answer{Status: 500}, runpodtest.Answer{Drop: true}, runpodtest.Answer{Delay: time.Second})
		record := r.wait(r.Submit(1))
		require.InDelta(t, 17, len(record.Progress), 4)
		require.Equal(t, "0", string(record.Progress[0]))
		time.Sleep(time.Minute)
		require.Len(t, r.Job(record.ID).Progress, len(record.Progress))
	})
}

func TestProgressAtTheEndDoesNotHoldTheAnswer(t *testing.T) {
	inBubble(t, setup{}, func(_ context.Context, job runpod.Job) (any, error) {
		job.Progress(1)
		time.Sleep(time.Millisecond)
		job.Progress(2)
		return "end", nil
	}, func(r *rig) {
		record := r.wait(r.Submit(1))
		require.Less(t, record.Finals[0].At.Sub(record.HandedOut[0]), 10*time.Millisecond)
	})
}

func TestStream(t *testing.T) {
	inBubble(t, setup{}, func(ctx context.Context, job runpod.Job) (any, error) {
		for i := range 3 {
			if err := job.Stream(ctx, i); err != nil {
				return nil, err
			}
		}
		return nil, job.Stream(ctx, strings.Repeat("x", runpod.StreamLimit))
	}, func(r *rig) {
		r.Script(runpodtest.StreamRoute, runpodtest.Answer{}, runpodtest.Answer{Status: 500}, runpodtest.Answer{Drop: true})
		record := r.wait(r.Submit(1))
		require.Len(t, record.Parts, 3)
		require.Equal(t, "2", string(record.Parts[2]))
		require.True(t, record.Finals[0].IsStream)
		require.Contains(t, record.Finals[0].Error, "send smaller parts")
	})
}

func TestStreamWithoutAStreamURLIsAggregated(t *testing.T) {
	inBubble(t, setup{config: func(c *runpod.Config) { c.PostStream = "" }}, func(ctx context.Context, job runpod.Job) (any, error) {
		for i := range 3 {
			if err := job.Stream(ctx, i); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}, func(r *rig) {
		require.Equal(t, "[0,1,2]", string(r.wait(r.Submit(1)).Finals[0].Output))
	})
}
