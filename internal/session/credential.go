package session

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/egress"
	"acrpromote/internal/explain"
	"acrpromote/internal/ref"
)

// credential returns the credential for a registry. In this order: a Docker
// registry connection for the host, the Azure connection of the source or the
// target, at a prompt the user's own sign-in, and last anonymous access. Within
// one registry the target's identity serves both sides, because it may have
// rights that the source's does not need.
func (s *Session) credential(host string, target bool) (acr.Credential, error) {
	c := s.config
	connection, input := s.connection(host, target)
	cloud, azure := acr.CloudOf(host)
	switch {
	case connection != nil && !connection.Entra():
		return acr.Password(connection.Username(), connection.Password().Reveal()), nil
	case connection != nil && !azure:
		return nil, fmt.Errorf("the connection in %s signs in with Microsoft Entra ID, but %s is not an Azure Container Registry", input, host)
	case connection != nil:
		identity, err := s.identity(connection, input, "the registry", cloud)
		if err != nil {
			return nil, err
		}
		return acr.Entra(identity, connection.TenantID()), nil
	case !azure && c.InPipeline:
		return acr.Anonymous(), nil
	case azure && c.InPipeline:
		return nil, noConnection(host)
	}
	docker, found, err := dockerCredential(host)
	switch {
	case err != nil:
		return nil, err
	case found:
		return docker, nil
	case azure:
		identity, err := acr.NewUserCredential(cloud, s.config.UserVariables, time.Now(), s.entra([]string{cloud.Authority}), s.metadata())
		if err != nil {
			return nil, err
		}
		return acr.Entra(identity, ""), nil
	}
	return acr.Anonymous(), nil
}

// registryConnections is the input that names Docker registry connections.
const registryConnections = "registryConnections"

// connection returns the service connection that signs in to a registry, and the
// input that names it; nil if none does.
func (s *Session) connection(host string, target bool) (connection *agent.Connection, input string) {
	c := s.config
	for _, docker := range c.Registries {
		if docker.Host() == host {
			return docker, registryConnections
		}
	}
	if _, azure := acr.CloudOf(host); !azure {
		return nil, ""
	}
	if c.Target != nil && target {
		return c.Target, "targetSubscription"
	}
	return c.Azure, "azureSubscription"
}

// identity returns the Entra identity of an Azure service connection for a resource in a
// cloud, such as "the registry". All registries and vaults of a connection share one
// identity.
func (s *Session) identity(connection *agent.Connection, input, resource string, of acr.Cloud) (azcore.TokenCredential, error) {
	if made := s.identities[connection.ID]; made != nil && made.Cloud() == of {
		return made, nil
	}
	cloud := of
	if named := connection.Cloud(); named != "" {
		var err error
		if cloud, err = acr.CloudByName(named); err != nil {
			return nil, err
		}
	}
	if cloud != of {
		return nil, fmt.Errorf("the connection in %s belongs to %s, but %s belongs to %s", input, cloud.Name, resource, of.Name)
	}
	described := acr.Connection{
		Name: input, ID: connection.ID, Cloud: cloud, Authority: connection.AuthorityURL(),
		Tenant: connection.TenantID(), ClientID: connection.ClientID(), Secrets: s.config.Secrets,
	}
	var identity *acr.Identity
	var err error
	switch {
	case connection.Scheme == agent.ManagedIdentity:
		identity, err = acr.NewManagedIdentity(described, s.metadata())
	case connection.Federated():
		if uri := s.config.Claims.OIDCRequestURI; uri != "" {
			if err := acr.InCollection(s.config.CollectionURL, uri); err != nil {
				// Not a usage error: the run does not match its claims, and checking
				// the run's own token reports that as well.
				return withheld{input, err}, nil
			}
		}
		hosts := append(authorities(connection, cloud), collectionHosts(s.config)...)
		identity, err = acr.NewFederatedCredential(described, acr.Federation{
			Collection: s.config.CollectionURL, RequestURI: s.config.Claims.OIDCRequestURI, JobToken: s.config.Token.Reveal(),
		}, s.entra(hosts))
	case connection.ByCertificate():
		identity, err = acr.NewCertificateCredential(described, connection.Certificate().Reveal(), time.Now(), s.entra(authorities(connection, cloud)))
	default:
		identity, err = acr.NewSecretCredential(described, connection.Secret().Reveal(), s.entra(authorities(connection, cloud)))
	}
	if err != nil {
		return nil, err
	}
	s.identities[connection.ID] = identity
	return identity, nil
}

// authorities returns the hosts that may issue a connection's tokens.
func authorities(connection *agent.Connection, cloud acr.Cloud) []string {
	hosts := []string{cloud.Authority}
	if named, err := url.Parse(connection.AuthorityURL()); err == nil && named.Host != "" {
		hosts = append(hosts, named.Host)
	}
	return hosts
}

// metadata returns a client for the metadata service of the agent's machine. A
// machine outside Azure has none, and may leave the request without an answer.
func (s *Session) metadata() *http.Client {
	return s.network.Client(egress.Phase{
		Name: "asking for the token of the agent's managed identity", Hosts: []string{acr.MetadataHost + ":80"}, LinkLocal: true,
		Retries: metadataRetryLimit, Timeout: metadataTimeout, BodyLimit: tokenBodyLimit,
	})
}

// entra returns a client for signing in to Entra ID.
func (s *Session) entra(hosts []string) *http.Client {
	return s.network.Client(egress.Phase{
		Name: "signing in to Microsoft Entra ID", Hosts: hosts, Retries: retryLimit, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: tokenBodyLimit,
	})
}

// withheld is an identity for which no token is requested; why is the reason.
type withheld struct {
	input string
	why   error
}

func (w withheld) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, &acr.Error{
		Host: w.input, Op: "signing in", Message: w.why.Error(),
		Remedy: "If the pipeline sets the variable SYSTEM_OIDCREQUESTURI, remove it: only the agent may set it. If the server has several names, configure the agent with the one that the server's settings name as its public address",
	}
}

// dockerCredential returns the credential from Docker's configuration. It is
// used only at a prompt.
func dockerCredential(host string) (acr.Credential, bool, error) {
	names := []string{host}
	if host == ref.DockerHub {
		// "docker login" stores Docker Hub's credential under this name.
		names = []string{name.DefaultRegistry, host}
	}
	for _, name := range names {
		if credential, found, err := dockerCredentialOf(name); found || err != nil {
			return credential, found, err
		}
	}
	return nil, false, nil
}

func dockerCredentialOf(host string) (acr.Credential, bool, error) {
	registry, err := name.NewRegistry(host, name.WeakValidation)
	if err != nil {
		return nil, false, err
	}
	found, err := authn.DefaultKeychain.Resolve(registry)
	if err != nil {
		return nil, false, dockerError(host, err)
	}
	config, err := found.Authorization()
	if err != nil {
		return nil, false, dockerError(host, err)
	}
	_, azure := acr.CloudOf(host)
	switch {
	case config.Username != "" && config.Password != "":
		return acr.Password(config.Username, config.Password), true, nil
	case config.IdentityToken != "" && !azure:
		return acr.IdentityToken(config.IdentityToken), true, nil
	case config.IdentityToken != "":
		// "az acr login" stores the registry's refresh token for this user name.
		return acr.Password("00000000-0000-0000-0000-000000000000", config.IdentityToken), true, nil
	}
	return nil, false, nil
}

// CredentialError says why there is no credential for a registry. Subject is the
// registry's host, or what all registries have in common.
type CredentialError struct{ Subject, Reason, Remedy string }

func (e *CredentialError) Error() string { return explain.Text(e.Reason, e.Remedy) }

// Explanation implements explain.Error.
func (e *CredentialError) Explanation() (reason, remedy string) { return e.Reason, e.Remedy }

// dockerError explains an error of Docker's configuration. Its libraries have no
// types for these errors.
func dockerError(host string, err error) error {
	text := err.Error()
	if rest, isHelper := strings.CutPrefix(text, "error getting credentials - err: "); isHelper {
		cause, _, _ := strings.Cut(rest, ", out: ``")
		return &CredentialError{host, "the credential helper in Docker's configuration failed: " + strings.TrimPrefix(cause, "exec: "),
			"Install the helper, or correct credHelpers and credsStore in Docker's config.json. `docker login " + host + "` tests it."}
	}
	const parsing = "parsing config file ("
	if rest, isFile := strings.CutPrefix(text, parsing); isFile {
		if file, cause, ok := strings.Cut(rest, "): "); ok {
			return &CredentialError{"Docker's configuration", file + " is not valid: " + cause, "Correct this file, or set DOCKER_CONFIG to the folder of another one."}
		}
	}
	return &CredentialError{"Docker's configuration", "it cannot be read: " + text, "Correct the file config.json in ~/.docker, or in the folder that DOCKER_CONFIG names."}
}

// noConnection returns the error for an Azure registry without a service
// connection: it is never accessed anonymously.
func noConnection(host string) error {
	return &CredentialError{host, fmt.Sprintf("no service connection is given for %s, an Azure Container Registry", host),
		"Set azureSubscription or targetSubscription, or add a Docker registry connection for this host to registryConnections."}
}
