package main_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/refusal"
	"acrpromote/internal/sim"
)

// TestEveryRefusalIsExplained provokes each refusal of the program's table, under
// each of its codes, and checks that the result has its cause and its remedy. Those of
// vaults are tested in package vault.
func TestEveryRefusalIsExplained(t *testing.T) {
	for service, provoke := range map[refusal.Service]func(*testEnv, refusal.Refusal) []provocation{
		refusal.Registry: (*testEnv).registryRefusal,
		refusal.Entra:    (*testEnv).entraRefusal,
		refusal.DevOps:   (*testEnv).devOpsRefusal,
	} {
		t.Run(string(service), func(t *testing.T) {
			env, _ := ready(t)
			for _, r := range refusal.All {
				if r.Service != service {
					continue
				}
				cases := provoke(env, r)
				if len(cases) == 0 {
					t.Errorf("nothing provokes %s", r.Name)
				}
				for i, c := range cases {
					// A repository of its own, to which nothing has been copied yet.
					env.explains(r, c, fmt.Sprintf("%s/%s-%d/cart", devHost, r.Name, i))
				}
			}
		})
	}
}

// provocation makes a service refuse: a fault, or a task that is refused.
type provocation struct {
	fault sim.Fault
	task  func(*fakeagent.Environment) // changes the task
	undo  func()
}

// variable is a part of a sentence that depends on the request.
var variable = regexp.MustCompile(`\{[a-z]+\}`)

func (env *testEnv) explains(r refusal.Refusal, c provocation, target string) {
	env.t.Helper()
	if c.fault.Do != nil {
		c.fault.Times = sim.Always
		defer env.cloud.Script(c.fault).Stop()
	}
	if c.undo != nil {
		defer c.undo()
	}
	change := func(*fakeagent.Environment) {}
	if c.task != nil {
		change = c.task
	}
	o := env.task(push("targets", target), change)
	if o.result["outcome"] == "done" {
		env.t.Errorf("%s: nothing was refused", r.Name)
		return
	}
	said := strings.Join(strings.Fields(o.against()), " ")
	for _, sentence := range []string{r.Cause, r.Remedy} {
		for _, part := range variable.Split(sentence, -1) {
			if part = strings.Trim(part, " ."); !strings.Contains(said, part) {
				env.t.Errorf("%s: %q is not said:\n%s", r.Name, part, said)
			}
		}
	}
	if strings.Contains(r.Remedy, "{grant}") && r.Service == refusal.Registry && !strings.Contains(said, "az role assignment create") && !strings.Contains(said, "az acr scope-map update") {
		env.t.Errorf("%s: no command is said:\n%s", r.Name, said)
	}
	for what, secret := range map[string]string{"the client's secret": clientKey, "a token": "eyJ"} {
		if strings.Contains(said, secret) {
			env.t.Errorf("%s: the message contains %s", r.Name, what)
		}
	}
}

const disallowedText = "The operation is disallowed on this registry, repository or image. View troubleshooting steps at https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation"

// registryRefusal makes a registry refuse, in the way that this entry is about.
func (env *testEnv) registryRefusal(r refusal.Refusal) []provocation {
	const manifest, blob, upload, token = `/v2/.*/manifests/`, `/v2/.*/blobs/sha256:`, `/v2/.*/blobs/uploads/`, `^/oauth2/token$`
	at := func(host, method, path string, do sim.Action) []provocation {
		return []provocation{{fault: sim.Fault{Host: host, Method: method, Path: path, Do: do}}}
	}
	// each answers with each of the entry's codes.
	each := func(host, method, path string, status int, message string) []provocation {
		var all []provocation
		for _, code := range r.Codes {
			all = append(all, at(host, method, path, sim.Refuse(status, code, message))...)
		}
		return all
	}
	says := func(method, path string, status int, code, message string) []provocation {
		var all []provocation
		for _, part := range r.Says {
			all = append(all, at(devHost, method, path, sim.Refuse(status, code, fmt.Sprintf(message, part)))...)
		}
		return all
	}
	switch r.Name {
	case "registry-firewall":
		return at(devHost, "POST", `^/oauth2/exchange$`, sim.Refuse(403, "DENIED", "client with IP '203.0.113.99' is not allowed access. Refer https://aka.ms/acr/firewall to grant access."))
	case "registry-storage-full":
		return says("POST", upload, 405, "REGISTRY_DISALLOWED_OPERATION", "The registry has reached its %s.")
	case "registry-quarantined":
		return says("PUT", manifest, 405, "REGISTRY_DISALLOWED_OPERATION", "The image is under %s.")
	case "registry-soft-deleted":
		return says("PUT", manifest, 409, "MANIFEST_CONFLICT", "The manifest is kept by %s.")
	case "registry-disallowed":
		return each(devHost, "PUT", manifest, 405, disallowedText)
	case "registry-method":
		return at(devHost, "POST", `^/oauth2/token$`, sim.Status(405))
	case "registry-throttled":
		return at(devHost, "POST", token, sim.Throttle(0))
	case "registry-repository-unknown", "registry-manifest-unknown":
		return each(prodHost, "GET", manifest, 404, "not known to the registry")
	case "registry-blob-unknown":
		all := each(prodHost, "GET", blob, 404, "blob unknown to registry")
		all[0].fault.Skip = 1 // the seal record's
		return all
	case "registry-manifest-incomplete":
		return each(devHost, "PUT", manifest, 400, "blob unknown to registry")
	case "registry-upload-lost":
		return each(devHost, "PUT", upload, 404, "blob upload unknown to registry")
	case "registry-manifest-invalid", "registry-unsupported":
		return each(devHost, "PUT", manifest, 400, "manifest invalid")
	case "registry-name-invalid":
		return each(devHost, "POST", upload, 400, "invalid repository name")
	case "registry-digest-invalid", "registry-too-large-code":
		return each(devHost, "PUT", upload, 400, "provided digest did not match uploaded content")
	case "registry-too-large":
		return at(devHost, "PUT", manifest, sim.Status(413))
	case "registry-unknown":
		return at(devHost, "POST", token, sim.Status(404))
	case "registry-unavailable":
		return at(devHost, "POST", token, sim.Status(503, "Retry-After", "0"))
	case "registry-redirect":
		return at(devHost, "POST", token, sim.Status(302, "Location", "https://evil.example/"))
	case "registry-denied":
		env.dev.Revoke(clientID)
		env.dev.Grant(clientID, "**", sim.AcrPull...)
		return []provocation{{undo: func() { env.dev.Grant(clientID, "**", sim.RepositoryWriter...) }}}
	case "registry-identity-refused":
		env.dev.Revoke(clientID)
		return []provocation{{undo: func() { env.dev.Grant(clientID, "**", sim.RepositoryWriter...) }}}
	case "registry-arm-token":
		env.directory.SetAudience("https://management.azure.com/")
		return []provocation{{undo: func() { env.directory.SetAudience("") }}}
	case "registry-login-refused":
		env.dev.AddUser("pusher", "the-right-password")
		wrong := env.project.DockerConnection("dev-token", devHost, "pusher", "the-wrong-password")
		return []provocation{{task: connected("registryConnections", wrong)}}
	}
	return nil
}

// entraRefusal makes Microsoft Entra ID refuse under each code of the entry.
func (env *testEnv) entraRefusal(r refusal.Refusal) []provocation {
	at := func(do sim.Action) provocation {
		return provocation{fault: sim.Fault{Host: entraHost, Method: "POST", Path: `/oauth2/v2\.0/token$`, Do: do}}
	}
	var all []provocation
	for _, code := range r.Codes {
		number, _ := strconv.Atoi(strings.TrimPrefix(code, "AADSTS"))
		all = append(all, at(sim.RefuseEntra(401, "invalid_client", number, "The service's own text about presented assertion subject 'sc://contoso/shop/x', presented assertion issuer 'https://vstoken.dev.azure.com/1' and presented assertion audience 'api://x'.")))
	}
	if len(r.Codes) > 0 {
		return all
	}
	switch status := r.Status[0]; {
	case status >= 300 && status < 400:
		return []provocation{at(sim.Status(status, "Location", "https://evil.example/"))}
	case status == http.StatusTooManyRequests, status >= 500:
		return []provocation{at(sim.Status(status, "Retry-After", "0"))}
	default:
		return []provocation{at(sim.RefuseEntra(status, "invalid_client", 999999, "A code that the program does not know."))}
	}
}

// devOpsRefusal makes Azure DevOps refuse to show the run's timeline, or to give the
// assertion of the connection.
func (env *testEnv) devOpsRefusal(r refusal.Refusal) []provocation {
	at := func(do sim.Action) provocation {
		return provocation{fault: sim.Fault{Host: devOpsHost, Method: "GET", Path: `(?i)/builds/\d+/timeline`, Do: do}}
	}
	assertion := func(status int, message string) provocation {
		return provocation{fault: sim.Fault{Host: devOpsHost, Query: "serviceConnectionId", Do: sim.RefuseDevOps(status, message)}}
	}
	var all []provocation
	for _, part := range r.Says {
		all = append(all, assertion(400, "The service connection with id 1 "+part+" step."))
	}
	for _, code := range r.Codes {
		status := http.StatusForbidden
		all = append(all, at(sim.RefuseDevOps(status, code+": The service's own text.")))
	}
	if len(all) > 0 {
		return all
	}
	if len(r.Status) == 0 {
		return []provocation{assertion(403, "no"), assertion(404, "no")}
	}
	switch status := r.Status[0]; {
	case status == http.StatusTooManyRequests, status >= 500:
		return []provocation{at(sim.Status(status, "Retry-After", "0"))}
	case status == http.StatusOK:
		return []provocation{at(sim.Status(http.StatusNonAuthoritativeInfo)), at(sim.Status(http.StatusFound, "Location", "https://evil.example/"))}
	default:
		return []provocation{at(sim.RefuseDevOps(status, "no"))}
	}
}

// TestDenialNamesTheRole checks that a denial is complete at once: it names the
// identity, the one role that covers everything the step does there, and the
// command.
func TestDenialNamesTheRole(t *testing.T) {
	const command = `az role assignment create --role "%s" --assignee-object-id %s --assignee-principal-type ServicePrincipal --scope "$(az acr show --name %s --query id --output tsv)"`
	for name, c := range map[string]struct {
		granted  []string
		lock     string
		at       string // side
		role     string
		instead  string
		elements []string
	}{
		"nothing at the target":                {nil, "none", "target", "Container Registry Repository Writer", "AcrPush and the custom role “ACR lock reader”", []string{"content/read, content/write, metadata/read on shop/cart"}},
		"AcrPull at the target":                {sim.AcrPull, "none", "target", "AcrPush", "Container Registry Repository Writer", []string{"“ACR lock reader”"}},
		"AcrPush at a target that gets locked": {sim.AcrPush, "tag", "target", "AcrPush", "Container Registry Repository Writer", []string{"“ACR lock keeper”", "metadata/write"}},
		"nothing at the source":                {nil, "none", "source", "Container Registry Repository Reader", "AcrPull and the custom role “ACR lock reader”", []string{"content/read, metadata/read on shop/cart"}},
		"AcrPull at the source":                {sim.AcrPull, "none", "source", "AcrPull", "Container Registry Repository Reader", []string{"“ACR lock reader”"}},
	} {
		t.Run(name, func(t *testing.T) {
			env, _ := ready(t)
			registry, short := env.dev, "contosodev"
			if c.at == "source" {
				registry, short = env.prod, "contosoprod"
			}
			registry.Revoke(clientID)
			if c.granted != nil {
				registry.Grant(clientID, "**", c.granted...)
			}
			words := append(c.elements, "service connection release-identity (client ID "+clientID+")",
				c.instead+" instead", fmt.Sprintf(command, c.role, env.application.ObjectID(), short))
			env.task(push("lock", c.lock)).failsAt(c.at, words...)
		})
	}
}
