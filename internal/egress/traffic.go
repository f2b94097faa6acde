package egress

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"acrpromote/internal/ref"
)

// Traffic counts what was sent and received for one registry: requests by kind,
// each exchange counted, retries and redirects to storage included; bytes of
// bodies; number and waits of retries.
type Traffic struct {
	Registry                      string
	Read, Write, Referrers, Token int
	BytesRead, BytesWritten       int64
	Retries                       int
	Waited                        time.Duration
}

type counters struct {
	windows       [4]window
	requests      [4]atomic.Int64
	read, written atomic.Int64
	retries       atomic.Int64
	waited        atomic.Int64
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
		a = &counters{}
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
			BytesRead:    a.read.Load(),
			BytesWritten: a.written.Load(),
			Retries:      int(a.retries.Load()),
			Waited:       time.Duration(a.waited.Load()),
		})
	}
	slices.SortFunc(all, func(a, b Traffic) int { return strings.Compare(a.Registry, b.Registry) })
	return all
}
