package acr

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Credential is a way to sign in to a registry.
type Credential interface{ describe() string }

type anonymous struct{}

type password struct{ user, password string }

type identityToken struct{ token string }

type entra struct {
	credential azcore.TokenCredential
	tenant     string
}

func (anonymous) describe() string     { return "anonymously" }
func (password) describe() string      { return "with user and password" }
func (identityToken) describe() string { return "with an identity token" }
func (entra) describe() string         { return "with Microsoft Entra ID" }

// String and GoString keep the password out of printed credentials.
func (p password) String() string   { return p.describe() }
func (p password) GoString() string { return p.describe() }

// String and GoString keep the token out of printed credentials.
func (i identityToken) String() string   { return i.describe() }
func (i identityToken) GoString() string { return i.describe() }

// Anonymous returns a credential for anonymous access.
func Anonymous() Credential { return anonymous{} }

// Password returns a credential with user and password, as a Docker registry
// connection has them: a repository-scoped token of an Azure Container
// Registry, or a login of another registry.
func Password(user, pass string) Credential { return password{user, pass} }

// IdentityToken returns a credential with a refresh token of the registry, as
// Docker's configuration has it after some logins.
func IdentityToken(token string) Credential { return identityToken{token} }

// Entra returns a credential for an identity of Microsoft Entra ID. It works
// only for Azure Container Registries. The tenant may be empty.
func Entra(credential azcore.TokenCredential, tenantID string) Credential {
	return entra{credential, tenantID}
}

// cloudCredential is a credential that belongs to one cloud.
type cloudCredential interface{ Cloud() Cloud }

// tokenScope is the scope of Entra tokens in every cloud. Registries that
// refuse tokens for Azure Resource Manager accept this one.
var tokenScope = []string{"https://containerregistry.azure.net/.default"}
