package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Limits of the agent's bypass list.
const (
	maxBypass        = 1000
	maxBypassPattern = 4096
)

// Proxy is the agent's proxy. URL has user and password if the proxy requires
// them; they are sent to the proxy only. Bypass holds regular expressions as
// the agent lists them in AGENT_PROXYBYPASSLIST.
type Proxy struct {
	URL    *url.URL
	Bypass []string
}

type agentProxy struct {
	url    *url.URL
	bypass []*regexp.Regexp
}

// newAgentProxy skips invalid patterns (their hosts use the proxy) and returns
// warnings about them.
func newAgentProxy(p Proxy) (*agentProxy, []string, error) {
	if p.URL == nil || p.URL.Hostname() == "" {
		return nil, nil, errors.New("the agent's proxy (AGENT_PROXYURL) names no host; it should look like http://proxy.example.com:3128")
	}
	if p.URL.Scheme != "http" && p.URL.Scheme != "https" {
		return nil, nil, fmt.Errorf("the agent's proxy (AGENT_PROXYURL) at %s has the scheme %q; http or https is needed", p.URL.Host, p.URL.Scheme)
	}
	if len(p.Bypass) > maxBypass {
		return nil, nil, fmt.Errorf("the agent's proxy bypass list has %d entries; at most %d are read", len(p.Bypass), maxBypass)
	}
	proxy := &agentProxy{url: p.URL}
	var warnings []string
	for _, pattern := range p.Bypass {
		if strings.TrimSpace(pattern) == "" {
			continue
		}
		var expression *regexp.Regexp
		err := error(nil)
		if len(pattern) > maxBypassPattern {
			pattern, err = pattern[:40]+"…", errors.New("it is too long")
		} else {
			expression, err = regexp.Compile("(?i)" + pattern)
		}
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("the proxy bypass pattern %q cannot be understood and is left out: hosts that it means go through the proxy", pattern))
			continue
		}
		proxy.bypass = append(proxy.bypass, expression)
	}
	return proxy, warnings, nil
}

// choose decides as the agent's own client does
// (microsoft/azure-pipelines-agent, VstsAgentWebProxy.IsBypassed): loopback is
// never proxied, and a pattern is searched in scheme://host, with the port if
// it is not the scheme's default.
func (p *agentProxy) choose(req *http.Request) (*url.URL, error) {
	if p.bypassed(req.URL) {
		return nil, nil
	}
	return p.url, nil
}

func (p *agentProxy) bypassed(u *url.URL) bool {
	host := u.Hostname()
	if isLoopback(host) {
		return true
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	target := u.Scheme + "://" + strings.ToLower(host)
	if port := u.Port(); port != "" && !(u.Scheme == "https" && port == "443") && !(u.Scheme == "http" && port == "80") {
		target += ":" + port
	}
	for _, expression := range p.bypass {
		if expression.MatchString(target) {
			return true
		}
	}
	return false
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") || strings.EqualFold(host, "loopback") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// proxyStatusError is a proxy's response to CONNECT other than 200.
type proxyStatusError struct {
	proxy  string
	status int
}

func (e *proxyStatusError) Error() string {
	return fmt.Sprintf("the proxy %s answered HTTP %d", e.proxy, e.status)
}

func checkProxyResponse(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyStatusError{proxy: proxy.Host, status: resp.StatusCode}
}
