package vault

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Reference names a key in a Key Vault. Version is empty for the current one.
type Reference struct {
	Host          string // of the vault, in lower case
	Name, Version string
}

// cloud is where an Azure cloud has its vaults, and the audience of their tokens.
type cloud struct{ name, suffix, audience string }

// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
var clouds = []cloud{
	{"AzureCloud", "vault.azure.net", "https://vault.azure.net"},
	{"AzureChinaCloud", "vault.azure.cn", "https://vault.azure.cn"},
	{"AzureUSGovernment", "vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net"},
}

// IsURL reports whether a receipt key is a URL, and not the path of a file.
func IsURL(key string) bool { return strings.Contains(key, "://") }

// ParseReference parses the URL of a key: https://<vault>.vault.azure.net/keys/<name>,
// with /<version> or without. The host must be a vault of one of Azure's clouds.
func ParseReference(text string) (Reference, error) {
	r, err := parseReference(text)
	if err != nil {
		shown := strconv.Quote(sanitize.Bounded(text, maxShown))
		if strings.Contains(text, "@") {
			shown = "this address with a user" // and a password
		}
		return Reference{}, fmt.Errorf("%s is not the URL of a Key Vault key: %w", shown, err)
	}
	return r, nil
}

// maxShown limits what is shown of an input, in characters.
const maxShown = 200

var errForm = errors.New("write it as https://<vault>.vault.azure.net/keys/<name> or https://<vault>.vault.azure.net/keys/<name>/<version>")

func parseReference(text string) (Reference, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Reference{}, errForm
	case u.Scheme != "https":
		return Reference{}, errors.New("it must begin with https://")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.RawPath != "":
		return Reference{}, errForm
	}
	host, err := ref.ParseHost(u.Host)
	if _, known := cloudOf(host); err != nil || !known {
		return Reference{}, noVault(host)
	}
	parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	switch kind := parts[0]; {
	case kind == "secrets" || kind == "certificates":
		return Reference{}, fmt.Errorf("it names one of the vault's %s; the key of a certificate is under /keys/, with the same name", kind)
	case kind != "keys" || len(parts) < 2 || len(parts) > 3:
		return Reference{}, errForm
	}
	r := Reference{Host: host, Name: parts[1]}
	if !isWord(r.Name, "-") {
		return Reference{}, errors.New("the name of a key has 1 to 127 letters, digits and hyphens")
	}
	if len(parts) == 3 {
		r.Version = parts[2]
		if !isWord(r.Version, "") {
			return Reference{}, errors.New("a version has only letters and digits, usually 32; leave it out for the current one, without a slash")
		}
	}
	return r, nil
}

// noVault returns why a host is not a vault of one of Azure's clouds.
func noVault(host string) error {
	name, suffix, _ := strings.Cut(host, ".")
	if strings.HasPrefix(suffix, "managedhsm.") {
		return errors.New("it is in a Managed HSM, which is not supported; use a key of a vault, which may be protected by an HSM too (Premium)")
	}
	if rest, private := strings.CutPrefix(suffix, "privatelink.vaultcore."); private {
		return fmt.Errorf("name the vault as it is called outside its network, %s.vault.%s; its private endpoint is found by DNS", name, rest)
	}
	return fmt.Errorf("its host is not a Key Vault: it must be <vault>.%s, <vault>.%s or <vault>.%s", clouds[0].suffix, clouds[1].suffix, clouds[2].suffix)
}

// cloudOf returns the cloud of a vault's host. It compares label by label: similar
// names, a port, a trailing dot and the suffix alone are no vault.
func cloudOf(host string) (cloud, bool) {
	vault, suffix, _ := strings.Cut(host, ".")
	for _, c := range clouds {
		if vault != "" && suffix == c.suffix {
			return c, true
		}
	}
	return cloud{}, false
}

// isWord reports whether s has 1 to 127 ASCII letters, digits and characters of more.
func isWord(s, more string) bool {
	return s != "" && len(s) <= 127 && !strings.ContainsFunc(s, func(r rune) bool {
		alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alphanumeric && !strings.ContainsRune(more, r)
	})
}

// Cloud returns the name of the cloud that the vault belongs to, as service
// connections have it.
func (r Reference) Cloud() string {
	c, _ := cloudOf(r.Host)
	return c.name
}

// audience returns the audience of the vault's tokens.
func (r Reference) audience() string {
	c, _ := cloudOf(r.Host)
	return c.audience
}

// String returns the key's URL.
func (r Reference) String() string {
	address := "https://" + r.Host + "/keys/" + r.Name
	if r.Version != "" {
		address += "/" + r.Version
	}
	return address
}

// names reports whether an answer's key ID is of this key, and of this version if the
// reference has one. Names are compared without case, as the vault does.
func (r Reference) names(id Reference) bool {
	return id.Host == r.Host && strings.EqualFold(id.Name, r.Name) && (r.Version == "" || id.Version == r.Version)
}
