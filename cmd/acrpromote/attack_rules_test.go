package main_test

import (
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// TestTemplateOnEveryConnection checks that the rules are verified only if a required
// template has passed on every connection that signs in to a registry of the run. A
// connection that the step only names does not matter.
func TestTemplateOnEveryConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		checks []string // connections with a required template
		inputs func(c map[string]*sim.ServiceConnection) []func(*fakeagent.Environment)
		want   string
		says   string
	}{
		{"on both", []string{"reader", "writer"}, nil, "verified", ""},
		{"on the reader alone", []string{"reader"}, nil, "unverified", "writer, which signs in to " + devHost},
		{"on the writer alone", []string{"writer"}, nil, "unverified", "which signs in to " + prodHost},
		{"on one that the run does not use", []string{"unused"}, nil, "unverified", "nor on"},
		{"on one that the step names for another registry", []string{"reader", "mirror"}, func(c map[string]*sim.ServiceConnection) []func(*fakeagent.Environment) {
			return []func(*fakeagent.Environment){connected("registryConnections", c["mirror"])}
		}, "unverified", "writer"},
		{"on all that are used, and not on another that is named", []string{"reader", "writer"}, func(c map[string]*sim.ServiceConnection) []func(*fakeagent.Environment) {
			return []func(*fakeagent.Environment){connected("registryConnections", c["mirror"])}
		}, "verified", ""},
		{"on the only one, which is used for both sides", []string{"writer"}, func(c map[string]*sim.ServiceConnection) []func(*fakeagent.Environment) {
			return []func(*fakeagent.Environment){connected("azureSubscription", c["writer"]), connected("targetSubscription")}
		}, "verified", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newTestEnv(t)
			connections := map[string]*sim.ServiceConnection{"mirror": env.project.DockerConnection("mirror", "mirror.example.com", "user", "not-a-real-password")}
			uses := []sim.Resource{env.environment, connections["mirror"]}
			for _, name := range []string{"reader", "writer", "unused"} {
				connections[name] = env.project.FederatedConnection(name, tenant, clientID)
				env.application.AddFederatedCredential(env.organization.Issuer(), connections[name].Subject())
				uses = append(uses, connections[name])
			}
			// Another check on each connection shows its name.
			connections["writer"].AddCheck(sim.BusinessHours)
			for _, name := range c.checks {
				connections[name].AddCheck(sim.RequiredTemplate)
			}
			env.stage = env.run.Stage("Guarded", uses...)
			env.sealed()
			env.ready()
			flows, _ := env.onServer(sandbox)
			changes := []func(*fakeagent.Environment){connected("azureSubscription", connections["reader"]), connected("targetSubscription", connections["writer"])}
			if c.inputs != nil {
				changes = append(changes, c.inputs(connections)...)
			}
			o := env.task(inputs{"action": "verify", "source": source, "targets": devHost, "flowFile": flows}, changes...).want("done")
			if o.at("rules") != c.want || !strings.Contains(strings.Join(o.warnings, "\n"), c.says) {
				t.Errorf("rules %v, want %s; warnings %q", o.at("rules"), c.want, o.warnings)
			}
			// The checks of the same connections protect the registries.
			protection := o.at("protection").(string)
			if wanted := c.want == "verified"; strings.HasPrefix(protection, "protected: ") != wanted || strings.Contains(protection, "mirror") {
				t.Errorf("protection %q", protection)
			}
		})
	}
}

// TestBypassedTemplate checks that a required template that an administrator bypassed
// has not passed.
func TestBypassedTemplate(t *testing.T) {
	env := newTestEnv(t)
	template := env.connection.AddCheck(sim.RequiredTemplate)
	pushImage(env.prod, "base/alpine", "3", 1, 1, 300)
	env.stage = env.run.Stage("Nightly", env.connection)
	env.stage.Begin()
	flows, _ := env.onServer(sandbox)
	in := inputs{"action": "verify", "source": prodHost + "/base/alpine:3", "targets": devHost, "flowFile": flows}
	if o := env.task(in).want("done"); o.at("rules") != "verified" {
		t.Errorf("rules %v", o.at("rules"))
	}
	if err := env.stage.SetCheck(template, "running"); err != nil {
		t.Fatal(err)
	}
	env.stage.Bypass(officer)
	if o := env.task(in).want("done"); o.at("rules") != "unverified" {
		t.Errorf("bypassed: rules %v", o.at("rules"))
	}
}

// TestProtectionOfEveryWrite checks that the checks on the connections are read for
// every write, not only if an approval is judged.
func TestProtectionOfEveryWrite(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, cart, release, 1, 2, 2048)
	pushImage(env.prod, "base/alpine", "3", 1, 1, 300)
	env.stage.Begin()
	flows := env.flowFile(sandbox)
	free := inputs{"action": "invertedPush", "source": prodHost + "/base/alpine:3", "targets": devHost, "flowFile": flows}
	seal := inputs{"action": "seal", "source": source}
	for name, in := range map[string]inputs{
		"seal": seal.with("dryRun", "true"), "verify of a seal": seal.with("action", "verify"), "seal by a flow": seal.with("flowFile", flows, "dryRun", "true"),
		"no approval": free.with("dryRun", "true"), "verify": free.with("action", "verify"),
	} {
		if o := env.task(in).want("done"); !strings.HasPrefix(o.at("protection").(string), "unprotected: ") {
			t.Errorf("%s: %q", name, o.at("protection"))
		}
	}
	env.connection.AddCheck(sim.RequiredTemplate)
	for name, in := range map[string]inputs{"seal": seal, "no approval": free} {
		if o := env.task(in).want("done"); o.at("protection") != "protected: required template on release-identity" {
			t.Errorf("%s: %q", name, o.at("protection"))
		}
	}
	env.approve(manager, "released")
	env.stage = env.run.Stage("Push", env.connection)
	env.stage.Begin()
	if o := env.task(push("approvalStage", "Production")).want("done"); o.at("protection") != "protected: required template on release-identity" {
		t.Errorf("approvalStage: %q", o.at("protection"))
	}
	// Checks that cannot be read are unknown, and refuse nothing.
	env.project.Deny(sim.Configurations)
	if o := env.task(seal.with("dryRun", "true")); !strings.HasPrefix(o.at("protection").(string), "unknown: ") {
		t.Errorf("denied: %q", o.at("protection"))
	}
	if o := env.task(inputs{"action": "audit", "source": source, "targets": devHost}); !strings.HasPrefix(o.at("protection").(string), "unknown: ") {
		t.Errorf("an audit writes nothing: %q", o.at("protection"))
	}
}
