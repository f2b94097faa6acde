package agent

import (
	"slices"
	"strings"
	"testing"
)

const id = "0a1b2c3d-0000-4000-8000-00000000000f"

func arm(more ...string) []string {
	return append(pipeline("INPUT_AZURESUBSCRIPTION="+id, "ENDPOINT_URL_"+id+"=https://management.azure.com/"), prefixed(more)...)
}

func prefixed(pairs []string) []string {
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = strings.ReplaceAll(p, "<id>", id)
	}
	return out
}

func TestAzureConnection(t *testing.T) {
	c := mustRead(t, nil, arm("ENDPOINT_AUTH_SCHEME_<id>=workloadidentityfederation", "ENDPOINT_AUTH_PARAMETER_<id>_TENANTID=tenant",
		"ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=client", "ENDPOINT_DATA_<id>_ENVIRONMENT=AzureUSGovernment", "ENDPOINT_DATA_<id>_ENVIRONMENTAUTHORITYURL=https://login.microsoftonline.us/"))
	a := c.Azure
	if a.ID != id || !a.Federated() || a.TenantID() != "tenant" || a.ClientID() != "client" || !a.Secret().Empty() ||
		a.Cloud() != "AzureUSGovernment" || a.AuthorityURL() != "https://login.microsoftonline.us/" || c.Target != nil {
		t.Errorf("%+v", a)
	}
	c = mustRead(t, nil, arm(`ENDPOINT_AUTH_<id>={"parameters":{"tenantid":"tenant","serviceprincipalid":"client","serviceprincipalkey":"key","authenticationType":"spnKey"},"scheme":"ServicePrincipal"}`))
	a = c.Azure
	if a.Federated() || a.Scheme != ServicePrincipal || a.TenantID() != "tenant" || a.ClientID() != "client" || a.Secret().Reveal() != "key" || a.Cloud() != "AzureCloud" {
		t.Errorf("from the document: %+v", a)
	}
}

// TestManagedIdentity: such a connection needs no tenant and no client ID.
func TestManagedIdentity(t *testing.T) {
	c := mustRead(t, nil, arm("ENDPOINT_AUTH_SCHEME_<id>=managedserviceidentity", "ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=ignored"))
	if a := c.Azure; a.Scheme != ManagedIdentity || !a.Entra() || a.ClientID() != "" || a.Cloud() != "AzureCloud" {
		t.Errorf("system-assigned: %+v", a)
	}
	c = mustRead(t, nil, arm("ENDPOINT_AUTH_SCHEME_<id>=ManagedServiceIdentity", "ENDPOINT_AUTH_PARAMETER_<id>_TENANTID=tenant", "ENDPOINT_DATA_<id>_MSICLIENTID=client"))
	if a := c.Azure; a.ClientID() != "client" || a.TenantID() != "tenant" {
		t.Errorf("user-assigned: %+v", a)
	}
}

func TestCertificateConnection(t *testing.T) {
	c := mustRead(t, nil, arm(`ENDPOINT_AUTH_<id>={"parameters":{"tenantid":"tenant","serviceprincipalid":"client","servicePrincipalCertificate":"the-certificate-with-its-key","authenticationType":"spnCertificate","added":true},"scheme":"ServicePrincipal"}`))
	if a := c.Azure; !a.ByCertificate() || a.Certificate().Reveal() != "the-certificate-with-its-key" || !a.Secret().Empty() {
		t.Errorf("%+v", a)
	}
	if text := c.Secrets.Redact("the-certificate-with-its-key"); text != "***" {
		t.Errorf("the certificate is shown: %q", text)
	}
}

// TestAzureRegistryConnection: a Docker registry connection of the type Azure
// Container Registry, with the parameters that Docker@2 reads.
func TestAzureRegistryConnection(t *testing.T) {
	connection := func(more ...string) []string {
		return append(pipeline("INPUT_REGISTRYCONNECTIONS=one", "ENDPOINT_URL_one=https://other.azurecr.io", "ENDPOINT_DATA_one_REGISTRYTYPE=ACR",
			"ENDPOINT_AUTH_PARAMETER_one_LOGINSERVER=Contoso.azurecr.io", "ENDPOINT_AUTH_PARAMETER_one_TENANTID=tenant"), more...)
	}
	for _, test := range []struct {
		name, scheme string
		env          []string
	}{
		{"federation", Federation, []string{"ENDPOINT_AUTH_SCHEME_one=WorkloadIdentityFederation", "ENDPOINT_AUTH_PARAMETER_one_SERVICEPRINCIPALID=client"}},
		{"service principal", ServicePrincipal, []string{"ENDPOINT_AUTH_SCHEME_one=ServicePrincipal", "ENDPOINT_AUTH_PARAMETER_one_SERVICEPRINCIPALID=client", "ENDPOINT_AUTH_PARAMETER_one_SERVICEPRINCIPALKEY=key"}},
		{"scheme as a parameter", ManagedIdentity, []string{`ENDPOINT_AUTH_one={"parameters":{}}`, "ENDPOINT_AUTH_PARAMETER_one_SCHEME=ManagedServiceIdentity"}},
		{"no scheme", ServicePrincipal, []string{`ENDPOINT_AUTH_one={"parameters":{"serviceprincipalid":"client","serviceprincipalkey":"key"}}`}},
		{"managed identity", ManagedIdentity, []string{"ENDPOINT_AUTH_SCHEME_one=ManagedServiceIdentity"}},
	} {
		c := mustRead(t, nil, connection(test.env...))
		if r := c.Registries[0]; r.Scheme != test.scheme || r.Host() != "contoso.azurecr.io" || !r.Entra() || r.Cloud() != "" {
			t.Errorf("%s: %+v, host %s, cloud %q", test.name, r, r.Host(), r.Cloud())
		}
	}
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"no client ID":   {[]string{"ENDPOINT_AUTH_SCHEME_one=WorkloadIdentityFederation"}, "for contoso.azurecr.io has no tenant or no client ID"},
		"no secret":      {[]string{"ENDPOINT_AUTH_SCHEME_one=ServicePrincipal", "ENDPOINT_AUTH_PARAMETER_one_SERVICEPRINCIPALID=client"}, "has no client secret"},
		"unknown scheme": {[]string{"ENDPOINT_AUTH_SCHEME_one=Token"}, `"Token"`},
	} {
		if _, problems := problemsOf(t, nil, connection(test.env...)); len(problems) != 1 || !strings.HasPrefix(problems[0], "registryConnections: ") || !strings.Contains(problems[0], test.want) {
			t.Errorf("%s: %q", name, problems)
		}
	}
}

func TestInvalidAzureConnection(t *testing.T) {
	for _, test := range []struct {
		name string
		env  []string
		want string
	}{
		{"absent", nil, "is not available to this step"},
		{"certificate", []string{"ENDPOINT_AUTH_SCHEME_<id>=ServicePrincipal", "ENDPOINT_AUTH_PARAMETER_<id>_AUTHENTICATIONTYPE=spnCertificate", "ENDPOINT_AUTH_PARAMETER_<id>_TENANTID=t", "ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=c"}, "has no certificate"},
		{"another type of service principal", []string{"ENDPOINT_AUTH_SCHEME_<id>=ServicePrincipal", "ENDPOINT_AUTH_PARAMETER_<id>_AUTHENTICATIONTYPE=spnToken", "ENDPOINT_AUTH_PARAMETER_<id>_TENANTID=t", "ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=c"}, `"spnToken"`},
		{"parameters that are no strings", []string{`ENDPOINT_AUTH_<id>={"parameters":{"tenantid":7,"serviceprincipalid":null,"unknown":{"a":[1]}},"scheme":"WorkloadIdentityFederation","new":true}`}, "no tenant or no client ID"},
		{"unknown scheme", []string{"ENDPOINT_AUTH_SCHEME_<id>=Token"}, `"Token"`},
		{"no tenant", []string{"ENDPOINT_AUTH_SCHEME_<id>=WorkloadIdentityFederation", "ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=c"}, "no tenant"},
		{"no secret", []string{"ENDPOINT_AUTH_SCHEME_<id>=ServicePrincipal", "ENDPOINT_AUTH_PARAMETER_<id>_TENANTID=t", "ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=c"}, "no client secret"},
		{"unknown cloud", []string{"ENDPOINT_AUTH_SCHEME_<id>=WorkloadIdentityFederation", "ENDPOINT_AUTH_PARAMETER_<id>_TENANTID=t", "ENDPOINT_AUTH_PARAMETER_<id>_SERVICEPRINCIPALID=c", "ENDPOINT_DATA_<id>_ENVIRONMENT=AzureStack"}, `"AzureStack"`},
		{"malformed document", []string{"ENDPOINT_AUTH_<id>={"}, `uses the authentication scheme ""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, problems := problemsOf(t, nil, arm(test.env...))
			if len(problems) != 1 || !strings.HasPrefix(problems[0], "azureSubscription: ") || !strings.Contains(problems[0], test.want) || c.Azure != nil {
				t.Errorf("%q", problems)
			}
		})
	}
	if _, problems := problemsOf(t, nil, pipeline("INPUT_TARGETSUBSCRIPTION=../x_AUTH")); len(problems) != 1 || !strings.HasPrefix(problems[0], "targetSubscription: ") {
		t.Errorf("an id with odd characters: %q", problems)
	}
}

func TestRegistryConnections(t *testing.T) {
	docker := func(id, registry string, more ...string) []string {
		return append([]string{"ENDPOINT_AUTH_SCHEME_" + id + "=UsernamePassword", "ENDPOINT_AUTH_PARAMETER_" + id + "_USERNAME=user",
			"ENDPOINT_AUTH_PARAMETER_" + id + "_PASSWORD=pass", "ENDPOINT_URL_" + id + "=" + registry}, more...)
	}
	env := slices.Concat(pipeline("INPUT_REGISTRYCONNECTIONS=one, two"), docker("one", "https://Registry.example:5000/v1/"),
		docker("two", "https://hub.example", "ENDPOINT_AUTH_PARAMETER_two_REGISTRY=other.example:443"))
	c := mustRead(t, nil, env)
	if len(c.Registries) != 2 || c.Registries[0].Host() != "registry.example:5000" || c.Registries[1].Host() != "other.example" ||
		c.Registries[0].Username() != "user" || c.Registries[0].Password().Reveal() != "pass" {
		t.Errorf("%+v", c.Registries)
	}
	for name, test := range map[string]struct{ env, want string }{
		"of an Azure registry": {"ENDPOINT_AUTH_SCHEME_one=ServicePrincipal", `"ServicePrincipal"`},
		"no user":              {"ENDPOINT_AUTH_PARAMETER_one_USERNAME=", "no user"},
		"no registry":          {"ENDPOINT_URL_one=", "does not name a registry"},
		"a port above 65535":   {"ENDPOINT_URL_one=https://registry.example:99999/v1/", `"registry.example:99999" is not a valid registry host: the port must be 1 to 65535.`},
		"a port of zeros":      {"ENDPOINT_AUTH_PARAMETER_two_REGISTRY=other.example:0443", `"other.example:0443" is not a valid registry host: the port must be 1 to 65535.`},
		"an empty port":        {"ENDPOINT_AUTH_PARAMETER_two_REGISTRY=other.example:", `"other.example:" is not a valid registry host: the port must be 1 to 65535.`},
		"twice":                {"ENDPOINT_AUTH_PARAMETER_one_REGISTRY=https://other.example", "two registry connections"},
		"absent":               {"INPUT_REGISTRYCONNECTIONS=three,two", "is not available"},
	} {
		if _, problems := problemsOf(t, nil, append([]string{test.env}, env...)); len(problems) != 1 || !strings.Contains(problems[0], test.want) {
			t.Errorf("%s: %q", name, problems)
		}
	}
}

func TestTrust(t *testing.T) {
	settings := []string{"AGENT_PROXYURL=http://proxy.example:3128", "AGENT_PROXYUSERNAME=user", "SECRET_AGENT_PROXYPASSWORD=p@ss",
		`AGENT_PROXYBYPASSLIST=["\\.internal$"]`, "AGENT_CAINFO=/ca.pem", "AGENT_CLIENTCERT=/c.pem", "AGENT_CLIENTCERTKEY=/k.pem"}
	names := []string{`VSTS_PUBLIC_VARIABLES=["Agent.ProxyUrl","agent.proxyusername","agent.proxybypasslist","agent.cainfo","agent.clientcert","agent.clientcertkey"]`,
		`VSTS_SECRET_VARIABLES=["agent.proxypassword"]`}

	c := mustRead(t, nil, pipeline(append(settings, names...)...))
	if c.Proxy.URL.String() != "http://proxy.example:3128" || c.Proxy.WithCredentials().String() != "http://user:p%40ss@proxy.example:3128" ||
		!slices.Equal(c.Proxy.Bypass, []string{`\.internal$`}) || c.TLS.CAFile != "/ca.pem" || c.TLS.ClientCert != "/c.pem" || c.TLS.ClientKey != "/k.pem" || len(c.Warnings) != 0 {
		t.Errorf("the agent's own settings are ignored: %+v %q", c.Proxy, c.Warnings)
	}

	c = mustRead(t, nil, pipeline("AGENT_PROXYURL=https://in:url@proxy.example:3128", "AGENT_PROXYBYPASSLIST=*.internal", `VSTS_PUBLIC_VARIABLES=["agent.proxyurl","agent.proxybypasslist"]`))
	if c.Proxy.URL.String() != "https://proxy.example:3128" || c.Proxy.Username != "in" || c.Proxy.Password.Reveal() != "url" || c.Proxy.Bypass != nil || len(c.Warnings) != 1 {
		t.Errorf("%+v %q", c.Proxy, c.Warnings)
	}

	for name, lists := range map[string][]string{
		"no list":       nil,
		"empty list":    {"VSTS_PUBLIC_VARIABLES=[]"},
		"others":        {`VSTS_PUBLIC_VARIABLES=["agent.proxyurl.x","xagent.proxyurl","agent-cainfo"]`},
		"no JSON":       {`VSTS_PUBLIC_VARIABLES=agent.proxyurl,agent.cainfo`},
		"wrong type":    {`VSTS_PUBLIC_VARIABLES={"agent.proxyurl":"agent.cainfo"}`},
		"mixed in type": {`VSTS_PUBLIC_VARIABLES=["agent.proxyurl",1,"agent.cainfo"]`},
	} {
		c := mustRead(t, nil, pipeline(append(slices.Clone(settings), lists...)...))
		if c.Proxy.URL != nil || c.Proxy.WithCredentials() != nil || c.TLS != (TLS{}) || len(c.Warnings) == 0 {
			t.Errorf("%s: a step's env: is trusted: %+v %+v %q", name, c.Proxy, c.TLS, c.Warnings)
		}
	}

	c = mustRead(t, nil, pipeline("AGENT_SKIPCERTVALIDATION=True", `VSTS_PUBLIC_VARIABLES=["agent.skipcertvalidation"]`))
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "is ignored") {
		t.Errorf("%q", c.Warnings)
	}
	_, problems := problemsOf(t, nil, pipeline("AGENT_PROXYURL=proxy.example:3128", `VSTS_PUBLIC_VARIABLES=["agent.proxyurl"]`))
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "AGENT_PROXYURL: ") {
		t.Errorf("%q", problems)
	}
	for _, port := range []string{"0", "03128", "65536", ""} {
		_, problems := problemsOf(t, nil, pipeline("AGENT_PROXYURL=http://proxy.example:"+port, `VSTS_PUBLIC_VARIABLES=["agent.proxyurl"]`))
		if len(problems) != 1 || !strings.HasPrefix(problems[0], "AGENT_PROXYURL: ") || !strings.Contains(problems[0], "the port must be 1 to 65535") {
			t.Errorf("the port %q: %q", port, problems)
		}
	}
}
