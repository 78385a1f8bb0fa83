package runpod

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// decodeJobs reads the body of a job-take: one job, or a list of them. Items that
// carry no usable id cannot be answered and are counted in skipped. A job without
// an input comes back with a nil Input. An error means that the body is no answer
// at all; null, [] and other values that hold no job are no error.
func decodeJobs(body []byte) (jobs []Job, skipped int, err error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, 0, nil
	}
	if body[0] == '{' {
		job, err := decodeJob(body)
		switch {
		case isSyntax(err):
			return nil, 0, fmt.Errorf("job-take answered with invalid JSON: %w", err)
		case err != nil:
			return nil, 1, nil //nolint:nilerr // counted as skipped
		}
		return []Job{job}, 0, nil
	}
	var items []json.RawMessage // stays nil for null, a text or a number
	if err := json.Unmarshal(body, &items); isSyntax(err) {
		return nil, 0, fmt.Errorf("job-take answered with invalid JSON: %w", err)
	}
	for _, item := range items {
		if job, err := decodeJob(item); err == nil {
			jobs = append(jobs, job)
		} else {
			skipped++
		}
	}
	return jobs, skipped, nil
}

func isSyntax(err error) bool {
	_, ok := errors.AsType[*json.SyntaxError](err)
	return ok
}

// errNoID is a job that cannot be answered.
var errNoID = errors.New("the job has no id")

func decodeJob(item json.RawMessage) (Job, error) {
	var wire struct {
		ID    json.RawMessage `json:"id"`
		Input json.RawMessage `json:"input"`
		S3    json.RawMessage `json:"s3Config"`
	}
	if err := json.Unmarshal(item, &wire); err != nil {
		return Job{}, err
	}
	var id string
	if json.Unmarshal(wire.ID, &id) != nil || id == "" {
		return Job{}, errNoID
	}
	job := Job{ID: id, Input: wire.Input, Raw: item}
	var s3 *S3Config
	if json.Unmarshal(wire.S3, &s3) == nil {
		job.S3 = s3
	}
	return job, nil
}
