package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"acrpromote/internal/ref"
)

const (
	// copyBuffer is the size of reads and writes of long bodies: a tenth of the
	// system calls that net/http's own buffers take.
	copyBuffer = 256 << 10
	readAhead  = 64 << 10
	// preconnectTTL is how long an unused preconnected connection is kept.
	preconnectTTL = 20 * time.Second
)

// dialer dials for the transports. It keeps the address that a name resolved to
// first, as long as it answers: a registry's replicas do not always agree.
type dialer struct {
	net.Dialer

	mu           sync.Mutex
	known        map[string]string // address by name
	preconnected map[string][]chan net.Conn
}

func (d *dialer) dial(ctx context.Context, network, name string) (net.Conn, error) {
	d.mu.Lock()
	address, known := d.known[name]
	d.mu.Unlock()
	if known {
		if c, err := d.DialContext(ctx, network, address); err == nil || ctx.Err() != nil {
			return c, err
		}
		d.mu.Lock()
		delete(d.known, name)
		d.mu.Unlock()
	}
	c, err := d.DialContext(ctx, network, name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]string{}
	}
	if _, known := d.known[name]; !known {
		d.known[name] = c.RemoteAddr().String()
	}
	return c, nil
}

// preconnect starts a connection that a later request will take.
func (d *dialer) preconnect(key string, dial func(context.Context) (net.Conn, error)) {
	ready := make(chan net.Conn, 1)
	d.mu.Lock()
	if d.preconnected == nil {
		d.preconnected = map[string][]chan net.Conn{}
	}
	d.preconnected[key] = append(d.preconnected[key], ready)
	d.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		c, err := dial(ctx)
		if err != nil {
			close(ready) // who takes it dials, and tells why that fails
			return
		}
		ready <- c
		time.AfterFunc(preconnectTTL, func() {
			select {
			case c, ok := <-ready:
				if ok {
					c.Close()
				}
				close(ready)
			default:
			}
		})
	}()
}

// take returns a preconnected connection, and waits for it if necessary; nil if
// there is none.
func (d *dialer) take(ctx context.Context, key string) net.Conn {
	for {
		d.mu.Lock()
		waiting := d.preconnected[key]
		if len(waiting) == 0 {
			d.mu.Unlock()
			return nil
		}
		ready := waiting[0]
		d.preconnected[key] = waiting[1:]
		d.mu.Unlock()
		select {
		case c, ok := <-ready:
			if ok {
				return c
			}
		case <-ctx.Done():
			go func() {
				if c, ok := <-ready; ok {
					c.Close()
				}
			}()
			return nil
		}
	}
}

// blobTransport returns the transport for blobs: HTTP/1.1, because a single
// connection for all of them would get a single connection's share of the
// bandwidth, and with buffers for long bodies.
func (n *Network) blobTransport() *http.Transport {
	t := n.transport.Clone()
	t.HTTP2 = nil
	// For headers. Bodies bypass these buffers, and with many targets there are
	// many connections.
	t.ReadBufferSize, t.WriteBufferSize = 4<<10, 4<<10
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSClientConfig = t.TLSClientConfig.Clone()
	t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	t.TLSClientConfig.DynamicRecordSizingDisabled = true
	t.DialContext = func(ctx context.Context, network, name string) (net.Conn, error) {
		if c := n.dialer.take(ctx, "tcp "+name); c != nil {
			return c, nil
		}
		return n.dialBlob(ctx, network, name)
	}
	t.DialTLSContext = func(ctx context.Context, network, name string) (net.Conn, error) {
		if c := n.dialer.take(ctx, "tls "+name); c != nil {
			return c, nil
		}
		return n.dialBlobTLS(ctx, network, name)
	}
	return t
}

// dial connects, and records the host.
func (n *Network) dial(ctx context.Context, network, name string) (net.Conn, error) {
	if err := n.recordDial(ctx); err != nil {
		return nil, err
	}
	return n.dialer.dial(ctx, network, name)
}

// dialTLS connects to the proxy, which is shown the client certificate, or to a
// host without a proxy, which is not.
func (n *Network) dialTLS(ctx context.Context, network, name string) (net.Conn, error) {
	c, err := n.dial(ctx, network, name)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(c, n.tlsConfig(n.transport.TLSClientConfig, name))
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

// tlsConfig returns the configuration for a connection to host:port.
func (n *Network) tlsConfig(base *tls.Config, name string) *tls.Config {
	config := base.Clone()
	config.ServerName, _, _ = net.SplitHostPort(name)
	if n.certificate != nil && n.proxy != nil && n.proxy.url.Scheme == "https" {
		if proxy, ok := authority(n.proxy.url); ok && proxy == name {
			// A session of a handshake without the certificate has none.
			config.Certificates, config.ClientSessionCache = []tls.Certificate{*n.certificate}, nil
			config.NextProtos = []string{"http/1.1"}
		}
	}
	return config
}

func (n *Network) dialBlob(ctx context.Context, network, name string) (net.Conn, error) {
	c, err := n.dial(ctx, network, name)
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

func (n *Network) dialBlobTLS(ctx context.Context, network, name string) (net.Conn, error) {
	c, err := n.dial(ctx, network, name)
	if err != nil {
		return nil, err
	}
	below := &recordConn{Conn: c}
	secure := tls.Client(below, n.tlsConfig(n.blobs.TLSClientConfig, name))
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return &tlsConn{secure, below}, nil
}

// Preconnect starts connections for blobs to a host, so that they are ready for
// the first blob. It does nothing if a proxy is used.
func (n *Network) Preconnect(host string, connections int) {
	u := &url.URL{Scheme: "https", Host: host, Path: "/v2/"}
	if at, _ := ref.HostPort(host, ref.DefaultPort("http")); n.plain[at] {
		u.Scheme = "http"
	}
	name, ok := authority(u)
	if !ok {
		return
	}
	if n.proxied(&http.Request{URL: u}) {
		return
	}
	if n.recordAttempt(name) != nil {
		return
	}
	for range connections {
		if u.Scheme == "http" {
			n.dialer.preconnect("tcp "+name, func(ctx context.Context) (net.Conn, error) { return n.dialBlob(ctx, "tcp", name) })
		} else {
			n.dialer.preconnect("tls "+name, func(ctx context.Context) (net.Conn, error) { return n.dialBlobTLS(ctx, "tcp", name) })
		}
	}
}

// buffers are for long bodies. Their number is limited, however many targets
// there are, since a slow target keeps its buffer for a long time. The other
// bodies get small ones.
var (
	buffers      = sync.Pool{New: func() any { return new([copyBuffer]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	largeInUse   = make(chan struct{}, 12)
)

// getBuffer returns a buffer for a body of size bytes, -1 if unknown.
func getBuffer(size int64) (buffer []byte, back func()) {
	if size < 0 || size > bufferSize {
		select {
		case largeInUse <- struct{}{}:
			large := buffers.Get().(*[copyBuffer]byte)
			return large[:], func() { buffers.Put(large); <-largeInUse }
		default:
		}
	}
	small := smallBuffers.Get().(*[bufferSize]byte)
	return small[:], func() { smallBuffers.Put(small) }
}

// plainConn sends long bodies in large pieces: net/http calls ReadFrom if a
// connection has it.
type plainConn struct{ net.Conn }

func (c plainConn) ReadFrom(r io.Reader) (int64, error) { return copyLarge(c.Conn, r, copyBuffer/2) }

// tlsConn is plainConn over TLS: several records go to the system at once.
type tlsConn struct {
	*tls.Conn
	below *recordConn
}

func (c *tlsConn) ReadFrom(r io.Reader) (int64, error) {
	return copyLarge(writerFunc(func(p []byte) (int, error) {
		c.below.hold()
		n, err := c.Conn.Write(p)
		if flushErr := c.below.flush(); err == nil {
			err = flushErr
		}
		return n, err
	}), r, copyBuffer/4)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// copyLarge copies at least so many bytes at once.
func copyLarge(w io.Writer, r io.Reader, least int) (total int64, err error) {
	size := int64(-1)
	if limited, ok := r.(*io.LimitedReader); ok {
		size = limited.N
	}
	buffer, back := getBuffer(size)
	defer back()
	least = min(least, len(buffer)/2)
	for {
		n, err := io.ReadAtLeast(r, buffer, least)
		if n > 0 {
			written, writeErr := w.Write(buffer[:n])
			total += int64(written)
			if writeErr != nil {
				return total, writeErr
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return total, nil
		default:
			return total, err
		}
	}
}

// recordConn is the connection below TLS, which reads and writes record by
// record. It joins some of them.
type recordConn struct {
	net.Conn
	mu      sync.Mutex
	held    []byte
	holding bool

	buffer  []byte // read ahead; nil while answers are short
	pending []byte
}

func (c *recordConn) hold() {
	c.mu.Lock()
	c.holding = true
	c.mu.Unlock()
}

func (c *recordConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	return err
}

func (c *recordConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

func (c *recordConn) Read(p []byte) (int, error) {
	if len(c.pending) == 0 {
		if c.buffer == nil {
			n, err := c.Conn.Read(p)
			if n == len(p) && n > 4<<10 {
				c.buffer = make([]byte, readAhead) // there is more to come
			}
			return n, err
		}
		n, err := c.Conn.Read(c.buffer)
		if c.pending = c.buffer[:n]; n == 0 {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}
