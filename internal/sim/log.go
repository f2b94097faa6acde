package sim

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Request is one request that the cloud has seen. Of its query only the names
// of the parameters are kept, of its headers only how it was authorised.
type Request struct {
	Time          time.Time
	Host          string // lower case, without the port 443
	Method        string
	Path          string   // as it was sent, escaped
	Query         []string // names of its parameters, sorted
	Status        int      // 0 while unanswered
	Client        string   // simulated address
	Authorization string   // "", "Basic", "Bearer" or another scheme
	Proto         string   // "HTTP/1.1" or "HTTP/2.0"
	BytesIn       int64    // body bytes read
	BytesOut      int64    // body bytes written
}

// Has reports whether the query had a parameter of this name.
func (r Request) Has(parameter string) bool { return slices.Contains(r.Query, parameter) }

// Requests lists every request that arrived so far, in order of arrival.
func (c *Cloud) Requests() []Request { return c.Since(0) }

// Mark is a place in the log; Since(Mark()) is what comes after it.
func (c *Cloud) Mark() int {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return len(c.log.entries)
}

// Since lists the requests that arrived after the mark, in order of arrival.
func (c *Cloud) Since(mark int) []Request {
	c.log.mu.Lock()
	entries := c.log.entries[mark:]
	c.log.mu.Unlock()
	requests := make([]Request, len(entries))
	for i, e := range entries {
		requests[i] = e.head
		requests[i].Status = int(e.status.Load())
		requests[i].BytesIn = e.in.Load()
		requests[i].BytesOut = e.out.Load()
	}
	return requests
}

// journal holds the log. Counts are atomic and updated before the bytes leave,
// so that a client that has a response finds it in the log.
type journal struct {
	mu      sync.Mutex
	entries []*entry
}

type entry struct {
	head   Request
	status atomic.Int64
	in     atomic.Int64
	out    atomic.Int64
}

func (j *journal) open(w http.ResponseWriter, r *http.Request, ip string) (http.ResponseWriter, *http.Request) {
	e := &entry{head: Request{
		Time:   time.Now(),
		Host:   strings.TrimSuffix(address(r.Host), ":443"),
		Method: r.Method,
		Path:   r.URL.EscapedPath(),
		Client: ip,
		Proto:  r.Proto,
	}}
	for name := range r.URL.Query() {
		e.head.Query = append(e.head.Query, name)
	}
	slices.Sort(e.head.Query)
	e.head.Authorization, _, _ = strings.Cut(r.Header.Get("Authorization"), " ")
	j.mu.Lock()
	j.entries = append(j.entries, e)
	j.mu.Unlock()
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &countedBody{r.Body, &e.in}
	}
	return &countedWriter{ResponseWriter: w, entry: e}, r
}

type countedBody struct {
	io.ReadCloser
	count *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.Add(int64(n))
	return n, err
}

type countedWriter struct {
	http.ResponseWriter
	entry *entry
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *countedWriter) WriteHeader(status int) {
	if status >= 200 {
		w.entry.status.CompareAndSwap(0, int64(status))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countedWriter) Write(p []byte) (int, error) {
	w.entry.status.CompareAndSwap(0, http.StatusOK)
	w.entry.out.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}
