package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

// count counts the requests to a host whose method and path begin so.
func (o outcome) count(host, begin string) int {
	n := 0
	for _, r := range o.asked(host) {
		if strings.HasPrefix(r, begin) {
			n++
		}
	}
	return n
}

// TestSignInOnce: one assertion, one Entra token for all registries, and one
// exchange a registry, whatever the number of targets and requests.
func TestSignInOnce(t *testing.T) {
	for _, kind := range []string{"federated", "secret"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			image := pushIndex(w.prod, cart, release, 1)
			w.record(image)
			w.lock(release)
			w.approve(manager, "")
			connection, assertions := w.connection, 1
			if kind == "secret" {
				connection, assertions = w.project.SecretConnection("release-secret", tenant, clientID, clientKey), 0
			}
			o := w.task(push("targets", devHost+"\n"+dev2Host+"\n"+devHost+"/released/cart:2", "lock", "tag"), connected("azureSubscription", connection)).want("done")
			asked := 0
			for _, r := range o.requests {
				if r.Host == devOpsHost && r.Has("serviceConnectionId") {
					asked++
				}
			}
			if asked != assertions {
				t.Errorf("%d assertions asked for, want %d", asked, assertions)
			}
			if n := o.count(entraHost, "POST /"+tenant+"/oauth2/v2.0/token"); n != 1 {
				t.Errorf("%d Entra tokens, want 1: %v", n, o.asked(entraHost))
			}
			for _, host := range []string{prodHost, devHost, dev2Host} {
				if e, tok := o.count(host, "POST /oauth2/exchange"), o.count(host, "POST /oauth2/token"); e != 1 || tok != 1 {
					t.Errorf("%s: %d exchanges and %d tokens, want 1 and 1", host, e, tok)
				}
			}
		})
	}
}

// TestIdentityPerSide: targetSubscription signs in to the targets, so that no
// identity needs both sides.
func TestIdentityPerSide(t *testing.T) {
	w, image := ready(t)
	const other = "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee"
	down := w.project.FederatedConnection("dev-identity", tenant, other)
	w.directory.AddApplication(other).AddFederatedCredential(w.organization.Issuer(), down.Subject())
	w.prod.Revoke(clientID)
	w.prod.Grant(clientID, "**", sim.RepositoryReader...)
	w.dev.Revoke(clientID)
	w.dev.Grant(other, "**", sim.RepositoryWriter...)
	w.task(push()).failsAt("target", devHost)
	w.task(push(), connected("targetSubscription", down)).want("done")
	if got := w.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestDockerConnection: user and password at the target, matched by host.
func TestDockerConnection(t *testing.T) {
	w, image := ready(t)
	w.dev.Revoke(clientID)
	w.dev.AddUser("pusher", "a-docker-password~1")
	w.dev.Grant("pusher", cart, "pull", "push")
	docker := w.project.DockerConnection("dev-token", devHost, "pusher", "a-docker-password~1")
	o := w.task(push("targets", devHost+"\n"+dev2Host), connected("registryConnections", docker)).want("done")
	if w.dev.TagDigest(cart, release) != image.Digest || o.count(devHost, "POST /oauth2/exchange") != 0 {
		t.Errorf("tag %q, asked %v", w.dev.TagDigest(cart, release), o.asked(devHost))
	}
	if o.count(dev2Host, "POST /oauth2/exchange") != 1 {
		t.Errorf("the other registry was not signed in to by Entra: %v", o.asked(dev2Host))
	}
	// A repository-scoped token needs no more than its repository.
	w.task(push("targets", devHost+"/released/cart"), connected("registryConnections", docker)).failsAt("target", devHost)
}

// TestRepositoryPermissions: a registry that refuses a token unless the whole
// scope is granted, and one whose identity may write one repository alone.
func TestRepositoryPermissions(t *testing.T) {
	w, image := ready(t)
	strict := w.cloud.Registry("contosostrict.azurecr.io", sim.RegistryOptions{Tokens: w.directory, StrictScopes: true})
	strict.Grant(clientID, cart, sim.AcrPush...)
	w.task(push("targets", strict.Host())).want("done")
	if got := strict.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestTokensExpire in the middle of a run: they are replaced.
func TestTokensExpire(t *testing.T) {
	w := newWorld(t)
	image := pushIndex(w.prod, cart, release, 1)
	w.record(image)
	w.lock(release)
	w.approve(manager, "")
	remove := w.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Host == devHost && r.Method == http.MethodPut {
			w.dev.ExpireTokens()
		}
		if r.Host == prodHost && strings.Contains(r.URL.Path, "/blobs/") {
			w.prod.ExpireTokens()
		}
		return false
	})
	defer remove()
	// Every write expires the tokens that the next one would use, so this may
	// well fail; but nothing incomplete may be visible, and a rerun completes it.
	o := w.task(push())
	if outcome := o.result["outcome"]; outcome != "done" && outcome != "failed" {
		t.Errorf("outcome %v", outcome)
	}
	remove()
	w.dev.ExpireTokens()
	w.task(push()).want("done")
	if got := w.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestHostileHosts: an Entra token goes to a registry of Azure alone, compared
// label by label.
func TestHostileHosts(t *testing.T) {
	w, _ := ready(t)
	hosts := []string{
		"evil.example", "azurecr.io.evil.example", "contosodev.azurecr.io.evil.example", "evilazurecr.io",
		"contosodev-azurecr.io", "contosodev.azurecr.io.com", "azurecr.io", "xn--azurecr-9za.io",
	}
	asked := map[string]func() []string{}
	for _, host := range hosts {
		asked[host] = w.evil(host)
	}
	mark := w.cloud.Mark()
	for _, host := range hosts {
		o := w.task(push("targets", host))
		if outcome := o.result["outcome"]; outcome != "failed" && outcome != "misuse" {
			t.Errorf("%s: outcome %v\n%s", host, outcome, o.stdout)
		}
		w.task(push("source", host+"/"+cart+":1", "targets", devHost))
	}
	for host, requests := range asked {
		for _, r := range requests() {
			if strings.Contains(r, "oauth2") || !strings.HasSuffix(r, " ") {
				t.Errorf("%s was asked %q", host, r)
			}
		}
	}
	for _, r := range w.cloud.Since(mark) {
		if slices.Contains(hosts, r.Host) && (r.BytesIn > 0 || r.Authorization != "") {
			t.Errorf("%s %s%s was sent %d bytes and the authorization %q", r.Method, r.Host, r.Path, r.BytesIn, r.Authorization)
		}
	}
}

// TestHostileRealm: whatever realm a challenge names, nobody but the registry's
// own /oauth2/* is asked.
func TestHostileRealm(t *testing.T) {
	w, image := ready(t)
	evil := w.evil("evil.example")
	w.dev.AddUser("pusher", "a-docker-password~1")
	w.dev.Grant("pusher", "**", sim.RepositoryWriter...)
	challenge := `Bearer realm="https://evil.example/oauth2/token",service="` + devHost + `",scope="repository:shop/cart:pull,push"`
	w.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != devHost || r.Header.Get("Authorization") != "" || strings.HasPrefix(r.URL.Path, "/oauth2/") {
			return false
		}
		rw.Header().Set("WWW-Authenticate", challenge)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	w.task(push()).want("done")
	if got := w.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	docker := w.project.DockerConnection("dev-token", devHost, "pusher", "a-docker-password~1")
	w.task(push("targets", devHost+"/released/cart"), connected("registryConnections", docker)).want("done")

	// A registry of somebody else's: its realm is another host's, so nobody is
	// asked, and it gets no password either.
	w.cloud.Handle("registry.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer realm="https://evil.example/token",service="registry.example"`)
		rw.WriteHeader(http.StatusUnauthorized)
	}))
	other := w.project.DockerConnection("other", "registry.example", "pusher", "another-password~2")
	o := w.task(push("targets", "registry.example"), connected("registryConnections", other)).failsAt("target", "registry.example", "evil.example")
	for _, r := range o.requests {
		if r.Host == "registry.example" && r.Authorization != "" {
			t.Errorf("%s %s bore %s", r.Method, r.Path, r.Authorization)
		}
	}
	if got := evil(); len(got) != 0 {
		t.Errorf("the realm was asked: %v", got)
	}
}

// TestHostileRedirects: no credential goes where a redirect points, and none
// leads to plain HTTP.
func TestHostileRedirects(t *testing.T) {
	redirect := func(match func(r *http.Request) bool, to string) func(w *world) {
		return func(w *world) {
			w.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !match(r) {
					return false
				}
				http.Redirect(rw, r, to, http.StatusTemporaryRedirect)
				return true
			})
		}
	}
	blob := func(r *http.Request) bool {
		return r.Host == prodHost && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:")
	}
	for _, c := range []struct {
		name  string
		do    func(w *world)
		side  string // "" is done
		asked bool   // the other host may be asked, without any credential
	}{
		{"the exchange", redirect(func(r *http.Request) bool { return r.Host == devHost && r.URL.Path == "/oauth2/exchange" }, "https://evil.example/oauth2/exchange"), "target", false},
		{"the token", redirect(func(r *http.Request) bool { return r.Host == devHost && r.URL.Path == "/oauth2/token" }, "https://evil.example/oauth2/token"), "target", false},
		{"the exchange of the source", redirect(func(r *http.Request) bool { return r.Host == prodHost && r.URL.Path == "/oauth2/exchange" }, "https://evil.example/oauth2/exchange"), "source", false},
		{"a download", redirect(blob, "https://evil.example/layer"), "source", true},
		{"a download, to plain HTTP", redirect(blob, "http://"+prodStorage+"/layer"), "source", false},
		{"an upload", redirect(func(r *http.Request) bool {
			return r.Host == devHost && r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/uploads/")
		}, "https://evil.example/upload"), "target", false},
		{"the manifest's PUT", redirect(func(r *http.Request) bool {
			return r.Host == devHost && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		}, "https://evil.example/manifest"), "target", false},
		{"the place of an upload", func(w *world) {
			w.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Host != devHost || r.Method != http.MethodPost || !strings.Contains(r.URL.Path, "/uploads/") {
					return false
				}
				rw.Header().Set("Location", "https://evil.example/upload/1")
				rw.WriteHeader(http.StatusAccepted)
				return true
			})
		}, "target", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := ready(t)
			evil := w.evil("evil.example")
			c.do(w)
			o := w.task(push()).failsAt(c.side)
			w.untouched(w.dev)
			for _, r := range evil() {
				if !c.asked || !strings.HasSuffix(r, " ") {
					t.Errorf("the other host was asked %q", r)
				}
			}
			for _, host := range o.at("egress").([]any) {
				if strings.HasSuffix(host.(string), ":80") {
					t.Errorf("dialled %v", host)
				}
			}
		})
	}
}

// TestEgress names the few hosts that this job has to reach, and the proxy
// without its user.
func TestEgress(t *testing.T) {
	w, _ := ready(t)
	w.prodNetwork.RequireAuth("agent", "a-proxy-password~3")
	authenticated := func(password string) func(*sim.Task) {
		return func(task *sim.Task) {
			task.Proxy.Username, task.Proxy.Password = "agent", password
		}
	}
	o := w.task(push(), authenticated("a-proxy-password~3")).want("done")
	want := []any{}
	for _, host := range []string{prodHost, prodStorage, devHost, devOpsHost, entraHost} {
		want = append(want, host+":443")
	}
	slices.SortFunc(want, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	if got := o.at("egress"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("egress %v, want %v", got, want)
	}
	if o.at("proxy") != w.prodNetwork.ProxyURL() || o.at("transport") != "claimed" {
		t.Errorf("proxy %v, transport %v", o.at("proxy"), o.at("transport"))
	}
	w.shutOut = true
	w.task(push(), authenticated("the-wrong-password")).refusedBy("approval-unreadable").says("407")
}
