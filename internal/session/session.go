// Package session is what one run of the program talks through: the network,
// the credentials, a client for each registry with its circuit breaker, and the
// client of Azure DevOps. It sends nothing before it is asked to, and decides
// nothing but which credential serves which registry.
package session

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/azdo"
	"acrpromote/internal/egress"
	"acrpromote/internal/ref"
)

// Bounds of one exchange with a service, and of its response in bytes.
const (
	serviceTimeout = 30 * time.Second
	serviceAnswer  = 16 << 20
	tokenAnswer    = 1 << 20
	repetitions    = 4
)

// Watch is what a session reports while it works.
type Watch struct {
	// Exchange, if not nil, is called for every request.
	Exchange func(egress.Exchange)
	// Retried is called before something is tried again.
	Retried func(what, reason string, attempt int, wait time.Duration)
}

// Session serves one run of the program. Registries are signed in to before
// anything runs side by side; everything else is safe for concurrent use.
type Session struct {
	config     *agent.Config
	watch      Watch
	network    *egress.Network
	plainHTTP  []string
	registries map[string]*Registry
	identities map[string]*acr.Identity // by service connection
	devops     func() (*azdo.Service, error)
}

// Error is a session that cannot be opened as the inputs have it.
type Error struct {
	Subject string // the input, or the agent
	Reason  string
	Remedy  string
}

func (e *Error) Error() string { return e.Reason + ". " + e.Remedy }

// Open opens the network; nothing is sent yet. Every error is an *Error.
func Open(c *agent.Config, watch Watch) (*Session, error) {
	settings := egress.Settings{
		EnvironmentProxy: c.EnvironmentProxy,
		CAFile:           c.TLS.CAFile,
		ClientCert:       c.TLS.ClientCert,
		ClientKey:        c.TLS.ClientKey,
		Observe:          watch.Exchange,
		Retried: func(r egress.Retry) {
			watch.Retried(r.Phase+", "+r.Method+" "+r.Host+r.Path, r.Reason, r.Attempt, r.Wait)
		},
	}
	if proxy := c.Proxy.WithCredentials(); proxy != nil {
		settings.Proxy = &egress.Proxy{URL: proxy, Bypass: c.Proxy.Bypass}
	}
	for _, host := range c.PlainHTTP {
		plain, err := ref.ParseHost(host)
		if err != nil {
			return nil, &Error{"plain-http", err.Error(), "Name a host, as in --plain-http localhost:5000."}
		}
		if _, azure := acr.Suffix(plain); azure {
			return nil, &Error{"plain-http", fmt.Sprintf("%s is a registry of Azure, which speaks HTTPS alone", plain), "Leave --plain-http out for it."}
		}
		settings.PlainHTTP = append(settings.PlainHTTP, plain)
	}
	network, err := egress.New(settings)
	if err != nil {
		return nil, &Error{"agent", err.Error(), "Correct the agent's proxy or certificate settings."}
	}
	s := &Session{
		config: c, watch: watch, network: network, plainHTTP: settings.PlainHTTP,
		registries: map[string]*Registry{}, identities: map[string]*acr.Identity{},
	}
	s.devops = sync.OnceValues(s.openAzureDevOps)
	return s, nil
}

// AzureDevOps returns the client that reads this run.
func (s *Session) AzureDevOps() (*azdo.Service, error) { return s.devops() }

// Transport describes the proxy and the CA file in use, empty where there is
// none, and whether the agent claims either of them.
func (s *Session) Transport() (proxy, ca string, claimed bool) {
	proxy, ca = s.network.Describe()
	return proxy, ca, s.config.Proxy.URL != nil || s.config.TLS.CAFile != ""
}

// Hosts lists every host that was asked, with its port.
func (s *Session) Hosts() []string { return s.network.Hosts() }

// Traffic counts what each registry was asked for.
func (s *Session) Traffic() []egress.Traffic { return s.network.Traffic() }

// Warnings are what the network found that people should know.
func (s *Session) Warnings() []string { return s.network.Warnings() }

// Connections that are dialled ahead, to each registry.
const (
	few         = 4 // registries
	aheadOfFew  = 6
	aheadOfMany = 2
)

// DialAhead has connections ready for when the first manifest shows what is to
// be moved.
func (s *Session) DialAhead(hosts []string) {
	each := aheadOfFew
	if len(hosts) > few {
		each = aheadOfMany
	}
	for _, host := range hosts {
		s.network.DialAhead(host, each)
	}
}

// Connections lists the service connections of this step, each once.
func (s *Session) Connections() []*agent.Connection {
	var used []*agent.Connection
	for _, c := range append([]*agent.Connection{s.config.Azure, s.config.Target}, s.config.Registries...) {
		if c != nil && !slices.ContainsFunc(used, func(u *agent.Connection) bool { return u.ID == c.ID }) {
			used = append(used, c)
		}
	}
	return used
}
