package egress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/testca"
)

// testEnv is a network behind a CONNECT proxy: every host name that has a
// handler answers over TLS with a certificate of a test CA.
type testEnv struct {
	t        *testing.T
	caFile   string
	backend  string // address
	proxy    net.Listener
	user     string
	password string

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc
	asked    []string // hosts that were asked for by CONNECT
	refusal  int      // what the proxy answers to all, if not 0
}

func newTestEnv(t *testing.T) *testEnv {
	t.Helper()
	env := &testEnv{t: t, handlers: map[string]http.HandlerFunc{}}
	ca, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	env.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(env.caFile, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	backend, server, err := ca.Serve(func(host string) http.HandlerFunc {
		env.mu.Lock()
		defer env.mu.Unlock()
		return env.handlers[host]
	}, func(r *http.Request) { t.Errorf("%s was asked: %s %s", r.Host, r.Method, r.URL) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	env.backend = backend
	env.proxy = env.listen(env.tunnel)
	return env
}

func (env *testEnv) listen(serve func(net.Conn)) net.Listener {
	env.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		env.t.Fatal(err)
	}
	env.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l
}

// tunnel is a CONNECT proxy, written out so that the test sees every byte that
// a proxy would.
func (env *testEnv) tunnel(client net.Conn) {
	defer client.Close()
	reader := bufio.NewReader(client)
	req, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	env.mu.Lock()
	refusal := env.refusal
	env.asked = append(env.asked, strings.ToLower(req.Host))
	host, _, _ := strings.Cut(strings.ToLower(req.Host), ":")
	known := env.handlers[host] != nil
	env.mu.Unlock()
	if env.user != "" {
		proxied := http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}
		if user, password, ok := proxied.BasicAuth(); !ok || user != env.user || password != env.password {
			refusal = http.StatusProxyAuthRequired
		}
	}
	switch {
	case req.Method != http.MethodConnect:
		refusal = http.StatusMethodNotAllowed
	case refusal == 0 && !known:
		refusal = http.StatusBadGateway
	}
	if refusal != 0 {
		resp := http.Response{StatusCode: refusal, ProtoMajor: 1, ProtoMinor: 1, ContentLength: 0}
		_ = resp.Write(client)
		return
	}
	backend, err := net.Dial("tcp", env.backend)
	if err != nil {
		return
	}
	defer backend.Close()
	_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(backend, reader)
		backend.Close()
	}()
	_, _ = io.Copy(client, backend)
}

func (env *testEnv) handle(host string, handler http.HandlerFunc) {
	env.mu.Lock()
	env.handlers[host] = handler
	env.mu.Unlock()
}

func (env *testEnv) dialled() []string {
	env.mu.Lock()
	defer env.mu.Unlock()
	asked := slices.Clone(env.asked)
	slices.Sort(asked)
	return slices.Compact(asked)
}

func (env *testEnv) settings() Settings {
	u := &url.URL{Scheme: "http", Host: env.proxy.Addr().String()}
	if env.user != "" {
		u.User = url.UserPassword(env.user, env.password)
	}
	return Settings{Proxy: &Proxy{URL: u}, CAFile: env.caFile}
}

// network gives a network whose waits are noted instead of waited.
func (env *testEnv) network(s Settings) (*Network, *waits) {
	env.t.Helper()
	n, err := New(s)
	if err != nil {
		env.t.Fatal(err)
	}
	env.t.Cleanup(func() { closeIdle(n) })
	waited := &waits{}
	n.pause = waited.pause
	return n, waited
}

// closeIdle closes the connections that are not in use, and those that were
// dialled ahead and not taken.
func closeIdle(n *Network) {
	n.transport.CloseIdleConnections()
	n.blobs.CloseIdleConnections()
	n.dialer.mu.Lock()
	defer n.dialer.mu.Unlock()
	for _, waiting := range n.dialer.preconnected {
		for _, ready := range waiting {
			select {
			case c, ok := <-ready:
				if ok {
					c.Close()
				}
			default:
			}
		}
	}
	n.dialer.preconnected = nil
}

// cause takes off what http.Client wraps around an error.
func cause(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

type waits struct {
	mu  sync.Mutex
	all []time.Duration
}

func (w *waits) pause(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	w.all = append(w.all, d)
	w.mu.Unlock()
	return ctx.Err()
}

func (w *waits) list() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

func get(t *testing.T, client *http.Client, address string) (*http.Response, string, error) {
	t.Helper()
	resp, err := client.Get(address)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}
