package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/azdo"
	"acrpromote/internal/egress"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

// Bounds of one exchange with a service, and of what it answers.
const (
	serviceTimeout = 30 * time.Second
	serviceAnswer  = 16 << 20
	tokenAnswer    = 1 << 20
	repetitions    = 4
)

// registries are those that this run talks to, each signed in to once.
type registries struct{ byHost map[string]*registry }

// registry is one of them: its images, and its attributes and locks.
type registry struct {
	host     string
	azure    bool
	needs    map[string][]string // filled before anything of the repository is asked
	data     *transfer.Registry
	metadata func() (*acr.Metadata, error)

	mu     sync.Mutex
	gone   error // it does not answer, and was asked often enough
	silent int   // images in a row that failed for that
}

// lost tells why the registry is not worth another question in this run: each
// image would wait for it anew, and the other targets with it.
func (r *registry) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// silence tells whether an error says that a registry does not answer.
func silence(err error) bool {
	late := (*straggler)(nil)
	return errors.Is(err, transfer.Unreachable) || errors.Is(err, transfer.Throttled) || errors.Is(err, acr.ErrUnreachable) || errors.As(err, &late)
}

// lose remembers an error that says that the registry does not answer.
func (r *registry) lose(err error) {
	if !silence(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone = err
	}
}

// strikes is how many images in a row may fail for the registry's silence while
// they are sent; the rest is not tried then. One alone may have its own reason.
const strikes = 3

// strike counts the end of a delivery.
func (r *registry) strike(err error) {
	var copying *transfer.Error
	if errors.As(err, &copying) && copying.Side == transfer.Source {
		return // that was another registry
	}
	r.mu.Lock()
	if !silence(err) {
		r.silent = 0
	} else {
		r.silent++
	}
	out := r.silent >= strikes
	r.mu.Unlock()
	if out {
		r.lose(err)
	}
}

// at gives a registry of this run.
func (r *registries) at(host string) (*registry, error) {
	if found := r.byHost[host]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("registry %s is none of this run's", host)
}

// openNetwork opens the one way out; nothing is sent yet. An error is misuse.
func (o *operation) openNetwork() error {
	c := o.config
	settings := egress.Settings{
		EnvironmentProxy: c.EnvironmentProxy,
		CAFile:           c.TLS.CAFile,
		ClientCert:       c.TLS.ClientCert,
		ClientKey:        c.TLS.ClientKey,
	}
	if c.Debug {
		settings.Observe = o.teller.exchange
	}
	settings.Retried = func(r egress.Retry) {
		o.teller.again(r.Phase+", "+r.Method+" "+r.Host+r.Path, r.Reason, r.Attempt, r.Wait)
	}
	if proxy := c.Proxy.WithCredentials(); proxy != nil {
		settings.Proxy = &egress.Proxy{URL: proxy, Bypass: c.Proxy.Bypass}
	}
	for _, host := range c.PlainHTTP {
		plain, err := ref.ParseHost(host)
		if err != nil {
			return misused("plain-http", err, "Name a host, as in --plain-http localhost:5000.")
		}
		if _, azure := acr.Suffix(plain); azure {
			return misused("plain-http", fmt.Errorf("%s is a registry of Azure, which speaks HTTPS alone", plain), "Leave --plain-http out for it.")
		}
		settings.PlainHTTP = append(settings.PlainHTTP, plain)
	}
	o.plainHTTP = settings.PlainHTTP
	network, err := egress.New(settings)
	if err != nil {
		return misused("agent", err, "Correct the agent's proxy or certificate settings.")
	}
	o.network = network
	o.result.Proxy, o.result.CA = network.Describe()
	if c.Proxy.URL != nil || c.TLS.CAFile != "" {
		o.result.Transport = "claimed"
	}
	o.registries = &registries{byHost: map[string]*registry{}}
	o.identities = map[string]*acr.Identity{}
	return nil
}

// connect prepares signing in to every registry of the run; nothing is sent
// yet. An error is misuse.
func (o *operation) connect() error {
	wrong := &agent.Misuse{}
	needs := o.needs()
	for _, host := range o.hosts() {
		if err := o.signIn(host, needs[host]); err != nil {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: host, Reason: err.Error(), Remedy: remedyFor(err)})
		}
	}
	if len(wrong.Problems) > 0 {
		return wrong
	}
	return nil
}

// signIn prepares one registry, once a run; a second call adds what is needed
// of it.
func (o *operation) signIn(host string, needs map[string][]string) error {
	if known := o.registries.byHost[host]; known != nil {
		maps.Copy(known.needs, needs)
		return nil
	}
	credential, err := o.credential(host)
	if err != nil {
		return err
	}
	all := map[string][]string{}
	maps.Copy(all, needs)
	o.registries.byHost[host] = o.register(host, credential, all, slices.Contains(o.plainHTTP, host))
	return nil
}

// register prepares one registry.
func (o *operation) register(host string, credential acr.Credential, needs map[string][]string, plain bool) *registry {
	tokens := o.network.Client(egress.Phase{
		Name: "signing in to " + host, Hosts: []string{host}, Party: host, Retries: repetitions, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenAnswer,
	})
	signIn := acr.NewSignIn(host, credential, tokens, needs, plain)
	images := o.network.Client(egress.Phase{
		Name: "moving images", Hosts: []string{host}, Party: host, Redirects: egress.FollowDownloads, Retries: repetitions,
	})
	images.Transport = signIn.Transport(images.Transport)
	attributes := o.network.Client(egress.Phase{
		Name: "reading and setting locks", Hosts: []string{host}, Party: host, Retries: repetitions, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenAnswer,
	})
	_, azure := acr.Suffix(host)
	data := transfer.NewRegistry(host, images, plain)
	data.OnRetry(func(r transfer.Retry) {
		o.network.Repeated(host, r.Wait)
		o.teller.again(r.What, r.Reason, r.Attempt, r.Wait)
	})
	return &registry{
		host: host, azure: azure, needs: needs,
		data:     data,
		metadata: sync.OnceValues(func() (*acr.Metadata, error) { return acr.NewMetadata(host, signIn, attributes, plain) }),
	}
}

// dialAhead has connections ready for when the first manifest has told what is
// to be moved.
func (o *operation) dialAhead() {
	if o.config.ReadOnly() {
		return
	}
	hosts := o.hosts()
	each := aheadOfFew
	if len(hosts) > few {
		each = aheadOfMany
	}
	for _, host := range hosts {
		o.network.DialAhead(host, each)
	}
}

// Connections that are dialled ahead, to each registry.
const (
	few         = 4 // registries
	aheadOfFew  = 6
	aheadOfMany = 2
)

// hosts lists the registries of this run, the source's first.
func (o *operation) hosts() []string {
	var hosts []string
	add := func(r ref.Reference) {
		if !slices.Contains(hosts, r.Registry) {
			hosts = append(hosts, r.Registry)
		}
	}
	for _, it := range o.items {
		add(it.wanted.Source)
		for _, t := range it.wanted.Targets {
			add(t)
		}
	}
	for _, other := range o.others {
		add(other)
	}
	return hosts
}

// needs says what this run will want of each registry's repositories, so that
// one token serves for all of it.
func (o *operation) needs() map[string]map[string][]string {
	needs := map[string]map[string][]string{}
	add := func(r ref.Reference, actions ...string) {
		if needs[r.Registry] == nil {
			needs[r.Registry] = map[string][]string{}
		}
		wanted := needs[r.Registry][r.Repository]
		for _, a := range actions {
			if !slices.Contains(wanted, a) {
				wanted = append(wanted, a)
			}
		}
		needs[r.Registry][r.Repository] = wanted
	}
	for _, it := range o.items {
		o.needsOf(it, add)
	}
	for _, other := range o.others {
		add(other, "pull")
	}
	return needs
}

// needsOf says what one image will want.
func (o *operation) needsOf(it *item, add func(ref.Reference, ...string)) {
	wanted := it.wanted
	add(wanted.Source, "pull")
	writes := !o.config.ReadOnly()
	if wanted.Action == plan.Seal {
		add(wanted.Source, "metadata_read")
		if writes {
			add(wanted.Source, "push", "metadata_write")
		}
		return
	}
	if it.sealed() || it.datesAttached() {
		add(wanted.Source, "metadata_read")
	}
	for i, t := range wanted.Targets {
		locks := wanted.Ways[i].Terms.Lock != topology.LockNone
		add(t, "pull")
		if o.config.Action == agent.Audit {
			continue
		}
		// The locks that a write would run into are read beforehand.
		if _, azure := acr.Suffix(t.Registry); azure || locks {
			add(t, "metadata_read")
		}
		if writes {
			add(t, "push")
		}
		if writes && locks {
			add(t, "metadata_write")
		}
	}
}

// credential chooses how a registry is signed in to: a Docker registry
// connection for its host, else the Azure connection of its side, else, at a
// prompt, what the person has; and where nothing is to be had, nobody.
func (o *operation) credential(host string) (acr.Credential, error) {
	c := o.config
	for _, docker := range c.Registries {
		if docker.Host() == host {
			return acr.Password(docker.Username(), docker.Password().Reveal()), nil
		}
	}
	cloud, azure := acr.Suffix(host)
	connection, input := c.Azure, "azureSubscription"
	if c.Target != nil && o.isTarget(host) {
		connection, input = c.Target, "targetSubscription"
	}
	switch {
	case azure && connection != nil:
		return o.identity(connection, input, cloud)
	case !azure && c.InPipeline:
		return acr.Anonymous(), nil
	case azure && c.InPipeline:
		return nil, &noConnection{host}
	}
	docker, found, err := dockerCredential(host)
	switch {
	case err != nil:
		return nil, err
	case found:
		return docker, nil
	case azure:
		client := o.network.Client(egress.Phase{
			Name: "signing in to Microsoft Entra ID", Hosts: []string{cloud.Authority}, Retries: repetitions, RepeatWrites: true,
			Timeout: serviceTimeout, BodyLimit: tokenAnswer,
		})
		identity, err := acr.NewDefaultCredential(cloud, client)
		if err != nil {
			return nil, err
		}
		return acr.Entra(identity, ""), nil
	}
	return acr.Anonymous(), nil
}

// isTarget: inside one registry the target's identity serves both sides, as it
// may do what the source's need not.
func (o *operation) isTarget(host string) bool {
	return slices.ContainsFunc(o.items, func(it *item) bool {
		return slices.ContainsFunc(it.wanted.Targets, func(t ref.Reference) bool { return t.Registry == host })
	})
}

// identity makes the Entra identity of an Azure service connection, one for
// all the registries that it serves: they share its token.
func (o *operation) identity(connection *agent.Connection, input string, registry acr.Cloud) (acr.Credential, error) {
	if made := o.identities[connection.ID]; made != nil && made.Cloud() == registry {
		return acr.Entra(made, connection.TenantID()), nil
	}
	cloud, err := acr.CloudNamed(connection.Cloud())
	if err != nil {
		return nil, err
	}
	if cloud != registry {
		return nil, fmt.Errorf("the connection in %s belongs to %s, the registry to %s", input, cloud.Name, registry.Name)
	}
	described := acr.Connection{
		Name: input, ID: connection.ID, Cloud: cloud, Authority: connection.AuthorityURL(),
		Tenant: connection.TenantID(), ClientID: connection.ClientID(),
	}
	hosts := []string{cloud.Authority}
	if named, err := url.Parse(connection.AuthorityURL()); err == nil && named.Host != "" {
		hosts = append(hosts, named.Host)
	}
	if connection.Federated() {
		if collection, err := url.Parse(o.config.CollectionURL); err == nil && collection.Host != "" {
			hosts = append(hosts, collection.Host)
		}
	}
	client := o.network.Client(egress.Phase{
		Name: "signing in to Microsoft Entra ID", Hosts: hosts, Retries: repetitions, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenAnswer,
	})
	if uri := o.config.Claims.OIDCRequestURI; connection.Federated() && uri != "" {
		if err := acr.SameHost(o.config.CollectionURL, uri); err != nil {
			// No misuse: it is the run that does not fit, which its own token
			// tells as well.
			return acr.Entra(withheld{input, err}, connection.TenantID()), nil
		}
	}
	var identity *acr.Identity
	if connection.Federated() {
		identity, err = acr.NewFederatedCredential(described, acr.Federation{
			Collection: o.config.CollectionURL, RequestURI: o.config.Claims.OIDCRequestURI, JobToken: o.config.Token.Reveal(),
		}, client)
	} else {
		identity, err = acr.NewSecretCredential(described, connection.Secret().Reveal(), client)
	}
	if err != nil {
		return nil, err
	}
	o.identities[connection.ID] = identity
	return acr.Entra(identity, connection.TenantID()), nil
}

// withheld is an identity that nobody is asked for, and why.
type withheld struct {
	input string
	why   error
}

func (w withheld) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, &acr.Error{
		Host: w.input, Op: "signing in", Message: w.why.Error(),
		Remedy: "Let no variable of the pipeline pose as SYSTEM_OIDCREQUESTURI, which is the agent's",
	}
}

// dockerCredential asks Docker's configuration, at a prompt alone.
func dockerCredential(host string) (acr.Credential, bool, error) {
	registry, err := name.NewRegistry(host, name.WeakValidation)
	if err != nil {
		return nil, false, err
	}
	found, err := authn.DefaultKeychain.Resolve(registry)
	if err != nil {
		return nil, false, fmt.Errorf("the configuration of Docker cannot be read for %s: %w", host, err)
	}
	config, err := found.Authorization()
	if err != nil {
		return nil, false, fmt.Errorf("the configuration of Docker cannot be read for %s: %w", host, err)
	}
	switch {
	case config.Username != "" && config.Password != "":
		return acr.Password(config.Username, config.Password), true, nil
	case config.IdentityToken != "":
		// What "az acr login" leaves: the registry's refresh token, for this user.
		return acr.Password("00000000-0000-0000-0000-000000000000", config.IdentityToken), true, nil
	}
	return nil, false, nil
}

// noConnection: an Azure registry is never spoken to as nobody.
type noConnection struct{ host string }

func (n *noConnection) Error() string {
	return fmt.Sprintf("no service connection is given for %s, a registry of Azure", n.host)
}

func remedyFor(err error) string {
	if _, ok := err.(*noConnection); ok {
		return "Name one in azureSubscription or targetSubscription, or a Docker registry connection for this host in registryConnections."
	}
	return "Correct the service connection, or name another one."
}

func misused(input string, err error, remedy string) error {
	return &agent.Misuse{Problems: []agent.Problem{{Subject: input, Reason: err.Error(), Remedy: remedy}}}
}

// azureDevOps prepares reading the run, once.
func (o *operation) azureDevOps() (*azdo.Service, error) {
	if o.service != nil {
		return o.service, nil
	}
	c := o.config
	claims := azdo.Claims{
		HostType: c.Claims.HostType, Collection: c.CollectionURL, ProjectID: c.Claims.ProjectID, ProjectName: c.Claims.Project,
		PlanID: c.Claims.PlanID, JobID: c.Claims.JobID, StageID: c.Claims.StageID, StageName: c.Claims.StageName,
		StageAttempt: int(c.Claims.StageAttempt), BuildID: int(c.Claims.BuildID), OIDCRequestURI: c.Claims.OIDCRequestURI,
		ReleaseID: int(c.Claims.ReleaseID), EnvironmentID: int(c.Claims.ReleaseEnvironmentID), EnvironmentName: c.Claims.ReleaseEnvironmentName,
		ReleaseAttempt: int(c.Claims.ReleaseAttempt), DeploymentID: int(c.Claims.ReleaseDeploymentID),
	}
	requesters := []string{c.Claims.BuildRequestedForID, c.Claims.BuildQueuedByID, c.Claims.StageRequestedByID, c.Claims.StageRequestedForID}
	if c.Claims.Classic() {
		// There the build's are those of the artifact, who asked for no release.
		requesters = []string{c.Claims.ReleaseRequestedForID, c.Claims.DeploymentRequestedForID}
	}
	for _, id := range requesters {
		if strings.TrimSpace(id) != "" {
			claims.RequesterIDs = append(claims.RequesterIDs, id)
		}
	}
	hosts, err := azdo.Hosts(claims)
	if err != nil {
		return nil, err
	}
	client := o.network.Client(egress.Phase{
		Name: "reading the run and its approvals", Hosts: hosts, Retries: repetitions,
		Timeout: serviceTimeout, BodyLimit: serviceAnswer,
	})
	o.service, err = azdo.New(client, claims, c.Token.Reveal())
	return o.service, err
}
