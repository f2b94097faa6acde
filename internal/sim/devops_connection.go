package sim

import (
	"fmt"
	"maps"
	"strings"
)

// ServiceConnection is a service connection of a project, as an agent hands it
// to a task that names it in an input.
type ServiceConnection struct {
	*protected
	kind       string // azurerm, dockerregistry
	url        string
	scheme     string
	parameters map[string]string
	data       map[string]string
}

// FederatedConnection is an Azure Resource Manager connection with workload
// identity federation. Asked again for the same name, each of the
// constructors returns the connection that is there.
func (p *Project) FederatedConnection(name, tenantID, clientID string) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.azure("WorkloadIdentityFederation")
		s.parameters = map[string]string{
			"tenantid": tenantID, "serviceprincipalid": clientID,
			"workloadIdentityFederationSubject": s.Subject(),
			"workloadIdentityFederationIssuer":  p.org.Issuer(),
		}
	})
}

// SecretConnection is an Azure Resource Manager connection with a client
// secret.
func (p *Project) SecretConnection(name, tenantID, clientID, secret string) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.azure("ServicePrincipal")
		s.parameters = map[string]string{
			"tenantid": tenantID, "serviceprincipalid": clientID,
			"authenticationType": "spnKey", "serviceprincipalkey": secret,
		}
	})
}

// CertificateConnection is an Azure Resource Manager connection with a certificate
// and its private key in PEM.
func (p *Project) CertificateConnection(name, tenantID, clientID, pem string) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.azure("ServicePrincipal")
		s.parameters = map[string]string{
			"tenantid": tenantID, "serviceprincipalid": clientID,
			"authenticationType": "spnCertificate", "servicePrincipalCertificate": pem,
		}
	})
}

// ManagedIdentityConnection is an Azure Resource Manager connection with the managed
// identity of the agent's machine: the user-assigned one with the client ID, or, if
// that is "", the system-assigned one.
func (p *Project) ManagedIdentityConnection(name, tenantID, clientID string) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.azure("ManagedServiceIdentity")
		s.parameters = map[string]string{"tenantid": tenantID}
		set(s.data, "msiClientId", clientID)
	})
}

// AzureRegistryConnection is a Docker registry connection of the type Azure Container
// Registry, with the credential of an Azure Resource Manager connection. As the
// service has it, such a connection names no cloud and no authority, and no client ID
// of a managed identity.
func (p *Project) AzureRegistryConnection(name, host string, credential *ServiceConnection) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.kind, s.scheme, s.url = "dockerregistry", credential.scheme, "https://"+host
		s.parameters = map[string]string{"loginServer": host, "role": "8311e382-0749-4cb8-b61a-304f252e45ec", "scope": registryID(host)}
		for key, value := range credential.parameters {
			switch key {
			case "tenantid":
				s.parameters["tenantId"] = value
			case "workloadIdentityFederationSubject":
				s.parameters[key] = s.Subject()
			default:
				s.parameters[key] = value
			}
		}
		s.data = map[string]string{"registrytype": "ACR", "registryId": registryID(host), "subscriptionId": guidOf("subscription/" + s.name), "subscriptionName": "shop"}
	})
}

// registryID is a registry's ID in Azure Resource Manager.
func registryID(host string) string {
	name, _, _ := strings.Cut(host, ".")
	return "/subscriptions/" + guidOf("subscription/"+name) + "/resourceGroups/registries/providers/Microsoft.ContainerRegistry/registries/" + name
}

// DockerHubConnection is a Docker registry connection of the type Docker Hub.
func (p *Project) DockerHubConnection(name, user, password string) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.kind, s.scheme, s.url = "dockerregistry", "UsernamePassword", "https://index.docker.io/v1/"
		s.parameters = map[string]string{"username": user, "password": password, "email": "", "registry": s.url}
		s.data = map[string]string{"registrytype": "DockerHub"}
	})
}

// DockerConnection is a Docker registry connection with user and password.
func (p *Project) DockerConnection(name, host, user, password string) *ServiceConnection {
	return p.connect(name, func(s *ServiceConnection) {
		s.kind, s.scheme, s.url = "dockerregistry", "UsernamePassword", "https://"+host+"/"
		s.parameters = map[string]string{"username": user, "password": password, "email": "", "registry": s.url}
		s.data = map[string]string{"registrytype": "Others"}
	})
}

func (p *Project) connect(name string, fill func(*ServiceConnection)) *ServiceConnection {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	key := strings.ToLower(name)
	if p.connection[key] == nil {
		id := guidOf(fmt.Sprintf("endpoint/%s/%s/%s", p.org.name, p.name, name))
		s := &ServiceConnection{protected: &protected{project: p, kind: "endpoint", id: id, name: name}}
		fill(s)
		p.connection[key] = s
		p.resources = append(p.resources, s.protected)
	}
	return p.connection[key]
}

func (s *ServiceConnection) azure(scheme string) {
	s.kind, s.scheme, s.url = "azurerm", scheme, "https://management.azure.com/"
	s.data = map[string]string{
		"environment": "AzureCloud", "scopeLevel": "Subscription", "creationMode": "Manual",
		"subscriptionId": guidOf("subscription/" + s.name), "subscriptionName": "shop",
		"environmentUrl": "https://management.azure.com/", "environmentAuthorityUrl": "https://login.microsoftonline.com/",
	}
}

// Federated reports whether the connection uses workload identity federation.
func (s *ServiceConnection) Federated() bool { return s.scheme == "WorkloadIdentityFederation" }

// SetData sets one entry of the connection's data, such as environment or
// environmentAuthorityUrl; "" removes it.
func (s *ServiceConnection) SetData(key, value string) {
	s.project.org.mu.Lock()
	defer s.project.org.mu.Unlock()
	set(s.data, key, value)
}

// SetParameter sets one of the connection's authorization parameters, such as
// serviceprincipalkey; "" removes it.
func (s *ServiceConnection) SetParameter(key, value string) {
	s.project.org.mu.Lock()
	defer s.project.org.mu.Unlock()
	set(s.parameters, key, value)
}

func set(m map[string]string, key, value string) {
	if value == "" {
		delete(m, key)
		return
	}
	m[key] = value
}

// Subject is the subject of the assertions that the organisation issues for
// this connection.
func (s *ServiceConnection) Subject() string {
	return fmt.Sprintf("sc://%s/%s/%s", s.project.org.name, s.project.name, s.name)
}

// endpoint is the connection as an agent holds it. Callers hold mu.
func (s *ServiceConnection) endpoint() Endpoint {
	return Endpoint{ID: s.id, URL: s.url, Scheme: s.scheme, Parameters: maps.Clone(s.parameters), Data: maps.Clone(s.data)}
}

// document is the connection as the service tells it: without secrets.
func (s *ServiceConnection) document() map[string]any {
	parameters := maps.Clone(s.parameters)
	for _, secret := range []string{"serviceprincipalkey", "servicePrincipalCertificate", "password"} {
		if _, ok := parameters[secret]; ok {
			parameters[secret] = ""
		}
	}
	return map[string]any{
		"id": s.id, "name": s.name, "type": s.kind, "url": s.url, "data": maps.Clone(s.data), "isShared": false, "isReady": true,
		"owner": "Library", "authorization": map[string]any{"scheme": s.scheme, "parameters": parameters},
		"serviceEndpointProjectReferences": []any{map[string]any{"name": s.name, "description": "",
			"projectReference": map[string]any{"id": s.project.id, "name": s.project.name}}},
	}
}
