package doctor

import (
	"maps"
	"slices"
	"strings"
)

// Advice is what networks have to permit, and no more.
type Advice struct {
	// Outbound are the hosts that agents have to reach, and Inbound says from where
	// each protected registry can be reached now.
	Outbound, Inbound []string
	// Commands permit Outbound, and the agents at the protected registries.
	Commands []string
}

// storage has the hosts of downloads from registries without dedicated data endpoints,
// by the end of the registry's name.
var storage = map[string]string{"io": "*.blob.core.windows.net", "cn": "*.blob.core.chinacloudapi.cn", "us": "*.blob.core.usgovcloudapi.net"}

// metadataService issues the tokens of a machine's own identity, and is reached without
// a firewall.
const metadataService = "169.254.169.254"

// Advise returns what networks have to permit. asked are the hosts, with ports, that
// this run has contacted; those for doctor alone are left out.
func Advise(s Setup, asked []string) Advice {
	var a Advice
	for _, host := range asked {
		if !strings.HasPrefix(host, "management.") && !strings.HasPrefix(host, metadataService) {
			a.Outbound = append(a.Outbound, strings.TrimSuffix(host, ":443"))
		}
	}
	for i := range s.Registries {
		r := &s.Registries[i]
		a.Outbound = append(a.Outbound, r.Host)
		switch {
		case r.Settings.DataEndpoint:
			a.Outbound = append(a.Outbound, r.Settings.DataEndpoints...)
		case r.Azure:
			_, cloud, _ := strings.Cut(r.Host, ".azurecr.")
			a.Outbound = append(a.Outbound, storage[cloud])
		}
		if r.Settings.Read && s.protected(r) {
			a.inbound(r)
		}
	}
	slices.Sort(a.Outbound)
	a.Outbound = slices.Compact(a.Outbound)
	names := map[string][]string{} // by port
	for _, host := range a.Outbound {
		name, port, _ := strings.Cut(host, ":")
		names[or(port, "443")] = append(names[or(port, "443")], Quote(name))
	}
	for _, port := range slices.Sorted(maps.Keys(names)) {
		a.Commands = append(a.Commands, "az network firewall application-rule create --collection-name acrpromote --name agents-"+port+" --priority 200 --action Allow"+
			" --protocols Https="+Quote(port)+" --source-addresses <network-of-the-agents> --target-fqdns "+strings.Join(names[port], " ")+" --firewall-name <firewall> --resource-group <group>")
	}
	return a
}

// inbound adds from where a registry can be reached, and what narrows that to the
// agents if there is no private endpoint.
func (a *Advice) inbound(r *Registry) {
	var from []string
	for _, e := range r.Settings.Endpoints {
		if strings.EqualFold(e.Status, "Approved") {
			from = append(from, "the private endpoint "+e.Name)
		}
	}
	switch {
	case strings.EqualFold(r.Settings.PublicNetworkAccess, "Disabled"):
	case strings.EqualFold(r.Settings.DefaultAction, "Deny"):
		from = append(from, r.Settings.IPRules...)
	default:
		from = append(from, "everywhere")
	}
	a.Inbound = append(a.Inbound, r.Host+" from "+or(strings.Join(from, ", "), "nowhere"))
	if len(r.Settings.Endpoints) == 0 {
		name := Quote(part(r.ID, "registries"))
		a.Commands = append(a.Commands, "az acr network-rule add --name "+name+" --ip-address <address-of-the-agents>", "az acr update --name "+name+" --default-action Deny")
	}
}
