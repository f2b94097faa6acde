// Package acr knows what is particular to Azure Container Registry: how to
// sign in to it (and, more simply, to any other registry), and how the
// attributes and locks of a repository, a tag or a manifest are read and set.
//
// One rule stands above all: an Entra token goes only to a host under the
// cloud's registry suffix, and only to that registry's own /oauth2/*. What a
// challenge or a redirect says about it counts for nothing.
//
// Images themselves are none of its business; neither is the way to the
// network, which is handed in as an http.Client.
package acr

import (
	"fmt"
	"net/url"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Cloud is one of Azure's clouds: its name as a service connection bears it,
// the suffix of its registries, and the host that issues its tokens.
type Cloud struct{ Name, Suffix, Authority string }

var (
	public     = Cloud{Name: "AzureCloud", Suffix: "azurecr.io", Authority: "login.microsoftonline.com"}
	china      = Cloud{Name: "AzureChinaCloud", Suffix: "azurecr.cn", Authority: "login.chinacloudapi.cn"}
	government = Cloud{Name: "AzureUSGovernment", Suffix: "azurecr.us", Authority: "login.microsoftonline.us"}
)

// Suffix says which cloud's registry a host[:port] is, comparing label by
// label. It is false for anything that is not plainly one: a look-alike, a
// trailing dot, a port other than 443, the suffix alone.
func Suffix(host string) (Cloud, bool) {
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

// CloudNamed finds the cloud that a service connection names as its
// environment; none named is Azure's public cloud.
func CloudNamed(name string) (Cloud, error) {
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

// Authority gives the host that issues a connection's tokens: the cloud's own,
// or the one that the connection names, if it is one of that cloud's.
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
