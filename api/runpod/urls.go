package runpod

import (
	"net/url"
	"strings"
)

// expand fills a URL template. $RUNPOD_POD_ID is the worker; $ID is the worker
// too in the templates of job-take and ping, and the job in those of posts, so
// the caller says what it stands for. Ids are escaped as path segments.
func expand(template, worker, id string) (*url.URL, error) {
	s := strings.ReplaceAll(template, "$RUNPOD_POD_ID", url.PathEscape(worker))
	s = strings.ReplaceAll(s, "$ID", url.PathEscape(id))
	return url.Parse(s)
}

// withQuery returns u with more query parameters, given as key, value pairs. What
// the template carried stays, such as gpu=…; the template may have no "?" at all
// (in the test environment of RunPod's Hub) or a trailing one.
func withQuery(u *url.URL, pairs ...string) *url.URL {
	v := *u
	q := v.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	v.RawQuery = q.Encode()
	return &v
}

// sibling returns the URL of a neighbour of job-take, such as job-stop, or nil
// when u is not a job-take URL.
func sibling(u *url.URL, route string) *url.URL {
	const take = "/job-take/"
	if !strings.Contains(u.Path, take) {
		return nil
	}
	v := *u
	v.Path = strings.Replace(u.Path, take, "/"+route+"/", 1)
	v.RawPath = strings.Replace(u.RawPath, take, "/"+route+"/", 1)
	return &v
}
