package gate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/gate"
)

// refuse answers with the text alone.
func refuse(w http.ResponseWriter, _ *http.Request, status int, text string) {
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}

// pass notes how often a request came through.
type pass int

func (p *pass) ServeHTTP(w http.ResponseWriter, _ *http.Request) { *p++ }

// send makes a request with header fields in pairs.
func send(h http.Handler, method, url string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Browsers say where a page comes from. Other clients say nothing and pass.
func TestRequestsOfOtherSites(t *testing.T) {
	plain := gate.Origins{}
	some := gate.Origins{List: []string{"https://ui.example"}, Pattern: regexp.MustCompile(`http://a|http://a\.b`)}
	all := gate.Origins{List: []string{"*"}}
	for _, tc := range []struct {
		name    string
		origins gate.Origins
		method  string
		header  []string
		want    int
	}{
		{"no browser", plain, "POST", nil, 200},
		{"gradio's client", plain, "POST", []string{"User-Agent", "gradio_client/0.5.0", "Content-Type", "application/json"}, 200},
		{"the own page", plain, "POST", []string{"Origin", "http://localhost:7860", "Sec-Fetch-Site", "same-origin"}, 200},
		{"the own page of an old browser", plain, "POST", []string{"Origin", "http://localhost:7860"}, 200},
		{"the user of a browser", plain, "POST", []string{"Sec-Fetch-Site", "none"}, 200},
		{"behind a proxy", plain, "POST", []string{"Origin", "https://pictures.example", "Sec-Fetch-Site", "same-origin"}, 200},
		{"another site", plain, "POST", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		{"another site of an old browser", plain, "POST", []string{"Origin", "https://evil.example"}, 403},
		{"another port of this machine", plain, "POST", []string{"Origin", "http://localhost:3000", "Sec-Fetch-Site", "same-site"}, 403},
		{"a beacon, which has no content type", plain, "POST", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a sandboxed page", plain, "POST", []string{"Origin", "null"}, 403},
		{"another site deletes", plain, "DELETE", []string{"Origin", "https://evil.example"}, 403},
		{"another site looks", plain, "GET", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 200},
		{"an allowed origin", some, "POST", []string{"Origin", "https://ui.example", "Sec-Fetch-Site", "cross-site"}, 200},
		{"an origin of the pattern", some, "POST", []string{"Origin", "http://a.b"}, 200},
		{"more than the pattern", some, "POST", []string{"Origin", "http://a.b.evil"}, 403},
		{"another origin", some, "POST", []string{"Origin", "https://evil.example"}, 403},
		{"every origin", all, "POST", []string{"Origin", "https://any.example", "Sec-Fetch-Site", "cross-site"}, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var passed pass
			got := send(tc.origins.Protect(refuse)(&passed), tc.method, "http://localhost:7860/", strings.NewReader("{}"), tc.header...)
			require.Equal(t, tc.want, got.Code)
			require.Equal(t, tc.want == 200, passed == 1)
			if tc.want == 403 {
				require.Equal(t, "Requests from pages of other sites are refused; CORS_ALLOW_ORIGINS allows some", got.Body.String())
			}
		})
	}
}

// A body that is too large is refused before it is read, or when it gets so.
func TestMaxBody(t *testing.T) {
	var got error
	h := gate.MaxBody(5)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, got = new(bytes.Buffer).ReadFrom(r.Body) }))
	for _, tc := range []struct {
		announced int64
		body      io.Reader
		large     bool
	}{
		{5, strings.NewReader("12345"), false},
		{-1, strings.NewReader("12345"), false},
		{-1, strings.NewReader("123456"), true},
		{6, iotest.ErrReader(errors.New("the body was read")), true},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", tc.body)
		r.ContentLength = tc.announced
		h.ServeHTTP(httptest.NewRecorder(), r)
		if !tc.large {
			require.NoError(t, got)
			continue
		}
		var large *http.MaxBytesError
		require.ErrorAs(t, got, &large)
		require.EqualValues(t, 5, large.Limit)
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		send(gate.Deadline(time.Minute)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			require.Equal(t, gate.ErrDeadline, context.Cause(r.Context()))
		})), "GET", "/", nil)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

// door has a route of each access.
func door(at map[string]*pass) gate.Door {
	d := gate.Door{Below: []string{"/"}, NotFound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r, 404, "nothing here") }), Refuse: refuse}
	for name, access := range map[string]gate.Access{"members": gate.Members, "guests": gate.Guests, "anyone": gate.Anyone} {
		at[name] = new(pass)
		d.Routes = append(d.Routes, gate.Route{Method: "POST", Path: "/" + name, Access: access, Handler: at[name]})
	}
	return d
}

// Whatever else is wrong with the server, nobody passes without credentials.
func TestAccess(t *testing.T) {
	users := gate.Credentials{Users: map[string]string{"u": "p"}}
	token := gate.Credentials{Token: "t"}
	for _, tc := range []struct {
		name                    string
		policy                  gate.Policy
		members, guests, anyone int
	}{
		{"open", gate.Policy{}, 200, 200, 200},
		{"open, for all routes", gate.Policy{AuthAll: true}, 200, 200, 200},
		{"users", gate.Policy{Credentials: users}, 401, 200, 200},
		{"users on all routes", gate.Policy{Credentials: users, AuthAll: true}, 401, 401, 200},
		{"token", gate.Policy{Credentials: token}, 401, 401, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := map[string]*pass{}
			mux := gate.NewMux(tc.policy, nil, door(at))
			for path, want := range map[string]int{"members": tc.members, "guests": tc.guests, "anyone": tc.anyone} {
				require.Equal(t, want, send(mux, "POST", "/"+path, nil).Code, path)
				require.Equal(t, want == 200, *at[path] == 1, path)
				require.Equal(t, 405, send(mux, "GET", "/"+path, nil).Code, "the method is looked at first, as in A1111")
			}
		})
	}
}

func TestMux(t *testing.T) {
	var pattern string
	note := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pattern = r.Pattern; h.ServeHTTP(w, r) })
	}
	jobs := gate.Door{
		Below:    []string{"/v1/jobs/"},
		NotFound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r, 404, "no such job route") }),
		Refuse:   refuse,
	}
	jobs.Routes = gate.Head([]gate.Route{
		{Method: "GET", Path: "/v1/jobs/{id}", Handler: new(pass)},
		{Method: "DELETE", Path: "/v1/jobs/{id}", Handler: new(pass)},
	})
	mux := gate.NewMux(gate.Policy{}, []gate.Middleware{note}, door(map[string]*pass{}), jobs)
	for _, tc := range []struct {
		method, path string
		status       int
		body         string
		pattern      string
	}{
		{"POST", "/members", 200, "", "/members"},
		{"GET", "/v1/jobs/a", 200, "", "/v1/jobs/{id}"},
		{"HEAD", "/v1/jobs/a", 200, "", "/v1/jobs/{id}"},
		{"PUT", "/v1/jobs/a", 405, "Method Not Allowed", "/v1/jobs/{id}"},
		{"GET", "/v1/jobs/a/b", 404, "no such job route", "/v1/jobs/"},
		{"GET", "/v1/jobs", 404, "no such job route", "/v1/jobs"},
		{"GET", "/else", 404, "nothing here", "/"},
		{"GET", "/", 404, "nothing here", "/"},
		{"POST", "//members", 404, "nothing here", "/"},
		{"POST", "/x/../members", 404, "nothing here", "/"},
		{"POST", "/members/", 404, "nothing here", "/"},
	} {
		got := send(mux, tc.method, "http://host"+tc.path, nil)
		require.Equal(t, tc.status, got.Code, "%s %s", tc.method, tc.path)
		require.Equal(t, tc.body, got.Body.String(), "%s %s", tc.method, tc.path)
		require.Equal(t, tc.pattern, pattern, "%s %s", tc.method, tc.path)
	}
	require.Equal(t, "GET, DELETE, HEAD", send(mux, "PUT", "/v1/jobs/a", nil).Header().Get("Allow"))
}
