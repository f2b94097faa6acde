package fakeagent_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// service is an Azure DevOps with a run that an environment's approval waits
// for.
type service struct {
	network      *sim.Network
	organization *sim.Organization
	project      *sim.Project
	run          *sim.Run
	stage        *sim.Stage
}

func newService(t *testing.T, options sim.RunOptions) *service {
	t.Helper()
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	s := &service{network: cloud.Network("agents", "10.1.0.4"), organization: cloud.DevOps("contoso")}
	s.project = s.organization.Project("Shop")
	production := s.project.Environment("Production")
	production.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}})
	s.run = s.project.QueueRun(options)
	s.stage = s.run.Stage("Production", production)
	s.stage.Begin()
	return s
}

// environment is a task's environment by name; a name given twice is an error.
func environment(t *testing.T, list []string) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		if _, twice := env[name]; twice {
			t.Errorf("%s is given twice", name)
		}
		env[name] = value
	}
	return env
}

func TestYAMLTaskEnvironment(t *testing.T) {
	s := newService(t, sim.RunOptions{RequestedFor: developer, Branch: "refs/heads/release/1", Commit: strings.Repeat("ab", 20)})
	token := s.stage.Token()
	env := environment(t, fakeagent.Environment{
		Inputs:    map[string]string{"action": "invertedPush", "source Image.name": "x"},
		Variables: map[string]string{"my.variable": "mine", "Build.BuildId": "1"},
		Secrets:   map[string]string{"my.secret": "hush"},
		Env:       map[string]string{"RELEASE_RELEASEID": "7", "BUILD_BUILDID": "8", "SYSTEM_HOSTTYPE": "release"}, TempDirectory: "/agent/_temp"}.List(s.stage))
	for name, want := range map[string]string{
		"INPUT_ACTION": "invertedPush", "INPUT_SOURCE_IMAGE_NAME": "x",
		"SYSTEM_HOSTTYPE": "build", "SYSTEM_STAGENAME": "Production", "SYSTEM_STAGEID": s.stage.ID(), "SYSTEM_STAGEATTEMPT": "1",
		"SYSTEM_PHASENAME": "Promote", "SYSTEM_JOBID": s.stage.JobID(), "SYSTEM_JOBATTEMPT": "1", "SYSTEM_PLANID": s.run.PlanID(), "SYSTEM_TIMELINEID": s.run.PlanID(),
		"SYSTEM_COLLECTIONURI": s.organization.Collection(), "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": s.organization.Collection(),
		"SYSTEM_TEAMPROJECT": "Shop", "SYSTEM_TEAMPROJECTID": s.project.ID(), "SYSTEM_JOBPOSITIONINPHASE": "1", "SYSTEM_TOTALJOBSINPHASE": "1",
		"BUILD_BUILDID": fmt.Sprint(s.run.ID()), "BUILD_REQUESTEDFORID": developer.ID, "BUILD_SOURCEBRANCH": "refs/heads/release/1", "BUILD_SOURCEVERSION": strings.Repeat("ab", 20),
		"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": "/agent/_temp", "AGENT_VERSION": "4.248.0", "MY_VARIABLE": "mine", "SECRET_MY_SECRET": "hush",
		"ENDPOINT_URL_SYSTEMVSSCONNECTION": s.organization.Collection(), "ENDPOINT_AUTH_SCHEME_SYSTEMVSSCONNECTION": "OAuth",
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
	s := newService(t, sim.RunOptions{})
	federated := s.project.FederatedConnection("release-identity", "tenant-1", "app-1")
	federated.SetData("environmentAuthorityUrl", "https://login.windows.net/")
	secret := s.project.SecretConnection("with-secret", "tenant-2", "app-2", "very-secret")
	docker := s.project.DockerConnection("registry", "registry.example.com", "robot", "pass")
	other := s.project.DockerConnection("other", "other.example.com", "robot", "pass")
	env := environment(t, fakeagent.Environment{Connections: map[string][]*sim.ServiceConnection{
		"azureSubscription": {federated}, "targetSubscription": {secret}, "registryConnections": {docker, docker}}}.List(s.stage))
	f, p, d := federated.ID(), secret.ID(), docker.ID()
	for name, want := range map[string]string{
		"INPUT_AZURESUBSCRIPTION": f, "INPUT_TARGETSUBSCRIPTION": p, "INPUT_REGISTRYCONNECTIONS": d + "," + d,
		"ENDPOINT_AUTH_SCHEME_" + f: "WorkloadIdentityFederation", "ENDPOINT_AUTH_PARAMETER_" + f + "_TENANTID": "tenant-1",
		"ENDPOINT_AUTH_PARAMETER_" + f + "_SERVICEPRINCIPALID":                "app-1",
		"ENDPOINT_AUTH_PARAMETER_" + f + "_WORKLOADIDENTITYFEDERATIONSUBJECT": federated.Subject(),
		"ENDPOINT_DATA_" + f + "_ENVIRONMENT":                                 "AzureCloud", "ENDPOINT_DATA_" + f + "_ENVIRONMENTAUTHORITYURL": "https://login.windows.net/",
		"ENDPOINT_URL_" + f: "https://management.azure.com/", "ENDPOINT_AUTH_SCHEME_" + p: "ServicePrincipal",
		"ENDPOINT_AUTH_PARAMETER_" + p + "_SERVICEPRINCIPALKEY": "very-secret", "ENDPOINT_AUTH_PARAMETER_" + p + "_AUTHENTICATIONTYPE": "spnKey",
		"ENDPOINT_AUTH_SCHEME_" + d: "UsernamePassword", "ENDPOINT_AUTH_PARAMETER_" + d + "_USERNAME": "robot",
		"ENDPOINT_AUTH_PARAMETER_" + d + "_PASSWORD": "pass", "ENDPOINT_AUTH_PARAMETER_" + d + "_REGISTRY": "https://registry.example.com/",
		"ENDPOINT_DATA_" + d + "_REGISTRYTYPE": "Others",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if env["ENDPOINT_DATA_"+p+"_SUBSCRIPTIONID"] == "" || !strings.Contains(env["ENDPOINT_AUTH_"+f], `"scheme":"WorkloadIdentityFederation"`) {
		t.Errorf("data %q, auth %q", env["ENDPOINT_DATA_"+p+"_SUBSCRIPTIONID"], env["ENDPOINT_AUTH_"+f])
	}
	for name := range env {
		if strings.Contains(name, other.ID()) {
			t.Errorf("%s, of a connection that no input names", name)
		}
	}
}

func TestProxyAndCAInATaskEnvironment(t *testing.T) {
	s := newService(t, sim.RunOptions{})
	env := environment(t, fakeagent.Environment{CAFile: "/agent/ca.pem", Debug: true,
		Proxy: &fakeagent.Proxy{URL: s.network.ProxyURL(), Username: "agent", Password: "p@ss", Bypass: []string{`.*\.internal`}}}.List(s.stage))
	for name, want := range map[string]string{
		"AGENT_PROXYURL": s.network.ProxyURL(), "AGENT_PROXYUSERNAME": "agent", "SECRET_AGENT_PROXYPASSWORD": "p@ss",
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

// TestParallelJobs: a job of several knows its place among them.
func TestParallelJobs(t *testing.T) {
	s := newService(t, sim.RunOptions{})
	env := environment(t, fakeagent.Environment{Parallel: &fakeagent.ParallelJob{Kind: "MultiMachine", Position: 2, Total: 3}}.List(s.stage))
	if env["SYSTEM_PARALLELEXECUTIONTYPE"] != "MultiMachine" || env["SYSTEM_JOBPOSITIONINPHASE"] != "2" || env["SYSTEM_TOTALJOBSINPHASE"] != "3" {
		t.Errorf("%s, job %s of %s", env["SYSTEM_PARALLELEXECUTIONTYPE"], env["SYSTEM_JOBPOSITIONINPHASE"], env["SYSTEM_TOTALJOBSINPHASE"])
	}
	if env := environment(t, fakeagent.Environment{}.List(s.stage)); env["SYSTEM_PARALLELEXECUTIONTYPE"] != "None" || env["SYSTEM_TOTALJOBSINPHASE"] != "1" {
		t.Errorf("alone: %s of %s", env["SYSTEM_PARALLELEXECUTIONTYPE"], env["SYSTEM_TOTALJOBSINPHASE"])
	}
}
