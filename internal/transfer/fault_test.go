package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"acrpromote/internal/ref"
)

// firstTimes responds to the first n requests that match.
func firstTimes(n int32, method, part string, respond http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	var left atomic.Int32
	left.Store(n)
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, part) || left.Add(-1) < 0 {
			return false
		}
		respond(w, r)
		return true
	}
}

// firstTwoOfEach responds to the first two requests for each path that matches.
func firstTwoOfEach(method, part string, respond http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, part) {
			return false
		}
		mu.Lock()
		seen[r.URL.Path]++
		n := seen[r.URL.Path]
		mu.Unlock()
		if n > 2 {
			return false
		}
		respond(w, r)
		return true
	}
}

func status(code int, said string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { refuse(w, code, said, "said so") }
}

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// breakOff begins a response and breaks off.
func breakOff(w http.ResponseWriter, r *http.Request) {
	w.Write([]byte("{"))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// resetUpload reads a part of the body and breaks off.
func resetUpload(w http.ResponseWriter, r *http.Request) {
	r.Body.Read(make([]byte, 1000))
	panic(http.ErrAbortHandler)
}

func TestTransientFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		src    func(http.ResponseWriter, *http.Request) bool
		dst    func(http.ResponseWriter, *http.Request) bool
		before func(dst *peer)
	}{
		{name: "every blob is cut twice", src: firstTwoOfEach("GET", "/blobs/", breakOff)},
		{name: "an upload is reset", dst: firstTimes(2, "PUT", "/blobs/", resetUpload)},
		{name: "an upload's session is lost", dst: firstTimes(1, "PUT", "/blobs/", status(400, "BLOB_UPLOAD_INVALID"))},
		{name: "an upload's session is unknown", dst: firstTimes(1, "PUT", "/blobs/", status(404, "BLOB_UPLOAD_UNKNOWN"))},
		{name: "the token runs out in an upload", dst: firstTimes(1, "PUT", "/blobs/", status(401, "UNAUTHORIZED"))},
		{name: "500 on opening an upload", dst: firstTimes(2, "POST", "/blobs/", status(500, "UNKNOWN"))},
		{name: "500 on every mount", dst: func(w http.ResponseWriter, r *http.Request) bool {
			if !r.URL.Query().Has("mount") {
				return false
			}
			refuse(w, 500, "UNKNOWN", "said so")
			return true
		}},
		{name: "429 on opening an upload", dst: firstTimes(2, "POST", "/blobs/", status(429, "TOOMANYREQUESTS"))},
		{name: "503 in an upload", dst: firstTimes(2, "PUT", "/blobs/", status(503, ""))},
		{name: "503 on a manifest", dst: firstTimes(2, "PUT", "/manifests/", status(503, ""))},
		{name: "429 on a manifest", dst: firstTimes(2, "PUT", "/manifests/", status(429, "TOOMANYREQUESTS"))},
		{name: "a manifest's PUT is reset", dst: firstTimes(1, "PUT", "/manifests/", abort)},
		{name: "a replica lags", dst: firstTimes(1, "PUT", "/manifests/", status(400, "MANIFEST_BLOB_UNKNOWN"))},
		{name: "a manifest is cut", src: firstTimes(1, "GET", "/manifests/", breakOff)},
		{name: "a connection is reset where mounting was tried", dst: firstTimes(1, "POST", "/blobs/", abort)},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			root := src.image("shop/cart", "1.0", "one", "two")
			src.handler, dst.handler = c.src, c.dst
			j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}
			j.mustRun(t) // checks the progress too
			j.checkComplete(t)
			if dst.tag("shop/cart", "1.0") != root.Digest {
				t.Error("the tag is missing")
			}
		})
	}
}

func TestPermanentFaults(t *testing.T) {
	firewall := func(w http.ResponseWriter, r *http.Request) {
		refuse(w, 403, "DENIED", "client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall to grant access.")
	}
	flipped := func(w http.ResponseWriter, r *http.Request) {
		data := layerOf("one")
		data[7] ^= 1
		w.Write(data)
	}
	for _, c := range []struct {
		name     string
		src      func(http.ResponseWriter, *http.Request) bool
		dst      func(http.ResponseWriter, *http.Request) bool
		kind     Kind
		side     Side
		contains []string
	}{
		{"source firewall", firstTimes(99, "GET", "", firewall), nil, Firewall, Source, []string{"203.0.113.7", "under Networking of the registry"}},
		{"target firewall", nil, func(w http.ResponseWriter, r *http.Request) bool { firewall(w, r); return true }, Firewall, Target, []string{"203.0.113.7"}},
		{"source denied", firstTimes(99, "GET", "", status(403, "DENIED")), nil, Denied, Source, []string{"AcrPull", "Container Registry Repository Reader", "shop/cart"}},
		{"403 on the look at the target alone is no absence", nil, firstTimes(99, "HEAD", "", status(403, "DENIED")), Denied, Target, []string{"AcrPush", "Container Registry Repository Writer"}},
		{"target denies uploads", nil, firstTimes(99, "POST", "", status(403, "DENIED")), Denied, Target, []string{"AcrPush"}},
		{"wrong credential", firstTimes(99, "GET", "", status(401, "UNAUTHORIZED")), nil, Denied, Source, []string{"Check the credential"}},
		{"no such tag", firstTimes(99, "GET", "", status(404, "MANIFEST_UNKNOWN")), nil, NotFound, Source, []string{"shop/cart:1.0", "Check the names"}},
		{"locked", nil, firstTimes(99, "PUT", "/manifests/1.0", status(405, "REGISTRY_DISALLOWED_OPERATION")), Locked, Target, []string{"locked, quarantined or out of storage"}},
		{"locked against uploads", nil, firstTimes(99, "POST", "", status(405, "REGISTRY_DISALLOWED_OPERATION")), Locked, Target, nil},
		{"throttled for ever", nil, firstTimes(99, "PUT", "", status(429, "TOOMANYREQUESTS")), Throttled, Target, []string{"Run again later"}},
		{"broken for ever", nil, firstTimes(99, "PUT", "", status(503, "")), Unexpected, Target, []string{"503"}},
		{"cut for ever", firstTimes(99, "GET", "/blobs/", breakOff), nil, Unreachable, Source, []string{"ended early"}},
		{"blob is gone", firstTimes(99, "GET", "/blobs/", status(404, "BLOB_UNKNOWN")), nil, NotFound, Source, []string{"reading the blob"}},
		{"one bit is wrong", firstTimes(99, "GET", "/blobs/"+ref.DigestOf(layerOf("one")), flipped), nil, Corrupt, Source, []string{ref.DigestOf(layerOf("one")), "the content has the digest"}},
		{"another size", firstTimes(99, "GET", "/blobs/", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("short")) }), nil, Corrupt, Source, []string{"it has 5 bytes, but the manifest says"}},
		{"the target stores another digest", nil, firstTimes(99, "PUT", "/manifests/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", emptyDigest)
			w.WriteHeader(201)
		}), Corrupt, Target, []string{emptyDigest}},
		{"the target sends the upload elsewhere", nil, firstTimes(99, "POST", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://collector.example.com/take")
			w.WriteHeader(202)
		}), Unexpected, Target, []string{"another host (http://collector.example.com)"}},
		{"an upload without an address", nil, firstTimes(99, "POST", "", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202) }), Unexpected, Target, []string{"without a Location header"}},
		{"a digest that was not requested", nil, firstTimes(99, "HEAD", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:beef")
		}), Corrupt, Target, nil},
		{"control characters", firstTimes(99, "GET", "", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"errors":[{"code":"A\u001b[31m","message":"line\n##vso[task.complete]\u0007\u202e"}]}`)
		}), nil, Unexpected, Source, []string{"A [31m: line ##vso[task.complete]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			src.image("shop/cart", "1.0", "one", "two")
			src.handler, dst.handler = c.src, c.dst
			_, err := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "to/cart", ref: "1.0", tag: "1.0"}.run(t)
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.Side != c.side || !errors.Is(err, c.kind) {
				t.Fatalf("error is %#v", err)
			}
			host := map[Side]string{Source: src.host(), Target: dst.host()}[c.side]
			for _, text := range append(c.contains, host, "("+string(c.side)+")") {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not contain %q", err, text)
				}
			}
			for _, r := range err.Error() {
				if r < ' ' || r == 0x202e {
					t.Errorf("%q has a control character", err)
				}
			}
			if dst.tag("to/cart", "1.0") != "" {
				t.Error("the tag is visible")
			}
			dst.mu.Lock()
			defer dst.mu.Unlock()
			for k := range dst.blobs {
				if _, digest, _ := strings.Cut(k, "@"); ref.DigestOf(dst.blobs[k]) != digest {
					t.Errorf("a wrong blob arrived as %s", digest)
				}
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(gone.URL, "http://")
	gone.Close()
	_, err := ReadTree(t.Context(), newTestRegistry(host), "shop/cart", "1.0", Options{Referrers: true})
	if !errors.Is(err, Unreachable) || !strings.Contains(err.Error(), "Check that "+host+" exists") {
		t.Errorf("error is %v", err)
	}
	strange := httptest.NewUnstartedServer(http.NotFoundHandler())
	strange.Config.ErrorLog = log.New(io.Discard, "", 0)
	strange.StartTLS()
	defer strange.Close()
	r := NewRegistry(strings.TrimPrefix(strange.URL, "https://"), &http.Client{}, false)
	if _, err := r.Resolve(t.Context(), "shop/cart", "1.0"); !errors.Is(err, Unreachable) || !strings.Contains(err.Error(), "certificate is not trusted") {
		t.Errorf("error is %v", err)
	}
}

// Explanations of the HTTP client are kept; URLs with signatures are not.
func TestClientErrorsAreKept(t *testing.T) {
	refusing := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("registry.example is not among the hosts that this phase may reach")
	})}
	r := NewRegistry("registry.example", refusing, false)
	_, err := r.Resolve(t.Context(), "shop/cart", "1.0")
	if !errors.Is(err, Unexpected) || !strings.Contains(err.Error(), "not among the hosts") || strings.Contains(err.Error(), "https://") {
		t.Errorf("error is %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An error of the storage behind a registry is not the registry's, and may be an
// expired signature: the registry is requested again for a new one.
func TestStorageErrors(t *testing.T) {
	var requests atomic.Int32
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 || query(r.URL.RawQuery).Get("sig") == "never" {
			w.WriteHeader(403)
			return
		}
		w.Write(layerOf(query(r.URL.RawQuery).Get("seed")))
	}))
	defer storage.Close()
	src, dst := newPeer(t), newPeer(t)
	src.image("shop/cart", "1.0", "one")
	sig := "secret"
	src.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, ref.DigestOf(layerOf("one"))) {
			return false
		}
		http.Redirect(w, r, storage.URL+"/x?seed=one&sig="+sig, http.StatusTemporaryRedirect)
		return true
	}
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "a", ref: "1.0", tag: "1.0"}
	j.mustRun(t)
	if requests.Load() != 2 {
		t.Errorf("the storage was requested %d times", requests.Load())
	}
	sig = "never"
	j.dstRepo = "b"
	_, err := j.run(t)
	if err == nil || !strings.Contains(err.Error(), "redirected to its storage at "+strings.TrimPrefix(storage.URL, "http://")) || strings.Contains(err.Error(), "never") {
		t.Errorf("error is %v", err)
	}
	storage.CloseClientConnections()
	storage.Close()
	_, err = j.run(t)
	if !errors.Is(err, Unreachable) || strings.Contains(err.Error(), "sig=") {
		t.Errorf("error is %v", err)
	}
}

func TestStalledRequestsAreGivenUp(t *testing.T) {
	hang := func(body int, over chan struct{}) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(layerOf("one"))))
			w.Write(layerOf("one")[:body])
			w.(http.Flusher).Flush()
			<-over
		}
	}
	for _, c := range []struct {
		name string
		side Side
		n    int32
	}{{"once at the source", Source, 1}, {"for ever at the source", Source, 99}, {"once at the target", Target, 1}, {"for ever at the target", Target, 99}} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			src.image("shop/cart", "1.0", "one")
			// A server notices that its client is gone only when it reads.
			over := make(chan struct{})
			defer close(over)
			if c.side == Source {
				src.handler = firstTimes(c.n, "GET", "/blobs/"+ref.DigestOf(layerOf("one")), hang(1000, over))
			} else {
				dst.handler = firstTimes(c.n, "PUT", "/blobs/", func(http.ResponseWriter, *http.Request) { <-over })
			}
			a, b := src.registry(), dst.registry()
			a.stallTimeout, b.stallTimeout, b.commitTimeout = 250*time.Millisecond, 250*time.Millisecond, 250*time.Millisecond
			tree, err := ReadTree(t.Context(), a, "shop/cart", "1.0", Options{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := b.Inspect(t.Context(), "shop/cart", "1.0", tree, false)
			if err != nil {
				t.Fatal(err)
			}
			_, err = copyToOne(t.Context(), tree, b, "shop/cart", "1.0", p, nil)
			if c.n == 1 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Side != c.side || e.Kind != Unreachable || !strings.Contains(e.Reason, "stalled") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// Cancelled in the middle of uploads, a copy ends and leaves no goroutine behind.
func TestCancellation(t *testing.T) {
	before := runtime.NumGoroutine()
	func() {
		src, dst := newPeer(t), newPeer(t)
		defer src.server.Close()
		defer dst.server.Close()
		seeds := make([]string, 20)
		for i := range seeds {
			seeds[i] = fmt.Sprint("layer ", i)
		}
		src.image("shop/cart", "1.0", seeds...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var uploads atomic.Int32
		over := make(chan struct{})
		dst.handler = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "PUT" {
				if uploads.Add(1) == 4 {
					cancel()
				}
				<-over
				return true
			}
			return false
		}
		defer close(over)
		a, b := src.registry(), dst.registry()
		tree, err := ReadTree(ctx, a, "shop/cart", "1.0", Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := b.Inspect(ctx, "shop/cart", "1.0", tree, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = copyToOne(ctx, tree, b, "shop/cart", "1.0", p, nil)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, Cancelled) {
			t.Errorf("error is %v", err)
		}
		if n := uploads.Load(); n > maxRequests {
			t.Errorf("%d uploads were begun at once", n)
		}
		a.client.CloseIdleConnections()
		b.client.CloseIdleConnections()
	}()
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
}

// explained is an error that explains itself, as those of acr and egress do.
type explained struct {
	reason, remedy string
	cause          error
}

func (e *explained) Error() string                        { return e.reason + ". " + e.remedy }
func (e *explained) Explanation() (reason, remedy string) { return e.reason, e.remedy }
func (e *explained) Unwrap() error                        { return e.cause }

// TestErrorsOfTheClient: an explanation is kept, and any other error is explained
// here, whatever it wraps.
func TestErrorsOfTheClient(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EMFILE}
	const check = "Check that r.example exists, and that this machine can reach it and the storage that it redirects to."
	for _, c := range []struct {
		name string
		err  error
		kind Kind
		want string
	}{
		{"a dial", dial, Unreachable, "network error: dial tcp: too many open files. " + check},
		{"a wrapped dial", fmt.Errorf("transport connection broken: %w", dial), Unreachable, "network error: transport connection broken: dial tcp: too many open files. " + check},
		{"an explained dial", &explained{"r.example did not answer", "Check the name", dial}, Unreachable, "r.example did not answer. Check the name."},
		{"an explained refusal", &explained{"the identity is refused", "Grant it a role", nil}, Unexpected, "the identity is refused. Grant it a role."},
		{"a response that broke off", fmt.Errorf("%w: %w", errBroken, &explained{"r.example broke off the connection", "Try again", io.ErrUnexpectedEOF}), Unreachable,
			"network error: the response ended early: r.example broke off the connection. Try again. " + check},
		{"no network", errors.New("no such thing"), Unexpected, "no such thing"},
	} {
		client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, c.err })}
		_, err := NewRegistry("r.example", client, false).Resolve(t.Context(), "shop/cart", "1.0")
		if err == nil || err.Error() != "existence check failed for r.example/shop/cart:1.0: "+c.want || !errors.Is(err, c.kind) || !errors.Is(err, c.err) {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, c.want)
		}
	}
}
