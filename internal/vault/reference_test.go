package vault

import (
	"strings"
	"testing"
)

func TestParseReference(t *testing.T) {
	for text, want := range map[string]Reference{
		"https://receipts.vault.azure.net/keys/release":                                        {"receipts.vault.azure.net", "release", ""},
		"https://Receipts.Vault.Azure.Net:443/keys/Release-1/78deebed173b48e48f55abf87ed4cf71": {"receipts.vault.azure.net", "Release-1", "78deebed173b48e48f55abf87ed4cf71"},
		"https://receipts.vault.azure.cn/keys/release":                                         {"receipts.vault.azure.cn", "release", ""},
		"https://receipts.vault.usgovcloudapi.net/keys/release/0a":                             {"receipts.vault.usgovcloudapi.net", "release", "0a"},
	} {
		got, err := ParseReference(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseReference(got.String()); err != nil || again != got {
			t.Errorf("%s: %+v, %v", got, again, err)
		}
	}
	for text, want := range map[string]string{
		"http://receipts.vault.azure.net/keys/k":                                  "it must begin with https://",
		"https://receipts.vault.azure.net":                                        "write it as https://<vault>.vault.azure.net/keys/<name>",
		"https://receipts.vault.azure.net/keys":                                   "write it as",
		"https://receipts.vault.azure.net/keys/":                                  "the name of a key has",
		"https://receipts.vault.azure.net/keys/k/":                                "without a slash",
		"https://receipts.vault.azure.net/keys/k/v/sign":                          "write it as",
		"https://receipts.vault.azure.net/keys/k?api-version=7.4":                 "write it as",
		"https://receipts.vault.azure.net/keys/k#x":                               "write it as",
		"https://receipts.vault.azure.net/keys/a%2Fb":                             "write it as",
		"https://receipts.vault.azure.net/keys/a b":                               "write it as",
		"https://receipts.vault.azure.net/keys/..":                                "the name of a key has",
		"https://receipts.vault.azure.net/keys/k/../x":                            "write it as",
		"https://receipts.vault.azure.net//keys/k":                                "write it as",
		"https://user:word@receipts.vault.azure.net/keys/k":                       "write it as",
		"https://receipts.vault.azure.net/secrets/k":                              "it names one of the vault's secrets",
		"https://receipts.vault.azure.net/certificates/k":                         "the key of a certificate is under /keys/, with the same name",
		"https://vault.azure.net/keys/k":                                          "its host is not a Key Vault: it must be <vault>.vault.azure.net",
		"https://receipts.vault.azure.net.evil.example/keys/k":                    "its host is not a Key Vault",
		"https://evil.example/receipts.vault.azure.net/keys/k":                    "its host is not a Key Vault",
		"https://receiptsvault.azure.net/keys/k":                                  "its host is not a Key Vault",
		"https://a.receipts.vault.azure.net/keys/k":                               "its host is not a Key Vault",
		"https://receipts.vault.azure.net./keys/k":                                "its host is not a Key Vault",
		"https://receipts.vault.azure.net:8443/keys/k":                            "its host is not a Key Vault",
		"https://-.vault.azure.net/keys/k":                                        "its host is not a Key Vault",
		"https://é.vault.azure.net/keys/k":                                        "its host is not a Key Vault",
		"https://receipts.managedhsm.azure.net/keys/k":                            "a Managed HSM, which is not supported; use a key of a vault",
		"https://receipts.privatelink.vaultcore.azure.net/keys/k":                 "receipts.vault.azure.net; its private endpoint is found by DNS",
		"https://receipts.vault.azure.net/keys/" + strings.Repeat("k", 128):       "1 to 127",
		"ftp://receipts.vault.azure.net/keys/k":                                   "it must begin with https://",
		"https://receipts.vault.azure.net/keys/k\x1b[31m":                         "write it as",
		"https://receipts.vault.azure.net/keys/k/78deebed-173b-48e48f55abf87ed4c": "a version has only letters and digits",
	} {
		if got, err := ParseReference(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") || strings.Contains(err.Error(), "word") {
			t.Errorf("%s: %+v, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]bool{
		"https://x": true, "http://x": true, "vault://x": true,
		"/secure/key.pem": false, "key.pem": false, `C:\keys\release.pem`: false, "": false,
	} {
		if IsURL(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"https://receipts.vault.azure.net/keys/release", "https://a.vault.azure.cn:443/keys/k/0", "https://x.vault.azure.net@evil.example/keys/k", "https://evil.example\\.vault.azure.net/keys/k"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseReference(text)
		if err != nil {
			return
		}
		if _, known := cloudOf(r.Host); !known || r.Cloud() == "" || r.audience() == "" {
			t.Errorf("%q: %q is not a vault", text, r.Host)
		}
		if again, err := ParseReference(r.String()); err != nil || again != r {
			t.Errorf("%q: %+v is not the same again: %+v, %v", text, r, again, err)
		}
	})
}
