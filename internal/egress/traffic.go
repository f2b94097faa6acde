package egress

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// Traffic counts what was sent and received for one registry: requests by kind,
// each exchange counted, retries and redirects to storage included; bytes of
// bodies; number and waits of retries.
type Traffic struct {
	Registry                      string
	Read, Write, Referrers, Token int
	BytesRead, BytesWritten       int64
	Redirected                    int // of the reads: to the storage behind the registry
	Retries                       int
	Waited                        time.Duration
	// Held is for how long requests were held back, so that the registry did not
	// refuse them.
	Held time.Duration
}

type counters struct {
	windows       [4]window
	requests      [4]atomic.Int64
	redirected    atomic.Int64
	read, written atomic.Int64
	retries       atomic.Int64
	waited        atomic.Int64
	held          heldTime
	responded     atomic.Int64 // when the last request was served, in nanoseconds since 1970
}

func newCounters() *counters {
	c := &counters{}
	for kind := range c.windows {
		c.windows[kind].held, c.windows[kind].pace.limits = &c.held, published(kind)
	}
	return c
}

type registryCounters struct {
	mu     sync.Mutex
	byName map[string]*counters
}

// Kinds of request, as registries limit them.
const (
	kindRead = iota
	kindWrite
	kindReferrers
	kindToken
)

func kind(req *http.Request) int {
	switch path := req.URL.Path; {
	case strings.HasPrefix(path, "/oauth2/"):
		return kindToken
	case strings.Contains(path, "/referrers/"):
		return kindReferrers
	case req.Method == http.MethodGet, req.Method == http.MethodHead:
		return kindRead
	default:
		return kindWrite
	}
}

// CountRetry counts a retry that was made above the network, after such a wait:
// of a request that cannot be sent again as it is.
func (n *Network) CountRetry(registry string, wait time.Duration) {
	at, _ := ref.HostPort(registry, ref.DefaultPort("https"))
	a := n.counters.of(registry, at)
	a.retries.Add(1)
	a.waited.Add(int64(wait))
}

// Paced reports whether requests to a registry have been held back within the last
// so long, because it takes only so many of them in a minute.
func (n *Network) Paced(registry string, within time.Duration) bool {
	at, _ := ref.HostPort(registry, ref.DefaultPort("https"))
	h := &n.counters.of(registry, at).held
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.paced) < within
}

// Responded reports whether a registry has served a request within the last so long.
// A refusal of too many requests, or an error of the server, does not count.
func (n *Network) Responded(registry string, within time.Duration) bool {
	at, _ := ref.HostPort(registry, ref.DefaultPort("https"))
	return time.Since(time.Unix(0, n.counters.of(registry, at).responded.Load())) < within
}

// of returns the counters for a request to host: the registry's if the request
// goes to it or follows from such a request; otherwise nobody's, such as when
// the registry's credentials are fetched elsewhere.
func (l *registryCounters) of(registry, host string) *counters {
	name := strings.ToLower(registry)
	https, _ := ref.HostPort(name, ref.DefaultPort("https"))
	plain, _ := ref.HostPort(name, ref.DefaultPort("http"))
	if host != https && host != plain {
		name = ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byName == nil {
		l.byName = map[string]*counters{}
	}
	a := l.byName[name]
	if a == nil {
		a = newCounters()
		l.byName[name] = a
	}
	return a
}

// Traffic returns the counters of all registries, sorted by name. Requests that
// belong to no registry are not included.
func (n *Network) Traffic() []Traffic {
	n.counters.mu.Lock()
	defer n.counters.mu.Unlock()
	all := []Traffic{}
	for name, a := range n.counters.byName {
		if name == "" {
			continue
		}
		all = append(all, Traffic{
			Registry:     name,
			Read:         int(a.requests[kindRead].Load()),
			Write:        int(a.requests[kindWrite].Load()),
			Referrers:    int(a.requests[kindReferrers].Load()),
			Token:        int(a.requests[kindToken].Load()),
			Redirected:   int(a.redirected.Load()),
			BytesRead:    a.read.Load(),
			BytesWritten: a.written.Load(),
			Retries:      int(a.retries.Load()),
			Waited:       time.Duration(a.waited.Load()),
			Held:         a.held.sum(),
		})
	}
	sorting.By(all, func(a, b Traffic) int { return strings.Compare(a.Registry, b.Registry) })
	return all
}
