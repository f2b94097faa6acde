package session

import (
	"strings"
	"testing"

	"acrpromote/internal/agent"
	"acrpromote/internal/vault"
)

// TestVaultConnections: a key is used with an Azure connection of the vault's cloud, and
// at a prompt with the user's own identity.
func TestVaultConnections(t *testing.T) {
	parse := func(text string) vault.Reference {
		key, err := vault.ParseReference(text)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	public, china := parse("https://receipts.vault.azure.net/keys/k"), parse("https://receipts.vault.azure.cn/keys/k")
	azure := &agent.Connection{ID: "azure", Scheme: agent.ManagedIdentity}
	for _, c := range []struct {
		name       string
		inPipeline bool
		key        vault.Reference
		connection *agent.Connection
		want       string
	}{
		{"an Azure connection", true, public, azure, ""},
		{"the user's own identity", false, public, nil, ""},
		{"no connection", true, public, nil, "no service connection is given for the vault receipts.vault.azure.net"},
		{"another cloud", true, china, azure, "the connection in receiptConnection belongs to AzureCloud, but the vault belongs to AzureChinaCloud"},
		{"user and password", true, public, &agent.Connection{ID: "docker", Scheme: agent.UsernamePassword}, "the connection in receiptConnection signs in with user and password"},
		{"another host", true, vault.Reference{Host: "vault.azure.net.evil.example", Name: "k"}, azure, "vault.azure.net.evil.example is not a Key Vault"},
	} {
		s, err := Open(&agent.Config{InPipeline: c.inPipeline}, Watch{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Vault(c.key, c.connection, "receiptConnection")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || (v != nil) != (err == nil) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if hosts := s.Hosts(); len(hosts) > 0 {
			t.Errorf("%s: %v were asked", c.name, hosts)
		}
		s.Close()
	}
}
