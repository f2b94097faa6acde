package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// count returns the number of requests to a host whose method and path have the
// given prefix.
func (o outcome) count(host, begin string) int {
	n := 0
	for _, r := range o.asked(host) {
		if strings.HasPrefix(r, begin) {
			n++
		}
	}
	return n
}

// TestSignInOnce checks that a run needs one assertion and one Entra token for all
// registries, and one exchange for each registry.
func TestSignInOnce(t *testing.T) {
	for _, kind := range []string{"federated", "secret"} {
		t.Run(kind, func(t *testing.T) {
			env, _ := readyIndex(t)
			connection, assertions := env.connection, 1
			if kind == "secret" {
				connection, assertions = env.project.SecretConnection("release-secret", tenant, clientID, clientKey), 0
			}
			o := env.task(push("targets", devHost+"\n"+dev2Host+"\n"+devHost+"/released/cart:2", "lock", "tag"), connected("azureSubscription", connection)).want("done")
			asked := 0
			for _, r := range o.requests {
				if r.Host == devOpsHost && r.Has("serviceConnectionId") {
					asked++
				}
			}
			if asked != assertions {
				t.Errorf("%d assertions requested, want %d", asked, assertions)
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

// TestIdentityPerSide checks that targetSubscription is used for the targets, so that
// no identity needs access to both sides.
func TestIdentityPerSide(t *testing.T) {
	env, image := ready(t)
	const other = "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee"
	down := env.project.FederatedConnection("dev-identity", tenant, other)
	env.directory.AddApplication(other).AddFederatedCredential(env.organization.Issuer(), down.Subject())
	env.prod.Revoke(clientID)
	env.prod.Grant(clientID, "**", sim.RepositoryReader...)
	env.dev.Revoke(clientID)
	env.dev.Grant(other, "**", sim.RepositoryWriter...)
	env.task(push()).failsAt("target", devHost)
	env.task(push(), connected("targetSubscription", down)).want("done")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestDockerConnection tests user and password for the target's host.
func TestDockerConnection(t *testing.T) {
	env, image := ready(t)
	env.dev.Revoke(clientID)
	env.dev.AddUser("pusher", "a-docker-password~1")
	env.dev.Grant("pusher", cart, "pull", "push")
	docker := env.project.DockerConnection("dev-token", devHost, "pusher", "a-docker-password~1")
	o := env.task(push("targets", devHost+"\n"+dev2Host), connected("registryConnections", docker)).want("done")
	if env.dev.TagDigest(cart, release) != image.Digest || o.count(devHost, "POST /oauth2/exchange") != 0 {
		t.Errorf("tag %q, asked %v", env.dev.TagDigest(cart, release), o.asked(devHost))
	}
	if o.count(dev2Host, "POST /oauth2/exchange") != 1 {
		t.Errorf("the other registry was not signed in to by Entra: %v", o.asked(dev2Host))
	}
	// A repository-scoped token needs access only to its repository.
	env.task(push("targets", devHost+"/released/cart"), connected("registryConnections", docker)).failsAt("target", devHost)
}

// TestRepositoryPermissions tests a registry that denies a token unless the whole
// scope is granted, and an identity that can write only one repository.
func TestRepositoryPermissions(t *testing.T) {
	env, image := ready(t)
	strict := env.cloud.Registry("contosostrict.azurecr.io", sim.RegistryOptions{Tokens: env.directory, StrictScopes: true})
	strict.Grant(clientID, cart, sim.AcrPush...)
	env.task(push("targets", strict.Host())).want("done")
	if got := strict.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestTokensExpire checks that tokens that expire during a run are replaced.
func TestTokensExpire(t *testing.T) {
	env, image := readyIndex(t)
	remove := env.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Host == devHost && r.Method == http.MethodPut {
			env.dev.ExpireTokens()
		}
		if r.Host == prodHost && strings.Contains(r.URL.Path, "/blobs/") {
			env.prod.ExpireTokens()
		}
		return false
	})
	defer remove()
	// Every write expires the tokens that the next one would use, so this may
	// fail. But nothing incomplete may be visible, and a rerun must complete it.
	o := env.task(push())
	if outcome := o.result["outcome"]; outcome != "done" && outcome != "failed" {
		t.Errorf("outcome %v", outcome)
	}
	remove()
	env.dev.ExpireTokens()
	env.task(push()).want("done")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestHostileHosts checks that an Entra token is sent only to Azure registries,
// whose hosts are compared label by label.
func TestHostileHosts(t *testing.T) {
	env, _ := ready(t)
	hosts := []string{
		"evil.example", "azurecr.io.evil.example", "contosodev.azurecr.io.evil.example", "evilazurecr.io",
		"contosodev-azurecr.io", "contosodev.azurecr.io.com", "azurecr.io", "xn--azurecr-9za.io",
	}
	asked := map[string]func() []string{}
	for _, host := range hosts {
		asked[host] = env.evil(host)
	}
	mark := env.cloud.Mark()
	for _, host := range hosts {
		o := env.task(push("targets", host))
		if outcome := o.result["outcome"]; outcome != "failed" && outcome != "misuse" {
			t.Errorf("%s: outcome %v\n%s", host, outcome, o.stdout)
		}
		env.task(push("source", host+"/"+cart+":1", "targets", devHost))
	}
	for host, requests := range asked {
		for _, r := range requests() {
			if strings.Contains(r, "oauth2") || !strings.HasSuffix(r, " ") {
				t.Errorf("%s was asked %q", host, r)
			}
		}
	}
	for _, r := range env.cloud.Since(mark) {
		if slices.Contains(hosts, r.Host) && (r.BytesIn > 0 || r.Authorization != "") {
			t.Errorf("%s %s%s was sent %d bytes and the authorization %q", r.Method, r.Host, r.Path, r.BytesIn, r.Authorization)
		}
	}
}

// TestHostileRealm checks that only the registry's own /oauth2/* gets requests,
// whatever realm a challenge names.
func TestHostileRealm(t *testing.T) {
	env, image := ready(t)
	evil := env.evil("evil.example")
	env.dev.AddUser("pusher", "a-docker-password~1")
	env.dev.Grant("pusher", "**", sim.RepositoryWriter...)
	challenge := `Bearer realm="https://evil.example/oauth2/token",service="` + devHost + `",scope="repository:shop/cart:pull,push"`
	env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != devHost || r.Header.Get("Authorization") != "" || strings.HasPrefix(r.URL.Path, "/oauth2/") {
			return false
		}
		rw.Header().Set("WWW-Authenticate", challenge)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	env.task(push()).want("done")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	docker := env.project.DockerConnection("dev-token", devHost, "pusher", "a-docker-password~1")
	env.task(push("targets", devHost+"/released/cart"), connected("registryConnections", docker)).want("done")

	// For another registry whose realm is on another host, no request is sent
	// there, and the registry gets no password either.
	env.cloud.Handle("registry.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer realm="https://evil.example/token",service="registry.example"`)
		rw.WriteHeader(http.StatusUnauthorized)
	}))
	other := env.project.DockerConnection("other", "registry.example", "pusher", "another-password~2")
	o := env.task(push("targets", "registry.example"), connected("registryConnections", other)).failsAt("target", "registry.example", "evil.example")
	for _, r := range o.requests {
		if r.Host == "registry.example" && r.Authorization != "" {
			t.Errorf("%s %s bore %s", r.Method, r.Path, r.Authorization)
		}
	}
	if got := evil(); len(got) != 0 {
		t.Errorf("the realm was asked: %v", got)
	}
}

// TestHostileRedirects checks that no credential is sent to the target of a
// redirect, and that no redirect to plain HTTP is followed.
func TestHostileRedirects(t *testing.T) {
	redirect := func(match func(r *http.Request) bool, to string) func(env *testEnv) {
		return func(env *testEnv) {
			env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !match(r) || env.readsRecord(r) {
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
		do    func(env *testEnv)
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
		{"the place of an upload", func(env *testEnv) {
			env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
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
			env, _ := ready(t)
			evil := env.evil("evil.example")
			c.do(env)
			o := env.task(push()).failsAt(c.side)
			env.untouched(env.dev)
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

// TestEgress checks that the result lists the hosts of the job, and the proxy
// without its user.
func TestEgress(t *testing.T) {
	env, _ := ready(t)
	env.prodNetwork.RequireAuth("agent", "a-proxy-password~3")
	authenticated := func(password string) func(*fakeagent.Environment) {
		return func(e *fakeagent.Environment) {
			e.Proxy.Username, e.Proxy.Password = "agent", password
		}
	}
	o := env.task(push(), authenticated("a-proxy-password~3")).want("done")
	want := []any{}
	for _, host := range []string{prodHost, prodStorage, devHost, devOpsHost, entraHost} {
		want = append(want, host+":443")
	}
	slices.SortFunc(want, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	if got := o.at("egress"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("egress %v, want %v", got, want)
	}
	if o.at("proxy") != env.prodNetwork.ProxyURL() || o.at("transport") != "claimed" {
		t.Errorf("proxy %v, transport %v", o.at("proxy"), o.at("transport"))
	}
	env.shutOut = true
	env.task(push(), authenticated("the-wrong-password")).refusedBy("approval-unreadable").says("407")
}
