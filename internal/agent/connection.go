package agent

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"

	"acrpromote/internal/ref"
)

// Connection is a service connection as the agent hands it to the step: only
// those that an input of the step names.
type Connection struct {
	ID     string
	URL    string
	Scheme string

	params map[string]Secret
	data   map[string]string
}

// Format shows the id and nothing that is secret, whatever the verb.
func (c Connection) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "service connection %s", c.ID) }

// Schemes that are understood.
const (
	Federation       = "WorkloadIdentityFederation"
	ServicePrincipal = "ServicePrincipal" // with a client secret
	UsernamePassword = "UsernamePassword"
)

// TenantID is the Entra tenant of an Azure connection.
func (c *Connection) TenantID() string { return c.params["TENANTID"].Reveal() }

// ClientID is the application (client) id of an Azure connection.
func (c *Connection) ClientID() string { return c.params["SERVICEPRINCIPALID"].Reveal() }

// Secret is the client secret; empty for a federated connection.
func (c *Connection) Secret() Secret { return c.params["SERVICEPRINCIPALKEY"] }

// Cloud is AzureCloud, AzureChinaCloud or AzureUSGovernment.
func (c *Connection) Cloud() string {
	if e := c.data["ENVIRONMENT"]; e != "" {
		return e
	}
	return "AzureCloud"
}

// AuthorityURL is where the connection says that Entra is; "" if it says
// nothing. Older connections bear login.windows.net.
func (c *Connection) AuthorityURL() string { return c.data["ENVIRONMENTAUTHORITYURL"] }

// Federated tells that there is no secret: the run's own token is exchanged.
func (c *Connection) Federated() bool { return c.Scheme == Federation }

// Username is the user of a Docker registry connection.
func (c *Connection) Username() string { return c.params["USERNAME"].Reveal() }

// Password is the password of a Docker registry connection.
func (c *Connection) Password() Secret { return c.params["PASSWORD"] }

// Host is the registry of a Docker registry connection: host[:port], lower
// case, without the port of https.
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

// registryHost returns the host of an address, empty if it names none.
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

// connections finds what the inputs name.
func (c *Config) connections(env map[string]string, wrong *Misuse) {
	c.Azure = azureConnection(env, "azureSubscription", c.AzureSubscription, wrong)
	c.Target = azureConnection(env, "targetSubscription", c.TargetSubscription, wrong)
	hosts := map[string]string{}
	for _, id := range c.RegistryConnections {
		conn := connection(env, "registryConnections", id, wrong)
		if conn == nil {
			continue
		}
		host, err := conn.host()
		switch {
		case !strings.EqualFold(conn.Scheme, UsernamePassword):
			wrong.add("registryConnections", fmt.Sprintf("The registry connection %s signs in by %s.", quote(id), quote(conn.Scheme)),
				"Supported are Docker registry connections of the kind \"Others\", with user and password; for an Azure registry name an Azure connection in azureSubscription or targetSubscription.")
		case err != nil:
			wrong.add("registryConnections", fmt.Sprintf("The registry connection %s names no registry: %v.", quote(id), err), "Correct the registry's address in the connection.")
		case host == "":
			wrong.add("registryConnections", fmt.Sprintf("The registry connection %s names no registry.", quote(id)), "Enter the registry's address in the connection.")
		case conn.Username() == "" || conn.Password().Empty():
			wrong.add("registryConnections", fmt.Sprintf("The registry connection %s for %s has no user or no password.", quote(id), host), "Enter both in the connection.")
		case hosts[host] != "":
			wrong.add("registryConnections", fmt.Sprintf("Two registry connections are for %s.", host), "Name one of them.")
		default:
			conn.Scheme = UsernamePassword
			hosts[host] = id
			c.Registries = append(c.Registries, conn)
		}
	}
}

func azureConnection(env map[string]string, input, id string, wrong *Misuse) *Connection {
	if id == "" {
		return nil
	}
	conn := connection(env, input, id, wrong)
	if conn == nil {
		return nil
	}
	const supported = "Supported are Azure Resource Manager connections with workload identity federation (the better choice: it holds no secret) and with a client secret."
	before := len(wrong.Problems)
	switch {
	case strings.EqualFold(conn.Scheme, Federation):
		conn.Scheme = Federation
	case strings.EqualFold(conn.Scheme, ServicePrincipal):
		conn.Scheme = ServicePrincipal
		kind := conn.params["AUTHENTICATIONTYPE"].Reveal()
		switch {
		case kind != "" && !strings.EqualFold(kind, "spnKey"):
			wrong.add(input, fmt.Sprintf("The connection of %s signs in with a certificate (%s).", input, quote(kind)), supported)
		case conn.Secret().Empty():
			wrong.add(input, fmt.Sprintf("The connection of %s has no client secret.", input), supported)
		}
	case strings.EqualFold(conn.Scheme, "ManagedServiceIdentity"):
		wrong.add(input, fmt.Sprintf("The connection of %s signs in with the agent's managed identity.", input), supported)
	default:
		wrong.add(input, fmt.Sprintf("The connection of %s signs in by %s.", input, quote(conn.Scheme)), supported)
	}
	if len(wrong.Problems) == before && (conn.TenantID() == "" || conn.ClientID() == "") {
		wrong.add(input, fmt.Sprintf("The connection of %s names no tenant or no client.", input), "Complete the connection in the project's settings.")
	}
	switch conn.Cloud() {
	case "AzureCloud", "AzureChinaCloud", "AzureUSGovernment":
	default:
		wrong.add(input, fmt.Sprintf("The connection of %s belongs to the cloud %s.", input, quote(conn.Cloud())), "Known are AzureCloud, AzureChinaCloud and AzureUSGovernment.")
	}
	if len(wrong.Problems) != before {
		return nil
	}
	return conn
}

// connection collects what the agent handed over for one id. Parameters have
// variables of their own; the JSON document stands in where they are missing.
func connection(env map[string]string, input, id string, wrong *Misuse) *Connection {
	if strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) || !hasConnection(env, id) {
		wrong.add(input, fmt.Sprintf("The service connection %s of %s was not handed to this step.", quote(id), input),
			"Name one that exists and that this pipeline is authorised to use; service connections exist only for the task in a pipeline.")
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

// endpointKey names a variable of a service connection. The id keeps its case,
// except on Windows, where names have none.
func endpointKey(kind, id string) string {
	key := "ENDPOINT_" + kind + id
	if runtime.GOOS == "windows" {
		key = strings.ToUpper(key)
	}
	return key
}
