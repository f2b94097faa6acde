package sim_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

const noWrite = `{"writeEnabled":false,"deleteEnabled":false}`

// TestLockedTagVariants checks what is known of locked tags, and both variants of
// what is not.
func TestLockedTagVariants(t *testing.T) {
	for _, c := range []struct {
		name               string
		options            sim.RegistryOptions
		equalPut, patching int
	}{
		{"default", sim.RegistryOptions{}, 405, 200},
		{"an equal PUT is taken", sim.RegistryOptions{EqualTagPut: true}, 201, 200},
		{"no PATCH of what is locked", sim.RegistryOptions{LockedPatch: true}, 405, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startLab(t, c.options)
			l.stock()
			const tag = "/acr/v1/shop/cart/_tags/1.0"
			l.want(l.as("PATCH", tag, nil, noWrite), 200, "")
			put := func(content string) int {
				return l.as("PUT", "/v2/shop/cart/manifests/1.0", header{"Content-Type": ociImage}, content).Status
			}
			if got := put(image("one", "two")); got != c.equalPut {
				t.Errorf("PUT of the same digest: %d, want %d", got, c.equalPut)
			}
			if got := put(image("one")); got != http.StatusMethodNotAllowed {
				t.Errorf("PUT of another digest: %d, want 405", got)
			}
			if got := l.as("PATCH", tag, nil, noWrite).Status; got != c.patching {
				t.Errorf("PATCH: %d, want %d", got, c.patching)
			}
		})
	}
}

func TestSoftDelete(t *testing.T) {
	for policy, want := range map[sim.SoftDelete]string{"": "201 ", sim.SoftDeleteDisallows: "405 REGISTRY_DISALLOWED_OPERATION", sim.SoftDeleteConflicts: "409 MANIFEST_CONFLICT"} {
		l := startLab(t, sim.RegistryOptions{SoftDelete: policy})
		digest := l.stock()
		l.want(l.as("DELETE", "/v2/shop/cart/manifests/"+digest, nil, ""), 202, "")
		for _, reference := range []string{digest, "1.0"} {
			reply := l.as("PUT", "/v2/shop/cart/manifests/"+reference, header{"Content-Type": ociImage}, image("one", "two"))
			if got := fmt.Sprintf("%d %s", reply.Status, reply.code()); got != want {
				t.Errorf("policy %q: %s, want %s", policy, got, want)
			}
		}
		l.registry.Restore("shop/cart", digest)
		l.want(l.as("PUT", "/v2/shop/cart/manifests/1.0", header{"Content-Type": ociImage}, image("one", "two")), 201, "")
	}
}

func TestPurgeUntagged(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{})
	digest := l.stock()
	child := l.registry.Push("shop/cart", "", ociImage, []byte(image("one")))
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, ociIndex, ociImage, child)
	l.registry.Push("shop/cart", "both", ociIndex, []byte(index))
	attached := l.registry.Push("shop/cart", "", ociImage, []byte(referrer(child, "a/b", 1)))
	loose := l.registry.Push("shop/cart", "", ociImage, []byte(image("two")))
	early := l.registry.Push("shop/cart", "", ociImage, []byte(referrer(sha("nothing"), "a/b", 2)))
	locked := l.registry.Push("shop/cart", "", ociImage, []byte(image("two", "one")))
	l.registry.SetManifestLock("shop/cart", locked, true, false)
	if got := l.registry.PurgeUntagged(); got != 2 {
		t.Errorf("%d were purged", got)
	}
	left := strings.Join(l.registry.Digests("shop/cart"), " ")
	for _, d := range []string{digest, child, attached, locked} {
		if !strings.Contains(left, d) {
			t.Errorf("%s is gone", d)
		}
	}
	for _, d := range []string{loose, early} {
		if strings.Contains(left, d) {
			t.Errorf("%s is still there", d)
		}
	}
}

func TestRegionalEndpoint(t *testing.T) {
	const regional = "contoso.westeurope.geo.azurecr.io"
	for _, service := range []string{labHost, regional} {
		l := startLab(t, sim.RegistryOptions{})
		l.stock()
		l.registry.RegionalEndpoint(regional, service)
		challenge := l.do("GET", "https://"+regional+"/v2/", nil, "").Header.Get("Www-Authenticate")
		if want := fmt.Sprintf(`Bearer realm="https://%s/oauth2/token",service="%s"`, regional, service); challenge != want {
			t.Errorf("challenge %s, want %s", challenge, want)
		}
		for _, asked := range []string{labHost, regional} {
			query := url.Values{"service": {asked}, "scope": {"repository:shop/cart:pull"}}
			reply := l.as("GET", "https://"+regional+"/oauth2/token?"+query.Encode(), nil, "")
			if (reply.Status == 200) != (asked == service) {
				t.Errorf("service %s where %s is wanted: %d", asked, service, reply.Status)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	for _, sliding := range []bool{false, true} {
		l := startLab(t, sim.RegistryOptions{Limits: sim.Limits{Window: time.Second, Sliding: sliding, Read: 3, Write: 1}})
		l.registry.AddUser("other", "secret")
		l.registry.Grant("other", "**", "pull")
		l.stock()
		read := func() int { return l.as("HEAD", "/v2/shop/cart/manifests/1.0", nil, "").Status }
		for i := range 5 {
			if got := read(); (got == 200) != (i < 3) {
				t.Errorf("read %d: %d", i, got)
			}
		}
		if got := l.as("POST", "/v2/shop/cart/blobs/uploads/", nil, "").Status; got != 202 {
			t.Errorf("a write: %d", got)
		}
		reply := l.want(l.as("POST", "/v2/shop/cart/blobs/uploads/", nil, ""), 429, "TOOMANYREQUESTS")
		if got := reply.Header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After %q", got)
		}
		if got := l.do("HEAD", "/v2/shop/cart/manifests/1.0", header{"Authorization": basic("other", "secret")}, "").Status; got != 200 {
			t.Errorf("another identity: %d", got)
		}
		if got := len(l.registry.Refused()); got != 3 {
			t.Errorf("%d were refused", got)
		}
		time.Sleep(1100 * time.Millisecond)
		if got := read(); got != 200 {
			t.Errorf("in the next window: %d", got)
		}
	}
}

// TestLockLag checks that another connection sees a lock later.
func TestLockLag(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{Lag: sim.Lag{Requests: 3}})
	digest := l.stock()
	other := l.network.Client()
	sees := func(path string) bool {
		req, err := http.NewRequest("GET", "https://"+labHost+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("ci", "secret")
		resp, err := other.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		if err := resp.Write(&b); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(b.String(), `"writeEnabled":false`)
	}
	for _, path := range []string{"/acr/v1/shop/cart/_tags/1.0", "/acr/v1/shop/cart/_manifests/" + digest} {
		l.want(l.as("PATCH", path, nil, noWrite), 200, "")
		if !strings.Contains(l.as("GET", path, nil, "").Body, `"writeEnabled":false`) {
			t.Errorf("%s: the connection that wrote does not see the lock", path)
		}
		if seen := fmt.Sprint(sees(path), sees(path)); seen != "false true" {
			t.Errorf("%s: another sees %s, want false true", path, seen)
		}
	}
}
