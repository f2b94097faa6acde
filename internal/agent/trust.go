package agent

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"

	"acrpromote/internal/ref"
)

// Proxy is the agent's proxy. Bypass holds the agent's regular expressions
// (.NET's) for what goes around it.
type Proxy struct {
	URL      *url.URL // nil = none; without user and password
	Username string
	Password Secret
	Bypass   []string
}

// WithCredentials is the URL with user and password; nil if there is no proxy.
// It must not be printed.
func (p Proxy) WithCredentials() *url.URL {
	if p.URL == nil || p.Username == "" {
		return p.URL
	}
	u := *p.URL
	u.User = url.UserPassword(p.Username, p.Password.Reveal())
	return &u
}

// TLS names the agent's own files; "" where there are none.
type TLS struct {
	CAFile         string
	ClientCert     string
	ClientKey      string
	ClientArchive  string
	ClientPassword Secret
}

// trust takes over those settings of the agent which the agent says it set
// itself. It lists the names in VSTS_PUBLIC_VARIABLES and VSTS_SECRET_VARIABLES
// (microsoft/azure-pipelines-agent, Handler.AddVariablesToEnvironment); a
// step's env: can set the variables, but does not appear there.
func (c *Config) trust(s *settings, wrong *Misuse) {
	named := map[string]bool{}
	for _, list := range []string{s.Public, s.Private} {
		var names []string
		if list == "" {
			continue
		}
		if err := json.Unmarshal([]byte(list), &names); err != nil {
			c.warn("The agent's list of variables is no JSON list; its proxy and certificate settings are ignored.")
			continue
		}
		for _, name := range names {
			named[variableKey(name)] = true
		}
	}
	var ignored []string
	own := func(name, value string) string {
		if value == "" || named[name] {
			return value
		}
		ignored = append(ignored, name)
		return ""
	}
	proxy := own("AGENT_PROXYURL", s.ProxyURL)
	user := own("AGENT_PROXYUSERNAME", s.ProxyUser)
	password := Secret(own("AGENT_PROXYPASSWORD", s.ProxyPassword.Reveal()))
	bypass := own("AGENT_PROXYBYPASSLIST", s.ProxyBypass)
	c.TLS = TLS{
		CAFile:         own("AGENT_CAINFO", s.CAInfo),
		ClientCert:     own("AGENT_CLIENTCERT", s.ClientCert),
		ClientKey:      own("AGENT_CLIENTCERTKEY", s.ClientKey),
		ClientArchive:  own("AGENT_CLIENTCERTARCHIVE", s.ClientArchive),
		ClientPassword: Secret(own("AGENT_CLIENTCERTPASSWORD", s.ClientPassword.Reveal())),
	}
	if len(ignored) > 0 {
		c.warn(strings.Join(ignored, ", ") + " ignored: the agent does not name it among the variables that it set itself (VSTS_PUBLIC_VARIABLES, VSTS_SECRET_VARIABLES).")
	}
	if s.SkipCert != "" && !strings.EqualFold(s.SkipCert, "false") {
		c.warn("AGENT_SKIPCERTVALIDATION is not obeyed: certificates are always checked. Give the agent the CA instead (--sslcacert).")
	}
	if proxy == "" {
		return
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		wrong.add("AGENT_PROXYURL", "The agent's proxy address is no http or https address with a host.", "Configure the agent again with --proxyurl http://HOST:PORT.")
		return
	}
	if _, _, err := ref.SplitPort(u.Host); err != nil {
		wrong.add("AGENT_PROXYURL", fmt.Sprintf("The agent's proxy address is not valid: %v.", err), "Configure the agent again with --proxyurl http://HOST:PORT.")
		return
	}
	if u.User != nil {
		if user == "" {
			p, _ := u.User.Password()
			user, password = u.User.Username(), Secret(p)
		}
		u.User = nil
	}
	c.Proxy = Proxy{URL: u, Username: user, Password: password}
	if bypass != "" {
		if err := json.Unmarshal([]byte(bypass), &c.Proxy.Bypass); err != nil {
			c.warn("AGENT_PROXYBYPASSLIST is no JSON list and is ignored: everything goes through the proxy.")
		}
	}
}

func (c *Config) warn(sentence string) { c.Warnings = append(c.Warnings, sentence) }

// foreign are variables by which a step's env: could answer for a server; Go's
// own libraries read them.
var foreign = []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// Scrub removes from the process's environment every secret, so that no child
// inherits one, and in a pipeline whatever would redirect or vouch for
// connections. It has to come before the first connection.
func (c *Config) Scrub() error {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if name == "" || !c.scrubs(name) {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("%s cannot be removed from the environment: %w", name, err)
		}
	}
	return nil
}

func (c *Config) scrubs(name string) bool {
	upper := strings.ToUpper(name)
	for _, secret := range []string{"ENDPOINT_AUTH", "SECRET_", "SECUREFILE_TICKET"} {
		if strings.HasPrefix(upper, secret) {
			return true
		}
	}
	if upper == "SYSTEM_ACCESSTOKEN" {
		return true
	}
	if !c.InPipeline {
		return false
	}
	// AZURE_*: azidentity takes credentials and authorities from there.
	if strings.HasPrefix(upper, "AZURE_") {
		return true
	}
	for _, f := range foreign {
		if upper == f {
			return true
		}
	}
	return false
}
