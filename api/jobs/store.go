package jobs

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// store keeps all jobs that have not ended, and the newest of the others within
// limits of time, number and bytes.
type store struct {
	keep       time.Duration
	maxResults int
	maxBytes   int64

	mu     sync.Mutex
	closed bool
	jobs   map[string]*entry
	order  []*job // by creation
	ends   []*job // ended ones, by time of end
	bytes  int64  // of ends
	keys   map[string]*entry
	gone   []string // ids of jobs that were dropped, the oldest first
}

// entry is a job in the store.
type entry struct {
	*job
	sub    *submission // key and hash of it
	expiry *time.Timer
}

// rememberedIDs bounds the dropped jobs that are answered with 410 instead
// of 404.
const rememberedIDs = 10_000

func newStore(keep time.Duration, maxResults int, maxBytes int64) store {
	return store{keep: keep, maxResults: maxResults, maxBytes: maxBytes, jobs: make(map[string]*entry), keys: make(map[string]*entry)}
}

// admit returns the job that a client has submitted before under the same
// idempotency key, or the one that start makes.
func (s *store) admit(sub *submission, start func() *job) (j *job, replayed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, refuse(http.StatusServiceUnavailable, "the server is shutting down")
	}
	if old := s.keys[sub.key]; old != nil && sub.key != "" {
		if old.sub.hash != sub.hash {
			return nil, false, invalid("this Idempotency-Key was used for another body; take a new key for a new job")
		}
		return old.job, true, nil
	}
	e := &entry{job: start(), sub: sub}
	s.jobs[e.id] = e
	s.order = append(s.order, e.job)
	if sub.key != "" {
		s.keys[sub.key] = e
	}
	return e.job, false, nil
}

// knows reports whether a job was made under an idempotency key.
func (s *store) knows(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return key != "" && s.keys[key] != nil
}

// find returns the job of an id.
func (s *store) find(id string) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.jobs[id]; e != nil {
		return e.job, nil
	}
	if slices.Contains(s.gone, id) {
		return nil, refuse(http.StatusGone, "the output of this job is no longer kept; submit the job again")
	}
	return nil, refuse(http.StatusNotFound, "there is no such job")
}

// all returns the jobs, the newest first.
func (s *store) all() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.order)
	slices.Reverse(list)
	return list
}

// ended takes note that j has ended and drops what is too much now.
func (s *store) ended(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.jobs[j.id]
	if e == nil || s.closed {
		return
	}
	s.ends = append(s.ends, j)
	s.bytes += j.size()
	for len(s.ends) > s.maxResults || s.bytes > s.maxBytes && len(s.ends) > 1 {
		s.remove(s.ends[0])
	}
	e.expiry = time.AfterFunc(s.keep, func() { s.drop(j) })
}

// drop removes an ended job. Its id is answered with 410 from now on.
func (s *store) drop(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(j)
}

// remove is drop with the lock held.
func (s *store) remove(j *job) {
	if s.take(j) {
		s.gone = append(s.gone, j.id)
		s.gone = s.gone[max(0, len(s.gone)-rememberedIDs):]
	}
}

// forget removes a job as if it never was.
func (s *store) forget(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(j)
}

func (s *store) take(j *job) bool {
	e := s.jobs[j.id]
	if e == nil {
		return false
	}
	same := func(other *job) bool { return other == j }
	if i := slices.IndexFunc(s.ends, same); i >= 0 {
		s.ends = slices.Delete(s.ends, i, i+1)
		s.bytes -= j.size()
	}
	s.order = slices.DeleteFunc(s.order, same)
	if e.expiry != nil {
		e.expiry.Stop()
	}
	delete(s.jobs, j.id)
	if e.sub.key != "" {
		delete(s.keys, e.sub.key)
	}
	return true
}

// close refuses further jobs and returns those in the store.
func (s *store) close() []*job {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.all()
}

// clear removes all jobs.
func (s *store) clear() {
	for _, j := range s.all() {
		s.drop(j)
	}
}
