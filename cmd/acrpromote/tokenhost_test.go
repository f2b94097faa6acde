package main_test

import (
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/sim"
)

const (
	hubHost   = "images.example"
	tokenHost = "tokens.example"
)

// tokensElsewhere opens a registry whose tokens come from another host, with an image
// in it, and returns the flow file with it as the source. named says that the file
// names the other host.
func (env *testEnv) tokensElsewhere(named bool) (flows string, image descriptor) {
	hub := env.cloud.Registry(hubHost, sim.RegistryOptions{TokenHost: tokenHost, AnonymousPull: true, Now: env.clock.now, Quirks: sim.Quirks{TagsByPull: true}})
	hub.AddUser("puller", "the-password-of-puller~1")
	hub.Grant("puller", "**", sim.RepositoryReader...)
	hub.Grant("puller", "**", sim.CatalogLister...)
	more := ""
	if named {
		more = ", tokenHost: " + tokenHost
	}
	return `version: 1
trust: [public, team]
registries:
  hub: {host: ` + hubHost + `, trust: public` + more + `}
  dev: {host: ` + devHost + `, trust: team}
flows:
  base:
    from: hub
    to: [dev]
    require: {approval: {kind: manual, environment: Production}}
`, pushIndex(hub, cart, release, 1)
}

// credentialsAt returns the requests to a host with a credential.
func credentialsAt(o outcome, host string) []string {
	var list []string
	for _, r := range o.requests {
		if r.Host == host && r.Authorization != "" {
			list = append(list, r.Method+" "+r.Path+" "+r.Authorization)
		}
	}
	return list
}

// TestAnonymousTokenHost checks that tokens come from any host where there is no
// credential that it could get.
func TestAnonymousTokenHost(t *testing.T) {
	env := newTestEnv(t)
	env.approve(manager, "")
	flows, image := env.tokensElsewhere(false)
	in := inputs{"action": "promote", "source": hubHost + "/" + cart + ":" + release, "targets": devHost, "flowFile": env.flowFile(flows)}
	for _, states := range []string{"copied", "present"} {
		o := env.task(in).want("done").wantStates(states)
		if with := credentialsAt(o, tokenHost); len(with) > 0 || len(o.asked(tokenHost)) == 0 {
			t.Errorf("%q, of which with a credential %q", o.asked(tokenHost), with)
		}
	}
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("the tag points to %q", got)
	}
	env.task(in.with("action", "audit", "deep", "true")).want("done")
}

// TestTokenHost checks that a password goes to another host only where a flow file
// names it and its rules are verified.
func TestTokenHost(t *testing.T) {
	for _, c := range []struct {
		name            string
		named, template bool
		workspace       bool
		says            string // "" is done
	}{
		{"verified", true, true, false, ""},
		{"not named", false, true, false, "a credential for one host is not sent to another"},
		{"no required template", true, false, false, "no required template has passed on the service connection hub, which"},
		{"in the workspace", true, true, true, "in the workspace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			docker := env.project.DockerConnection("hub", hubHost, "puller", "the-password-of-puller~1")
			if c.template {
				env.connection.AddCheck(sim.RequiredTemplate)
				docker.AddCheck(sim.RequiredTemplate)
			}
			env.stage = env.run.Stage("Guarded", env.environment, env.connection, docker)
			flows, image := env.tokensElsewhere(c.named)
			env.approve(manager, "")
			name, _ := env.onServer(flows)
			if c.workspace {
				name, _, _ = strings.Cut(env.flowFile(flows), "#")
			}
			one := inputs{"action": "promote", "source": hubHost + "/" + cart + ":" + release, "targets": devHost, "flowFile": name}
			set := inputs{"action": "promote", "flow": "base", "images": "shop/*:*", "flowFile": name}
			for _, in := range []inputs{one, set, one.with("action", "audit", "deep", "true")} {
				o := env.task(in, connected("registryConnections", docker))
				if c.says == "" {
					o.want("done")
					if with := credentialsAt(o, tokenHost); len(with) == 0 || o.at("rules") != "verified" {
						t.Errorf("rules %v, credentials at the token host %q", o.at("rules"), with)
					}
					continue
				}
				o.failsAt("source", tokenHost, c.says)
				if got := o.asked(tokenHost); len(got) > 0 {
					t.Errorf("the token host was asked %q", got)
				}
			}
			want := ""
			if c.says == "" {
				want = image.Digest
			}
			if got := env.dev.TagDigest(cart, release); got != want {
				t.Errorf("the tag points to %q, want %q", got, want)
			}
		})
	}
}

// TestDockerHubAtPrompt checks that Docker's entry for Docker Hub signs in at its token
// host, and that no other entry does so.
func TestDockerHubAtPrompt(t *testing.T) {
	env := newTestEnv(t)
	hub := env.cloud.Registry("registry-1.docker.io", sim.RegistryOptions{TokenHost: "auth.docker.io", Now: env.clock.now})
	elsewhere := env.cloud.Registry(hubHost, sim.RegistryOptions{TokenHost: tokenHost, Now: env.clock.now})
	_, target := env.outsideAzure()
	for _, r := range []*sim.Registry{hub, elsewhere} {
		r.AddUser("puller", "the-password-of-puller~1")
		r.Grant("puller", "**", sim.RepositoryReader...)
	}
	image := pushImage(hub, cart, release, 1, 2, 2048)
	pushImage(elsewhere, cart, release, 1, 2, 2048)
	entry := map[string]string{"username": "puller", "password": "the-password-of-puller~1"}
	p := env.atPrompt(map[string]any{"auths": map[string]any{"https://index.docker.io/v1/": entry, hubHost: entry, target.Host(): entry}})
	p.run(outsidePush(hub, target)...).wantCode(0).wantStates("copied")
	if got := target.TagDigest(cart, release); got != image.Digest {
		t.Errorf("the tag points to %q", got)
	}
	mark := env.cloud.Mark()
	p.run(outsidePush(elsewhere, target)...).wantCode(1).says(tokenHost)
	if slices.ContainsFunc(env.cloud.Since(mark), func(r sim.Request) bool { return r.Host == tokenHost }) {
		t.Error("the token host was asked")
	}
}
