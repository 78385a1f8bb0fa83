package jobs_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/jobs"
)

func TestEvents(t *testing.T) {
	f := start(t, setup{hold: true})
	first := f.submit(nil)
	<-f.at
	second := f.submit(nil)
	waiting := f.listen(second.ID)
	require.JSONEq(t, `{"status":"queued","position":1}`, until(t, waiting, "status").data)

	events := f.listen(first.ID)
	require.JSONEq(t, `{"status":"running"}`, until(t, events, "status").data)
	var p struct {
		Step, Steps int
		Fraction    float64
	}
	require.NoError(t, json.Unmarshal([]byte(until(t, events, "progress").data), &p))
	require.Equal(t, 3, p.Steps)
	shown := until(t, events, "preview")
	require.Equal(t, "1", shown.id)
	require.Contains(t, shown.data, "data:image/png;base64,")

	f.next <- struct{}{}
	<-f.at
	require.NoError(t, json.Unmarshal([]byte(until(t, events, "progress").data), &p))
	require.Equal(t, 1, p.Step)
	require.Equal(t, "2", until(t, events, "preview").id)
	f.next <- struct{}{}
	<-f.at
	f.next <- struct{}{}
	done := until(t, events, "done")
	require.Equal(t, "done", done.id)
	var j job
	require.NoError(t, json.Unmarshal([]byte(done.data), &j))
	require.Equal(t, jobs.Completed, j.Status)
	require.Nil(t, j.Output, "the output is fetched, not streamed")
	_, open := <-events
	require.False(t, open, "done is the last event")

	<-f.at
	next := until(t, waiting, "status").data
	if strings.Contains(next, "queued") { // it may be told that it comes next, before it starts
		require.JSONEq(t, `{"status":"queued","position":0}`, next)
		next = until(t, waiting, "status").data
	}
	require.JSONEq(t, `{"status":"running"}`, next)
	f.send("POST", "/v1/jobs/"+second.ID+"/cancel", nil)
	require.Contains(t, until(t, waiting, "done").data, `"status":"canceled"`)
}

func TestEventsOfAnEndedJob(t *testing.T) {
	f := start(t, setup{})
	j := f.send("POST", "/v1/jobs?wait=10", txt2img(nil)).job(t, 202)
	events := f.listen(j.ID)
	require.Equal(t, "status", (<-events).name)
	require.Equal(t, "done", (<-events).name)
	_, open := <-events
	require.False(t, open)
	require.Equal(t, http.StatusNoContent, f.send("GET", "/v1/jobs/"+j.ID+"/events", nil, "Last-Event-ID", "done").status, "an EventSource stops on this")
}

func TestEventsResume(t *testing.T) {
	f := start(t, setup{hold: true})
	j := f.submit(nil)
	<-f.at
	require.Equal(t, "1", until(t, f.listen(j.ID), "preview").id)
	again := f.listen(j.ID, "Last-Event-ID", "1")
	until(t, again, "progress")
	f.next <- struct{}{}
	<-f.at
	require.Equal(t, "2", until(t, again, "preview").id, "preview 1 is not sent twice")
}

func TestHeartbeat(t *testing.T) {
	f := start(t, setup{hold: true, jobs: jobs.Config{Heartbeat: 20 * time.Millisecond}})
	j := f.submit(nil)
	<-f.at
	events := f.listen(j.ID)
	until(t, events, "")
	until(t, events, "")
	f.send("POST", "/v1/jobs/"+j.ID+"/cancel", nil)
	until(t, events, "done")
}
