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

// Traffic is what was asked on behalf of one registry: requests by kind, each
// real exchange counted, retries and redirects to storage included; bytes of
// bodies; how often and how long a retry was waited for.
type Traffic struct {
	Party                         string
	Read, Write, Referrers, Token int
	BytesRead, BytesWritten       int64
	Retries                       int
	Waited                        time.Duration
}

type account struct {
	windows       [4]window
	requests      [4]atomic.Int64
	read, written atomic.Int64
	retries       atomic.Int64
	waited        atomic.Int64
}

type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account
}

// The kinds of request, as a registry limits them.
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

// Repeated accounts to a registry what was repeated above the network, after
// such a wait: what cannot be sent again as it is.
func (n *Network) Repeated(party string, wait time.Duration) {
	at, _ := ref.HostPort(party, ref.DefaultPort("https"))
	a := n.ledger.account(party, at)
	a.retries.Add(1)
	a.waited.Add(int64(wait))
}

// account finds whom a request to this host is accounted to: the context's
// registry if the request goes to it, with all that follows from there; else
// nobody, as when that registry's credentials are fetched elsewhere.
func (l *ledger) account(party, host string) *account {
	name := strings.ToLower(party)
	https, _ := ref.HostPort(name, ref.DefaultPort("https"))
	plain, _ := ref.HostPort(name, ref.DefaultPort("http"))
	if host != https && host != plain {
		name = ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accounts == nil {
		l.accounts = map[string]*account{}
	}
	a := l.accounts[name]
	if a == nil {
		a = &account{}
		l.accounts[name] = a
	}
	return a
}

// Traffic tells the accounts of all registries, sorted by name. What belongs
// to no registry is not told.
func (n *Network) Traffic() []Traffic {
	n.ledger.mu.Lock()
	defer n.ledger.mu.Unlock()
	all := []Traffic{}
	for name, a := range n.ledger.accounts {
		if name == "" {
			continue
		}
		all = append(all, Traffic{
			Party:        name,
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
	slices.SortFunc(all, func(a, b Traffic) int { return strings.Compare(a.Party, b.Party) })
	return all
}
