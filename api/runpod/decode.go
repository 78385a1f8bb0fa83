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
	var items []json.RawMessage
	switch body[0] {
	case '{':
		items = []json.RawMessage{body}
		if !json.Valid(body) {
			return nil, 0, errors.New("job-take answered with invalid JSON")
		}
	case '[':
		if err := json.Unmarshal(body, &items); err != nil {
			return nil, 0, fmt.Errorf("job-take answered with invalid JSON: %w", err)
		}
	default:
		if !json.Valid(body) {
			return nil, 0, errors.New("job-take answered with invalid JSON")
		}
	}
	for _, item := range items {
		if job, ok := decodeJob(item); ok {
			jobs = append(jobs, job)
		} else {
			skipped++
		}
	}
	return jobs, skipped, nil
}

func decodeJob(item json.RawMessage) (Job, bool) {
	var wire struct {
		ID    json.RawMessage `json:"id"`
		Input json.RawMessage `json:"input"`
		S3    json.RawMessage `json:"s3Config"`
	}
	if json.Unmarshal(item, &wire) != nil {
		return Job{}, false
	}
	var id string
	if json.Unmarshal(wire.ID, &id) != nil || id == "" {
		return Job{}, false
	}
	job := Job{ID: id, Input: wire.Input, Raw: item}
	var s3 *S3Config
	if json.Unmarshal(wire.S3, &s3) == nil {
		job.S3 = s3
	}
	return job, true
}
