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
}

// Format prints the ID and no secret, for every verb.
func (c Connection) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "service connection %s", c.ID) }

// The supported authentication schemes.
const (
	Federation       = "WorkloadIdentityFederation"
	ServicePrincipal = "ServicePrincipal" // with a client secret
	UsernamePassword = "UsernamePassword"
)

// TenantID returns the Entra tenant of an Azure connection.
func (c *Connection) TenantID() string { return c.params["TENANTID"].Reveal() }

// ClientID returns the application (client) ID of an Azure connection.
func (c *Connection) ClientID() string { return c.params["SERVICEPRINCIPALID"].Reveal() }

// Secret returns the client secret; it is empty for a federated connection.
func (c *Connection) Secret() Secret { return c.params["SERVICEPRINCIPALKEY"] }

// Cloud returns AzureCloud, AzureChinaCloud or AzureUSGovernment.
func (c *Connection) Cloud() string {
	if e := c.data["ENVIRONMENT"]; e != "" {
		return e
	}
	return "AzureCloud"
}

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
	for _, address := range []string{c.params["REGISTRY"].Reveal(), c.URL} {
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
	hosts := map[string]string{}
	for _, id := range c.RegistryConnections {
		conn := connection(env, "registryConnections", id, usage)
		if conn == nil {
			continue
		}
		host, err := conn.host()
		switch {
		case !strings.EqualFold(conn.Scheme, UsernamePassword):
			usage.add("registryConnections", fmt.Sprintf("registry connection %s uses the authentication scheme %s", quote(id), quote(conn.Scheme)),
				"Use a Docker registry connection of the type \"Others\", with user and password. For an Azure registry, use an Azure connection in azureSubscription or targetSubscription.")
		case err != nil:
			usage.add("registryConnections", fmt.Sprintf("registry connection %s does not name a registry: %v", quote(id), err), "Correct the registry's address in the connection.")
		case host == "":
			usage.add("registryConnections", fmt.Sprintf("registry connection %s does not name a registry", quote(id)), "Enter the registry's address in the connection.")
		case conn.Username() == "" || conn.Password().Empty():
			usage.add("registryConnections", fmt.Sprintf("registry connection %s for %s has no user or no password", quote(id), host), "Enter both in the connection.")
		case hosts[host] != "":
			usage.add("registryConnections", fmt.Sprintf("two registry connections are for %s", host), "Name only one of them.")
		default:
			conn.Scheme = UsernamePassword
			hosts[host] = id
			c.Registries = append(c.Registries, conn)
		}
	}
}

func azureConnection(env map[string]string, input, id string, usage *UsageError) *Connection {
	if id == "" {
		return nil
	}
	conn := connection(env, input, id, usage)
	if conn == nil {
		return nil
	}
	const supported = "Use an Azure Resource Manager connection with workload identity federation (preferred, because it needs no secret) or with a client secret."
	before := len(usage.Problems)
	switch {
	case strings.EqualFold(conn.Scheme, Federation):
		conn.Scheme = Federation
	case strings.EqualFold(conn.Scheme, ServicePrincipal):
		conn.Scheme = ServicePrincipal
		kind := conn.params["AUTHENTICATIONTYPE"].Reveal()
		switch {
		case kind != "" && !strings.EqualFold(kind, "spnKey"):
			usage.add(input, fmt.Sprintf("the connection in %s uses a certificate (%s)", input, quote(kind)), supported)
		case conn.Secret().Empty():
			usage.add(input, fmt.Sprintf("the connection in %s has no client secret", input), supported)
		}
	case strings.EqualFold(conn.Scheme, "ManagedServiceIdentity"):
		usage.add(input, fmt.Sprintf("the connection in %s uses the agent's managed identity", input), supported)
	default:
		usage.add(input, fmt.Sprintf("the connection in %s uses the authentication scheme %s", input, quote(conn.Scheme)), supported)
	}
	if len(usage.Problems) == before && (conn.TenantID() == "" || conn.ClientID() == "") {
		usage.add(input, fmt.Sprintf("the connection in %s has no tenant or no client ID", input), "Complete the connection in the project settings.")
	}
	switch conn.Cloud() {
	case "AzureCloud", "AzureChinaCloud", "AzureUSGovernment":
	default:
		usage.add(input, fmt.Sprintf("the connection in %s is for the cloud %s", input, quote(conn.Cloud())), "Supported clouds are AzureCloud, AzureChinaCloud and AzureUSGovernment.")
	}
	if len(usage.Problems) != before {
		return nil
	}
	return conn
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
