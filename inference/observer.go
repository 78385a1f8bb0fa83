package inference

import (
	"context"
	"time"

	"sdworker/inference/imageio"
)

// Observer is told what becomes of a job, one event after another. It must return
// quickly.
type Observer func(Event)

// Event is one change of a job in a queue.
type Event struct {
	Kind  EventKind
	Job   JobState // after the change
	Ahead int      // jobs before it, 0 once it runs

	Result *Result // of Done, for jobs of Generate that made one
	Err    error   // of Done: why the job failed, nil when it did not
}

// EventKind is what has changed.
type EventKind int

// Events in the order in which a job passes them. Admitted comes first and once,
// Done last and once; a job that ends while it waits has no Started.
const (
	Admitted   EventKind = iota // the job is in the queue
	Moved                       // another one ahead of it has left
	Started                     // its turn has come
	Progressed                  // it has reported progress
	Done                        // it has ended and left the queue
)

// JobState is what is known of a job.
type JobState struct {
	ID          string
	Name        string // "txt2img", "img2img", "extras" ...
	Admitted    time.Time
	Started     time.Time // zero while it waits
	Finished    time.Time // zero until it ends
	Progress    Progress  // the latest report; its Preview is in Preview
	Preview     *imageio.RGB
	PreviewID   int  // grows with each new preview
	Interrupted bool // Interrupt was called
	Skipped     bool // Skip was called
}

// Remaining estimates how long a job still takes from what it has done so far. ok
// is false as long as there is nothing to estimate from.
func (j JobState) Remaining(now time.Time) (left time.Duration, ok bool) {
	done := j.Progress.Fraction()
	if done <= 0 {
		return 0, false
	}
	elapsed := now.Sub(j.Started).Seconds()
	return time.Duration((elapsed/done - elapsed) * float64(time.Second)), true
}

type observerKey struct{}

// WithObserver adds an observer for the jobs that are made under ctx, as
// net/http/httptrace does for requests. A caller of the API in the same process
// follows its job in this way.
func WithObserver(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, observerKey{}, observers(observerOf(ctx), o))
}

func observerOf(ctx context.Context) Observer {
	o, _ := ctx.Value(observerKey{}).(Observer)
	return o
}

// observers joins those that are not nil.
func observers(list ...Observer) Observer {
	var all []Observer
	for _, o := range list {
		if o != nil {
			all = append(all, o)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return func(e Event) {
		for _, o := range all {
			o(e)
		}
	}
}
