package agent

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"

	"acrpromote/internal/ref"
)

// Connection is a service connection. The agent passes those to a step that its
// inputs name.
type Connection struct {
	ID     string
	URL    string
	Scheme string

	params map[string]Secret
	data   map[string]string
	// registry is set for a Docker registry connection.
	registry bool
}

// Format prints the ID and no secret, for every verb.
func (c Connection) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "service connection %s", c.ID) }

// The supported authentication schemes.
const (
	Federation       = "WorkloadIdentityFederation"
	ServicePrincipal = "ServicePrincipal" // with a client secret or a certificate
	ManagedIdentity  = "ManagedServiceIdentity"
	UsernamePassword = "UsernamePassword"
)

// TenantID returns the Entra tenant of an Azure connection.
func (c *Connection) TenantID() string { return c.params["TENANTID"].Reveal() }

// ClientID returns the application (client) ID of an Azure connection. For a
// managed identity it is empty if the connection does not select one of those
// that are assigned to the agent.
func (c *Connection) ClientID() string {
	if c.Scheme == ManagedIdentity {
		return c.data["MSICLIENTID"]
	}
	return c.params["SERVICEPRINCIPALID"].Reveal()
}

// SubscriptionID returns the Azure subscription that the connection names, or "".
func (c *Connection) SubscriptionID() string { return c.data["SUBSCRIPTIONID"] }

// Secret returns the client secret; it is empty for a connection with another
// credential.
func (c *Connection) Secret() Secret { return c.params["SERVICEPRINCIPALKEY"] }

// Certificate returns the certificate of a service principal with its private
// key, in PEM; it is empty for a connection with another credential.
func (c *Connection) Certificate() Secret { return c.params["SERVICEPRINCIPALCERTIFICATE"] }

// ByCertificate reports whether the service principal has a certificate instead
// of a secret.
func (c *Connection) ByCertificate() bool {
	return c.Scheme == ServicePrincipal && strings.EqualFold(c.params["AUTHENTICATIONTYPE"].Reveal(), "spnCertificate")
}

// Cloud returns AzureCloud, AzureChinaCloud or AzureUSGovernment. It is empty
// for a Docker registry connection: the cloud is that of its registry.
func (c *Connection) Cloud() string {
	if e := c.data["ENVIRONMENT"]; e != "" || c.registry {
		return e
	}
	return "AzureCloud"
}

// Entra reports whether the connection signs in with Microsoft Entra ID: every
// Azure connection, and a Docker registry connection of the type Azure Container
// Registry.
func (c *Connection) Entra() bool { return c.Scheme != UsernamePassword }

// AuthorityURL returns the URL of Microsoft Entra ID in the connection, or "".
// Older connections have login.windows.net.
func (c *Connection) AuthorityURL() string { return c.data["ENVIRONMENTAUTHORITYURL"] }

// Federated reports whether the connection uses workload identity federation,
// which has no secret.
func (c *Connection) Federated() bool { return c.Scheme == Federation }

// Username returns the user of a Docker registry connection.
func (c *Connection) Username() string { return c.params["USERNAME"].Reveal() }

// Password returns the password of a Docker registry connection.
func (c *Connection) Password() Secret { return c.params["PASSWORD"] }

// Host returns the registry of a Docker registry connection: host[:port], in
// lower case and without the default HTTPS port.
func (c *Connection) Host() string {
	host, _ := c.host()
	return host
}

func (c *Connection) host() (string, error) {
	addresses := []string{c.params["REGISTRY"].Reveal(), c.URL}
	if c.ofAzureRegistry() {
		addresses = []string{c.params["LOGINSERVER"].Reveal(), c.URL}
	}
	for _, address := range addresses {
		if host, err := registryHost(address); host != "" || err != nil {
			return host, err
		}
	}
	return "", nil
}

// registryHost returns the host of an address, or "" if it has none.
func registryHost(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return "", nil
	}
	if _, _, err := ref.SplitPort(u.Host); err != nil {
		return "", fmt.Errorf("%s is not a valid registry host: %w", quote(u.Host), err)
	}
	return ref.CanonicalHost(u.Host), nil
}

// connections sets the service connections that the inputs name.
func (c *Config) connections(env map[string]string, usage *UsageError) {
	c.Azure = azureConnection(env, "azureSubscription", c.AzureSubscription, usage)
	c.Target = azureConnection(env, "targetSubscription", c.TargetSubscription, usage)
	c.Receipts = azureConnection(env, "receiptConnection", c.ReceiptConnection, usage)
	hosts := map[string]string{}
	for _, id := range c.RegistryConnections {
		conn := connection(env, "registryConnections", id, usage)
		if conn == nil {
			continue
		}
		conn.registry = true
		host, err := conn.host()
		subject := "registry connection " + quote(id)
		switch {
		case err != nil:
			usage.add("registryConnections", fmt.Sprintf("%s does not name a registry: %v", subject, err), "Correct the registry's address in the connection.")
		case host == "":
			usage.add("registryConnections", subject+" does not name a registry", "Enter the registry's address in the connection.")
		case hosts[host] != "":
			usage.add("registryConnections", fmt.Sprintf("two registry connections are for %s", host), "Name only one of them.")
		case !conn.checkRegistryCredential(subject+" for "+host, usage):
		default:
			hosts[host] = id
			c.Registries = append(c.Registries, conn)
		}
	}
}

// ofAzureRegistry reports whether a Docker registry connection is of the type
// Azure Container Registry, which has the credential of an Azure connection.
func (c *Connection) ofAzureRegistry() bool {
	kind := c.data["REGISTRYTYPE"]
	return strings.EqualFold(kind, "ACR") || kind == "" && !c.params["LOGINSERVER"].Empty()
}

// checkRegistryCredential reports whether a Docker registry connection has what
// its type needs, and sets its scheme as the task Docker@2 does.
func (c *Connection) checkRegistryCredential(subject string, usage *UsageError) bool {
	const input = "registryConnections"
	before := len(usage.Problems)
	switch {
	case c.ofAzureRegistry():
		if c.Scheme == "" {
			c.Scheme = c.params["SCHEME"].Reveal()
		}
		if c.Scheme == "" {
			c.Scheme = ServicePrincipal
		}
		c.checkIdentity(input, subject, "Use a connection of the type \"Azure Container Registry\" with workload identity federation, a service principal or a managed identity.", usage)
	case !strings.EqualFold(c.Scheme, UsernamePassword):
		usage.add(input, fmt.Sprintf("%s uses the authentication scheme %s", subject, quote(c.Scheme)),
			"Use a Docker registry connection of the type \"Others\" or \"Docker Hub\", with user and password, or of the type \"Azure Container Registry\".")
	case c.Username() == "" || c.Password().Empty():
		usage.add(input, subject+" has no user or no password", "Enter both in the connection.")
	default:
		c.Scheme = UsernamePassword
	}
	return len(usage.Problems) == before
}

func azureConnection(env map[string]string, input, id string, usage *UsageError) *Connection {
	if id == "" {
		return nil
	}
	conn := connection(env, input, id, usage)
	if conn == nil {
		return nil
	}
	before := len(usage.Problems)
	conn.checkIdentity(input, "the connection in "+input,
		"Use an Azure Resource Manager connection with workload identity federation (preferred, because it needs no secret), a service principal or a managed identity.", usage)
	if len(usage.Problems) != before {
		return nil
	}
	return conn
}

// checkIdentity reports what an identity of Microsoft Entra ID lacks in the
// connection, and sets the scheme's usual case.
func (c *Connection) checkIdentity(input, subject, supported string, usage *UsageError) {
	const complete = "Complete the connection in the project settings."
	before := len(usage.Problems)
	switch {
	case strings.EqualFold(c.Scheme, Federation):
		c.Scheme = Federation
	case strings.EqualFold(c.Scheme, ManagedIdentity):
		c.Scheme = ManagedIdentity
	case strings.EqualFold(c.Scheme, ServicePrincipal):
		c.Scheme = ServicePrincipal
		kind := c.params["AUTHENTICATIONTYPE"].Reveal()
		switch {
		case c.ByCertificate() && c.Certificate().Empty():
			usage.add(input, subject+" has no certificate", complete)
		case c.ByCertificate():
		case kind != "" && !strings.EqualFold(kind, "spnKey"):
			usage.add(input, fmt.Sprintf("%s uses the authentication type %s", subject, quote(kind)), supported)
		case c.Secret().Empty():
			usage.add(input, subject+" has no client secret", complete)
		}
	default:
		usage.add(input, fmt.Sprintf("%s uses the authentication scheme %s", subject, quote(c.Scheme)), supported)
	}
	if len(usage.Problems) == before && c.Scheme != ManagedIdentity && (c.TenantID() == "" || c.ClientID() == "") {
		usage.add(input, subject+" has no tenant or no client ID", complete)
	}
	switch c.Cloud() {
	case "AzureCloud", "AzureChinaCloud", "AzureUSGovernment":
	case "":
	default:
		usage.add(input, fmt.Sprintf("%s is for the cloud %s", subject, quote(c.Cloud())), "Supported clouds are AzureCloud, AzureChinaCloud and AzureUSGovernment.")
	}
}

// connection returns the service connection with an ID. Each parameter has its
// own variable; the JSON document is the fallback.
func connection(env map[string]string, input, id string, usage *UsageError) *Connection {
	if strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) || !hasConnection(env, id) {
		usage.add(input, fmt.Sprintf("service connection %s in %s is not available to this step", quote(id), input),
			"Name a service connection that exists and that this pipeline is authorized to use. Service connections are available only to the task in a pipeline.")
		return nil
	}
	conn := &Connection{
		ID: id, URL: env[endpointKey("URL_", id)], Scheme: env[endpointKey("AUTH_SCHEME_", id)],
		params: map[string]Secret{}, data: map[string]string{},
	}
	scheme, parameters := authorization(env[endpointKey("AUTH_", id)])
	if conn.Scheme == "" {
		conn.Scheme = scheme
	}
	for name, value := range parameters {
		conn.params[name] = Secret(value)
	}
	prefix := endpointKey("AUTH_PARAMETER_", id) + "_"
	data := endpointKey("DATA_", id) + "_"
	for name, value := range env {
		if key, ok := strings.CutPrefix(name, prefix); ok && value != "" {
			conn.params[strings.ToUpper(key)] = Secret(value)
		} else if key, ok := strings.CutPrefix(name, data); ok && value != "" {
			conn.data[strings.ToUpper(key)] = value
		}
	}
	return conn
}

func hasConnection(env map[string]string, id string) bool {
	return env[endpointKey("AUTH_SCHEME_", id)] != "" || env[endpointKey("AUTH_", id)] != ""
}

// endpointKey returns the name of a variable of a service connection. The ID
// keeps its case, except on Windows, where names of variables have no case.
func endpointKey(kind, id string) string {
	key := "ENDPOINT_" + kind + id
	if runtime.GOOS == "windows" {
		key = strings.ToUpper(key)
	}
	return key
}
