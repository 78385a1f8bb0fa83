package gate

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// Access says who may call a route.
type Access int

// Kinds of access.
const (
	Members Access = iota // clients with credentials
	Guests                // as in A1111 everyone, but for Policy.AuthAll and Credentials.Token
	Anyone                // everyone: health checks and what holds no data
)

// Route is one method of one path.
type Route struct {
	Method  string // GET does not stand for HEAD
	Path    string // a pattern of http.ServeMux without method and host
	Access  Access
	Handler http.Handler
}

// Head returns routes together with a HEAD for each GET.
func Head(routes []Route) []Route {
	out := slices.Clone(routes)
	for _, rt := range routes {
		if rt.Method == http.MethodGet {
			rt.Method = http.MethodHead
			out = append(out, rt)
		}
	}
	return out
}

// Door is a group of routes that share the shape of their errors.
type Door struct {
	Routes []Route
	// Below are the subtrees, patterns that end in a slash, whose other paths
	// NotFound answers.
	Below    []string
	NotFound http.Handler
	// Refuse answers what the gate or the lack of a method refuses. For the latter
	// the header Allow is set.
	Refuse Refuse
	// Around wraps the handlers of this door, inside of all other middlewares.
	Around []Middleware
}

// Policy says who may call the API. The zero value lets everyone in.
type Policy struct {
	Credentials
	// AuthAll asks for Credentials on the routes for Guests, too.
	AuthAll bool
	Origins Origins
	MaxBody int64 // bytes; 0 means no limit
}

// require is the check of credentials in front of a route.
func (p Policy) require(access Access, refuse Refuse) Middleware {
	if access == Members || access == Guests && (p.AuthAll || p.Token != "") {
		return p.Require(refuse)
	}
	return func(h http.Handler) http.Handler { return h }
}

// around are the middlewares that every request to a door passes.
func (p Policy) around(refuse Refuse) []Middleware {
	list := []Middleware{p.Origins.CORS(), p.Origins.Protect(refuse)}
	if p.MaxBody > 0 {
		list = append([]Middleware{MaxBody(p.MaxBody)}, list...)
	}
	return list
}

// Mux serves the routes of some doors. Request.Pattern of a request is the path
// of its route, also in the middlewares around it.
type Mux struct {
	mux  *http.ServeMux
	rest http.Handler // answers what is below "/" and has no route, nil for none
}

// NewMux returns the routes of doors behind a policy. Every request passes the
// middlewares in around first.
func NewMux(p Policy, around []Middleware, doors ...Door) *Mux {
	m := &Mux{mux: http.NewServeMux()}
	for _, d := range doors {
		m.add(p, around, d)
	}
	return m
}

func (m *Mux) add(p Policy, around []Middleware, d Door) {
	around = append(slices.Clip(around), p.around(d.Refuse)...)
	paths := map[string]*methods{}
	for _, rt := range d.Routes {
		h := chain(rt.Handler, append([]Middleware{p.require(rt.Access, d.Refuse)}, d.Around...)...)
		if paths[rt.Path] == nil {
			paths[rt.Path] = &methods{handlers: map[string]http.Handler{}, refuse: d.Refuse}
			m.mux.Handle(rt.Path, chain(paths[rt.Path], around...))
		}
		paths[rt.Path].add(rt.Method, h)
	}
	for _, below := range d.Below {
		h := chain(d.NotFound, around...)
		m.mux.Handle(below, h)
		if root := strings.TrimSuffix(below, "/"); root == "" {
			m.rest = h
		} else if paths[root] == nil {
			m.mux.Handle(root, h) // instead of a redirection
		}
	}
}

// ServeHTTP answers one request. A path that is not written the shortest way has
// no route, while http.ServeMux would redirect it.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.Path; m.rest != nil && path.Clean(p) != strings.TrimSuffix(p, "/") && p != "/" {
		r.Pattern = "/"
		m.rest.ServeHTTP(w, r)
		return
	}
	m.mux.ServeHTTP(w, r)
}

// methods are the handlers of one path.
type methods struct {
	names    []string // in the order of the table
	handlers map[string]http.Handler
	refuse   Refuse
}

func (m *methods) add(name string, h http.Handler) {
	m.names = append(m.names, name)
	m.handlers[name] = h
}

func (m *methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := m.handlers[r.Method]; h != nil {
		h.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(m.names, ", "))
	m.refuse(w, r, http.StatusMethodNotAllowed, "Method Not Allowed")
}
