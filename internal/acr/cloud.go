// Package acr implements what is specific to Azure Container Registry: signing
// in to it (and, in a simpler way, to any other registry), and reading and
// setting the attributes and locks of repositories, tags and manifests.
//
// An Entra token is sent only to a host under the cloud's registry suffix, and
// only to that registry's own /oauth2/*, whatever a challenge or a redirect
// says.
//
// The package does not read or write images. It reaches the network through the
// http.Client that it is given.
package acr

import (
	"fmt"
	"net/url"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Cloud is one of Azure's clouds: its name in service connections, the suffix
// of its registries, and the host that issues its tokens.
type Cloud struct{ Name, Suffix, Authority string }

var (
	public     = Cloud{Name: "AzureCloud", Suffix: "azurecr.io", Authority: "login.microsoftonline.com"}
	china      = Cloud{Name: "AzureChinaCloud", Suffix: "azurecr.cn", Authority: "login.chinacloudapi.cn"}
	government = Cloud{Name: "AzureUSGovernment", Suffix: "azurecr.us", Authority: "login.microsoftonline.us"}
)

// CloudOf returns the cloud that a registry's host[:port] belongs to. It
// compares label by label, and reports false for anything else: similar names,
// a trailing dot, a port other than 443, the suffix alone.
func CloudOf(host string) (Cloud, bool) {
	host, err := ref.ParseHost(host)
	if err != nil {
		return Cloud{}, false
	}
	for _, cloud := range []Cloud{public, china, government} {
		if strings.HasSuffix(host, "."+cloud.Suffix) {
			return cloud, true
		}
	}
	return Cloud{}, false
}

// CloudByName returns the cloud that a service connection names as its
// environment; the default is Azure's public cloud.
func CloudByName(name string) (Cloud, error) {
	if name == "" {
		return public, nil
	}
	for _, cloud := range []Cloud{public, china, government} {
		if strings.EqualFold(name, cloud.Name) {
			return cloud, nil
		}
	}
	return Cloud{}, fmt.Errorf("the cloud %q is not known; a service connection for %s, %s or %s is needed", sanitize.Bounded(name, 40), public.Name, china.Name, government.Name)
}

// authority returns the host that issues a connection's tokens: the cloud's
// own, or the one that the connection names if it belongs to that cloud.
func (c Cloud) authority(named string) (string, error) {
	if named == "" {
		return c.Authority, nil
	}
	wrong := fmt.Errorf("the service connection's authority is no https address; it should be https://%s/", c.Authority)
	u, err := url.Parse(named)
	if err != nil {
		return "", wrong
	}
	address, _ := ref.HostPort(u.Host, "443")
	host, https := strings.CutSuffix(address, ":443")
	if !https || u.Scheme != "https" || u.User != nil {
		return "", wrong
	}
	known := map[string]Cloud{
		"login.microsoftonline.com":        public,
		"login.windows.net":                public,
		"login.chinacloudapi.cn":           china,
		"login.partner.microsoftonline.cn": china,
		"login.microsoftonline.us":         government,
	}
	cloud, ok := known[host]
	switch {
	case !ok:
		return "", fmt.Errorf("the service connection's authority %q is not one of Microsoft Entra ID's; it should be https://%s/", sanitize.Bounded(host, 100), c.Authority)
	case cloud != c:
		return "", fmt.Errorf("the service connection's authority %s belongs to %s, but the connection to %s; set its environment right", host, cloud.Name, c.Name)
	case host == "login.windows.net":
		return public.Authority, nil
	}
	return host, nil
}
