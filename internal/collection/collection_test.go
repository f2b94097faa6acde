package collection

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	services := []string{"dev.azure.com:443", "vsrm.dev.azure.com:443", "contoso.visualstudio.com:443", "contoso.vsrm.visualstudio.com:443"}
	for _, test := range []struct {
		address   string
		url, name string
		hosts     []string
	}{
		{"https://dev.azure.com/contoso/", "https://dev.azure.com/contoso", "contoso", services},
		{"https://dev.azure.com/contoso", "https://dev.azure.com/contoso", "contoso", services},
		{"https://DEV.azure.com:443/Contoso/", "https://dev.azure.com/Contoso", "Contoso", services},
		{"https://vsrm.dev.azure.com/contoso/", "https://dev.azure.com/contoso", "contoso", services},
		{"https://contoso.visualstudio.com/", "https://contoso.visualstudio.com", "contoso", services},
		{"https://contoso.visualstudio.com", "https://contoso.visualstudio.com", "contoso", services},
		{"https://Contoso.VisualStudio.com/DefaultCollection/", "https://contoso.visualstudio.com", "contoso", services},
		{"https://contoso.vsrm.visualstudio.com/", "https://contoso.visualstudio.com", "contoso", services},
		{"https://devops.example/tfs/Shop/", "https://devops.example/tfs/Shop", "Shop", []string{"devops.example:443"}},
		{"https://devops.example:8443/tfs/Shop", "https://devops.example:8443/tfs/Shop", "Shop", []string{"devops.example:8443"}},
		{"https://devops.example/", "https://devops.example", "devops.example", []string{"devops.example:443"}},
		// Neither is an address of Azure DevOps Services.
		{"https://dev.azure.com:8443/contoso/", "https://dev.azure.com:8443/contoso", "contoso", []string{"dev.azure.com:8443"}},
		{"https://a.contoso.visualstudio.com/", "https://a.contoso.visualstudio.com", "a.contoso.visualstudio.com", []string{"a.contoso.visualstudio.com:443"}},
	} {
		c, err := Parse(test.address)
		if err != nil {
			t.Errorf("%s: %v", test.address, err)
			continue
		}
		if c.URL() != test.url || c.Name() != test.name || !slices.Equal(c.Hosts(), test.hosts) || "https://"+c.String() != c.URL() || !strings.HasPrefix(c.String(), c.Host()) {
			t.Errorf("%s: %s, %s, %v", test.address, c.URL(), c.Name(), c.Hosts())
		}
		if same, _ := c.Is(test.address); !same || !c.Contains(test.address) {
			t.Errorf("%s is not its own address", test.address)
		}
	}
	for _, address := range []string{
		"", "/", "contoso", "dev.azure.com/contoso", "https://", "https:///contoso", "http://dev.azure.com/contoso/",
		"https://dev.azure.com/", "https://vsrm.dev.azure.com", "https://dev.azure.com/contoso/shop", "https://contoso.visualstudio.com/shop",
		"https://user@dev.azure.com/contoso/", "https://dev.azure.com/contoso/?x=1", "https://dev.azure.com/contoso/#x",
		"https://dev.azure.com/con%74oso%2f..", "https://dev.azure.com/a/../contoso", "https://dev.azure.com//contoso", `https://dev.azure.com/con\toso`,
		"https://dev.azure.com/cont.oso/", "https://dev.azure.com:99999/contoso", "https://\u212a.example/tfs/", "https://devops.example/tfs/..", "https://dev.azure.com/%zz",
	} {
		if c, err := Parse(address); err == nil {
			t.Errorf("%s: is %s", address, c)
		}
	}
}

func TestContains(t *testing.T) {
	below := "/7f1d5a30-52c5-4d7c-9f3a-0a6d5d7c1b11/_apis/distributedtask/hubs/build/plans/p/jobs/j/oidctoken?api-version=7.1"
	roots := []string{
		"https://dev.azure.com/contoso", "https://vsrm.dev.azure.com/contoso",
		"https://contoso.visualstudio.com", "https://contoso.vsrm.visualstudio.com",
	}
	outside := []string{
		"", "/", "oidctoken", "https://", "https://evil.example", "https://dev.azure.com", "https://dev.azure.com/evil", "https://dev.azure.com/contoso2",
		"https://evil.visualstudio.com", "https://contoso.evil.visualstudio.com", "https://contoso.visualstudio.com.evil.example", "https://evilvisualstudio.com",
		"https://evil.example/dev.azure.com/contoso", "https://dev.azure.com.evil.example/contoso", "https://dev.azure.com@evil.example/contoso",
		"https://u@dev.azure.com/contoso", "http://dev.azure.com/contoso", "https://dev.azure.com:8443/contoso", "https://dev.azure.com./contoso",
		"https://dev.azure.com/contoso/../evil", "https://dev.azure.com/evil/../contoso", "https://dev.azure.com/contoso/%2e%2e/evil", "https://dev.azure.com/contoso%2f..%2fevil",
		`https://dev.azure.com/contoso\..\evil`, `https://dev.azure.com/contoso%5c..%5cevil`, "https://dev.azure.com//evil/contoso", "https://dev.azure.com/contoso;/x",
		"https://dev.azure.com/%63ontoso%00", "https://\u212aontoso.visualstudio.com", "https://dev.azure.com/\u212aontoso", "https://vsrm.contoso.visualstudio.com",
	}
	for _, system := range append(slices.Clone(roots), "https://contoso.visualstudio.com/DefaultCollection/") {
		c, err := Parse(system)
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range append(slices.Clone(roots), "https://CONTOSO.visualstudio.com/defaultcollection", "https://dev.azure.com:443/CONTOSO") {
			same, releases := c.Is(root + "/")
			if !same || releases != strings.Contains(root, "vsrm.") || !c.Contains(root+below) {
				t.Errorf("%s is not part of %s", root, system)
			}
			if same, _ := c.Is(root + below); same {
				t.Errorf("%s%s is the root of %s", root, below, system)
			}
		}
		for _, address := range outside {
			if c.Contains(address + below) {
				t.Errorf("%s is part of %s", address+below, system)
			}
		}
	}

	server, err := Parse("https://devops.example:8443/tfs/Shop/")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"https://devops.example:8443/tfs/Shop/x": true, "https://DEVOPS.example:8443/TFS/shop": true,
		"https://devops.example/tfs/Shop/x": false, "https://devops.example:8443/tfs/Shop2": false, "https://devops.example:8443/tfs": false,
		"https://devops.example:8443/tfs/Shop/../Other": false, "https://devops.example:8443/tfs/Other": false, "https://other.example:8443/tfs/Shop": false,
		"http://devops.example:8443/tfs/Shop": false, "https://dev.azure.com/Shop": false, "https://shop.visualstudio.com": false, "https://u@devops.example:8443/tfs/Shop": false,
	} {
		if got := server.Contains(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	services, err := Parse("https://dev.azure.com/Shop/")
	if err != nil {
		t.Fatal(err)
	}
	if services.Contains("https://devops.example:8443/tfs/Shop/") {
		t.Error("a server is part of an organization of the same name")
	}
}

// FuzzContains checks that an address in the collection leads to one of its hosts
// over HTTPS, and, where organizations share a host, into the organization.
func FuzzContains(f *testing.F) {
	for _, system := range []string{"https://dev.azure.com/contoso/", "https://contoso.vsrm.visualstudio.com/", "https://devops.example/tfs/Shop/"} {
		for _, address := range []string{"https://dev.azure.com/contoso/x", "https://contoso.visualstudio.com/DefaultCollection", "https://devops.example/tfs/Shop/..", "https://dev.azure.com/contoso%2f..", "https://u@dev.azure.com/contoso"} {
			f.Add(system, address)
		}
	}
	f.Fuzz(func(t *testing.T, system, address string) {
		c, err := Parse(system)
		if err != nil || !c.Contains(address) {
			return
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatalf("%q is part of %q: %v", address, system, err)
		}
		at := u.Host
		if u.Port() == "" {
			at = u.Hostname() + ":443"
			if strings.Contains(u.Hostname(), ":") {
				at = "[" + u.Hostname() + "]:443"
			}
		}
		if u.Scheme != "https" || u.User != nil || !slices.Contains(c.Hosts(), strings.ToLower(at)) || strings.Contains(u.Path, "..") && strings.Contains(u.Path+"/", "/../") {
			t.Errorf("%q is part of %q", address, system)
		}
		if host := strings.ToLower(u.Hostname()); (host == services || host == releases) && !strings.EqualFold(strings.Split(u.Path, "/")[1], c.Name()) {
			t.Errorf("%q is part of the organization %s", address, c.Name())
		}
		if back, err := Parse(c.URL()); err != nil || !back.Contains(address) || back.root != c.root {
			t.Errorf("%q: its own address %q is another collection", system, c.URL())
		}
	})
}
