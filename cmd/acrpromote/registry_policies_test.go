package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// policyTest is a flow without an approval from PROD to one registry, and an image
// of two platforms with an SBOM attached to it.
type policyTest struct {
	*testEnv
	target   *sim.Registry
	image    descriptor
	attached descriptor
	in       inputs
	lag      time.Duration // of the target's replicas
}

const (
	farHost    = "contosofar.azurecr.io"
	policyRepo = "base/app"
)

// newPolicyTest opens the target with the options. lock is the flow's.
func newPolicyTest(t *testing.T, o sim.RegistryOptions, lock string) *policyTest {
	t.Helper()
	env := newTestEnv(t)
	env.stage.Begin()
	o.Tokens, o.Now = env.directory, env.clock.now
	p := &policyTest{testEnv: env, lag: o.Lag.Time, target: env.cloud.Registry(farHost, o)}
	p.target.Grant(clientID, "**", sim.RepositoryWriter...)
	p.image = pushIndex(env.prod, policyRepo, "1.0", 1)
	p.attached = testimage.Attach(env.prod, policyRepo, p.image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	p.in = inputs{"action": "invertedPush", "flow": "base", "images": policyRepo + ":1.0", "lock": lock, "flowFile": p.flowOf(prodHost, farHost)}
	return p
}

// flowOf is the flow file between two hosts.
func (p *policyTest) flowOf(from, to string) string {
	return p.flowFile(strings.NewReplacer(prodHost, from, devHost, to, "to: [dev, web]", "to: [dev]").Replace(sandbox))
}

// whole fails the test unless the target has the image with what is attached.
func (p *policyTest) whole() {
	p.t.Helper()
	if got := p.target.TagDigest(policyRepo, "1.0"); got != p.image.Digest {
		p.t.Errorf("the tag points to %q, want %s", got, p.image.Digest)
	}
	missing := append(lacking(p.target, policyRepo, "1.0"), lacking(p.target, policyRepo, p.attached.Digest)...)
	if len(missing) > 0 {
		p.t.Errorf("the target lacks %v", missing)
	}
}

// again checks that a rerun writes nothing, and that audit finds nothing missing.
func (p *policyTest) again() {
	p.t.Helper()
	time.Sleep(p.lag)
	rerun := p.task(p.in).want("done").wantStates("present")
	if rerun.output["changed"] != "false" {
		p.t.Errorf("the rerun changed something: %v", rerun.asked(farHost))
	}
	for _, r := range rerun.requests {
		if r.Host == farHost && strings.HasPrefix(r.Path, "/v2/") && r.Method != http.MethodGet && r.Method != http.MethodHead {
			p.t.Errorf("the rerun wrote: %s %s", r.Method, r.Path)
		}
	}
	p.task(p.in.with("action", "audit", "lock", "")).want("done")
}

// TestLockedTargets checks a push with locks in all variants of what registries do
// with what is locked, whether or not replicas lag.
func TestLockedTargets(t *testing.T) {
	lag := sim.Lag{Requests: 12, Time: 600 * time.Millisecond}
	for name, o := range map[string]sim.RegistryOptions{
		"default":                         {},
		"an equal PUT is taken":           {EqualTagPut: true},
		"what is locked takes no PATCH":   {LockedPatch: true},
		"replicas lag":                    {Lag: lag},
		"replicas lag, and take no PATCH": {Lag: lag, LockedPatch: true},
	} {
		for _, lock := range []string{"tag", "image"} {
			t.Run(name+", lock "+lock, func(t *testing.T) {
				p := newPolicyTest(t, o, lock)
				p.task(p.in).want("done").wantStates("copied")
				p.whole()
				if a, _ := p.target.TagAttributes(policyRepo, "1.0"); a.Write || a.Delete {
					t.Errorf("the tag is not locked: %+v", a)
				}
				if a, _ := p.target.ManifestAttributes(policyRepo, p.image.Digest); a.Delete || a.Write != (lock == "tag") {
					t.Errorf("the manifest is locked as %+v", a)
				}
				p.again()
				// Half a lock, set by another client.
				time.Sleep(p.lag)
				p.target.SetTagLock(policyRepo, "1.0", false, true)
				if !o.LockedPatch {
					p.task(p.in).want("done")
					if a, _ := p.target.TagAttributes(policyRepo, "1.0"); a.Write || a.Delete {
						t.Errorf("the lock was not completed: %+v", a)
					}
					return
				}
				p.task(p.in).failsAt("target", "locked only in part", "az acr repository update")
			})
		}
	}
}

// TestSoftDeleted checks that a refused push says that the image was deleted
// before, and how to restore it.
func TestSoftDeleted(t *testing.T) {
	for _, policy := range []sim.SoftDelete{sim.SoftDeleteDisallows, sim.SoftDeleteConflicts} {
		t.Run(string(policy), func(t *testing.T) {
			p := newPolicyTest(t, sim.RegistryOptions{SoftDelete: policy}, "none")
			p.task(p.in).want("done")
			p.target.RemoveManifest(policyRepo, p.image.Digest)
			p.task(p.in).failsAt("target", "soft-deleted", "az acr manifest restore", farHost)
			p.task(p.in).failsAt("target", "soft-deleted")
			p.task(p.in.with("action", "audit")).want("failed")
			p.target.Restore(policyRepo, p.image.Digest)
			p.task(p.in).want("done")
			p.whole()
			p.again()
		})
	}
}

// retention deletes untagged manifests before the n-th PUT of the tag, and then
// waits.
func (p *policyTest) retention(n int32, wait time.Duration) {
	var puts atomic.Int32
	p.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Host == farHost && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1.0") && puts.Add(1) == n {
			p.target.PurgeUntagged()
			time.Sleep(wait)
		}
		return false
	})
}

// TestRetentionDeletesChildren checks that the children of an index are pushed
// again if a retention policy deletes them before the index has its tag.
func TestRetentionDeletesChildren(t *testing.T) {
	p := newPolicyTest(t, sim.RegistryOptions{}, "tag")
	p.retention(1, 4*time.Second)
	p.task(p.in).want("done").wantStates("copied")
	p.whole()
	p.again()
}

// TestRetentionDeletesReferrers checks that what was attached before the tag was set
// is not lost: it is pushed again at once if there was time to delete it, and
// otherwise by the next run.
func TestRetentionDeletesReferrers(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		t.Run(fmt.Sprint(atOnce), func(t *testing.T) {
			p := newPolicyTest(t, sim.RegistryOptions{}, "none")
			wait := time.Duration(0)
			if atOnce {
				wait = 4 * time.Second
			}
			p.retention(1, wait)
			p.broken = true // until the next run
			p.task(p.in).want("done").wantStates("copied")
			if !atOnce {
				p.task(p.in.with("action", "audit")).want("failed")
				p.task(p.in).want("done").wantStates("copied")
			}
			p.whole()
			p.again()
		})
	}
}

// TestRetentionOfAtomicSet checks a set whose tags are set after the last image has
// arrived.
func TestRetentionOfAtomicSet(t *testing.T) {
	p := newPolicyTest(t, sim.RegistryOptions{}, "tag")
	p.in["flowFile"] = p.flowFile(strings.NewReplacer(devHost, farHost, "to: [dev, web]", "to: [dev]", "sealed: false}", "sealed: false}\n    atomic: true").Replace(sandbox))
	p.retention(1, 4*time.Second)
	p.task(p.in).want("done")
	p.whole()
	p.again()
}

// TestRetentionThatNeverStops checks that a registry which deletes every untagged
// manifest before the next request ends in an error that names the policy.
func TestRetentionThatNeverStops(t *testing.T) {
	p := newPolicyTest(t, sim.RegistryOptions{PurgeEvery: 1}, "tag")
	o := p.task(p.in).failsAt("target", "retention policy", farHost)
	if got := p.target.TagDigest(policyRepo, "1.0"); got != "" {
		t.Errorf("the tag points to %s", got)
	}
	if n := len(o.asked(farHost)); n > 120 {
		t.Errorf("%d requests until it gave up", n)
	}
	p.task(p.in).failsAt("target", "retention policy")
	p.task(p.in.with("action", "audit")).want("failed")
}

// TestRegionalEndpoints checks a push from and to regional endpoints, whichever
// service they want tokens for.
func TestRegionalEndpoints(t *testing.T) {
	const from, to = "contosoprod.westeurope.geo.azurecr.io", "contosofar.northeurope.geo.azurecr.io"
	for name, services := range map[string][2]string{"login server": {prodHost, farHost}, "regional": {from, to}} {
		t.Run(name, func(t *testing.T) {
			p := newPolicyTest(t, sim.RegistryOptions{}, "tag")
			p.prod.RegionalEndpoint(from, services[0])
			p.target.RegionalEndpoint(to, services[1])
			p.in["flowFile"] = p.flowOf(from, to)
			o := p.task(p.in).want("done").wantStates("copied")
			if asked := len(o.asked(prodHost)) + len(o.asked(farHost)); asked > 0 {
				t.Errorf("%d requests went to the login servers", asked)
			}
			p.whole()
			p.again()
			// Sealing, and an approval, under the same names.
			sealed := pushImage(p.prod, cart, release, 5, 2, 500)
			p.queue()
			stage := p.run.Stage("Seal", p.connection)
			stage.Begin()
			p.taskOf(stage, inputs{"action": "seal", "source": from + "/" + cart + ":" + release}).want("done")
			p.approve(manager, "")
			p.task(push("source", from+"/"+cart+":"+release, "targets", to)).want("done").wantStates("copied")
			p.tagged(p.target, cart, release, sealed)
		})
	}
}
