package acr

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Credential says how a registry is signed in to.
type Credential interface{ describe() string }

type anonymous struct{}

type password struct{ user, password string }

type entra struct {
	credential azcore.TokenCredential
	tenant     string
}

func (anonymous) describe() string { return "anonymously" }
func (password) describe() string  { return "with user and password" }
func (entra) describe() string     { return "with Microsoft Entra ID" }

// String and GoString keep the password out of whatever prints a credential.
func (p password) String() string   { return p.describe() }
func (p password) GoString() string { return p.describe() }

// Anonymous signs in as nobody: what a registry gives to everyone.
func Anonymous() Credential { return anonymous{} }

// Password signs in with user and password, as a Docker registry connection
// bears them: a repository-scoped token of a registry, or another registry's.
func Password(user, pass string) Credential { return password{user, pass} }

// Entra signs in with an identity of Microsoft Entra ID, and is good for
// registries of Azure alone. The tenant may be empty.
func Entra(credential azcore.TokenCredential, tenantID string) Credential {
	return entra{credential, tenantID}
}

// clouded is a credential that knows which cloud it belongs to.
type clouded interface{ Cloud() Cloud }

// tokenScope is what Entra is asked for, in every cloud: a registry that
// refuses tokens for Azure Resource Manager accepts this one alone.
var tokenScope = []string{"https://containerregistry.azure.net/.default"}
