package doctor

import (
	"slices"
	"strings"
	"testing"
)

func TestAdvise(t *testing.T) {
	s := clean()
	s.Registries[0].Settings.DataEndpoints = []string{"prod.westeurope.data.azurecr.io"}
	s.Registries = append(s.Registries, Registry{Host: "dev.azurecr.cn", Azure: true}, Registry{Host: "registry.example.com:5000"})
	asked := []string{"dev.azure.com:443", "login.microsoftonline.com:443", "management.azure.com:443", "169.254.169.254:80", "169.254.169.254"}
	a := Advise(s, asked)
	want := []string{"*.blob.core.chinacloudapi.cn", "*.blob.core.windows.net", "dev.azure.com", "dev.azurecr.cn", "dev.azurecr.io", "login.microsoftonline.com", "prod.azurecr.io", "prod.westeurope.data.azurecr.io", "registry.example.com:5000"}
	if !slices.Equal(a.Outbound, want) {
		t.Errorf("outbound %q", a.Outbound)
	}
	if want := []string{"prod.azurecr.io from the private endpoint clusters"}; !slices.Equal(a.Inbound, want) {
		t.Errorf("inbound %q", a.Inbound)
	}
	if len(a.Commands) != 2 || !strings.Contains(a.Commands[1], " --protocols Https=5000 --source-addresses <network-of-the-agents> --target-fqdns registry.example.com --") ||
		!strings.Contains(a.Commands[0], " Https=443 ") || !strings.Contains(a.Commands[0], "--target-fqdns '*.blob.core.chinacloudapi.cn' '*.blob.core.windows.net' dev.azure.com ") {
		t.Errorf("commands %q", a.Commands)
	}

	p := &s.Registries[0].Settings
	p.PublicNetworkAccess, p.Endpoints, p.IPRules = "Enabled", nil, []string{"192.0.2.7"}
	a = Advise(s, nil)
	if !slices.Equal(a.Inbound, []string{"prod.azurecr.io from 192.0.2.7"}) || len(a.Commands) != 4 || !strings.HasPrefix(a.Commands[0], "az acr network-rule add --name prod ") {
		t.Errorf("%q, %q", a.Inbound, a.Commands)
	}
	p.DefaultAction = ""
	if a = Advise(s, nil); !slices.Equal(a.Inbound, []string{"prod.azurecr.io from everywhere"}) {
		t.Errorf("%q", a.Inbound)
	}
}
