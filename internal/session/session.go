// Package session holds the connections of one run: the network, the
// credentials, a client and a circuit breaker for each registry, and the client
// for Azure DevOps. It sends nothing on its own, and the only thing it decides
// is which credential to use for which registry.
package session

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/azdo"
	"acrpromote/internal/collection"
	"acrpromote/internal/egress"
	"acrpromote/internal/ref"
	"acrpromote/internal/transfer"
)

// Limits for requests to services; the body limits are in bytes.
const (
	serviceTimeout   = 30 * time.Second
	serviceBodyLimit = 16 << 20
	tokenBodyLimit   = 1 << 20
	retryLimit       = 4

	metadataTimeout    = 10 * time.Second
	metadataRetryLimit = 2
)

// Watch has the functions that a session calls to report its progress.
type Watch struct {
	// Exchange, if not nil, is called after every request.
	Exchange func(egress.Exchange)
	// Retried is called before a retry.
	Retried func(what, reason string, attempt int, wait time.Duration)
}

// Session serves one run of the program. Call SignIn for all registries before
// using it from several goroutines; the other methods are safe for concurrent
// use.
type Session struct {
	config      *agent.Config
	watch       Watch
	network     *egress.Network
	plainHTTP   []string
	registries  map[string]*Registry
	identities  map[string]*acr.Identity // by service connection
	managements map[string]*Management   // by service connection and cloud
	memory      *transfer.Memory
	devops      func() (*azdo.Service, error)
}

// Error is the error for inputs or agent settings with which no session can be
// opened.
type Error struct {
	Subject string // the input, or the agent
	Reason  string
	Remedy  string
}

func (e *Error) Error() string { return e.Reason + ". " + e.Remedy }

// Open prepares the network without sending anything. Every error is an *Error.
func Open(c *agent.Config, watch Watch) (*Session, error) {
	settings := egress.Settings{
		EnvironmentProxy: c.EnvironmentProxy,
		CAFile:           c.TLS.CAFile,
		ClientCert:       c.TLS.ClientCert,
		ClientKey:        c.TLS.ClientKey,
		ClientCertHosts:  collectionHosts(c),
		OnExchange:       watch.Exchange,
		OnRetry: func(r egress.Retry) {
			watch.Retried(r.Phase+", "+r.Method+" "+r.Host+r.Path, r.Reason, r.Attempt, r.Wait)
		},
	}
	if proxy := c.Proxy.WithCredentials(); proxy != nil {
		settings.Proxy = &egress.Proxy{URL: proxy, Bypass: c.Proxy.Bypass}
	}
	for _, host := range c.PlainHTTP {
		plain, err := ref.ParseHost(host)
		if err != nil {
			return nil, &Error{"plain-http", err.Error(), "Write a host, as in --plain-http localhost:5000."}
		}
		if _, azure := acr.CloudOf(plain); azure {
			return nil, &Error{"plain-http", fmt.Sprintf("%s is an Azure Container Registry, which supports only HTTPS", plain), "Remove it from --plain-http."}
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
		memory: transfer.NewMemory(),
	}
	s.devops = sync.OnceValues(s.openAzureDevOps)
	return s, nil
}

// collectionHosts returns the hosts of the collection, which the agent's client
// certificate is for.
func collectionHosts(c *agent.Config) []string {
	if of, err := collection.Parse(c.CollectionURL); err == nil {
		return of.Hosts()
	}
	return nil
}

// AzureDevOps returns the client for Azure DevOps.
func (s *Session) AzureDevOps() (*azdo.Service, error) { return s.devops() }

// Transport describes the proxy and the CA file in use; they are empty if there
// is none. claimed reports whether the agent's settings name either of them.
func (s *Session) Transport() (proxy, ca string, claimed bool) {
	proxy, ca = s.network.Describe()
	return proxy, ca, s.config.Proxy.URL != nil || s.config.TLS.CAFile != ""
}

// Hosts lists every host that a connection was attempted to, with its port. It is
// complete after Close.
func (s *Session) Hosts() []string { return s.network.Hosts() }

// Close ends the session: idle connections are closed, and no new one is made.
func (s *Session) Close() { s.network.Close() }

// Traffic returns the request counts and bytes for each registry.
func (s *Session) Traffic() []egress.Traffic { return s.network.Traffic() }

// Paced reports whether requests to a registry have been held back within the last
// so long, because it limits them.
func (s *Session) Paced(host string, within time.Duration) bool {
	return s.network.Paced(host, within)
}

// Responded reports whether a registry has served a request within the last so long.
func (s *Session) Responded(host string, within time.Duration) bool {
	return s.network.Responded(host, within)
}

// Warnings returns the warnings about the network settings and the registries.
func (s *Session) Warnings() []string {
	all := s.network.Warnings()
	for _, host := range slices.Sorted(maps.Keys(s.registries)) {
		all = append(all, s.registries[host].Data.Warnings()...)
	}
	return all
}

// How many connections Preconnect opens to each registry.
const (
	fewRegistries     = 4 // registries
	connectionsToFew  = 6
	connectionsToMany = 2
)

// Preconnect opens connections before the first manifest shows what to copy, so
// that they are ready by then.
func (s *Session) Preconnect(hosts []string) {
	each := connectionsToFew
	if len(hosts) > fewRegistries {
		each = connectionsToMany
	}
	for _, host := range hosts {
		s.network.Preconnect(host, each)
	}
}
