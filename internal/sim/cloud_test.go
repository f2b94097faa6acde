package sim_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

func startCloud(t *testing.T) *sim.Cloud {
	t.Helper()
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	return cloud
}

func fetch(t *testing.T, client *http.Client, address string) string {
	t.Helper()
	resp, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestClientsAreSeenAtTheirNetworksAddress(t *testing.T) {
	cloud := startCloud(t)
	cloud.Handle("who.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, sim.ClientIP(r)+" "+r.Proto)
	}))
	cloud.HTTP1("old.example")
	cloud.Handle("old.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, sim.ClientIP(r)+" "+r.Proto)
	}))
	prod, dev := cloud.Network("prod", "198.51.100.1"), cloud.Network("dev", "203.0.113.7")
	for _, test := range []struct {
		network *sim.Network
		address string
		want    string
	}{
		{prod, "https://who.example/", "198.51.100.1 HTTP/2.0"},
		{dev, "https://WHO.example/", "203.0.113.7 HTTP/2.0"},
		{dev, "https://old.example/", "203.0.113.7 HTTP/1.1"},
	} {
		if got := fetch(t, test.network.Client(), test.address); got != test.want {
			t.Errorf("%s in %s: got %q, want %q", test.address, test.network.Name(), got, test.want)
		}
	}
	if got, want := dev.Dialled(), []string{"who.example:443", "old.example:443"}; !slices.Equal(got, want) {
		t.Errorf("dialled %q, want %q", got, want)
	}
}

func TestProxyLeadsNowhereElse(t *testing.T) {
	cloud := startCloud(t)
	cloud.Handle("known.example", http.NotFoundHandler())
	network := cloud.Network("n", "203.0.113.7")
	for _, address := range []string{"https://unknown.example/", "https://known.example:8443/", "https://127.0.0.1:1/"} {
		if _, err := network.Client().Get(address); err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
			t.Errorf("%s: got %v, want Bad Gateway", address, err)
		}
	}
	resp, err := network.Client().Get("http://known.example/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("plain HTTP: got %d", resp.StatusCode)
	}
	want := []string{"unknown.example:443", "known.example:8443", "127.0.0.1:1", "known.example:80"}
	if got := network.Dialled(); !slices.Equal(got, want) {
		t.Errorf("dialled %q, want %q", got, want)
	}
	if got := cloud.Requests(); len(got) != 0 {
		t.Errorf("requests arrived: %v", got)
	}

	network.Block("known.example")
	if _, err := network.Client().Get("https://known.example/"); err == nil {
		t.Error("a blocked host was reached")
	}
	network.Block()
	if _, err := network.Client().Get("https://known.example/"); err != nil {
		t.Errorf("after the block was lifted: %v", err)
	}
}

func TestProxyAsksForPassword(t *testing.T) {
	cloud := startCloud(t)
	cloud.Handle("known.example", http.NotFoundHandler())
	network := cloud.Network("n", "203.0.113.7")
	network.RequireAuth("agent", "p:w")
	for _, test := range []struct {
		user *url.Userinfo
		ok   bool
	}{
		{nil, false},
		{url.UserPassword("agent", "wrong"), false},
		{url.UserPassword("agent", "p:w"), true},
	} {
		client := network.Client()
		proxy, err := url.Parse(network.ProxyURL())
		if err != nil {
			t.Fatal(err)
		}
		proxy.User = test.user
		client.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy)
		_, err = client.Get("https://known.example/")
		if test.ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "Proxy Authentication Required") {
			t.Errorf("%v: got %v", test.user, err)
		}
	}
	if got := network.Dialled(); len(got) != 1 {
		t.Errorf("dialled %q, want one", got)
	}
}

func TestCertificatesAreTheCloudsOwn(t *testing.T) {
	cloud := startCloud(t)
	cloud.Handle("known.example", http.NotFoundHandler())
	client := cloud.Network("n", "203.0.113.7").Client()
	transport := client.Transport.(*http.Transport)

	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	var unknown x509.UnknownAuthorityError
	if _, err := client.Get("https://known.example/"); !errors.As(err, &unknown) {
		t.Errorf("without the CA: got %v", err)
	}
	pem, err := os.ReadFile(cloud.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		t.Fatal("the CA file holds no certificate")
	}
	if _, err := client.Get("https://known.example/"); err != nil {
		t.Errorf("with the CA: %v", err)
	}
}

func TestRequestForAnotherHostIsMisdirected(t *testing.T) {
	cloud := startCloud(t)
	cloud.Handle("a.example", http.NotFoundHandler())
	cloud.Handle("b.example", http.NotFoundHandler())
	req, err := http.NewRequest("GET", "https://a.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "b.example"
	resp, err := cloud.Network("n", "203.0.113.7").Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestInterceptAndLog(t *testing.T) {
	cloud := startCloud(t)
	cloud.Handle("known.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "host")
	}))
	network := cloud.Network("n", "203.0.113.7")
	client := network.Client()
	first := cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/busy" {
			return false
		}
		http.Error(w, "first", http.StatusTooManyRequests)
		return true
	})
	second := cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		panic(http.ErrAbortHandler)
	})
	if _, err := client.Get("https://known.example/busy"); err == nil {
		t.Error("the later interceptor was not asked first")
	}
	second()
	mark := cloud.Mark()
	if got := fetch(t, client, "https://known.example/busy?token=secret&a=b"); got != "first\n" {
		t.Errorf("got %q", got)
	}
	first()
	req, err := http.NewRequest("POST", "https://known.example/a%2Fb", strings.NewReader("12345"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("user", "password")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	log := cloud.Since(mark)
	if len(log) != 2 {
		t.Fatalf("%d requests in the log: %v", len(log), log)
	}
	for i, want := range []sim.Request{
		{Host: "known.example", Method: "GET", Path: "/busy", Status: 429, Client: "203.0.113.7", Proto: "HTTP/2.0", BytesOut: 6},
		{Host: "known.example", Method: "POST", Path: "/a%2Fb", Status: 200, Client: "203.0.113.7", Authorization: "Basic", Proto: "HTTP/2.0", BytesIn: 5, BytesOut: 4},
	} {
		got := log[i]
		if got.Time.IsZero() {
			t.Error("a request has no time")
		}
		query := got.Query
		got.Time, got.Query = want.Time, nil
		if got.Host != want.Host || got.Method != want.Method || got.Path != want.Path || got.Status != want.Status || got.Client != want.Client ||
			got.Authorization != want.Authorization || got.Proto != want.Proto || got.BytesIn != want.BytesIn || got.BytesOut != want.BytesOut {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if i == 0 && !slices.Equal(query, []string{"a", "token"}) {
			t.Errorf("query %q", query)
		}
	}
	if !log[0].Has("token") || log[0].Has("secret") || log[1].Has("token") {
		t.Error("Has is wrong")
	}
}

func TestInterceptorMayBreakTheConnection(t *testing.T) {
	cloud := startCloud(t)
	cloud.HTTP1("old.example")
	cloud.Handle("old.example", http.NotFoundHandler())
	remove := cloud.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return false
		}
		conn.Close()
		return true
	})
	client := cloud.Network("n", "203.0.113.7").Client()
	if _, err := client.Get("https://old.example/"); err == nil {
		t.Error("a closed connection answers")
	}
	remove()
	if _, err := client.Get("https://old.example/"); err != nil {
		t.Error(err)
	}
	if log := cloud.Requests(); log[0].Status != 0 || log[len(log)-1].Status != 404 {
		t.Errorf("log %+v", log)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cloud.Handle("known.example", http.NotFoundHandler())
	client := cloud.Network("n", "203.0.113.7").Client()
	fetch(t, client, "https://known.example/")
	cloud.Close()
	cloud.Close()
	if _, err := client.Get("https://known.example/"); err == nil {
		t.Error("a closed cloud answers")
	}
	if _, err := sim.Start("/no/such/folder"); err == nil {
		t.Error("a folder that is not there was taken")
	}
}
