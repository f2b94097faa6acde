// Package egress is the one way out of the program: a shared transport (proxy,
// trusted authorities, warm connections), and for each phase of the work a
// client that speaks only to the hosts named for it, retries reads within
// bounds, follows redirects without carrying credentials along, and keeps the
// record of every host that was asked. It knows nothing of registries, tokens
// or approvals: whoever signs requests does so in front of it.
package egress

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/ref"
)

// Limits of the shared transport.
const (
	dialTimeout   = 15 * time.Second
	headerTimeout = 2 * time.Minute
	maxHeader     = 1 << 20
	maxCAFile     = 4 << 20
	bufferSize    = 32 << 10
)

// Settings say how the network is reached. In a pipeline all of it comes from
// the agent; at a prompt the environment's proxy may be honoured instead.
type Settings struct {
	// Proxy is the agent's; nil is none.
	Proxy *Proxy
	// EnvironmentProxy honours HTTPS_PROXY, NO_PROXY and the system's
	// SSL_CERT_FILE and SSL_CERT_DIR. It is for a prompt: in a pipeline these
	// are the author's to set, and could answer for Azure DevOps.
	EnvironmentProxy bool
	// CAFile is a PEM bundle, added to the system's own authorities.
	CAFile string
	// ClientCert and ClientKey are PEM files; both or neither.
	ClientCert, ClientKey string
	// PlainHTTP lists the host[:port] that speak HTTP. No other is ever spoken
	// to without TLS.
	PlainHTTP []string
	// Observe, if not nil, is told of each HTTP exchange. It is called from
	// several goroutines.
	Observe func(Exchange)
	// Retried, if not nil, is told of each request that is made again, before
	// the wait. It is called from several goroutines.
	Retried func(Retry)
}

// Retry is a request that is made again: which, why, and after which wait.
// There is no query in it.
type Retry struct {
	Phase, Method, Host, Path string
	Reason                    string
	Attempt                   int // that failed, from 1
	Wait                      time.Duration
}

// Exchange is one HTTP request and its answer, without anything that could
// bear a secret: no header, no query.
type Exchange struct {
	Phase, Method, Host, Path string
	// Status is 0 if there was no answer; then Err says why.
	Status   int
	Duration time.Duration
	// Attempt counts from 1.
	Attempt int
	Err     error
}

// RedirectPolicy says what becomes of a 3xx answer.
type RedirectPolicy int

const (
	// RefuseRedirects hands the 3xx answer itself to the caller.
	RefuseRedirects RedirectPolicy = iota
	// FollowDownloads follows GET and HEAD, over HTTPS alone, to any host, at
	// most 5 times; another host gets no credential.
	FollowDownloads
)

// Phase is one part of the work and what it may do on the network.
type Phase struct {
	// Name stands in error texts: "reading the approvals".
	Name string
	// Hosts lists the host[:port] that may be asked. Empty refuses all.
	Hosts []string
	// Party is the registry whose Traffic the requests to it, and what their
	// redirects lead to, are accounted to; empty is none.
	Party     string
	Redirects RedirectPolicy
	// Retries is how often one request may be repeated, after 429, 502, 503,
	// 504 or a broken connection. Only reads are, and with RepeatWrites
	// whatever can be sent again: where twice is as once, as in fetching
	// tokens and setting attributes.
	Retries      int
	RepeatWrites bool
	// Timeout bounds one exchange from dialling to the last byte of the body;
	// 0 is none. Waiting between retries is not counted, it has its own bound.
	Timeout time.Duration
	// Stall is how long a body may make no progress; 0 is one minute.
	Stall time.Duration
	// BodyLimit ends the reading of longer bodies in an error; 0 is none.
	BodyLimit int64
}

// Network is the shared transport with its record. It is safe for use by
// several goroutines.
type Network struct {
	transport *http.Transport
	blobs     *http.Transport // what is long goes its own way
	http1     sync.Map        // by host:port: it offered no HTTP/2
	dialer    dialer
	proxy     *agentProxy
	settings  Settings
	plain     map[string]bool
	warnings  []string
	ledger    ledger
	pause     pauseFunc

	mu    sync.Mutex
	hosts map[string]bool
}

// New checks the settings and builds the transport. Nothing is dialled.
func New(s Settings) (*Network, error) {
	n := &Network{dialer: dialer{Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}}, settings: s, plain: map[string]bool{}, hosts: map[string]bool{}, pause: pause}
	for _, host := range s.PlainHTTP {
		at, ok := ref.HostPort(host, ref.DefaultPort("http"))
		if !ok {
			return nil, fmt.Errorf("%q, which is to speak HTTP, is not a valid host", host)
		}
		n.plain[at] = true
	}
	if !s.EnvironmentProxy {
		// crypto/x509 reads these when the system's authorities are first
		// loaded; whoever may set them would choose whom to trust.
		os.Unsetenv("SSL_CERT_FILE")
		os.Unsetenv("SSL_CERT_DIR")
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if s.CAFile != "" {
		roots, err := withAuthorities(s.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if s.ClientCert != "" || s.ClientKey != "" {
		pair, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("the client certificate %s with the key %s cannot be used: %w; both must be PEM, the key not encrypted", s.ClientCert, s.ClientKey, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	n.transport = &http.Transport{
		DialContext:            n.dialer.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         bufferSize,
		WriteBufferSize:        bufferSize,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: dialTimeout},
		// Bytes are hashed and counted as they travel.
		DisableCompression:     true,
		OnProxyConnectResponse: checkProxyAnswer,
	}
	switch {
	case s.Proxy != nil:
		proxy, warnings, err := newAgentProxy(*s.Proxy)
		if err != nil {
			return nil, err
		}
		n.proxy, n.warnings = proxy, warnings
		n.transport.Proxy = proxy.choose
	case s.EnvironmentProxy:
		n.transport.Proxy = http.ProxyFromEnvironment
	}
	n.blobs = n.bulk()
	return n, nil
}

func withAuthorities(file string) (*x509.CertPool, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("the CA file %s cannot be read: %w", file, err)
	}
	if info.Size() > maxCAFile {
		return nil, fmt.Errorf("the CA file %s has %d bytes; at most %d are read", file, info.Size(), maxCAFile)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the CA file %s cannot be read: %w", file, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		// A system without authorities of its own still has those of the file.
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file %s holds no certificate; it must be a PEM bundle", file)
	}
	return roots, nil
}

// Client gives the client of one phase. All clients share the transport.
//
// http.Client wraps what fails in a url.Error, whose text repeats the whole
// URL with its query, which may be a signature: whoever tells of it takes that
// off first.
func (n *Network) Client(p Phase) *http.Client {
	if p.Stall <= 0 {
		p.Stall = time.Minute
	}
	gate := &gate{network: n, phase: p, hosts: slices.Clone(p.Hosts)}
	return &http.Client{
		Transport: gate,
		// The gate follows, below whoever signs requests: so a signature never
		// reaches a second host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Hosts lists every host:port that was asked, sorted.
func (n *Network) Hosts() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	hosts := make([]string, 0, len(n.hosts))
	for host := range n.hosts {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return hosts
}

// Warnings lists what of the settings had to be left aside.
func (n *Network) Warnings() []string { return slices.Clone(n.warnings) }

// Describe tells the proxy in use, without user and password, and the CA file.
// Either is empty if there is none.
func (n *Network) Describe() (proxy, ca string) {
	switch {
	case n.proxy != nil:
		proxy = bare(n.proxy.url)
	case n.settings.EnvironmentProxy:
		request := &http.Request{URL: &url.URL{Scheme: "https", Host: "registry.example"}}
		if u, err := http.ProxyFromEnvironment(request); err == nil && u != nil {
			proxy = bare(u)
		}
	}
	return proxy, n.settings.CAFile
}

func (n *Network) speaksHTTP1(host string) bool {
	_, known := n.http1.Load(host)
	return known
}

func (n *Network) record(host string) {
	n.mu.Lock()
	n.hosts[host] = true
	n.mu.Unlock()
}

func bare(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// authority gives host:port in lower case, with the scheme's port where the
// URL names none. It is false for a host or port that is not valid.
func authority(u *url.URL) (string, bool) {
	return ref.HostPort(u.Host, ref.DefaultPort(u.Scheme))
}
