package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

const serverAddress = "https://devops.contoso.example/tfs/Shop/"

// addressForms are the forms of a collection's addresses that jobs have been seen
// to get.
var addressForms = []struct {
	name         string
	organization func(*sim.Cloud) *sim.Organization
	// asked are the hosts of Azure DevOps that a job of a run asks, and that a job of
	// a release does.
	run, release []string
}{
	{"dev.azure.com", services(sim.DevAzure, sim.DevAzure), []string{"dev.azure.com"}, []string{"dev.azure.com", "vsrm.dev.azure.com"}},
	{"visualstudio.com", services(sim.VisualStudio, sim.VisualStudio), []string{"contoso.visualstudio.com"}, []string{"contoso.visualstudio.com", "contoso.vsrm.visualstudio.com"}},
	{"visualstudio.com, documents dev.azure.com", services(sim.DevAzure, sim.VisualStudio), []string{"contoso.visualstudio.com", "dev.azure.com"}, []string{"contoso.visualstudio.com", "dev.azure.com", "vsrm.dev.azure.com"}},
	{"dev.azure.com, documents visualstudio.com", services(sim.VisualStudio, sim.DevAzure), []string{"contoso.visualstudio.com", "dev.azure.com"}, []string{"contoso.visualstudio.com", "contoso.vsrm.visualstudio.com", "dev.azure.com"}},
	{"server", func(c *sim.Cloud) *sim.Organization { return c.DevOpsServer(serverAddress) }, []string{"devops.contoso.example"}, []string{"devops.contoso.example"}},
}

func services(documents, system sim.Addresses) func(*sim.Cloud) *sim.Organization {
	return func(c *sim.Cloud) *sim.Organization {
		o := c.DevOps("contoso")
		o.UseAddresses(documents, system)
		return o
	}
}

// newTestEnvOf returns an environment in an organization. A server issues no
// assertions, so its connection has a secret.
func newTestEnvOf(t *testing.T, organization func(*sim.Cloud) *sim.Organization) *testEnv {
	env := newTestEnvIn(t, organization)
	if strings.HasPrefix(env.organization.Collection(), serverAddress) {
		env.connection = env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
		env.queue()
	}
	return env
}

// devOpsHosts returns the hosts of Azure DevOps among those that were asked.
func (o outcome) devOpsHosts() []string {
	var hosts []string
	for _, r := range o.requests {
		if !strings.HasSuffix(r.Host, ".azurecr.io") && !strings.HasSuffix(r.Host, ".windows.net") && r.Host != entraHost {
			hosts = append(hosts, r.Host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// TestStoryAtEveryAddress seals an image, is refused without an approval, promotes
// it within its registry and pushes it down, in a run and in a classic release.
func TestStoryAtEveryAddress(t *testing.T) {
	promote := inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production"}
	for _, form := range addressForms {
		t.Run(form.name+", run", func(t *testing.T) {
			env := newTestEnvOf(t, form.organization)
			image := pushIndex(env.prod, cart, release, 1)
			build := env.run.Stage("Seal", env.connection)
			build.Begin()
			env.taskOf(build, inputs{"action": "seal", "source": source}).want("done")
			env.stage.Begin()
			env.task(push()).refusedBy("approval-pending")
			if err := env.stage.Approve(manager, "released"); err != nil {
				t.Fatal(err)
			}
			env.task(promote).want("done")
			o := env.task(push()).want("done")
			if env.dev.TagDigest(cart, release) != image.Digest || env.prod.TagDigest(cart, "stable") != image.Digest {
				t.Error("the image is not where it was promoted to")
			}
			if got := o.devOpsHosts(); !slices.Equal(got, form.run) {
				t.Errorf("asked %v, want %v", got, form.run)
			}
		})
		t.Run(form.name+", classic", func(t *testing.T) {
			env := newTestEnvOf(t, form.organization)
			image := pushIndex(env.prod, cart, release, 1)
			r := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: env.run})
			build := r.Stage("Seal", sim.ReleaseStageOptions{})
			build.Begin()
			env.taskOf(build, inputs{"action": "seal", "source": source}).want("done")
			stage := r.Stage("Production", sim.ReleaseStageOptions{Before: sim.ReleaseApprovals{Approvers: []sim.Identity{manager}}})
			stage.Begin()
			env.taskOf(stage, push()).refusedBy("approval-pending")
			if err := stage.Approve(manager, "released"); err != nil {
				t.Fatal(err)
			}
			stage.Begin()
			env.taskOf(stage, promote).want("done")
			o := env.taskOf(stage, push()).want("done")
			if env.dev.TagDigest(cart, release) != image.Digest || env.prod.TagDigest(cart, "stable") != image.Digest {
				t.Error("the image is not where it was promoted to")
			}
			if got := o.devOpsHosts(); !slices.Equal(got, form.release) {
				t.Errorf("asked %v, want %v", got, form.release)
			}
		})
	}
}

// TestForeignAddressAtEveryAddress checks that the job's token is sent to no other
// collection, also not to one at a host of this collection.
func TestForeignAddressAtEveryAddress(t *testing.T) {
	for _, form := range addressForms {
		t.Run(form.name, func(t *testing.T) {
			env := newTestEnvOf(t, form.organization)
			image := env.sealed()
			env.approve(manager, "released")
			evil := []func() []string{env.evil("evil.example"), env.evil("evil.visualstudio.com")}
			path := fmt.Sprintf("%s/_apis/distributedtask/hubs/build/plans/%s/jobs/%s/oidctoken", env.project.ID(), env.run.PlanID(), env.stage.JobID())
			for _, address := range []string{
				"https://evil.example/contoso/", "https://evil.visualstudio.com/", "https://dev.azure.com/evil/", "https://dev.azure.com/contoso/../evil/",
				"https://devops.contoso.example/tfs/Other/", "https://devops.contoso.example:8443/tfs/Shop/",
			} {
				environ := env.environ(env.stage, push())
				o := env.execute(forged(environ, "SYSTEM_OIDCREQUESTURI", address+path)).want("refused")
				if !slices.Equal(o.rules(), []string{"run-mismatch"}) {
					t.Errorf("%s: refused by %v", address, o.rules())
				}
				o.says("is not known to be part of the collection")
				u, err := url.Parse(address)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range o.requests {
					if r.Method == "POST" && strings.HasSuffix(r.Path, "/oidctoken") && r.Host == u.Hostname() {
						t.Errorf("%s was asked", address)
					}
				}
			}
			for _, asked := range evil {
				if got := asked(); len(got) != 0 {
					t.Errorf("another host was asked: %v", got)
				}
			}
			env.untouched(env.dev)
			env.task(push()).want("done")
			if env.dev.TagDigest(cart, release) != image.Digest {
				t.Error("the image is not at the target")
			}
		})
	}
}

// TestServerWithPrivateCA checks that a server whose certificate is not trusted is
// reported with what to do.
func TestServerWithPrivateCA(t *testing.T) {
	env := newTestEnvOf(t, func(c *sim.Cloud) *sim.Organization { return c.DevOpsServer(serverAddress) })
	env.sealed()
	env.approve(manager, "released")
	o := env.task(push(), func(e *fakeagent.Environment) { e.CAFile = "" })
	if o.result["outcome"] == "done" || !strings.Contains(o.stdout, "certificate") {
		t.Errorf("outcome %v\n%s", o.result["outcome"], o.stdout)
	}
	env.untouched(env.dev)
	env.task(push()).want("done")
}

// TestConnectionWithoutReference checks that the reason for which Azure DevOps refuses
// the token of a service connection is shown, in both forms that have been seen.
func TestConnectionWithoutReference(t *testing.T) {
	for _, messages := range []bool{false, true} {
		t.Run(fmt.Sprintf("in a message: %v", messages), func(t *testing.T) {
			env, _ := ready(t)
			if messages {
				env.organization.RefuseInMessage()
			}
			environ := env.environ(env.stage, push())
			env.stage.JobRequest() // takes the reference back
			env.execute(environ).want("failed").says("There is no explicit reference to the service connection "+env.connection.ID(), "An input of this step must name the connection")
			env.untouched(env.dev)
		})
	}
}

// TestLongTokenResponse checks that a response of 1 MiB to a request for a token is
// refused.
func TestLongTokenResponse(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("the run's own: %v", own), func(t *testing.T) {
			env, _ := ready(t)
			env.organization.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost || r.URL.Query().Has("serviceConnectionId") == own {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"oidcToken":"%s"}`, strings.Repeat("x", 1<<20))
				return true
			})
			o := env.task(push())
			if o.result["outcome"] != "refused" && o.result["outcome"] != "failed" || len(o.stdout) > 64<<10 {
				t.Errorf("outcome %v, %d bytes of output", o.result["outcome"], len(o.stdout))
			}
			env.untouched(env.dev)
		})
	}
}
