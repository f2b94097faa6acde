package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// outsideAzure are two registries outside Azure in the environment of a test, of which
// "puller" may write to both.
func (env *testEnv) outsideAzure() (source, target *sim.Registry) {
	for _, r := range []**sim.Registry{&source, &target} {
		host := map[**sim.Registry]string{&source: "hub.example", &target: "mirror.example"}[r]
		*r = env.cloud.Registry(host, sim.RegistryOptions{Now: env.clock.now, TokenLifetime: 3 * time.Second})
		(*r).AddUser("puller", "the-password-of-puller~1")
		(*r).Grant("puller", "**", sim.RepositoryWriter...)
	}
	return source, target
}

// atPrompt is a user in the network of PROD with Docker's configuration.
func (env *testEnv) atPrompt(config map[string]any) *person {
	env.t.Helper()
	p := newPerson(env.t, nil)
	content, _ := json.Marshal(config)
	if err := os.WriteFile(filepath.Join(p.dir, "config.json"), content, 0o600); err != nil {
		env.t.Fatal(err)
	}
	p.environ = append(p.environ, "HTTPS_PROXY="+env.prodNetwork.ProxyURL(), "SSL_CERT_FILE="+env.cloud.CAFile())
	return p
}

// outsidePush is an inverted push between the two registries outside Azure.
func outsidePush(source, target *sim.Registry) []string {
	return []string{"invertedPush", "--source", source.Host() + "/" + cart + ":" + release, "--targets", target.Host(), "--approval", "none", "--output", "json"}
}

// TestIdentityTokens: a registry's own refresh token from Docker's configuration goes to
// the registry's own token endpoint, and nowhere else.
func TestIdentityTokens(t *testing.T) {
	env := newTestEnv(t)
	source, target := env.outsideAzure()
	image := pushImage(source, cart, release, 1, 2, 2048)
	config := func(of, to string) map[string]any {
		return map[string]any{"auths": map[string]any{
			source.Host(): map[string]string{"auth": "cHVsbGVyOg==", "identitytoken": of}, target.Host(): map[string]string{"identitytoken": to},
		}}
	}
	p := env.atPrompt(config(source.IdentityToken("puller"), target.IdentityToken("puller")))
	mark := env.cloud.Mark()
	p.run(outsidePush(source, target)...).wantCode(0).wantStates("copied")
	if got := target.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	asked := map[string]int{}
	for _, r := range env.cloud.Since(mark) {
		if strings.HasPrefix(r.Authorization, "Basic ") {
			t.Errorf("%s %s%s bore a password", r.Method, r.Host, r.Path)
		}
		if r.Method == "POST" && r.Path == "/oauth2/token" {
			asked[r.Host]++
		}
	}
	if asked[source.Host()] == 0 || asked[target.Host()] == 0 {
		t.Errorf("tokens were asked for at %v", asked)
	}
	// One registry's token is refused by the other, and not shown.
	of := source.IdentityToken("puller")
	o := env.atPrompt(config(of, of)).run(append(outsidePush(source, target), "--referrers=false")...).wantCode(1).says(target.Host(), "docker login")
	if strings.Contains(o.stdout+o.stderr, of[:20]) {
		t.Error("the identity token is shown")
	}
}

// TestIdentityTokenOfAzure: "az acr login" stores a registry's refresh token.
func TestIdentityTokenOfAzure(t *testing.T) {
	env := newTestEnv(t)
	image := env.sealed()
	for _, r := range []*sim.Registry{env.prod, env.dev} {
		r.Grant("puller", "**", sim.RepositoryWriter...)
	}
	p := env.atPrompt(map[string]any{"auths": map[string]any{
		prodHost: map[string]string{"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": env.prod.IdentityToken("puller")},
		devHost:  map[string]string{"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": env.dev.IdentityToken("puller")},
	}})
	p.run("invertedPush", "--source", source, "--targets", devHost, "--approval", "none", "--output", "json").wantCode(0).wantStates("copied")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// helper installs a program that the user's PATH has.
func (p *person) helper(name, script string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		p.t.Fatal(err)
	}
	for i, variable := range p.environ {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			p.environ[i] = "PATH=" + p.dir + string(os.PathListSeparator) + path
		}
	}
}

// TestCredentialHelpers: a helper of Docker gives a password for one registry, and an
// identity token for the other.
func TestCredentialHelpers(t *testing.T) {
	if os.PathSeparator == '\\' {
		t.Skip("the helper of this test is a shell script")
	}
	env := newTestEnv(t)
	source, target := env.outsideAzure()
	image := pushImage(source, cart, release, 1, 2, 2048)
	p := env.atPrompt(map[string]any{"credsStore": "test"})
	p.helper("docker-credential-test", `read host
case "$host" in
*hub.example*) echo '{"ServerURL":"hub.example","Username":"puller","Secret":"the-password-of-puller~1"}' ;;
*mirror.example*) echo '{"ServerURL":"mirror.example","Username":"<token>","Secret":"`+target.IdentityToken("puller")+`"}' ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`)
	p.run(outsidePush(source, target)...).wantCode(0).wantStates("copied")
	if got := target.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	p.helper("docker-credential-test", "echo 'the keychain is locked' >&2\nexit 1\n")
	p.run(outsidePush(source, target)...).wantCode(2).says("hub.example", "Docker's configuration")
}
