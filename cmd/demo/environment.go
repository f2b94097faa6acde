package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"acrpromote/internal/sim"
)

// The repository that the story is about, in every registry.
const repository = "tools/acrpromote"

const (
	tenant     = "11111111-2222-3333-4444-555555555555"
	identities = "aaaaaaaa-0000-0000-0000-%012d"
)

var (
	developer = sim.Person("Developer")
	colleague = sim.Person("Colleague")
	manager   = sim.Person("Release Manager")
)

type login struct{ user, password string }

// The engines that push and pull by themselves sign in with these.
var (
	buildLogin = login{"build", "simulated-build-password"}
	teamLogin  = login{"team", "simulated-team-password"}
)

// environment is the simulated Azure: PROD behind its firewall, a DEV registry
// for each of two teams in networks of their own, and a project whose
// environment Production is guarded by an approval.
type environment struct {
	cloud       *sim.Cloud
	prodNetwork *sim.Network
	paymentsNet *sim.Network
	webNet      *sim.Network
	prod        *sim.Registry
	payments    *sim.Registry
	web         *sim.Registry
	project     *sim.Project
	production  *sim.Environment
	toSeal      *sim.ServiceConnection // writes at PROD
	fromProd    *sim.ServiceConnection // reads at PROD
	toDev       *sim.ServiceConnection // writes at the teams' registries
}

func openEnvironment(folder string) (*environment, error) {
	cloud, err := sim.Start(folder)
	if err != nil {
		return nil, err
	}
	env := &environment{cloud: cloud}
	env.prodNetwork = cloud.Network("prod", "203.0.113.10")
	env.paymentsNet = cloud.Network("payments", "198.51.100.20")
	env.webNet = cloud.Network("web", "198.51.100.30")

	directory := cloud.Directory(tenant)
	organization := cloud.DevOps("contoso")
	env.project = organization.Project("tools")
	env.production = env.project.Environment("Production")
	// Azure DevOps itself would let the developer approve here.
	env.production.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager, developer}, MinRequired: 1})

	connections := 0
	connect := func(name string) (*sim.ServiceConnection, string) {
		connections++
		id := fmt.Sprintf(identities, connections)
		connection := env.project.FederatedConnection(name, tenant, id)
		directory.AddApplication(id).AddFederatedCredential(organization.Issuer(), connection.Subject())
		return connection, id
	}
	var seals, reads, delivers string
	env.toSeal, seals = connect("prod-seal")
	env.fromProd, reads = connect("prod-read")
	env.toDev, delivers = connect("dev-deliver")

	env.prod = cloud.Registry("contosoprod.azurecr.io", sim.RegistryOptions{Tokens: directory})
	env.prod.AllowOnly(env.prodNetwork.IP())
	env.prod.Grant(seals, "**", sim.RepositoryWriter...)
	env.prod.Grant(reads, "**", sim.RepositoryReader...)
	env.prod.AddUser(buildLogin.user, buildLogin.password)
	env.prod.Grant(buildLogin.user, "tools/**", sim.AcrPush...)

	team := func(name string, network *sim.Network) *sim.Registry {
		r := cloud.Registry("contoso"+name+".azurecr.io", sim.RegistryOptions{Tokens: directory})
		r.AllowOnly(network.IP(), env.prodNetwork.IP())
		r.Grant(delivers, "**", sim.RepositoryWriter...)
		r.AddUser(teamLogin.user, teamLogin.password)
		r.Grant(teamLogin.user, "**", sim.AcrPush...)
		return r
	}
	env.payments, env.web = team("payments", env.paymentsNet), team("web", env.webNet)
	return env, nil
}

func (env *environment) close() { env.cloud.Close() }

func (env *environment) registries() []*sim.Registry {
	return []*sim.Registry{env.prod, env.payments, env.web}
}

// teams are the registries that the image is pushed down to.
func (env *environment) teams() []*sim.Registry { return []*sim.Registry{env.payments, env.web} }

// state is everything that the repository holds in every registry: tags with
// their times and locks, manifests with theirs, and blobs.
type state struct{ tags, manifests, blobs []string }

func (env *environment) state() state {
	var s state
	tell := func(list *[]string, r *sim.Registry, name string, a sim.Attributes) {
		*list = append(*list, fmt.Sprint(r.Host(), " ", name, " ", a))
	}
	for _, r := range env.registries() {
		for _, tag := range r.Tags(repository) {
			a, _ := r.TagAttributes(repository, tag)
			tell(&s.tags, r, tag, a)
		}
		for _, digest := range r.Digests(repository) {
			a, _ := r.ManifestAttributes(repository, digest)
			tell(&s.manifests, r, digest, a)
		}
		for _, digest := range r.Blobs(repository) {
			s.blobs = append(s.blobs, r.Host()+" "+digest)
		}
	}
	return s
}

// sameImages reports whether tags and manifests are the same; blobs that no
// manifest names may have come.
func (s state) sameImages(other state) bool {
	return slices.Equal(s.tags, other.tags) && slices.Equal(s.manifests, other.manifests)
}

func (s state) same(other state) bool {
	return s.sameImages(other) && slices.Equal(s.blobs, other.blobs)
}

// writes are the requests that would change a registry. Asking for a token is
// none.
func (env *environment) writes(requests []sim.Request) []sim.Request {
	var found []sim.Request
	for _, q := range requests {
		reading := q.Method == http.MethodGet || q.Method == http.MethodHead || strings.HasPrefix(q.Path, "/oauth2/")
		if !reading && env.registry(q.Host) != nil {
			found = append(found, q)
		}
	}
	return found
}

// registry is the one at this host; nil if there is none.
func (env *environment) registry(host string) *sim.Registry {
	for _, r := range env.registries() {
		if r.Host() == host {
			return r
		}
	}
	return nil
}

// party says whose a host is.
func (env *environment) party(host string) string {
	for name, r := range map[string]*sim.Registry{"PROD": env.prod, "payments": env.payments, "web": env.web} {
		switch host {
		case r.Host():
			return name
		case r.StorageHost():
			return name + "'s storage"
		}
	}
	switch host {
	case "dev.azure.com":
		return "Azure DevOps"
	case "login.microsoftonline.com":
		return "Entra ID"
	}
	return host
}
