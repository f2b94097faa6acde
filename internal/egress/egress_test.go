package egress

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestProxyPasswordGoesToTheProxyAlone(t *testing.T) {
	env := newTestEnv(t)
	env.user, env.password = "agent", "s3cr:t/ü"
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.Contains(strings.ToLower(name), "auth") {
				t.Errorf("the registry was sent the header %s", name)
			}
		}
		fmt.Fprintf(rw, "HTTP/%d", r.ProtoMajor)
	})
	n, _ := env.network(env.settings())
	_, body, err := get(t, n.Client(Phase{Hosts: []string{"prod.azurecr.io"}}), "https://prod.azurecr.io/v2/")
	if err != nil || body != "HTTP/2" {
		t.Fatalf("got %q, %v; want an answer over HTTP/2", body, err)
	}
	if got := env.dialled(); !slices.Equal(got, []string{"prod.azurecr.io:443"}) {
		t.Errorf("the proxy was asked for %v", got)
	}
	if got := n.Hosts(); !slices.Equal(got, []string{"prod.azurecr.io:443"}) {
		t.Errorf("the record says %v", got)
	}
	proxy, ca := n.Describe()
	if want := "http://" + env.proxy.Addr().String(); proxy != want || ca != env.caFile {
		t.Errorf("described as %q, %q", proxy, ca)
	}
}

func TestWrongProxyPasswordIsTold(t *testing.T) {
	env := newTestEnv(t)
	env.user, env.password = "agent", "right"
	env.handle("prod.azurecr.io", func(http.ResponseWriter, *http.Request) {})
	s := env.settings()
	s.Proxy.URL.User = url.UserPassword("agent", "wr0ng")
	n, waited := env.network(s)
	_, _, err := get(t, n.Client(Phase{Name: "reading the image", Hosts: []string{"prod.azurecr.io"}, Retries: 3}), "https://prod.azurecr.io/v2/?sig=query")
	if err == nil {
		t.Fatal("no error")
	}
	want := fmt.Sprintf("reading the image: prod.azurecr.io:443 cannot be reached: the proxy %s wants another user or password (HTTP 407). Check the agent's proxy user and password", env.proxy.Addr())
	if got := cause(err).Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("the password is shown: %v", err)
	}
	if len(waited.list()) != 0 {
		t.Error("a wrong password was tried again")
	}
}

func TestOnlyTheHostsOfThePhaseAreAsked(t *testing.T) {
	env := newTestEnv(t)
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "ok") })
	n, _ := env.network(env.settings())
	for _, test := range []struct {
		hosts   []string
		address string
		ok      bool
	}{
		{[]string{"prod.azurecr.io"}, "https://prod.azurecr.io/v2/", true},
		{[]string{"PROD.azurecr.io:443"}, "https://prod.AZURECR.io/v2/", true},
		{[]string{"prod.azurecr.io"}, "https://prod.azurecr.io:443/v2/", true},
		{nil, "https://prod.azurecr.io/v2/", false},
		{[]string{"azurecr.io", "*.azurecr.io", ""}, "https://prod.azurecr.io/v2/", false},
		{[]string{"prod.azurecr.io"}, "https://prod.azurecr.io:8443/v2/", false},
		{[]string{"prod.azurecr.io"}, "https://prod.azurecr.io./v2/", false},
		{[]string{"prod.azurecr.io"}, "https://prod.azurecr.io.evil.example/v2/", false},
		{[]string{"prod.azurecr.io"}, "https://xprod.azurecr.io/v2/", false},
		// A Kelvin sign is lower-cased to k, a full-width letter resolves to a
		// plain one: such names are no names.
		{[]string{"k.azurecr.io"}, "https://\u212a.azurecr.io/", false},
		{[]string{"prod.azurecr.io"}, "https://\uff50rod.azurecr.io/", false},
		{[]string{"\uff50rod.azurecr.io"}, "https://\uff50rod.azurecr.io/", false},
		{[]string{"prod.azurecr.io:99999"}, "https://prod.azurecr.io:99999/", false},
		{[]string{"prod.azurecr.io:0"}, "https://prod.azurecr.io:0/", false},
		{[]string{"prod.azurecr.io"}, "https://prod.azurecr.io:0443/", false},
		{[]string{"prod.azurecr.io"}, "ftp://prod.azurecr.io/", false},
		{[]string{"prod.azurecr.io"}, "https://user:password@prod.azurecr.io/", false},
	} {
		_, body, err := get(t, n.Client(Phase{Name: "copying", Hosts: test.hosts}), test.address)
		if (err == nil) != test.ok || test.ok && body != "ok" {
			t.Errorf("%s with %v: %q, %v", test.address, test.hosts, body, err)
		}
	}
	if got := n.Hosts(); !slices.Equal(got, []string{"prod.azurecr.io:443"}) {
		t.Errorf("asked %v", got)
	}
	var refused *HostNotAllowedError
	_, _, err := get(t, n.Client(Phase{Name: "copying"}), "https://evil.example/x?secret=1")
	if !errors.As(err, &refused) || refused.Error() != "copying: evil.example:443 is not among the hosts that may be asked here; nothing was sent to it" {
		t.Errorf("got %v", err)
	}
	_, _, err = get(t, n.Client(Phase{Name: "copying", Hosts: []string{"prod.azurecr.io:65536"}}), "https://prod.azurecr.io:65536/")
	if err == nil || !strings.Contains(err.Error(), "prod.azurecr.io:65536 has no valid port: the port must be 1 to 65535") {
		t.Errorf("got %v", err)
	}
}

func TestPlainHTTPOnlyWhereNamed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/a/blobs/elsewhere" {
			http.Redirect(rw, r, "http://127.0.0.1:1/", http.StatusFound)
			return
		}
		fmt.Fprint(rw, "ok")
	}))
	defer server.Close()
	host := server.Listener.Addr().String()
	n, err := New(Settings{PlainHTTP: []string{host}})
	if err != nil {
		t.Fatal(err)
	}
	client := n.Client(Phase{Hosts: []string{host}, Redirects: FollowDownloads})
	if _, body, err := get(t, client, server.URL); err != nil || body != "ok" {
		t.Errorf("the named host: %q, %v", body, err)
	}
	if _, _, err := get(t, client, server.URL+"/v2/a/blobs/elsewhere"); err == nil || !strings.Contains(err.Error(), "over plain HTTP") {
		t.Errorf("a redirect to another plain host: %v", err)
	}
	n, err = New(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = get(t, n.Client(Phase{Name: "copying", Hosts: []string{host}}), server.URL+"/?a=b")
	want := "copying: " + host + " would go over plain HTTP, which nothing protects. Use https; at a prompt, --plain-http names a host that speaks HTTP"
	if err == nil || cause(err).Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if len(n.Hosts()) != 0 {
		t.Error("it was asked all the same")
	}
}

func TestDownloadsAreFollowedWithoutCredentials(t *testing.T) {
	env := newTestEnv(t)
	secret := []string{"Authorization", "Cookie", "Referer", "X-Api-Key", "Proxy-Authorization", "X-Ms-Token"}
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			t.Errorf("%s: the registry was not shown the token", r.URL.Path)
		}
		if r.Header.Get("Referer") != "" {
			t.Errorf("%s: a referer was sent", r.URL.Path)
		}
		switch r.URL.Path {
		case "/v2/a/blobs/x":
			http.Redirect(rw, r, "/again", http.StatusTemporaryRedirect)
		case "/again":
			rw.Header().Set("Location", "https://user:pass@store.blob.example/b?sig=s1gnature#f")
			rw.WriteHeader(http.StatusTemporaryRedirect)
		}
	})
	env.handle("store.blob.example", func(rw http.ResponseWriter, r *http.Request) {
		for _, name := range secret {
			if r.Header.Get(name) != "" {
				t.Errorf("storage was sent %s", name)
			}
		}
		if r.Header.Get("Range") != "bytes=1-" || r.URL.Query().Get("sig") != "s1gnature" {
			t.Errorf("storage was asked %s, Range %q", r.URL, r.Header.Get("Range"))
		}
		fmt.Fprint(rw, "layer")
	})
	n, _ := env.network(env.settings())
	client := n.Client(Phase{Hosts: []string{"prod.azurecr.io"}, Registry: "Prod.azurecr.io", Redirects: FollowDownloads})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://prod.azurecr.io/v2/a/blobs/x", nil)
	for _, name := range secret {
		req.Header.Set(name, "x")
	}
	req.Header.Del("Referer")
	req.Header.Set("Authorization", "Bearer t")
	req.Header.Set("Range", "bytes=1-")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "layer" || resp.Request.URL.Host != "store.blob.example" {
		t.Errorf("got %q from %s", body, resp.Request.URL.Host)
	}
	if got := n.Hosts(); !slices.Equal(got, []string{"prod.azurecr.io:443", "store.blob.example:443"}) {
		t.Errorf("the record says %v", got)
	}
	want := []Traffic{{Registry: "prod.azurecr.io", Read: 3, Redirected: 2, BytesRead: n.Traffic()[0].BytesRead}}
	if got := n.Traffic(); !slices.Equal(got, want) || got[0].BytesRead < 5 {
		t.Errorf("traffic %+v", got)
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	env := newTestEnv(t)
	env.handle("evil.example", func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed: %s %s", r.Method, r.URL)
	})
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		if to == "loop" {
			to = r.URL.String()
		}
		rw.Header().Set("Location", to)
		rw.WriteHeader(http.StatusTemporaryRedirect)
	})
	n, _ := env.network(env.settings())
	for _, test := range []struct {
		name, method, to string
		policy           RedirectPolicy
		want             string // of the error; "" means the 3xx itself
	}{
		{"refused", "GET", "https://evil.example/", RefuseRedirects, ""},
		{"a body", "POST", "https://evil.example/", FollowDownloads, ""},
		{"a write without a body", "DELETE", "https://evil.example/", FollowDownloads, ""},
		{"a body, refused", "PUT", "https://evil.example/", RefuseRedirects, ""},
		{"downgrade", "GET", "http://evil.example/", FollowDownloads, "redirects to evil.example:80 over plain HTTP"},
		{"other scheme", "GET", "file:///etc/passwd", FollowDownloads, "no valid host name"},
		{"gopher", "GET", "gopher://evil.example/", FollowDownloads, "not spoken here"},
		{"a port above 65535", "GET", "https://evil.example:99999/", FollowDownloads, "redirects to evil.example:99999, which is no valid host name"},
		{"a port of zeros", "GET", "https://prod.azurecr.io:0443/", FollowDownloads, "no valid host name"},
		{"an empty port", "GET", "https://prod.azurecr.io:/", FollowDownloads, "no valid host name"},
		{"loop", "GET", "loop", FollowDownloads, "redirects more than 5 times"},
		{"no address", "GET", "https://%zz/", FollowDownloads, "cannot be understood"},
		{"nowhere", "GET", "", FollowDownloads, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := n.Client(Phase{Hosts: []string{"prod.azurecr.io"}, Redirects: test.policy})
			var body io.Reader
			if test.method == "POST" || test.method == "PUT" {
				body = strings.NewReader("token=secret")
			}
			req, _ := http.NewRequest(test.method, "https://prod.azurecr.io/v2/a/blobs/x?to="+url.QueryEscape(test.to), body)
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			switch {
			case test.want == "" && (err != nil || resp.StatusCode != http.StatusTemporaryRedirect):
				t.Errorf("got %v, %v; want the answer itself", resp, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v; want %q", err, test.want)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	date := time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)
	for _, test := range []struct {
		name       string
		method     string
		body       io.Reader
		phase      Phase
		answers    []int // then 200
		retryAfter string
		requests   int
		status     int
		least      time.Duration // of each wait
		most       time.Duration
	}{
		{name: "a read", method: "GET", phase: Phase{Retries: 4}, answers: []int{503, 502, 504, 429}, requests: 5, status: 200, most: maxWait},
		{name: "seconds", method: "GET", phase: Phase{Retries: 4}, answers: []int{429, 429}, retryAfter: "7", requests: 3, status: 200, least: 7 * time.Second, most: 8 * time.Second},
		{name: "a date", method: "HEAD", phase: Phase{Retries: 4}, answers: []int{503}, retryAfter: date, requests: 2, status: 200, least: 20 * time.Second, most: 34 * time.Second},
		{name: "an hour", method: "GET", phase: Phase{Retries: 4}, answers: []int{429}, retryAfter: "3600", requests: 2, status: 200, least: time.Minute, most: 67 * time.Second},
		{name: "bounded in all", method: "GET", phase: Phase{Retries: 50}, answers: slices.Repeat([]int{429}, 50), retryAfter: "60", requests: 5, status: 429, least: time.Minute, most: 67 * time.Second},
		{name: "bounded in count", method: "GET", phase: Phase{Retries: 2}, answers: slices.Repeat([]int{503}, 9), requests: 3, status: 503, most: maxWait},
		{name: "none", method: "GET", answers: []int{503}, requests: 1, status: 503},
		{name: "500", method: "GET", phase: Phase{Retries: 2}, answers: []int{500, 200}, requests: 2, status: 200, most: maxWait},
		{name: "501", method: "GET", phase: Phase{Retries: 2}, answers: []int{501}, requests: 1, status: 501},
		{name: "403", method: "GET", phase: Phase{Retries: 2}, answers: []int{403}, requests: 1, status: 403},
		{name: "a write", method: "POST", body: strings.NewReader("x"), phase: Phase{Retries: 2}, answers: []int{503}, requests: 1, status: 503},
		{name: "a phase of such writes", method: "PATCH", body: strings.NewReader("x"), phase: Phase{Retries: 2, RepeatWrites: true}, answers: []int{429}, requests: 2, status: 200, most: maxWait},
		{name: "a stream", method: "PUT", body: io.MultiReader(strings.NewReader("x")), phase: Phase{Retries: 2, RepeatWrites: true}, answers: []int{503}, requests: 1, status: 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := newTestEnv(t)
			seen := 0
			env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); test.body != nil && string(body) != "x" {
					t.Errorf("request %d has the body %q", seen, body)
				}
				seen++
				if seen <= len(test.answers) {
					if test.retryAfter != "" {
						rw.Header().Set("Retry-After", test.retryAfter)
					}
					rw.WriteHeader(test.answers[seen-1])
				}
			})
			n, waited := env.network(env.settings())
			test.phase.Hosts = []string{"prod.azurecr.io"}
			test.phase.Registry = "prod.azurecr.io"
			req, _ := http.NewRequestWithContext(t.Context(), test.method, "https://prod.azurecr.io/v2/x", test.body)
			resp, err := n.Client(test.phase).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.status || seen != test.requests {
				t.Errorf("status %d after %d requests; want %d after %d", resp.StatusCode, seen, test.status, test.requests)
			}
			var total time.Duration
			for _, wait := range waited.list() {
				if wait < test.least || wait > test.most {
					t.Errorf("waited %s; want %s to %s", wait, test.least, test.most)
				}
				total += wait
			}
			got := n.Traffic()[0]
			if got.Retries != test.requests-1 || got.Waited != total || got.Read+got.Write != test.requests {
				t.Errorf("traffic %+v; want %d retries and %s", got, test.requests-1, total)
			}
		})
	}
}

func TestBrokenConnectionsAreTriedAgain(t *testing.T) {
	env := newTestEnv(t)
	seen := 0
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, _ *http.Request) {
		if seen++; seen < 3 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(rw, "ok")
	})
	var told []Exchange
	s := env.settings()
	s.OnExchange = func(e Exchange) { told = append(told, e) }
	n, _ := env.network(s)
	_, body, err := get(t, n.Client(Phase{Name: "copying", Hosts: []string{"prod.azurecr.io"}, Retries: 5}), "https://prod.azurecr.io/v2/a%2Fb?sig=s1gnature")
	if err != nil || body != "ok" {
		t.Fatalf("%q, %v", body, err)
	}
	if len(told) != 3 {
		t.Fatalf("%d exchanges were told", len(told))
	}
	for i, e := range told {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, "s1gnature") {
			t.Errorf("a query is shown: %s", text)
		}
		if e.Attempt != i+1 || e.Method != "GET" || e.Host != "prod.azurecr.io:443" || e.Path != "/v2/a%2Fb" || e.Phase != "copying" || (e.Status == 200) != (i == 2) || (e.Err == nil) != (i == 2) {
			t.Errorf("exchange %d: %+v", i, e)
		}
	}
}

func TestAnswersThatTakeTooLongOrAreTooLong(t *testing.T) {
	env := newTestEnv(t)
	over := make(chan struct{})
	defer close(over)
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			<-over
		case "/stalls":
			fmt.Fprint(rw, "half")
			rw.(http.Flusher).Flush()
			<-over
		case "/long":
			fmt.Fprint(rw, strings.Repeat("x", 1001))
		case "/cut":
			rw.Header().Set("Content-Length", "10")
			fmt.Fprint(rw, "half")
		case "/unread":
			rw.WriteHeader(200)
			rw.(http.Flusher).Flush()
			<-over
		}
	})
	n, _ := env.network(env.settings())
	phase := Phase{Name: "copying", Hosts: []string{"prod.azurecr.io"}, BodyLimit: 1000}
	whole, stall := phase, phase
	whole.Timeout = 50 * time.Millisecond
	stall.Stall = 50 * time.Millisecond
	for _, test := range []struct {
		path, want string
		phase      Phase
		is         error
	}{
		{"/silent", "copying: prod.azurecr.io:443 was given up: it did not end within 50ms. Try again; if the error persists, check the network on the way", whole, context.DeadlineExceeded},
		{"/stalls", "copying: prod.azurecr.io:443 was given up: it did not end within 50ms. Try again; if the error persists, check the network on the way", whole, context.DeadlineExceeded},
		{"/stalls", "copying: prod.azurecr.io:443 was given up: no byte moved for 50ms. Try again; if the error persists, check the network on the way", stall, context.DeadlineExceeded},
		{"/long", "copying: prod.azurecr.io:443 was not understood: its answer is longer than 1000 bytes. Check what is in front of it", phase, nil},
		{"/cut", "copying: prod.azurecr.io:443 broke off the connection. Try again; if the error persists, check the firewall and proxies on the way", phase, io.ErrUnexpectedEOF},
	} {
		resp, body, err := get(t, n.Client(test.phase), "https://prod.azurecr.io"+test.path+"?sig=s1gnature")
		if err == nil || cause(err).Error() != test.want {
			t.Errorf("%s: %v, %d bytes\ngot  %v\nwant %s", test.path, resp, len(body), err, test.want)
			continue
		}
		if errors.Is(err, context.Canceled) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: the cause is %#v", test.path, err)
		}
		if test.path == "/long" && len(body) != 1000 {
			t.Errorf("%d bytes were read", len(body))
		}
	}
}

// TestUploadsAreWatchedWhileTheNetworkHasTheBytes: a slow producer on our side
// is not the network's fault.
func TestUploadsAreWatchedWhileTheNetworkHasTheBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		w := &watchdog{stall: time.Minute, cancel: cancel}
		defer w.end()
		u := &upload{body: io.NopCloser(slowly{time.Hour}), counters: &counters{}, watch: w}
		for range 3 {
			if _, err := u.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59 * time.Second)
			if ctx.Err() != nil {
				t.Fatal("given up before a minute without progress")
			}
		}
		time.Sleep(2 * time.Second)
		if slow, ok := context.Cause(ctx).(*timeoutError); !ok || slow.stall != time.Minute {
			t.Errorf("a minute on the network: %v", context.Cause(ctx))
		}
	})
}

// slowly gives a byte now and then.
type slowly struct{ pause time.Duration }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return copy(p, "x"), nil
}

func TestUploadsAreCounted(t *testing.T) {
	env := newTestEnv(t)
	env.handle("prod.azurecr.io", func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n)
	})
	n, _ := env.network(env.settings())
	body := io.MultiReader(strings.NewReader("first"), strings.NewReader("second"))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://prod.azurecr.io/v2/x/blobs/uploads/1", body)
	resp, err := n.Client(Phase{Hosts: []string{"prod.azurecr.io"}, Registry: "prod.azurecr.io"}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	arrived, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(arrived) != "11" {
		t.Errorf("%s bytes arrived", arrived)
	}
	if got := n.Traffic(); len(got) != 1 || got[0] != (Traffic{Registry: "prod.azurecr.io", Write: 1, BytesWritten: 11, BytesRead: 2}) {
		t.Errorf("traffic %+v", got)
	}
}

func TestTrafficIsCountedByKindForItsRegistryAlone(t *testing.T) {
	env := newTestEnv(t)
	for _, host := range []string{"prod.azurecr.io", "login.microsoftonline.com"} {
		env.handle(host, func(http.ResponseWriter, *http.Request) {})
	}
	n, _ := env.network(env.settings())
	client := n.Client(Phase{Hosts: []string{"prod.azurecr.io", "login.microsoftonline.com"}, Registry: "prod.azurecr.io"})
	ctx := t.Context()
	for _, r := range [][2]string{
		{"POST", "https://prod.azurecr.io/oauth2/exchange"},
		{"GET", "https://prod.azurecr.io/oauth2/token"},
		{"GET", "https://prod.azurecr.io/v2/a/manifests/1"},
		{"HEAD", "https://prod.azurecr.io/v2/a/manifests/1"},
		{"GET", "https://prod.azurecr.io/v2/a/referrers/sha256:1"},
		{"PUT", "https://prod.azurecr.io/v2/a/manifests/1"},
		{"PATCH", "https://prod.azurecr.io/acr/v1/a"},
		// Entra is asked on this registry's behalf, but is not this registry.
		{"POST", "https://login.microsoftonline.com/t/oauth2/v2.0/token"},
	} {
		req, _ := http.NewRequestWithContext(ctx, r[0], r[1], nil)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if got := n.Traffic(); len(got) != 1 || got[0] != (Traffic{Registry: "prod.azurecr.io", Read: 2, Write: 2, Referrers: 1, Token: 2}) {
		t.Errorf("traffic %+v", got)
	}
}

func TestCancellationIsKept(t *testing.T) {
	env := newTestEnv(t)
	// A signal's context has a cause of its own.
	ctx, cancel := context.WithCancelCause(t.Context())
	env.handle("prod.azurecr.io", func(_ http.ResponseWriter, r *http.Request) {
		cancel(errors.New("interrupt signal received"))
		<-r.Context().Done()
	})
	n, waited := env.network(env.settings())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://prod.azurecr.io/", nil)
	_, err := n.Client(Phase{Hosts: []string{"prod.azurecr.io"}, Retries: 5}).Do(req)
	if !errors.Is(err, context.Canceled) || len(waited.list()) != 0 {
		t.Errorf("got %v after %v", err, waited.list())
	}
}

func TestUnknownHostsAndAuthoritiesAreExplained(t *testing.T) {
	env := newTestEnv(t)
	env.handle("prod.azurecr.io", func(http.ResponseWriter, *http.Request) {})
	phase := Phase{Name: "reading the approvals", Hosts: []string{"prod.azurecr.io", "gone.example"}, Retries: 2}

	s := env.settings()
	s.CAFile = ""
	n, waited := env.network(s)
	_, _, err := get(t, n.Client(phase), "https://prod.azurecr.io/?sig=s1gnature")
	want := "reading the approvals: prod.azurecr.io:443 is not trusted: its certificate comes from an authority unknown here. If that is right, trust its CA: give the agent a CA bundle (AGENT_CAINFO), or add it to this machine's authorities"
	if err == nil || cause(err).Error() != want || len(waited.list()) != 0 {
		t.Errorf("got  %v after %v\nwant %s", err, waited.list(), want)
	}

	n, waited = env.network(env.settings())
	_, _, err = get(t, n.Client(phase), "https://gone.example/")
	want = fmt.Sprintf("reading the approvals: gone.example:443 cannot be reached: the proxy %s has no way to it (HTTP 502). Check the name, and the firewall behind the proxy", env.proxy.Addr())
	if err == nil || cause(err).Error() != want || len(waited.list()) != 2 {
		t.Errorf("got  %v after %v\nwant %s", err, waited.list(), want)
	}

	env.refusal = http.StatusForbidden
	_, _, err = get(t, n.Client(phase), "https://gone.example/")
	if err == nil || !strings.Contains(err.Error(), "forbids it (HTTP 403). Have the host allowed there") {
		t.Errorf("got %v", err)
	}

	env.proxy.Close()
	_, _, err = get(t, n.Client(phase), "https://gone.example/")
	var operation *net.OpError
	if err == nil || !strings.Contains(err.Error(), "the proxy does not answer (connection refused)") || !errors.As(err, &operation) {
		t.Errorf("got %v", err)
	}
}

func TestDirectConnectionsAreExplained(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := refusing.Addr().String()
	refusing.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	host := plain.Listener.Addr().String()
	n, err := New(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	client := n.Client(Phase{Hosts: []string{closed, host}})
	for address, want := range map[string]string{
		closed: "cannot be reached: it refuses the connection. " + checkNetwork,
		host:   "does not speak TLS. Check the port; at a prompt, --plain-http names a host that speaks HTTP",
	} {
		if _, _, err := get(t, client, "https://"+address+"/"); err == nil || cause(err).Error() != address+" "+want {
			t.Errorf("got  %v\nwant %s %s", err, address, want)
		}
	}
}

func TestNamesThatDoNotResolveAreExplained(t *testing.T) {
	for _, test := range []struct {
		err   error
		want  string
		final bool
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "x", IsNotFound: true}}, "cannot be reached: the name does not resolve", true},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "x", IsTimeout: true}}, "cannot be reached: the DNS of this machine does not answer", false},
		{&net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Name: "p", IsNotFound: true}}}, "cannot be reached: the name of the proxy does not resolve", true},
		{errors.New("bad\n##vso[task.complete] " + strings.Repeat("x", 500)), "did not answer as HTTP should (bad ##vso[task.complete] " + strings.Repeat("x", 175) + "…)", false},
	} {
		got, remedy, final := classify(test.err)
		if got != test.want || final != test.final || remedy == "" {
			t.Errorf("%v: %q, %q, final %v", test.err, got, remedy, final)
		}
		if final == transient(&Error{cause: test.err, final: final}) {
			t.Errorf("%v: tried again against its nature", test.err)
		}
	}
}

// TestUnclassifiedErrorsAreExplainedOnce: a dial fails in a way that has no
// sentence of its own, and each try and the end explain it once.
func TestUnclassifiedErrorsAreExplainedOnce(t *testing.T) {
	var tried []Retry
	n, err := New(Settings{OnRetry: func(r Retry) { tried = append(tried, r) }})
	if err != nil {
		t.Fatal(err)
	}
	n.pause = (&waits{}).pause
	n.dialer.Control = func(string, string, syscall.RawConn) error { return syscall.EMFILE }
	const address = "192.0.2.1:443"
	const want = "did not answer as HTTP should (dial tcp 192.0.2.1:443: too many open files)"
	_, _, err = get(t, n.Client(Phase{Name: "copying", Hosts: []string{address}, Retries: 2}), "https://"+address+"/")
	if err == nil || cause(err).Error() != "copying: "+address+" "+want+". "+checkNetwork || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("the end is %v", err)
	}
	if len(tried) != 2 || tried[0].Reason != want || tried[1].Reason != want {
		t.Errorf("tried again %+v, want the reason %q", tried, want)
	}
	g := &phaseTransport{network: n, phase: Phase{Name: "reading"}}
	again := fmt.Errorf("after 3 bytes: %w", cause(err))
	if got := g.explain("other.example", again); got != again {
		t.Errorf("explained once more: %v", got)
	}
}

// TestTheEnvironmentIsNotAsked: in a pipeline its author may set all of these.
func TestTheEnvironmentIsNotAsked(t *testing.T) {
	env := newTestEnv(t)
	t.Setenv("HTTPS_PROXY", "http://evil.example:3128")
	t.Setenv("SSL_CERT_FILE", env.caFile)
	t.Setenv("SSL_CERT_DIR", filepath.Dir(env.caFile))
	n, err := New(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if n.transport.Proxy != nil {
		t.Error("the environment's proxy would be used")
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value, set := os.LookupEnv(name); set {
			t.Errorf("%s is still %s: the authorities would come from there", name, value)
		}
	}
	if proxy, _ := n.Describe(); proxy != "" {
		t.Errorf("described with the proxy %s", proxy)
	}
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	parse := func(text string) *url.URL { u, _ := url.Parse(text); return u }
	for want, s := range map[string]Settings{
		"cannot be read":            {CAFile: filepath.Join(dir, "absent.pem")},
		"holds no certificate":      {CAFile: empty},
		"the client certificate":    {ClientCert: empty, ClientKey: empty},
		"names no host":             {Proxy: &Proxy{}},
		"is not a valid host":       {PlainHTTP: []string{"localhost:99999"}},
		`has the scheme "socks5"`:   {Proxy: &Proxy{URL: parse("socks5://u:s3cret@proxy.example.com:1")}},
		"has 1001 entries; at most": {Proxy: &Proxy{URL: parse("http://u:s3cret@proxy.example.com"), Bypass: make([]string, 1001)}},
	} {
		if _, err := New(s); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v; want %q", err, want)
		}
	}
}

func TestBypass(t *testing.T) {
	proxy, warnings, err := newAgentProxy(Proxy{
		URL:    &url.URL{Scheme: "http", Host: "proxy.example.com:3128"},
		Bypass: []string{`\.internal\.example$`, `^https://DEV\.azurecr\.io$`, `(?<name>x)(?!y)`, " ", `example\.com:8443`, strings.Repeat("x", 5000)},
	})
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0], `(?<name>x)(?!y)`) {
		t.Fatalf("%v, %v", warnings, err)
	}
	for address, want := range map[string]bool{
		"https://a.internal.example/x":         true,
		"https://A.Internal.Example:443/x":     true,
		"https://a.internal.example:8443/x":    false,
		"https://dev.azurecr.io/":              true,
		"http://dev.azurecr.io/":               false,
		"https://dev.azurecr.io.evil.example/": false,
		"https://www.example.com:8443/":        true,
		"https://www.example.com/":             false,
		"https://localhost:5000/":              true,
		"http://127.0.0.9:5000/":               true,
		"https://[::1]:5000/":                  true,
		"https://[2001:db8::1]/":               false,
		"https://localhost.evil.example/":      false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := proxy.bypassed(u); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// FuzzRedirect: whatever a server answers, a followed redirect is https, has
// no user, and takes no credential to another host.
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{"/x", "//evil.example/", "https://u:p@evil.example", "http://prod.azurecr.io/", "HTTPS://PROD.azurecr.io:443/", "https://prod.azurecr.io.:443", "\\\\evil.example", "https:opaque", "https://\uff50rod.azurecr.io"} {
		f.Add(seed)
	}
	n, err := New(Settings{})
	if err != nil {
		f.Fatal(err)
	}
	g := &phaseTransport{network: n, phase: Phase{Redirects: FollowDownloads}}
	f.Fuzz(func(t *testing.T, location string) {
		req, _ := http.NewRequest(http.MethodGet, "https://prod.azurecr.io/v2/x/blobs/y", nil)
		req.Header.Set("Authorization", "Bearer t")
		resp := &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {location}}}
		next, err := g.redirect(req, resp, 0)
		if err != nil || next == nil {
			return
		}
		own := strings.EqualFold(next.URL.Hostname(), "prod.azurecr.io") && (next.URL.Port() == "" || next.URL.Port() == "443")
		if next.URL.Scheme != "https" || next.URL.User != nil || (next.Header.Get("Authorization") != "") != own {
			t.Errorf("%q leads to %s with %v", location, next.URL, next.Header)
		}
	})
}

func TestOldTLSIsNotSpoken(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked over TLS %x", r.TLS.Version)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.StartTLS()
	defer server.Close()
	host := server.Listener.Addr().String()
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := New(Settings{CAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = get(t, n.Client(Phase{Hosts: []string{host}, Retries: 1}), server.URL)
	if err == nil || !strings.Contains(err.Error(), "broke off the TLS handshake (tls: protocol version not supported)") {
		t.Errorf("got %v", err)
	}
	if got := n.Traffic(); len(got) != 0 {
		t.Errorf("traffic of no registry is reported: %+v", got)
	}
}
