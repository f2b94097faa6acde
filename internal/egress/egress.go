// Package egress is the program's only access to the network: a shared
// transport (proxy, trusted authorities, warm connections), and for each phase
// of a run a client that reaches only the hosts listed for it, retries reads
// within limits, follows redirects without passing on credentials, and records
// every host that was asked. It does not know registries, tokens or approvals;
// requests are signed before they reach it.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/regularfile"
)

// Limits of the shared transport.
const (
	dialTimeout   = 15 * time.Second
	headerTimeout = 2 * time.Minute
	maxHeader     = 64 << 10
	maxCAFile     = 4 << 20
	bufferSize    = 32 << 10
	// streamBuffer bounds what an HTTP/2 server may send of one response before it is
	// read: 32 MiB for the 64 responses that a registry may be asked for at a time. The
	// library's default is 4 MiB for each. There is no smaller bound for all responses
	// of a connection: those that wait for memory would keep those from arriving that
	// have it. Blobs, for which this would be slow, are read by HTTP/1.1.
	streamBuffer = 512 << 10
)

// Settings describe how to reach the network. In a pipeline all of it comes
// from the agent; at a prompt the environment's proxy may be used instead.
type Settings struct {
	// Proxy is the agent's proxy, or nil.
	Proxy *Proxy
	// EnvironmentProxy uses HTTPS_PROXY, NO_PROXY and the system's
	// SSL_CERT_FILE and SSL_CERT_DIR. It is for a prompt: in a pipeline the
	// pipeline's author can set them, and could answer in place of Azure
	// DevOps.
	EnvironmentProxy bool
	// CAFile is a PEM bundle, added to the system's own authorities.
	CAFile string
	// ClientCert and ClientKey are PEM files; both or neither. The certificate
	// is shown to the proxy and to the ClientCertHosts (host[:port]) alone.
	ClientCert, ClientKey string
	ClientCertHosts       []string
	// PlainHTTP lists the host[:port] that use HTTP. All others use TLS.
	PlainHTTP []string
	// OnExchange, if not nil, is called for each HTTP exchange, from several
	// goroutines.
	OnExchange func(Exchange)
	// OnRetry, if not nil, is called for each retry, before the wait, from
	// several goroutines.
	OnRetry func(Retry)
}

// Retry describes a request that is sent again, why, and after which wait. It
// has no query.
type Retry struct {
	Phase, Method, Host, Path string
	Reason                    string
	Attempt                   int // that failed, from 1
	Wait                      time.Duration
}

// Exchange describes one HTTP request and its response, without anything that
// could contain a secret: no header, no query.
type Exchange struct {
	Phase, Method, Host, Path string
	// Status is 0 if there was no response; then Err is set.
	Status   int
	Duration time.Duration
	// Attempt counts from 1.
	Attempt int
	Err     error
}

// RedirectPolicy says how to handle a 3xx response.
type RedirectPolicy int

const (
	// RefuseRedirects returns the 3xx response to the caller.
	RefuseRedirects RedirectPolicy = iota
	// FollowDownloads follows GET of blobs, over HTTPS only, to any host, at most
	// 5 times. Another host gets no credentials. Other 3xx responses are returned
	// to the caller, those to HEAD too: a signed URL may be for GET only.
	FollowDownloads
)

// Phase is one part of a run and what it may do on the network.
type Phase struct {
	// Name is used in error texts: "reading the approvals".
	Name string
	// Hosts lists the host[:port] that may be asked. If it is empty, none may.
	Hosts []string
	// Registry is the registry in whose Traffic the requests to it, and those
	// that its redirects lead to, are counted; empty if none.
	Registry string
	// Paced limits the concurrent requests to each host, and holds them back so that
	// it does not refuse them, as requests to a registry always are; see Pace.
	Paced     bool
	Redirects RedirectPolicy
	// LinkLocal says that the hosts are link-local addresses, which lead to a
	// service of this machine alone: they are never asked through a proxy, and
	// may be asked over plain HTTP.
	LinkLocal bool
	// Retries limits the retries of one request, after 429, 502, 503, 504 or a
	// broken connection. Only reads are retried, and with RepeatWrites every
	// request that can be sent again: for requests that may safely be repeated,
	// such as fetching tokens and setting attributes.
	Retries      int
	RepeatWrites bool
	// Timeout limits one exchange from dialing to the last byte of the body; 0
	// is no limit. Waits between retries are not included; they have a limit of
	// their own.
	Timeout time.Duration
	// Stall limits the time without progress of a body; 0 is one minute.
	Stall time.Duration
	// BodyLimit limits the length of a response's body; 0 is no limit.
	BodyLimit int64
}

// Network is the shared transport with its records. It is safe for concurrent
// use.
type Network struct {
	transport *http.Transport
	blobs     *http.Transport // what is long goes its own way
	// identified is the transport for the hosts that the client certificate is
	// shown to; nil if there is no certificate.
	identified       *http.Transport
	linkLocal        *http.Transport // without a proxy
	certificate      *tls.Certificate
	certificateHosts map[string]bool // host:port
	http1            sync.Map        // by host:port: it offered no HTTP/2
	dialer           dialer
	proxy            *agentProxy
	settings         Settings
	plain            map[string]bool
	warnings         []string
	counters         registryCounters
	windows          sync.Map // *window by host:port, of phases that are paced
	pause            pauseFunc

	mu     sync.Mutex
	hosts  map[string]bool
	closed bool
}

// errClosed is the error of a connection that is wanted after the network is closed.
var errClosed = errors.New("the run has ended")

// Close closes the connections that are idle, and prevents new ones: net/http goes on
// connecting for a request that was cancelled. After it, Hosts is complete.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.transport.CloseIdleConnections()
	n.blobs.CloseIdleConnections()
	n.linkLocal.CloseIdleConnections()
}

// New checks the settings and builds the transport. It does not dial.
func New(s Settings) (*Network, error) {
	n := &Network{dialer: dialer{Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}}, settings: s, plain: map[string]bool{}, hosts: map[string]bool{}, certificateHosts: map[string]bool{}, pause: pause}
	for _, host := range s.PlainHTTP {
		at, ok := ref.HostPort(host, ref.DefaultPort("http"))
		if !ok {
			return nil, fmt.Errorf("%q, which is to speak HTTP, is not a valid host", host)
		}
		n.plain[at] = true
	}
	if !s.EnvironmentProxy {
		// crypto/x509 reads these when the system's authorities are first
		// loaded. They would change which authorities are trusted.
		os.Unsetenv("SSL_CERT_FILE")
		os.Unsetenv("SSL_CERT_DIR")
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if s.CAFile != "" {
		roots, err := loadCA(s.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if s.ClientCert != "" || s.ClientKey != "" {
		pair, err := loadCertificate(s.ClientCert, s.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("the client certificate %s with the key %s cannot be used: %w; both must be PEM, the key not encrypted", s.ClientCert, s.ClientKey, err)
		}
		n.certificate = &pair
		for _, host := range s.ClientCertHosts {
			at, ok := ref.HostPort(host, ref.DefaultPort("https"))
			if !ok {
				return nil, fmt.Errorf("%q, which is to be shown the client certificate, is not a valid host", host)
			}
			n.certificateHosts[at] = true
		}
	}
	n.transport = &http.Transport{
		DialContext:            n.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         bufferSize,
		WriteBufferSize:        bufferSize,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: dialTimeout, MaxReceiveBufferPerStream: streamBuffer},
		// Bytes are hashed and counted as they are sent.
		DisableCompression:     true,
		OnProxyConnectResponse: checkProxyResponse,
		GetProxyConnectHeader:  n.recordConnect,
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
	if n.certificate != nil {
		n.identified = n.transport.Clone()
		n.identified.TLSClientConfig.Certificates = []tls.Certificate{*n.certificate}
		if n.proxy != nil && n.proxy.url.Scheme == "https" {
			n.transport.DialTLSContext = n.dialTLS
		}
	}
	n.linkLocal = n.transport.Clone()
	n.linkLocal.Proxy, n.linkLocal.DialTLSContext = nil, nil
	n.blobs = n.blobTransport()
	for _, t := range []*http.Transport{n.transport, n.identified, n.linkLocal} {
		if t == nil {
			continue
		}
		if err := useHTTP2(t); err != nil {
			return nil, fmt.Errorf("preparing HTTP/2: %w", err)
		}
	}
	return n, nil
}

func loadCertificate(certificateFile, keyFile string) (tls.Certificate, error) {
	certificate, err := regularfile.Read(certificateFile, maxCAFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := regularfile.Read(keyFile, maxCAFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

func loadCA(file string) (*x509.CertPool, error) {
	pem, err := regularfile.Read(file, maxCAFile)
	if err != nil {
		return nil, fmt.Errorf("the CA file %s cannot be read: %w", file, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		// A system without authorities still has those of the file.
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file %s holds no certificate; it must be a PEM bundle", file)
	}
	return roots, nil
}

// Client returns the client of one phase. All clients share the transport.
//
// http.Client wraps errors in a url.Error, whose text contains the whole URL
// with its query, which may be a signature: callers unwrap it before they show
// it.
func (n *Network) Client(p Phase) *http.Client {
	if p.Stall <= 0 {
		p.Stall = time.Minute
	}
	transport := &phaseTransport{network: n, phase: p, hosts: slices.Clone(p.Hosts)}
	return &http.Client{
		Transport: transport,
		// The phase's transport follows redirects, below the transport that
		// signs requests: a signature never reaches a second host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Hosts returns every host:port that a connection was attempted to, sorted.
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

// Warnings returns the settings that were ignored.
func (n *Network) Warnings() []string { return slices.Clone(n.warnings) }

// Describe returns the proxy in use, without user and password, and the CA
// file. Either may be empty.
func (n *Network) Describe() (proxy, ca string) {
	switch {
	case n.proxy != nil:
		proxy = withoutUserinfo(n.proxy.url)
	case n.settings.EnvironmentProxy:
		request := &http.Request{URL: &url.URL{Scheme: "https", Host: "registry.example"}}
		if u, err := http.ProxyFromEnvironment(request); err == nil && u != nil {
			proxy = withoutUserinfo(u)
		}
	}
	return proxy, n.settings.CAFile
}

// proxied reports whether a request goes through a proxy.
func (n *Network) proxied(req *http.Request) bool {
	if n.transport.Proxy == nil {
		return false
	}
	proxy, err := n.transport.Proxy(req)
	return err != nil || proxy != nil
}

func (n *Network) speaksHTTP1(host string) bool {
	_, known := n.http1.Load(host)
	return known
}

// dialledHost is the context's key of the host that a request goes to without a
// proxy.
type dialledHost struct{}

// recordDial records the host that a connection is about to be made to. A proxy
// is not such a host; see recordConnect.
func (n *Network) recordDial(ctx context.Context) error {
	if host, ok := ctx.Value(dialledHost{}).(string); ok {
		return n.recordAttempt(host)
	}
	return nil
}

// recordConnect records the host that a proxy is about to be asked for.
func (n *Network) recordConnect(_ context.Context, _ *url.URL, target string) (http.Header, error) {
	if host, ok := ref.HostPort(target, ref.DefaultPort("https")); ok {
		return nil, n.recordAttempt(host)
	}
	return nil, nil
}

// recordAttempt records the host that a connection is about to be made to. After
// Close there is an error instead, and no connection may be made.
func (n *Network) recordAttempt(host string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	n.hosts[host] = true
	return nil
}

func (n *Network) recordHost(host string) {
	n.mu.Lock()
	n.hosts[host] = true
	n.mu.Unlock()
}

func withoutUserinfo(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// authority returns host:port in lower case, with the scheme's port if the URL
// has none. It reports false if host or port is not valid.
func authority(u *url.URL) (string, bool) {
	return ref.HostPort(u.Host, ref.DefaultPort(u.Scheme))
}
