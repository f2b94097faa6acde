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
	name, port, found := strings.Cut(host, ":")
	if found && port != "443" {
		return Cloud{}, false
	}
	if len(name) > 253 {
		return Cloud{}, false
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return Cloud{}, false
		}
	}
	if len(labels) < 3 {
		return Cloud{}, false
	}
	last := strings.ToLower(strings.Join(labels[len(labels)-2:], "."))
	for _, cloud := range []Cloud{public, china, government} {
		if last == cloud.Suffix {
			return cloud, true
		}
	}
	return Cloud{}, false
}

func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		switch c := label[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return true
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
	return Cloud{}, fmt.Errorf("the cloud %q is not known; a service connection for %s, %s or %s is needed", harmless(name, 40), public.Name, china.Name, government.Name)
}

// Authority gives the host that issues a connection's tokens: the cloud's own,
// or the one that the connection names, if it is one of that cloud's.
func (c Cloud) authority(named string) (string, error) {
	if named == "" {
		return c.Authority, nil
	}
	u, err := url.Parse(named)
	if err != nil || u.Scheme != "https" || u.User != nil || (u.Port() != "" && u.Port() != "443") {
		return "", fmt.Errorf("the service connection's authority is no https address; it should be https://%s/", c.Authority)
	}
	host := strings.ToLower(u.Hostname())
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
		return "", fmt.Errorf("the service connection's authority %q is not one of Microsoft Entra ID's; it should be https://%s/", harmless(host, 100), c.Authority)
	case cloud != c:
		return "", fmt.Errorf("the service connection's authority %s belongs to %s, but the connection to %s; set its environment right", host, cloud.Name, c.Name)
	case host == "login.windows.net":
		return public.Authority, nil
	}
	return host, nil
}
