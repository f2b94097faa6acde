package sim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

const (
	labHost  = "contoso.azurecr.io"
	labIP    = "203.0.113.7"
	ociImage = "application/vnd.oci.image.manifest.v1+json"
	ociIndex = "application/vnd.oci.image.index.v1+json"
)

// lab is a cloud with one registry, a network, and a user who may do all below
// shop/.
type lab struct {
	t        *testing.T
	cloud    *sim.Cloud
	registry *sim.Registry
	network  *sim.Network
	client   *http.Client
	clock    *clock
}

// clock stands still until the test lets it go on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// passport knows one Entra token for one audience.
type passport struct{ sim.Principal }

func (p passport) Verify(token, audience string) (sim.Principal, error) {
	if token != "entra-token" || audience != "https://containerregistry.azure.net" {
		return sim.Principal{}, errors.New("not a token for " + audience)
	}
	return p.Principal, nil
}

func startLab(t *testing.T, o sim.RegistryOptions) *lab {
	t.Helper()
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	l := &lab{t: t, cloud: cloud, clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 123456700, time.UTC)}}
	o.Now = l.clock.Now
	if o.Tokens == nil {
		o.Tokens = passport{sim.Principal{ObjectID: "object-1", TenantID: "tenant-1", ClientID: "client-1"}}
	}
	l.registry = cloud.Registry(labHost, o)
	l.registry.AddUser("ci", "secret")
	l.registry.Grant("ci", "shop/**", "pull", "push", "delete", "metadata_read", "metadata_write", "catalog")
	l.network = cloud.Network("lab", labIP)
	l.client = l.network.Client()
	l.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return l
}

// reply is an answer, read to its end.
type reply struct {
	Status int
	Header http.Header
	Body   string
}

// code is the code of the error document, "" if there is none.
func (r reply) code() string {
	var document struct {
		Errors []struct{ Code string }
	}
	if json.Unmarshal([]byte(r.Body), &document) != nil || len(document.Errors) != 1 {
		return ""
	}
	return document.Errors[0].Code
}

type header map[string]string

// do sends a request to the lab's registry, or to a whole URL.
func (l *lab) do(method, target string, h header, body string) reply {
	l.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = "https://" + labHost + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for name, value := range h {
		req.Header.Set(name, value)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, target, err)
	}
	return reply{resp.StatusCode, resp.Header, string(content)}
}

// as is do by the lab's user.
func (l *lab) as(method, target string, h header, body string) reply {
	l.t.Helper()
	all := header{"Authorization": basic("ci", "secret")}
	for name, value := range h {
		all[name] = value
	}
	return l.do(method, target, all, body)
}

func basic(user, password string) string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(user, password)
	return req.Header.Get("Authorization")
}

func (l *lab) form(path string, values url.Values) reply {
	l.t.Helper()
	return l.do("POST", path, header{"Content-Type": "application/x-www-form-urlencoded"}, values.Encode())
}

func (l *lab) want(got reply, status int, code string) reply {
	l.t.Helper()
	if got.Status != status || got.code() != code {
		l.t.Errorf("got %d %q, want %d %q\n%s", got.Status, got.code(), status, code, got.Body)
	}
	return got
}

func field(t *testing.T, body, name string) string {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	value, _ := document[name].(string)
	return value
}

func sha(content string) string { return testimage.Digest([]byte(content)) }

// image is the manifest of an image whose layers are as given, its config "{}".
func image(layers ...string) string {
	config := testimage.Describe(testimage.ConfigType, []byte("{}"))
	m := testimage.Manifest{SchemaVersion: 2, MediaType: ociImage, Config: &config}
	for _, layer := range layers {
		m.Layers = append(m.Layers, testimage.Describe(testimage.LayerType, []byte(layer)))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func referrer(subject, artifactType string, n int) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":1},"annotations":{"n":"%d"}}`,
		ociImage, artifactType, sha("{}"), ociImage, subject, n)
}

// stock stores an image of two layers in shop/cart:1.0 and returns its digest.
func (l *lab) stock() string {
	for _, b := range []string{"{}", "one", "two"} {
		l.registry.PutBlob("shop/cart", []byte(b))
	}
	return l.registry.Push("shop/cart", "1.0", ociImage, []byte(image("one", "two")))
}
