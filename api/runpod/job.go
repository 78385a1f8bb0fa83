package runpod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Handler does one job. The value it returns becomes the job's output: anything
// that encodes to JSON, Verbatim for what is JSON already, or a Result. An error
// becomes the job's error; a *Failure says more.
//
// ctx ends when the platform stops the job and when the worker shuts down;
// context.Cause tells ErrStopped from ErrShutdown. What a handler returns after
// ErrStopped is dropped. The next job does not start before a stopped handler has
// returned, so handlers should return soon.
type Handler func(ctx context.Context, job Job) (any, error)

// Causes for the end of a job's context.
var (
	// ErrStopped: the job was cancelled, expired or timed out on the platform.
	ErrStopped = errors.New("the job was stopped by the platform")
	// ErrShutdown: the worker is shutting down and its grace time is over.
	ErrShutdown = errors.New("the worker was shut down before the job was finished; send the job again")
)

// Limits of the platform for one post, in bytes. RunPod states megabytes without
// saying of which kind, so they are taken as 10^6 bytes.
const (
	RunLimit    = 10_000_000 // a result of /run
	SyncLimit   = 20_000_000 // a result of /runsync, whose job ids start with "sync-"
	StreamLimit = 1_000_000  // one stream chunk
)

// envelope is what surrounds an output in a post.
const envelope = 64

// Job is one job as the control plane handed it out.
type Job struct {
	ID    string
	Input json.RawMessage // any JSON; null when the job has a null input
	S3    *S3Config       // where the caller wants large results, or nil
	Raw   json.RawMessage // the whole job object

	out *outbox
}

// S3Config is the s3Config of a request: a bucket of the caller.
type S3Config struct {
	AccessID     string `json:"accessId"`
	AccessSecret string `json:"accessSecret"`
	BucketName   string `json:"bucketName"`
	EndpointURL  string `json:"endpointUrl"`
	ObjectPath   string `json:"objectPath"`
}

// MaxOutput is the number of bytes that the JSON of the job's output may have.
func (j Job) MaxOutput() int {
	if strings.HasPrefix(j.ID, "sync-") {
		return SyncLimit - envelope
	}
	return RunLimit - envelope
}

// Progress publishes v as the output of the job while it is in progress. It does
// not wait: of several values in a short time only the last is sent, and none
// after the job's final answer. A value that does not encode or is larger than
// StreamLimit is dropped.
func (j Job) Progress(v any) {
	if j.out == nil {
		return
	}
	body, err := encodeValue(v)
	if err != nil || len(body) > StreamLimit {
		j.out.log.Warn().Err(err).Int("bytes", len(body)).Msg("progress not sent")
		return
	}
	j.out.progress(body)
}

// Stream sends v as the next part of the job's output and returns when it was
// accepted. A part must not exceed StreamLimit. A handler that streams may return
// nil; what it returns otherwise is the job's output at the end. Call it from one
// goroutine at a time.
func (j Job) Stream(ctx context.Context, v any) error {
	body, err := encodeValue(v)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if len(body) > StreamLimit-envelope {
		return fmt.Errorf("stream: a part of %d bytes exceeds RunPod's limit of %d; send smaller parts", len(body), StreamLimit)
	}
	if j.out == nil {
		return nil
	}
	return j.out.stream(ctx, body)
}

// Verbatim is a value that is JSON already. Unlike a json.RawMessage it is neither
// checked nor copied, which counts for megabytes of images.
type Verbatim []byte

// Result is a handler's value with instructions to the worker.
type Result struct {
	Output  any
	Refresh bool // replace this worker once its jobs are answered
}

// Failure is a handler's error with more than a text.
type Failure struct { //nolint:errname // what a handler returns to say more than a text
	Message string // one sentence for the caller
	Output  any    // sent beside the error; nil for none
	Refresh bool   // replace this worker once its jobs are answered
}

func (f *Failure) Error() string { return f.Message }

// final is the content of a job's one final answer.
type final struct {
	output []byte // JSON, nil for none
	err    string // "" for success
}

// wantsRefresh tells whether what a handler returned asks for a new worker.
func wantsRefresh(value any, err error) bool {
	if failure, ok := errors.AsType[*Failure](err); ok {
		return failure.Refresh
	}
	r, ok := value.(Result)
	return err == nil && ok && r.Refresh
}

// encodeFinal turns what a handler returned into a final answer. It does not
// fail: a value that cannot be encoded becomes an error.
func encodeFinal(value any, err error) final {
	var f final
	if err != nil {
		f.err = err.Error()
		value = nil
		if failure, ok := errors.AsType[*Failure](err); ok {
			value = failure.Output
		}
		if f.err == "" {
			f.err = "the job failed without a reason"
		}
		if value == nil {
			return f
		}
	}
	if r, ok := value.(Result); ok {
		value = r.Output
	}
	body, encErr := encodeValue(value)
	if encErr != nil {
		f.err = strings.TrimPrefix(f.err+"; the output is not JSON: "+encErr.Error(), "; ")
		return f
	}
	f.output = body
	return f
}

// body is the final answer as it is posted.
func (f final) body(stopPod bool) []byte {
	var b bytes.Buffer
	b.Grow(len(f.output) + len(f.err) + envelope)
	b.WriteByte('{')
	if f.err != "" {
		text, _ := encodeValue(f.err) // a string always encodes
		b.WriteString(`"error":`)
		b.Write(text)
	}
	if f.output != nil {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(`"output":`)
		b.Write(f.output)
	}
	if stopPod {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(`"stopPod":true`)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// encodeValue is json.Marshal without the escaping of <, > and &, and for
// Verbatim nothing at all.
func encodeValue(v any) ([]byte, error) {
	if raw, ok := v.(Verbatim); ok && len(raw) > 0 {
		return raw, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
