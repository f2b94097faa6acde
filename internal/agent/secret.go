package agent

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/sanitize"
)

// Secret is a value that must never be shown. Printing or encoding it gives a
// placeholder; Reveal is for the one place that sends it.
type Secret string

const hidden = "***"

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s == "" }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString prevents %#v from showing the value.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format prevents every verb, such as %x and %d, from showing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON keeps the value out of JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// secretParameters are the parameters of connections that are secret.
var secretParameters = []string{"ACCESSTOKEN", "PASSWORD", "SERVICEPRINCIPALKEY", "SERVICEPRINCIPALCERTIFICATE", "APITOKEN", "REFRESHTOKEN"}

// secrets returns the credentials that the agent gives, whether the program uses
// them or not. Secret variables are not among them: the program sends them to
// nobody, and they may have any value.
func secrets(env map[string]string) *sanitize.Secrets {
	known := &sanitize.Secrets{}
	for name, value := range env {
		upper := strings.ToUpper(name)
		switch {
		case upper == "SYSTEM_ACCESSTOKEN", upper == "SECRET_SYSTEM_ACCESSTOKEN":
			known.Add(value)
		case strings.HasPrefix(upper, "ENDPOINT_AUTH_PARAMETER_"):
			for _, parameter := range secretParameters {
				if strings.HasSuffix(upper, "_"+parameter) {
					known.Add(value)
				}
			}
		case strings.HasPrefix(upper, "ENDPOINT_AUTH_"):
			_, parameters := authorization(value)
			for _, parameter := range secretParameters {
				known.Add(parameters[parameter])
			}
		}
	}
	return known
}

// addSecrets adds what the settings and connections make of the agent's values:
// a login is sent as one value.
func (c *Config) addSecrets() {
	c.Secrets.Add(c.Token.Reveal(), c.TLS.ClientPassword.Reveal())
	c.Secrets.AddLogin(c.Proxy.Username, c.Proxy.Password.Reveal())
	for _, connection := range c.Registries {
		c.Secrets.AddLogin(connection.Username(), connection.Password().Reveal())
	}
	for _, connection := range slices.Concat(c.Registries, []*Connection{c.Azure, c.Target}) {
		if connection != nil {
			c.Secrets.Add(connection.Secret().Reveal(), connection.Certificate().Reveal())
		}
	}
}
