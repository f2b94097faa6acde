package session

import (
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"acrpromote/internal/acr"
	"acrpromote/internal/arm"
	"acrpromote/internal/egress"
)

// Management is Azure Resource Manager as one identity.
type Management struct {
	*arm.Client
	// Subscription is the one that the service connection names, or empty.
	Subscription string
}

// Management prepares access to Azure Resource Manager for a registry, without sending
// anything: as the service connection that signs in to the registry, or at a prompt as
// the user. target reports whether the registry is a target. key identifies the
// identity and its cloud: registries with the same key have the same client.
func (s *Session) Management(host string, target bool) (m *Management, key string, err error) {
	cloud, azure := acr.CloudOf(host)
	connection, input := s.connection(host, target)
	key = cloud.Name
	switch {
	case !azure:
		return nil, "", &CredentialError{host, host + " is not an Azure Container Registry", "Leave it out."}
	case connection != nil:
		key += " " + connection.ID
	case s.config.InPipeline:
		return nil, "", noConnection(host)
	}
	if made := s.managements[key]; made != nil {
		return made, key, nil
	}
	m = &Management{}
	var credential azcore.TokenCredential
	clientID := ""
	if connection != nil {
		credential, err = s.identity(connection, input, "the registry", cloud)
		m.Subscription, clientID = connection.SubscriptionID(), connection.ClientID()
	} else {
		credential, err = acr.NewUserCredential(cloud, s.config.UserVariables, time.Now(), s.entra([]string{cloud.Authority}), s.metadata())
	}
	if err != nil {
		return nil, "", err
	}
	m.Client, err = arm.New(cloud.Name, credential, s.network.Client(egress.Phase{
		Name: "reading Azure Resource Manager", Hosts: []string{arm.Host(cloud.Name)}, Paced: true, Retries: retryLimit,
		Timeout: serviceTimeout, BodyLimit: arm.MaxPage,
	}), clientID, s.config.Secrets)
	if err != nil {
		return nil, "", err
	}
	if s.managements == nil {
		s.managements = map[string]*Management{}
	}
	s.managements[key] = m
	return m, key, nil
}
