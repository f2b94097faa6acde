package main_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// certificate returns a certificate of the application, and its PEM text with the
// private key.
func certificate(t *testing.T, key crypto.Signer, until time.Time) (*x509.Certificate, string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "release-identity"},
		NotBefore: until.Add(-365 * 24 * time.Hour), NotAfter: until,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	return parsed, string(text) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// credentialScheme is one way to sign in to both registries.
type credentialScheme struct {
	name string
	// connections returns the inputs that name service connections.
	connections func(t *testing.T, env *testEnv) map[string][]*sim.ServiceConnection
	// tokens is where the identity's tokens come from: Entra, or "" for user and
	// password.
	tokens string
}

// entraSchemes are the credentials of Azure connections, without that of the
// agent's machine.
func entraSchemes() []credentialScheme {
	azure := func(connection func(t *testing.T, env *testEnv) *sim.ServiceConnection) func(*testing.T, *testEnv) map[string][]*sim.ServiceConnection {
		return func(t *testing.T, env *testEnv) map[string][]*sim.ServiceConnection {
			return map[string][]*sim.ServiceConnection{"azureSubscription": {connection(t, env)}}
		}
	}
	federated := func(t *testing.T, env *testEnv) *sim.ServiceConnection { return env.connection }
	secret := func(t *testing.T, env *testEnv) *sim.ServiceConnection {
		return env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
	}
	byCertificate := func(t *testing.T, env *testEnv) *sim.ServiceConnection {
		known, text := certificate(t, rsaKey(t), time.Now().Add(24*time.Hour))
		env.application.AddCertificate(known)
		return env.project.CertificateConnection("release-certificate", tenant, clientID, text)
	}
	registries := func(connection func(t *testing.T, env *testEnv) *sim.ServiceConnection) func(*testing.T, *testEnv) map[string][]*sim.ServiceConnection {
		return func(t *testing.T, env *testEnv) map[string][]*sim.ServiceConnection {
			like := connection(t, env)
			prod := env.project.AzureRegistryConnection("prod-registry", env.prod.Host(), like)
			dev := env.project.AzureRegistryConnection("dev-registry", env.dev.Host(), like)
			for _, c := range []*sim.ServiceConnection{prod, dev} {
				env.application.AddFederatedCredential(env.organization.Issuer(), c.Subject())
			}
			return map[string][]*sim.ServiceConnection{"registryConnections": {prod, dev}}
		}
	}
	return []credentialScheme{
		{"Azure connection, federation", azure(federated), entraHost},
		{"Azure connection, secret", azure(secret), entraHost},
		{"Azure connection, certificate", azure(byCertificate), entraHost},
		{"registry connection, federation", registries(federated), entraHost},
		{"registry connection, secret", registries(secret), entraHost},
	}
}

// passwordScheme is user and password of a repository-scoped token.
func passwordScheme() credentialScheme {
	return credentialScheme{"registry connection, scope-map token", func(_ *testing.T, env *testEnv) map[string][]*sim.ServiceConnection {
		for _, r := range []*sim.Registry{env.prod, env.dev} {
			r.AddUser("release-token", "a-scope-map-password~1")
			r.Grant("release-token", cart, sim.RepositoryWriter...)
		}
		return map[string][]*sim.ServiceConnection{"registryConnections": {
			env.project.DockerConnection("prod-token", env.prod.Host(), "release-token", "a-scope-map-password~1"),
			env.project.DockerConnection("dev-token", env.dev.Host(), "release-token", "a-scope-map-password~1"),
		}}
	}, ""}
}

// with gives the task these connections, and no other.
func withConnections(connections map[string][]*sim.ServiceConnection) func(*fakeagent.Environment) {
	return func(e *fakeagent.Environment) { e.Connections = connections }
}

// TestCredentialSchemes: an inverted push with every scheme of a service connection.
func TestCredentialSchemes(t *testing.T) {
	for _, scheme := range append(entraSchemes(), passwordScheme()) {
		t.Run(scheme.name, func(t *testing.T) {
			env, image := ready(t)
			connections := scheme.connections(t, env)
			o := env.task(push("lock", "tag"), withConnections(connections)).want("done").wantStates("copied")
			if got := env.dev.TagDigest(cart, release); got != image.Digest {
				t.Errorf("tag %q", got)
			}
			if asked := len(o.asked(entraHost)) > 0; asked != (scheme.tokens == entraHost) {
				t.Errorf("Entra was asked %v", o.asked(entraHost))
			}
			for _, r := range o.requests {
				if r.Host == "169.254.169.254" {
					t.Errorf("the metadata service was asked")
				}
			}
		})
	}
}

// TestCredentialSchemesAtEveryAddress: the schemes of Azure work whatever address the
// organization answers at. A server issues no assertions.
func TestCredentialSchemesAtEveryAddress(t *testing.T) {
	for _, form := range addressForms {
		for _, scheme := range entraSchemes() {
			if form.name == "server" && strings.HasSuffix(scheme.name, "federation") {
				continue
			}
			t.Run(form.name+", "+scheme.name, func(t *testing.T) {
				env := newTestEnvOf(t, form.organization)
				image := env.sealed()
				env.approve(manager, "released")
				env.task(push(), withConnections(scheme.connections(t, env))).want("done")
				if got := env.dev.TagDigest(cart, release); got != image.Digest {
					t.Errorf("tag %q", got)
				}
			})
		}
	}
}

// TestAnonymousSource: a public registry needs no connection, and proves nothing.
func TestAnonymousSource(t *testing.T) {
	env := newTestEnv(t)
	mirror := env.cloud.Registry("mirror.example", sim.RegistryOptions{AnonymousPull: true, Now: env.clock.now})
	image := pushImage(mirror, cart, release, 1, 2, 2048)
	flows := env.flowFile(`version: 1
trust: [public, team]
registries:
  mirror: {host: mirror.example, trust: public}
  dev: {host: ` + devHost + `, trust: team}
flows:
  base:
    from: mirror
    to: [dev]
    require: {approval: {kind: manual, environment: Production}}
`)
	env.approve(manager, "")
	o := env.task(inputs{"action": "promote", "source": "mirror.example/" + cart + ":" + release, "targets": devHost, "flowFile": flows})
	if o.want("done"); env.dev.TagDigest(cart, release) != image.Digest {
		t.Errorf("tag %q", env.dev.TagDigest(cart, release))
	}
	for _, r := range o.requests {
		if r.Host == "mirror.example" && strings.HasPrefix(r.Authorization, "Basic ") {
			t.Errorf("%s %s bore a password", r.Method, r.Path)
		}
	}
}

// TestBadCertificates: a certificate that cannot work is refused before anything is
// sent; nothing of it is shown.
func TestBadCertificates(t *testing.T) {
	key := rsaKey(t)
	valid, whole := certificate(t, key, time.Now().Add(24*time.Hour))
	_, expired := certificate(t, key, time.Now().Add(-24*time.Hour))
	_, future := certificate(t, key, time.Now().Add(400*24*time.Hour))
	block, private := pem.Decode([]byte(whole))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, elliptical := certificate(t, curve, time.Now().Add(24*time.Hour))
	other, err := x509.MarshalPKCS8PrivateKey(rsaKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ pem, says string }{
		"no key":            {string(pem.EncodeToMemory(block)), "has no private key"},
		"no certificate":    {string(private), "no certificate in PEM"},
		"no PEM":            {"MIIKXAIBAzCCChgGCSqGSIb3DQEHAaCCCgkE", "no certificate in PEM"},
		"expired":           {expired, "its certificate expired on"},
		"not yet valid":     {future, "is not valid before"},
		"another's key":     {string(pem.EncodeToMemory(block)) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: other})), "does not belong to its certificate"},
		"an elliptic curve": {elliptical, "not an RSA key"},
		"two keys":          {whole + string(private), "more than one private key"},
		"encrypted":         {string(pem.EncodeToMemory(block)) + "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIBvTBX\n-----END ENCRYPTED PRIVATE KEY-----\n", "is encrypted"},
		"garbage":           {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			env, _ := ready(t)
			env.application.AddCertificate(valid)
			connection := env.project.CertificateConnection("release-certificate", tenant, clientID, c.pem)
			o := env.task(push(), connected("azureSubscription", connection)).want("misuse").says("azureSubscription", c.says)
			if len(o.asked(entraHost))+len(o.asked(prodHost))+len(o.asked(devHost)) != 0 {
				t.Errorf("asked %v", o.requests)
			}
		})
	}
	t.Run("not registered", func(t *testing.T) {
		env, _ := ready(t)
		connection := env.project.CertificateConnection("release-certificate", tenant, clientID, whole)
		o := env.task(push(), connected("azureSubscription", connection)).want("failed")
		o.says("AADSTS700027", "certificate")
	})
}

// TestTokensOfThreeSeconds: a copy that takes longer than every token lives is
// completed, for each scheme: the registry's access and refresh tokens, and Entra's.
// A federated assertion is asked for anew each time.
func TestTokensOfThreeSeconds(t *testing.T) {
	for _, scheme := range append(entraSchemes(), passwordScheme()) {
		t.Run(scheme.name, func(t *testing.T) {
			env := newTestEnv(t)
			env.shorten()
			image := env.sealed()
			env.approve(manager, "released")
			env.slowCopy(t, scheme.connections(t, env), image)
		})
	}
}

// shorten opens the registries anew, and has all tokens live for three seconds.
func (env *testEnv) shorten() {
	env.directory.SetLifetime(3 * time.Second)
	options := sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, TokenLifetime: 3 * time.Second, RefreshLifetime: 3 * time.Second}
	for _, r := range []**sim.Registry{&env.prod, &env.dev} {
		*r = env.cloud.Registry((*r).Host(), options)
		(*r).Grant(clientID, "**", sim.RepositoryWriter...)
	}
	env.prod.AllowOnly(prodAddress)
}

// slowCopy makes an inverted push take longer than a token lives: each request for
// an image is judged 0.7 s after it was sent, and some tokens expire in between.
func (env *testEnv) slowCopy(t *testing.T, connections map[string][]*sim.ServiceConnection, image descriptor) outcome {
	t.Helper()
	remove := env.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			time.Sleep(700 * time.Millisecond)
		}
		return false
	})
	defer remove()
	begin := time.Now()
	o := env.task(push(), withConnections(connections)).want("done")
	if took := time.Since(begin); took < 4*time.Second {
		t.Errorf("the copy took %s, which is not longer than a token lives", took)
	}
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	assertions := []string{}
	for _, r := range o.requests {
		if r.Host == devOpsHost && r.Has("serviceConnectionId") {
			assertions = append(assertions, r.Path)
		}
	}
	entra := o.count(entraHost, "POST /"+tenant+"/oauth2/v2.0/token")
	federated := false
	for _, list := range connections {
		federated = federated || slices.ContainsFunc(list, (*sim.ServiceConnection).Federated)
	}
	if federated && (len(assertions) != entra || entra < 2) {
		t.Errorf("%d assertions for %d tokens of Entra", len(assertions), entra)
	}
	return o
}

// TestNamesOfOneRegistry: a regional endpoint and a name with a domain name label count
// as the registry whose names they are, in the source, the targets and the locks.
func TestNamesOfOneRegistry(t *testing.T) {
	env, image := ready(t)
	const regional, labelled = "contosoprod.westeurope.geo.azurecr.io", "contosodev-a1b2c3.azurecr.io"
	flows := func(prod, dev string) string {
		return env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + prod + `, trust: production}
  dev: {host: ` + devHost + dev + `, trust: sandbox, immutable: true}
flows:
  down:
    from: prod
    to: [dev]
    lock: tag
    require: {approval: {kind: manual, environment: Production}}
  within:
    from: dev
    to: [dev]
    movingTags: [stable]
    require: {approval: {kind: manual, environment: Production}}
`)
	}
	in := inputs{"action": "invertedPush", "source": regional + "/" + cart + ":" + release, "targets": devHost + "\n" + labelled,
		"flowFile": flows(", hosts: ["+regional+"]", ", hosts: ["+labelled+"]")}
	o := env.task(in).want("done").wantStates("copied")
	if got := env.dev.TagDigest(cart, release); got != image.Digest || o.output["image"] != prodHost+"/"+cart+"@"+image.Digest {
		t.Errorf("tag %q, image %q", got, o.output["image"])
	}
	env.task(in.with("targets", labelled)).want("done").wantStates("present")
	// Within one registry, by two of its names.
	o = env.task(in.with("action", "promote", "source", labelled+"/"+cart+":"+release, "targets", devHost+"/"+cart+":stable")).want("done").wantStates("retagged")
	if o.count(devHost, "POST /oauth2/exchange") != 1 {
		t.Errorf("%v", o.asked(devHost))
	}
	env.task(in.with("flowFile", flows("", ""))).refusedBy("not-in-flow")
}

// TestClouds: in each cloud, a connection gets tokens of that cloud's authority for that
// cloud's registries.
func TestClouds(t *testing.T) {
	for _, cloud := range []struct{ name, suffix, authority string }{
		{"AzureCloud", "azurecr.io", "login.microsoftonline.com"},
		{"AzureChinaCloud", "azurecr.cn", "login.chinacloudapi.cn"},
		{"AzureUSGovernment", "azurecr.us", "login.microsoftonline.us"},
	} {
		for _, scheme := range entraSchemes() {
			t.Run(cloud.name+", "+scheme.name, func(t *testing.T) {
				env := newTestEnv(t)
				env.cloud.Directory(tenant, cloud.authority)
				env.prod = env.registry("contosoprod." + cloud.suffix)
				env.prod.AllowOnly(prodAddress)
				env.dev = env.registry("contosodev." + cloud.suffix)
				image := env.sealed()
				env.approve(manager, "released")
				connections := scheme.connections(t, env)
				for _, c := range connections["azureSubscription"] {
					c.SetData("environment", cloud.name)
					c.SetData("environmentAuthorityUrl", "https://"+cloud.authority+"/")
				}
				o := env.task(push("source", env.prod.Host()+"/"+cart+":"+release, "targets", env.dev.Host(), "lock", "tag"), withConnections(connections)).want("done")
				if got := env.dev.TagDigest(cart, release); got != image.Digest {
					t.Errorf("tag %q", got)
				}
				for _, host := range o.at("egress").([]any) {
					if name := host.(string); strings.HasPrefix(name, "login.") && name != cloud.authority+":443" {
						t.Errorf("%s was asked", name)
					}
				}
			})
		}
	}
}

// TestConnectionOfAnotherCloud: no token is asked for where connection and registry are
// of different clouds.
func TestConnectionOfAnotherCloud(t *testing.T) {
	env, _ := ready(t)
	env.connection.SetData("environment", "AzureChinaCloud")
	env.connection.SetData("environmentAuthorityUrl", "https://login.chinacloudapi.cn/")
	o := env.task(push()).want("misuse").says("azureSubscription", "AzureChinaCloud", "AzureCloud")
	if len(o.asked(prodHost))+len(o.asked(entraHost)) != 0 {
		t.Errorf("asked %v", o.requests)
	}
}

// TestIdentityPerTarget: each registry can have an identity of its own, of any scheme.
func TestIdentityPerTarget(t *testing.T) {
	env, image := ready(t)
	const second, third = "bbbbbbbb-0000-0000-0000-000000000002", "bbbbbbbb-0000-0000-0000-000000000003"
	env.prod.Revoke(clientID)
	env.prod.Grant(clientID, "**", sim.RepositoryReader...)
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		r.Revoke(clientID)
	}
	env.dev.Grant(second, "**", sim.RepositoryWriter...)
	env.dev2.Grant(third, "**", sim.RepositoryWriter...)
	known, text := certificate(t, rsaKey(t), time.Now().Add(24*time.Hour))
	env.directory.AddApplication(second).AddCertificate(known)
	env.directory.AddApplication(third).AddSecret("the-third-secret~1234567")
	byCertificate := env.project.CertificateConnection("dev-identity", tenant, second, text)
	bySecret := env.project.AzureRegistryConnection("dev2-registry", dev2Host, env.project.SecretConnection("dev2-identity", tenant, third, "the-third-secret~1234567"))
	in := push("targets", devHost+"\n"+dev2Host, "lock", "tag")
	o := env.task(in, connected("targetSubscription", byCertificate), connected("registryConnections", bySecret)).want("done").wantStates("copied copied")
	for _, r := range []*sim.Registry{env.dev, env.dev2} {
		if got := r.TagDigest(cart, release); got != image.Digest {
			t.Errorf("%s has the tag %q", r.Host(), got)
		}
	}
	if n := o.count(entraHost, "POST /"+tenant+"/oauth2/v2.0/token"); n != 3 {
		t.Errorf("%d tokens of Entra, want one for each identity", n)
	}
}

// TestTokenWithoutAccess: what a registry's token grants need not be readable.
func TestTokenWithoutAccess(t *testing.T) {
	env := newTestEnv(t)
	for _, r := range []**sim.Registry{&env.prod, &env.dev} {
		*r = env.cloud.Registry((*r).Host(), sim.RegistryOptions{Tokens: env.directory, Now: env.clock.now, NoAccessClaim: true})
		(*r).Grant(clientID, "**", sim.RepositoryWriter...)
	}
	image := env.sealed()
	env.approve(manager, "released")
	env.task(push("lock", "tag")).want("done")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestContentReadAlone: with a scope-map token of content/read alone a seal cannot be
// judged, and what is attached stays behind. Both are said.
func TestContentReadAlone(t *testing.T) {
	env, image := ready(t)
	env.prod.AddUser("puller", "a-scope-map-password~2")
	env.prod.Grant("puller", cart, "pull")
	docker := env.project.DockerConnection("prod-puller", prodHost, "puller", "a-scope-map-password~2")
	env.task(push(), connected("registryConnections", docker)).failsAt("source", prodHost, "reading the attributes", "metadata/read")
	// Neither a seal nor a time has to be read.
	flows := env.flowFile(`version: 1
trust: [sandbox, production]
registries:
  prod: {host: ` + prodHost + `, trust: production}
  dev: {host: ` + devHost + `, trust: sandbox}
flows:
  base:
    from: prod
    to: [dev]
    require: {sealed: false, approval: {kind: manual, environment: Production}}
`)
	o := env.task(push("flowFile", flows), connected("registryConnections", docker))
	o.want("done")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
	if !slices.ContainsFunc(o.warnings, func(w string) bool {
		return strings.Contains(w, "is not copied: the registry does not say when it was attached")
	}) {
		t.Errorf("it is not said what could not be judged: %q", o.warnings)
	}
}

// TestDockerHub: a connection of the type Docker Hub signs in at Docker Hub's own token
// host, which gets no other registry's password.
func TestDockerHub(t *testing.T) {
	env := newTestEnv(t)
	options := sim.RegistryOptions{TokenHost: "auth.docker.io", Now: env.clock.now}
	hub := env.cloud.Registry("registry-1.docker.io", options)
	hub.AddUser("contoso", "a-docker-hub-token~1")
	hub.Grant("contoso", "**", "pull")
	image := pushImage(hub, cart, release, 1, 2, 2048)
	flows := env.flowFile(`version: 1
trust: [public, team]
registries:
  hub: {host: docker.io, trust: public}
  dev: {host: ` + devHost + `, trust: team}
flows:
  base:
    from: hub
    to: [dev]
    require: {approval: {kind: manual, environment: Production}}
`)
	env.approve(manager, "")
	alpine := pushImage(hub, "library/alpine", "3", 3, 1, 1024)
	connection := connected("registryConnections", env.project.DockerHubConnection("hub", "contoso", "a-docker-hub-token~1"))
	for source, pushed := range map[string]descriptor{
		"docker.io/" + cart + ":" + release: image, "index.docker.io/" + cart + ":" + release: image, "registry-1.docker.io/" + cart + ":" + release: image,
		"docker.io/alpine:3": alpine,
	} {
		o := env.task(inputs{"action": "promote", "source": source, "targets": devHost, "flowFile": flows}, connection).want("done")
		repository, tag := cart, release
		if pushed.Digest == alpine.Digest {
			repository, tag = "library/alpine", "3"
		}
		if got := env.dev.TagDigest(repository, tag); got != pushed.Digest || o.at("images", 0, "source") != "registry-1.docker.io/"+repository+":"+tag {
			t.Errorf("%s: tag %q, source %v", source, got, o.at("images", 0, "source"))
		}
		for _, r := range o.requests {
			if strings.HasPrefix(r.Authorization, "Basic ") && r.Host != "auth.docker.io" {
				t.Errorf("%s %s%s bore the password", r.Method, r.Host, r.Path)
			}
		}
	}
	// Another registry that names Docker Hub's token host sends nothing there.
	other := env.cloud.Registry("index.docker.io.example", options)
	other.AddUser("contoso", "another-password~12345")
	o := env.task(push("targets", "index.docker.io.example"), connected("registryConnections", env.project.DockerConnection("other", "index.docker.io.example", "contoso", "another-password~12345")))
	if got := o.asked("auth.docker.io"); o.result["outcome"] == "done" || len(got) != 0 {
		t.Errorf("outcome %v, asked %v", o.result["outcome"], got)
	}
}
