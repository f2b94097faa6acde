package session

import (
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/egress"
	"acrpromote/internal/vault"
)

// vaultRetryLimit is larger than for other services: a vault takes so many requests in
// 10 seconds from all its users, and usually does not say how long to wait.
const vaultRetryLimit = 8

// Vault prepares access to a key in a vault without sending anything. The connection
// that input names signs in to it; without one, at a prompt, the user's own identity.
// Call it before using the session from several goroutines.
func (s *Session) Vault(key vault.Reference, connection *agent.Connection, input string) (*vault.Vault, error) {
	cloud, err := acr.CloudByName(key.Cloud())
	if err != nil {
		return nil, err
	}
	options := vault.Options{Secrets: s.config.Secrets, Limit: func(requests int, period time.Duration) {
		s.network.Pace(key.Host, requests, period)
	}}
	var credential azcore.TokenCredential
	switch {
	case connection != nil && !connection.Entra():
		return nil, &CredentialError{key.Host, fmt.Sprintf("the connection in %s signs in with user and password, which a vault does not take", input), "Name an Azure Resource Manager connection."}
	case connection != nil:
		options.ClientID = connection.ClientID()
		credential, err = s.identity(connection, input, "the vault", cloud)
	case s.config.InPipeline:
		err = &CredentialError{key.Host, "no service connection is given for the vault " + key.Host, "Name an Azure Resource Manager connection in " + input + "."}
	default:
		credential, err = acr.NewUserCredential(cloud, s.config.UserVariables, time.Now(), s.entra([]string{cloud.Authority}), s.metadata())
	}
	if err != nil {
		return nil, err
	}
	if named, ok := credential.(interface{ Name() string }); ok {
		options.Identity = named.Name()
	}
	return vault.New(key, credential, s.network.Client(egress.Phase{
		Name: "using the key in the vault", Hosts: []string{key.Host}, Paced: true, Retries: vaultRetryLimit, RepeatWrites: true,
		Timeout: serviceTimeout, BodyLimit: vault.MaxAnswer,
	}), options)
}
