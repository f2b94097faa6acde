package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

const (
	systemIdentity   = "cccccccc-0000-0000-0000-000000000001"
	assignedIdentity = "cccccccc-0000-0000-0000-000000000002"
	otherIdentity    = "cccccccc-0000-0000-0000-000000000003"
)

// machine opens the metadata service of the agent's machine.
func (env *testEnv) machine(system *sim.Application, assigned ...*sim.Application) *sim.MetadataService {
	env.t.Helper()
	service := sim.NewMetadataService(system, assigned...)
	service.Serve(metadataListener(env.t))
	env.t.Cleanup(service.Close)
	return service
}

// allow gives an identity the rights of the release identity, which loses them.
func (env *testEnv) allow(id string) *sim.Application {
	for _, r := range []*sim.Registry{env.prod, env.dev} {
		r.Revoke(clientID)
		r.Grant(id, "**", sim.RepositoryWriter...)
	}
	return env.directory.AddApplication(id)
}

// TestManagedIdentity: the managed identity of the agent's machine, of an Azure
// connection and of a Docker registry connection.
func TestManagedIdentity(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, c := range []struct {
		name        string
		identity    string
		assigned    []string // to the machine, as well as the system-assigned one
		system      bool
		connections func(env *testEnv) map[string][]*sim.ServiceConnection
		query       string
	}{
		{"system-assigned", systemIdentity, []string{otherIdentity}, true, func(env *testEnv) map[string][]*sim.ServiceConnection {
			return map[string][]*sim.ServiceConnection{"azureSubscription": {env.project.ManagedIdentityConnection("machine", tenant, "")}}
		}, "api-version=2018-02-01&resource=https%3A%2F%2Fcontainerregistry.azure.net"},
		{"user-assigned", assignedIdentity, []string{otherIdentity, assignedIdentity}, true, func(env *testEnv) map[string][]*sim.ServiceConnection {
			return map[string][]*sim.ServiceConnection{"azureSubscription": {env.project.ManagedIdentityConnection("machine", tenant, assignedIdentity)}}
		}, "api-version=2018-02-01&client_id=" + assignedIdentity + "&resource=https%3A%2F%2Fcontainerregistry.azure.net"},
		{"the only user-assigned", assignedIdentity, []string{assignedIdentity}, false, func(env *testEnv) map[string][]*sim.ServiceConnection {
			return map[string][]*sim.ServiceConnection{"azureSubscription": {env.project.ManagedIdentityConnection("machine", tenant, "")}}
		}, "api-version=2018-02-01&resource=https%3A%2F%2Fcontainerregistry.azure.net"},
		{"registry connections", systemIdentity, nil, true, func(env *testEnv) map[string][]*sim.ServiceConnection {
			like := env.project.ManagedIdentityConnection("machine", tenant, "")
			return map[string][]*sim.ServiceConnection{"registryConnections": {
				env.project.AzureRegistryConnection("prod-registry", prodHost, like), env.project.AzureRegistryConnection("dev-registry", devHost, like),
			}}
		}, "api-version=2018-02-01&resource=https%3A%2F%2Fcontainerregistry.azure.net"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, image := readyAlone(t)
			env.allow(c.identity)
			var assigned []*sim.Application
			for _, id := range c.assigned {
				assigned = append(assigned, env.directory.AddApplication(id))
			}
			var system *sim.Application
			if c.system {
				system = env.directory.AddApplication(systemIdentity)
			}
			service := env.machine(system, assigned...)
			connections := c.connections(env)
			o := env.task(push("lock", "tag"), withConnections(connections), func(e *fakeagent.Environment) {
				e.Variables = map[string]string{"IDENTITY_ENDPOINT": "https://evil.example/token", "IDENTITY_HEADER": "x", "MSI_ENDPOINT": "https://evil.example/msi", "MSI_SECRET": "x", "IMDS_ENDPOINT": "https://evil.example"}
			}).want("done")
			if got := env.dev.TagDigest(cart, release); got != image.Digest {
				t.Errorf("tag %q", got)
			}
			asked := service.Requests()
			if len(asked) != len(connections["azureSubscription"])+len(connections["registryConnections"]) || asked[0] != "GET /metadata/identity/oauth2/token?"+c.query {
				t.Errorf("the metadata service was asked %q", asked)
			}
			if egress := o.at("egress").([]any); !slices.Contains(egress, any(sim.MetadataAddress)) || slices.Contains(egress, any(entraHost+":443")) {
				t.Errorf("egress %v", egress)
			}
			if dialled := env.prodNetwork.Dialled(); slices.Contains(dialled, sim.MetadataAddress) {
				t.Errorf("the proxy was asked for the metadata service: %v", dialled)
			}
			if got := o.at("environment"); !slices.Equal(got.([]any), []any{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET"}) {
				t.Errorf("environment %v", got)
			}
			if got := o.at("protection").(string); !strings.HasPrefix(got, "unprotected: the managed identity") {
				t.Errorf("protection %q", got)
			}
		})
	}
}

// TestManagedIdentityClouds: the metadata service of a machine in each cloud issues the
// tokens for that cloud's registries.
func TestManagedIdentityClouds(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for name, suffix := range map[string]string{"AzureCloud": "azurecr.io", "AzureChinaCloud": "azurecr.cn", "AzureUSGovernment": "azurecr.us"} {
		t.Run(name, func(t *testing.T) {
			env := newSerialEnv(t)
			env.prod = env.registry("contosoprod." + suffix)
			env.dev = env.registry("contosodev." + suffix)
			image := env.sealed()
			env.approve(manager, "released")
			env.allow(systemIdentity)
			env.machine(env.directory.AddApplication(systemIdentity))
			connection := env.project.ManagedIdentityConnection("machine", tenant, "")
			connection.SetData("environment", name)
			env.task(push("source", env.prod.Host()+"/"+cart+":"+release, "targets", env.dev.Host()), connected("azureSubscription", connection)).want("done")
			if got := env.dev.TagDigest(cart, release); got != image.Digest {
				t.Errorf("tag %q", got)
			}
		})
	}
}

// readyAlone is ready, in a test whose subtests share one address.
func readyAlone(t *testing.T) (*testEnv, descriptor) {
	t.Helper()
	env := newSerialEnv(t)
	image := env.sealed()
	env.approve(manager, "released")
	return env, image
}

// TestManagedIdentityRules: such a connection never leads to verified rules, not even
// where a required template is on it.
func TestManagedIdentityRules(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, machine := range []bool{false, true} {
		env := newSerialEnv(t)
		connection := env.connection
		if machine {
			env.allow(systemIdentity)
			env.machine(env.directory.AddApplication(systemIdentity))
			connection = env.project.ManagedIdentityConnection("machine", tenant, "")
		}
		connection.AddCheck(sim.RequiredTemplate)
		env.run = env.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: env.clock.now().Add(-time.Minute)})
		env.stage = env.run.Stage("Production", env.environment, connection)
		env.sealed()
		env.approve(manager, "released")
		flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  down:
    from: prod
    to: [dev]
    require: {approval: {kind: manual, environment: Production}}
`)
		o := env.task(inputs{"action": "invertedPush", "source": source, "targets": devHost, "flowFile": flows}, connected("azureSubscription", connection)).want("done")
		want := "verified"
		if machine {
			want = "unverified"
		}
		if got := o.at("rules"); got != want {
			t.Errorf("managed identity %v: rules %v, warnings %q", machine, got, o.warnings)
		}
	}
}

// TestMetadataService: refusals and faults of the metadata service, each in words.
func TestMetadataService(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, c := range []struct {
		name     string
		clientID string
		service  func(env *testEnv)
		says     []string
	}{
		{"not assigned", otherIdentity, func(env *testEnv) { env.machine(env.directory.AddApplication(systemIdentity)) }, []string{"does not have the user-assigned identity with the client ID " + otherIdentity, "Identity not found"}},
		{"no identity", "", func(env *testEnv) { env.machine(nil) }, []string{"does not have a system-assigned identity"}},
		{"several identities", "", func(env *testEnv) {
			env.machine(nil, env.directory.AddApplication(assignedIdentity), env.directory.AddApplication(otherIdentity))
		}, []string{"has several user-assigned identities", "Enter the client ID"}},
		{"no service", "", func(*testEnv) {}, []string{"works only on an agent that runs on a machine of Azure"}},
		{"a hanging service", "", func(env *testEnv) { env.machine(env.directory.AddApplication(systemIdentity)).Hang(true) }, []string{"it did not end within 10s"}},
		{"something else", "", func(env *testEnv) {
			env.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>sign in</html>")) }))
		}, []string{"is not that of Azure's metadata service"}},
		{"a redirect", "", func(env *testEnv) {
			env.serve(http.RedirectHandler("https://evil.example/token", http.StatusFound))
		}, []string{"is not that of Azure's metadata service"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := readyAlone(t)
			evil := env.evil("evil.example")
			c.service(env)
			begin := time.Now()
			o := env.task(push(), connected("azureSubscription", env.project.ManagedIdentityConnection("machine", tenant, c.clientID))).want("failed").says("169.254.169.254")
			o.says(c.says...)
			if took := time.Since(begin); took > 45*time.Second {
				t.Errorf("it took %s", took)
			}
			if len(evil()) != 0 {
				t.Errorf("the redirect was followed")
			}
		})
	}
	t.Run("being updated", func(t *testing.T) {
		env, image := readyAlone(t)
		env.allow(systemIdentity)
		env.machine(env.directory.AddApplication(systemIdentity)).Fail(http.StatusGone, http.StatusServiceUnavailable)
		env.task(push(), connected("azureSubscription", env.project.ManagedIdentityConnection("machine", tenant, ""))).want("done")
		if got := env.dev.TagDigest(cart, release); got != image.Digest {
			t.Errorf("tag %q", got)
		}
	})
}

// serve answers at the metadata service's address.
func (env *testEnv) serve(handler http.Handler) {
	env.t.Helper()
	server := &http.Server{Handler: handler}
	listener := metadataListener(env.t)
	go server.Serve(listener)
	env.t.Cleanup(func() { server.Close() })
}

// TestManagedIdentityOfThreeSeconds is TestTokensOfThreeSeconds with a managed
// identity.
func TestManagedIdentityOfThreeSeconds(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	env := newSerialEnv(t)
	env.shorten()
	image := env.sealed()
	env.approve(manager, "released")
	env.allow(systemIdentity)
	service := env.machine(env.directory.AddApplication(systemIdentity))
	env.slowCopy(t, map[string][]*sim.ServiceConnection{"azureSubscription": {env.project.ManagedIdentityConnection("machine", tenant, "")}}, image)
	if n := len(service.Requests()); n < 2 {
		t.Errorf("%d tokens were asked for", n)
	}
}

// TestChainAtPrompt: without Docker's configuration, azidentity's chain is tried at a
// prompt, and the error has a sentence for each source.
func TestChainAtPrompt(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	env := newSerialEnv(t)
	env.sealed()
	arguments := []string{"invertedPush", "--source", source, "--targets", devHost, "--approval", "none", "--output", "json"}
	p := env.atPrompt(map[string]any{})
	p.environ = slices.DeleteFunc(p.environ, func(v string) bool { return strings.HasPrefix(v, "AZURE_TOKEN_CREDENTIALS=") })
	p.helper("az", "echo 'Please run \"az login\" to set up an account.' >&2\nexit 1\n")
	p.run(arguments...).wantCode(1).says(
		"Environment variables (AZURE_*): missing environment variable AZURE_TENANT_ID.",
		"Workload identity: no client ID specified.",
		"Managed identity: ",
		"Azure CLI (az): ",
		"Azure Developer CLI (azd): ",
		"az login",
	)
	// The machine has an identity: it is found, without a proxy.
	env.allow(systemIdentity)
	service := env.machine(env.directory.AddApplication(systemIdentity))
	p.run(arguments...).wantCode(0).wantStates("copied")
	if len(service.Requests()) == 0 || slices.Contains(env.prodNetwork.Dialled(), sim.MetadataAddress) {
		t.Errorf("asked %q, the proxy's log %q", service.Requests(), env.prodNetwork.Dialled())
	}
}
