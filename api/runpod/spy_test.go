package runpod_test

import (
	"net/http"
	"sync/atomic"
)

// spy notes the user agent of every request.
type spy struct {
	next  http.RoundTripper
	agent *atomic.Value
}

func (s spy) RoundTrip(r *http.Request) (*http.Response, error) {
	s.agent.Store(r.UserAgent())
	return s.next.RoundTrip(r)
}
