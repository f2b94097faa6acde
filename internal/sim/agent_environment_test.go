package sim

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestYAMLTaskEnvironment(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	r := o.project.QueueRun(RunOptions{RequestedFor: o.dev, Branch: "refs/heads/release/1", Commit: strings.Repeat("ab", 20)})
	st := r.Stage("Production", o.env)
	st.Begin()
	token := st.Token()
	env := environment(t, st.Environ(Task{
		Inputs:    map[string]string{"action": "invertedPush", "source Image.name": "x"},
		Variables: map[string]string{"my.variable": "mine", "Build.BuildId": "1"},
		Secrets:   map[string]string{"my.secret": "hush"},
		Env:       map[string]string{"RELEASE_RELEASEID": "7", "BUILD_BUILDID": "8", "SYSTEM_HOSTTYPE": "release"}, TempDirectory: "/agent/_temp"}))
	for name, want := range map[string]string{
		"INPUT_ACTION": "invertedPush", "INPUT_SOURCE_IMAGE_NAME": "x",
		"SYSTEM_HOSTTYPE": "build", "SYSTEM_STAGENAME": "Production", "SYSTEM_STAGEID": st.ID(), "SYSTEM_STAGEATTEMPT": "1",
		"SYSTEM_PHASENAME": "Promote", "SYSTEM_JOBID": st.JobID(), "SYSTEM_JOBATTEMPT": "1", "SYSTEM_PLANID": r.PlanID(), "SYSTEM_TIMELINEID": r.PlanID(),
		"SYSTEM_COLLECTIONURI": o.org.Collection(), "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": o.org.Collection(),
		"SYSTEM_TEAMPROJECT": "Shop", "SYSTEM_TEAMPROJECTID": o.project.ID(), "SYSTEM_JOBPOSITIONINPHASE": "1", "SYSTEM_TOTALJOBSINPHASE": "1",
		"BUILD_BUILDID": itoa(r.ID()), "BUILD_REQUESTEDFORID": o.dev.ID, "BUILD_SOURCEBRANCH": "refs/heads/release/1", "BUILD_SOURCEVERSION": strings.Repeat("ab", 20),
		"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": "/agent/_temp", "AGENT_VERSION": "4.248.0", "MY_VARIABLE": "mine", "SECRET_MY_SECRET": "hush",
		"ENDPOINT_URL_SYSTEMVSSCONNECTION": o.org.Collection(), "ENDPOINT_AUTH_SCHEME_SYSTEMVSSCONNECTION": "OAuth",
		"ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN": token, "SECRET_SYSTEM_ACCESSTOKEN": token,
		"ENDPOINT_AUTH_SYSTEMVSSCONNECTION": `{"parameters":{"AccessToken":"` + token + `"},"scheme":"OAuth"}`,
		"RELEASE_RELEASEID":                 "7", // nothing sets it in a YAML run: env: wins
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	public, secret := names(t, env["VSTS_PUBLIC_VARIABLES"]), names(t, env["VSTS_SECRET_VARIABLES"])
	if !slices.Contains(public, "build.buildId") || !slices.Contains(public, "my.variable") || slices.Contains(public, "RELEASE_RELEASEID") ||
		!slices.Equal(secret, []string{"my.secret", "system.accessToken"}) {
		t.Errorf("public %q, secret %q", public, secret)
	}
	for name := range env {
		if strings.HasPrefix(name, "AGENT_PROXY") || strings.HasPrefix(name, "AGENT_CA") || strings.HasPrefix(name, "ENDPOINT_DATA_SYSTEM") {
			t.Errorf("%s is set where the agent has none", name)
		}
	}
}

func names(t *testing.T, list string) []string {
	t.Helper()
	var all []string
	if err := json.Unmarshal([]byte(list), &all); err != nil {
		t.Fatalf("%q: %v", list, err)
	}
	return all
}

func TestConnectionsInATaskEnvironment(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	federated := o.project.FederatedConnection("release-identity", "tenant-1", "app-1")
	federated.SetData("environmentAuthorityUrl", "https://login.windows.net/")
	secret := o.project.SecretConnection("with-secret", "tenant-2", "app-2", "very-secret")
	docker := o.project.DockerConnection("registry", "registry.example.com", "robot", "pass")
	other := o.project.DockerConnection("other", "other.example.com", "robot", "pass")
	st := o.project.QueueRun(RunOptions{}).Stage("Production", o.env)
	env := environment(t, st.Environ(Task{Connections: map[string][]*ServiceConnection{
		"azureSubscription": {federated}, "targetSubscription": {secret}, "registryConnections": {docker, docker}}}))
	f, s, d := federated.ID(), secret.ID(), docker.ID()
	for name, want := range map[string]string{
		"INPUT_AZURESUBSCRIPTION": f, "INPUT_TARGETSUBSCRIPTION": s, "INPUT_REGISTRYCONNECTIONS": d + "," + d,
		"ENDPOINT_AUTH_SCHEME_" + f: "WorkloadIdentityFederation", "ENDPOINT_AUTH_PARAMETER_" + f + "_TENANTID": "tenant-1",
		"ENDPOINT_AUTH_PARAMETER_" + f + "_SERVICEPRINCIPALID":                "app-1",
		"ENDPOINT_AUTH_PARAMETER_" + f + "_WORKLOADIDENTITYFEDERATIONSUBJECT": federated.Subject(),
		"ENDPOINT_DATA_" + f + "_ENVIRONMENT":                                 "AzureCloud", "ENDPOINT_DATA_" + f + "_ENVIRONMENTAUTHORITYURL": "https://login.windows.net/",
		"ENDPOINT_URL_" + f: "https://management.azure.com/", "ENDPOINT_AUTH_SCHEME_" + s: "ServicePrincipal",
		"ENDPOINT_AUTH_PARAMETER_" + s + "_SERVICEPRINCIPALKEY": "very-secret", "ENDPOINT_AUTH_PARAMETER_" + s + "_AUTHENTICATIONTYPE": "spnKey",
		"ENDPOINT_AUTH_SCHEME_" + d: "UsernamePassword", "ENDPOINT_AUTH_PARAMETER_" + d + "_USERNAME": "robot",
		"ENDPOINT_AUTH_PARAMETER_" + d + "_PASSWORD": "pass", "ENDPOINT_AUTH_PARAMETER_" + d + "_REGISTRY": "https://registry.example.com/",
		"ENDPOINT_DATA_" + d + "_REGISTRYTYPE": "Others",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if env["ENDPOINT_DATA_"+s+"_SUBSCRIPTIONID"] == "" || !strings.Contains(env["ENDPOINT_AUTH_"+f], `"scheme":"WorkloadIdentityFederation"`) {
		t.Errorf("data %q, auth %q", env["ENDPOINT_DATA_"+s+"_SUBSCRIPTIONID"], env["ENDPOINT_AUTH_"+f])
	}
	for name := range env {
		if strings.Contains(name, other.ID()) {
			t.Errorf("%s, of a connection that no input names", name)
		}
	}
}

func TestProxyAndCAInATaskEnvironment(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	st := o.project.QueueRun(RunOptions{}).Stage("Production", o.env)
	env := environment(t, st.Environ(Task{CAFile: "/agent/ca.pem", Debug: true,
		Proxy: &AgentProxy{URL: o.net.ProxyURL(), Username: "agent", Password: "p@ss", Bypass: []string{`.*\.internal`}}}))
	for name, want := range map[string]string{
		"AGENT_PROXYURL": o.net.ProxyURL(), "AGENT_PROXYUSERNAME": "agent", "SECRET_AGENT_PROXYPASSWORD": "p@ss",
		"AGENT_PROXYBYPASSLIST": `[".*\\.internal"]`, "AGENT_CAINFO": "/agent/ca.pem", "SYSTEM_DEBUG": "true",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	public, secret := names(t, env["VSTS_PUBLIC_VARIABLES"]), names(t, env["VSTS_SECRET_VARIABLES"])
	for _, name := range []string{"agent.proxyurl", "agent.proxyusername", "agent.proxybypasslist", "agent.cainfo"} {
		if !slices.Contains(public, name) {
			t.Errorf("%s is not listed as the agent's", name)
		}
	}
	if !slices.Contains(secret, "agent.proxypassword") {
		t.Errorf("secret variables are %q", secret)
	}
	if _, plain := env["AGENT_PROXYPASSWORD"]; plain {
		t.Error("the proxy's password is a public variable")
	}
}
