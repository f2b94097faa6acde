package session

import (
	"testing"

	"acrpromote/internal/agent"
)

// TestConnection: exactly one service connection signs in to a registry, or none.
func TestConnection(t *testing.T) {
	azure, target := &agent.Connection{ID: "azure"}, &agent.Connection{ID: "target"}
	for _, c := range []struct {
		name          string
		azure, target *agent.Connection
		host          string
		isTarget      bool
		id, input     string
	}{
		{"the source", azure, target, "prod.azurecr.io", false, "azure", "azureSubscription"},
		{"the target", azure, target, "dev.azurecr.io", true, "target", "targetSubscription"},
		{"one connection for both", azure, nil, "dev.azurecr.io", true, "azure", "azureSubscription"},
		{"another cloud", azure, target, "dev.azurecr.cn", true, "target", "targetSubscription"},
		{"no connection for the source", nil, target, "prod.azurecr.io", false, "", "azureSubscription"},
		{"a registry outside Azure", azure, target, "registry.example.com", true, "", ""},
		{"a look-alike", azure, target, "azurecr.io.example.com", true, "", ""},
	} {
		s := &Session{config: &agent.Config{Azure: c.azure, Target: c.target}}
		connection, input := s.connection(c.host, c.isTarget)
		id := ""
		if connection != nil {
			id = connection.ID
		}
		if id != c.id || input != c.input {
			t.Errorf("%s: connection %q of input %q, want %q of %q", c.name, id, input, c.id, c.input)
		}
	}
}
