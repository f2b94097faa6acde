package sim

import (
	"net/http"
	"strings"
	"sync"
)

// front is a host that many share, told apart by the first segment of the
// path: tenants at an authority host, organisations at dev.azure.com.
type front struct {
	mu       sync.Mutex
	segments map[string]http.Handler // lower case
	fallback http.Handler
}

// front returns the host's front, and opens the host if nobody has. A host
// that serves something else is taken over.
func (c *Cloud) front(host string) *front {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.hosts[address(host)].(*front)
	if !ok {
		f = &front{segments: map[string]http.Handler{}, fallback: http.NotFoundHandler()}
		c.hosts[address(host)] = f
	}
	return f
}

// existing is what the host serves under the segment, or nil.
func (c *Cloud) existing(host, segment string) http.Handler {
	c.mu.Lock()
	f, ok := c.hosts[address(host)].(*front)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	return f.get(segment)
}

func (f *front) add(segment string, h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.segments[strings.ToLower(segment)] = h
}

func (f *front) get(segment string) http.Handler {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.segments[strings.ToLower(segment)]
}

func (f *front) setFallback(h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fallback = h
}

func (f *front) all() []http.Handler {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []http.Handler
	for _, h := range f.segments {
		all = append(all, h)
	}
	return all
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	segment, _ := cutSegment(r.URL.Path)
	h := f.get(segment)
	if h == nil {
		f.mu.Lock()
		h = f.fallback
		f.mu.Unlock()
	}
	h.ServeHTTP(w, r)
}

// cutSegment splits /first/rest into first and /rest.
func cutSegment(path string) (first, rest string) {
	first, rest, found := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if found {
		rest = "/" + rest
	}
	return first, rest
}
