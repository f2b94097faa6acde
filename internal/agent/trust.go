package agent

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"acrpromote/internal/ref"
)

// Proxy is the agent's proxy. Bypass has the agent's regular expressions (.NET)
// for hosts that are contacted directly.
type Proxy struct {
	URL      *url.URL // without user and password; nil if there is no proxy
	Username string
	Password Secret
	Bypass   []string
}

// WithCredentials returns the URL with user and password, or nil if there is no
// proxy. It must not be printed.
func (p Proxy) WithCredentials() *url.URL {
	if p.URL == nil || p.Username == "" {
		return p.URL
	}
	u := *p.URL
	u.User = url.UserPassword(p.Username, p.Password.Reveal())
	return &u
}

// TLS has the paths of the agent's certificate files, each "" if there is none.
type TLS struct {
	CAFile         string
	ClientCert     string
	ClientKey      string
	ClientArchive  string
	ClientPassword Secret
}

// trust applies the agent's settings that the agent set itself. It lists their
// names in VSTS_PUBLIC_VARIABLES and VSTS_SECRET_VARIABLES
// (microsoft/azure-pipelines-agent, Handler.AddVariablesToEnvironment). A step's
// env: can set such variables too, but is not listed there.
func (c *Config) trust(s *settings, usage *UsageError) {
	named := map[string]bool{}
	for _, list := range []string{s.Public, s.Private} {
		var names []string
		if list == "" {
			continue
		}
		if err := json.Unmarshal([]byte(list), &names); err != nil {
			c.warn("The agent's list of variables is not a JSON list. The agent's proxy and certificate settings are ignored.")
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
		c.warn(strings.Join(ignored, ", ") + " ignored: not among the variables that the agent set itself (VSTS_PUBLIC_VARIABLES, VSTS_SECRET_VARIABLES).")
	}
	if s.SkipCert != "" && !strings.EqualFold(s.SkipCert, "false") {
		c.warn("AGENT_SKIPCERTVALIDATION is ignored: certificates are always verified. Give the agent the CA certificate instead (--sslcacert).")
	}
	if proxy == "" {
		return
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		usage.add("AGENT_PROXYURL", "the agent's proxy address is not an http or https URL with a host", "Configure the agent again with --proxyurl http://HOST:PORT.")
		return
	}
	if _, _, err := ref.SplitPort(u.Host); err != nil {
		usage.add("AGENT_PROXYURL", fmt.Sprintf("the agent's proxy address is not valid: %v", err), "Configure the agent again with --proxyurl http://HOST:PORT.")
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
			c.warn("AGENT_PROXYBYPASSLIST is ignored: it is not a JSON list. All requests go through the proxy.")
		}
	}
}

func (c *Config) warn(sentence string) { c.Warnings = append(c.Warnings, sentence) }

// networkVariables has variables that Go's libraries read and that a step's env: could
// set to impersonate a server.
var networkVariables = []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// Scrub removes all secrets from the environment of the process, so that no
// child process inherits them. In a pipeline it also removes the suspicious
// variables, such as those that would redirect connections or change which
// certificates are trusted. It must be called before the first connection.
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
	// azidentity reads credentials and authorities from AZURE_*.
	if strings.HasPrefix(upper, "AZURE_") {
		return true
	}
	return slices.Contains(suspiciousVariables, upper)
}
