package main_test

import (
	"strings"
	"testing"

	"acrpromote/internal/fakeagent"
)

// TestMisuse checks that invalid or contradictory inputs end as misuse before any
// request is sent, and that the message names the input.
func TestMisuse(t *testing.T) {
	env, _ := ready(t)
	seal := inputs{"action": "seal", "source": source}
	promote := inputs{"action": "promote", "source": source, "targets": prodHost + "/" + cart + ":stable", "environment": "Production"}
	verify := inputs{"action": "verify", "source": source}
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		name string
		in   inputs
		says []string
	}{
		{"no action", inputs{"action": "", "source": source}, []string{"action", "seal, promote, invertedPush, plan, verify, audit"}},
		{"an unknown action", push("action", "invertedPull"), []string{"invertedPull", "invertedPush"}},
		{"an action of the prompt", push("action", "version"), []string{"version"}},
		{"no source", push("source", ""), []string{"source"}},
		{"no targets", push("targets", ""), []string{"targets"}},
		{"promote without targets", promote.with("targets", ""), []string{"targets"}},
		{"audit without targets", inputs{"action": "audit", "source": source}, []string{"targets"}},
		{"a source that is not a reference", push("source", "not a reference"), []string{"source", "not a reference"}},
		{"a source without tag", push("source", prodHost+"/"+cart), []string{"no tag or digest"}},
		{"a source with an upper-case repository", push("source", prodHost+"/Shop:1"), []string{"Shop"}},
		{"a source that climbs", push("source", prodHost+"/a/../b:1"), []string{"a/../b"}},
		{"a source with a scheme", push("source", "https://"+source), []string{"https"}},
		{"a source with a short digest", push("source", prodHost+"/"+cart+"@sha256:abc"), []string{"sha256:abc"}},
		{"a source with tag and digest", push("source", source+"@"+digest), []string{"tag and a digest"}},
		{"a source with a port above 65535", push("source", prodHost+":99999/"+cart+":1"), []string{"source", prodHost + ":99999", "the port must be 1 to 65535"}},
		{"a target with a port of zeros", push("targets", devHost+":0443"), []string{"targets", devHost + ":0443", "the port must be 1 to 65535"}},
		{"a target that is not a host", push("targets", "dev"), []string{"targets", "dev"}},
		{"a target with a digest", push("targets", devHost+"/"+cart+"@"+digest), []string{"digest"}},
		{"the second target of two", push("targets", devHost+"\n-bad-.example"), []string{"-bad-.example"}},
		{"source equal to target", push("targets", prodHost), []string{"source itself"}},
		{"source equal to target in another spelling", push("targets", "ContosoProd.AzureCR.io:443/"+cart+":"+release), []string{"source itself"}},
		{"promote to itself", promote.with("targets", source), []string{"source itself"}},
		{"an inverted push inside one registry", push("targets", prodHost+"/other:1"), []string{"promote"}},
		{"seal without a lock", seal.with("lock", "none"), []string{"lock"}},
		{"an unknown lock", push("lock", "all"), []string{"lock", "all"}},
		{"approval none in a pipeline", push("approval", "none"), []string{"approval none"}},
		{"approval automated without a flow", push("approval", "automated"), []string{"automated"}},
		{"an unknown approval", push("approval", "maybe"), []string{"maybe"}},
		{"moveTag on an inverted push", push("moveTag", "true"), []string{"moveTag"}},
		{"moveTag on seal", seal.with("moveTag", "true"), []string{"moveTag"}},
		{"moveTag on audit", inputs{"action": "audit", "source": source, "targets": devHost, "moveTag": "true"}, []string{"moveTag"}},
		{"a boolean that is invalid", push("deep", "yes"), []string{"deep", "yes"}},
		{"a boolean as a number", push("dryRun", "1"), []string{"dryRun"}},
		{"a rule's boolean that is invalid", push("requesterCanApprove", "on"), []string{"requesterCanApprove"}},
		{"minApprovers 0", push("minApprovers", "0"), []string{"minApprovers"}},
		{"a negative number of approvers", push("minApprovers", "-1"), []string{"minApprovers"}},
		{"a broken number of approvers", push("minApprovers", "1.5"), []string{"minApprovers"}},
		{"a duration of nothing", push("approvalMaxAge", "0"), []string{"approvalMaxAge"}},
		{"a duration without unit", push("approvalMaxAge", "72"), []string{"approvalMaxAge"}},
		{"a negative duration", push("approvalMaxAge", "-1h"), []string{"approvalMaxAge"}},
		{"a duration in weeks", push("approvalMaxAge", "2w"), []string{"approvalMaxAge"}},
		{"a pattern that is invalid", push("commentPattern", "CHG("), []string{"commentPattern"}},
		{"a digest that is invalid", push("digest", "1.4.2"), []string{"digest"}},
		{"a digest in upper case", push("digest", "sha256:"+strings.Repeat("A", 64)), []string{"digest"}},
		{"two digests that differ", push("source", prodHost+"/"+cart+"@"+digest, "digest", "sha256:"+strings.Repeat("b", 64)), []string{"digest"}},
		{"an unknown onPartial", push("onPartial", "ignore"), []string{"onPartial"}},
		{"a missing flow file", push("flowFile", "flows.yaml"), []string{"flowFile", "no such file"}},
		{"a flow", push("flow", "released"), []string{"flow"}},
		{"images", push("images", "shop/*:1"), []string{"images"}},
		{"images from a file", push("imagesFrom", "images.txt"), []string{"imagesFrom"}},
		{"an input that does not exist", push("minApprover", "2"), []string{"minapprover", "minApprovers"}},
		{"verify of a seal with an environment", verify.with("environment", "Production"), []string{"environment", "targets"}},
		{"verify of a seal with minApprovers", verify.with("minApprovers", "2"), []string{"minApprovers"}},
		{"verify of a seal with an explicit default", verify.with("minApprovers", "1"), []string{"minApprovers"}},
		{"verify of a seal with approvalCode", verify.with("approvalCode", "true"), []string{"approvalCode"}},
		{"verify of a seal with sealed", verify.with("sealed", "true"), []string{"sealed"}},
		{"verify of a seal with approvers", verify.with("approvers", "release.manager@example.com"), []string{"approvers"}},
		{"an endpoint without a name", push("environment", "endpoint:"), []string{"endpoint"}},
	} {
		o := env.task(c.in).want("misuse").says(c.says...)
		if len(o.requests) != 0 {
			t.Errorf("%s: requests were sent: %v", c.name, o.requests)
		}
		for _, e := range o.at("errors").([]any) {
			if side := e.(map[string]any)["side"]; side != "input" {
				t.Errorf("%s: an error lies at the %v, want input", c.name, side)
			}
		}
		if t.Failed() {
			t.Fatalf("%s", c.name)
		}
	}

	o := env.task(push("source", "nothing", "minApprovers", "0", "lock", "all", "moveTag", "true")).want("misuse").says("source", "minApprovers", "lock", "moveTag")
	if n := len(o.at("errors").([]any)); n < 4 {
		t.Errorf("%d problems reported, want 4:\n%s", n, o.against())
	}
}

// TestMisuseOfTheEnvironment tests invalid variables of the agent.
func TestMisuseOfTheEnvironment(t *testing.T) {
	env, _ := ready(t)
	docker := env.project.DockerConnection("dev-token", devHost, "pusher", "a-docker-password")
	secret := env.project.SecretConnection("release-secret", tenant, clientID, clientKey)
	none := func(o outcome, words ...string) {
		t.Helper()
		o.want("misuse").says(words...)
		if len(o.requests) != 0 {
			t.Errorf("requests were sent: %v", o.requests)
		}
	}
	environ := env.environ(env.stage, push())
	none(env.execute(forged(environ, "GODEBUG", "http2debug=2")), "GODEBUG")
	none(env.execute(forged(environ, "GOTRACEBACK", "crash")), "GOTRACEBACK")
	none(env.execute(forged(environ, "INPUT_AZURESUBSCRIPTION", "00000000-0000-0000-0000-000000000001")), "azureSubscription")
	none(env.execute(environ, "invertedPush"), "INPUT_ACTION")
	none(env.task(push(), connected("azureSubscription")), prodHost, devHost, "azureSubscription")
	none(env.task(push(), connected("azureSubscription"), connected("registryConnections", docker)), prodHost)
	none(env.task(push("targets", "contosodev.azurecr.cn")), "contosodev.azurecr.cn")
	for _, host := range []string{"team.azurecr.us", "contosodev.azurecr.cn"} {
		none(env.task(push("source", host+"/"+cart+":1"), connected("azureSubscription")), host)
	}
	secret.SetParameter("serviceprincipalkey", "")
	none(env.task(push(), connected("azureSubscription", secret)), "client secret")
	secret.SetParameter("serviceprincipalkey", clientKey)
	secret.SetData("environment", "AzureGermanCloud")
	none(env.task(push(), connected("azureSubscription", secret)), "AzureGermanCloud")
}

// TestUnknownApprovalStage checks that a stage that the run does not have is misuse,
// that the existing stages are listed, and that nothing is written.
func TestUnknownApprovalStage(t *testing.T) {
	env, _ := ready(t)
	o := env.task(push("approvalStage", "Productoin")).want("misuse").says("Productoin", "Build", "Production")
	if got := env.dev.TagDigest(cart, release); got != "" || len(writes(o.requests)) > 0 {
		t.Errorf("something was written: %v", writes(o.requests))
	}
	env.task(push("approvalStage", "pRODUCTION")).want("done")
}

// TestWarnings checks that an input that the action does not have is only a warning.
func TestWarnings(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 1, 512)
	env.stage.Begin()
	o := env.task(inputs{"action": "seal", "source": source, "environment": "Production", "deep": "TRUE"}).want("done")
	told := strings.Join(o.warnings, "\n")
	for _, name := range []string{"environment", "deep"} {
		if !strings.Contains(told, name) {
			t.Errorf("no warning about %s: %q", name, told)
		}
	}
	if o.output["digest"] != image.Digest || o.output["image"] != prodHost+"/"+cart+"@"+image.Digest || o.output["changed"] != "true" {
		t.Errorf("outputs %v", o.output)
	}
	// The agent sends the defaults for every action, so they are not a warning.
	o = env.task(inputs{"action": "seal", "source": source, "minApprovers": "1", "approval": "manual", "moveTag": "false", "onPartial": "fail", "dryRun": "False"}).want("done")
	if len(o.warnings) != 0 {
		t.Errorf("warnings for what was not asked: %q", o.warnings)
	}
}

// TestForeignVariablesAreIgnored checks that the env: of a step cannot impersonate
// Azure DevOps with its own proxy or CA.
func TestForeignVariablesAreIgnored(t *testing.T) {
	env, image := ready(t)
	nowhere := "http://127.0.0.1:9"
	o := env.task(push(), func(e *fakeagent.Environment) {
		e.Env = map[string]string{
			"HTTPS_PROXY": nowhere, "https_proxy": nowhere, "ALL_PROXY": nowhere, "NO_PROXY": "*", "SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent",
			"AZURE_AUTHORITY_HOST": "https://evil.example/", "AZURE_CLIENT_SECRET": "nothing-that-counts", "AGENT_SKIPCERTVALIDATION": "true",
		}
	}).want("done")
	if o.at("images", 0, "digest") != image.Digest || o.at("transport") != "claimed" || o.at("proxy") != env.prodNetwork.ProxyURL() || o.at("ca") != env.cloud.CAFile() {
		t.Errorf("transport %v, proxy %v, ca %v", o.at("transport"), o.at("proxy"), o.at("ca"))
	}
	if !strings.Contains(strings.Join(o.warnings, " "), "AGENT_SKIPCERTVALIDATION") {
		t.Errorf("no warning that AGENT_SKIPCERTVALIDATION is ignored: %q", o.warnings)
	}

	// A CA that the agent does not name as its own is not trusted.
	o = env.task(push(), func(e *fakeagent.Environment) {
		e.CAFile = ""
		e.Env = map[string]string{"AGENT_CAINFO": env.cloud.CAFile(), "SSL_CERT_FILE": env.cloud.CAFile()}
	}).refusedBy("approval-unreadable")
	if !strings.Contains(strings.Join(o.warnings, " "), "AGENT_CAINFO") || o.at("ca") != "" {
		t.Errorf("the ignored AGENT_CAINFO: ca %v, warnings %q", o.at("ca"), o.warnings)
	}
	if len(o.requests) != 0 {
		t.Errorf("answered by a server that nobody trusts: %v", o.requests)
	}

	// Neither is a proxy used. The hosts here do not resolve.
	environ := env.environ(env.stage, push("source", "registry.invalid/"+cart+":1", "targets", "dev.invalid"), func(e *fakeagent.Environment) {
		e.Proxy = nil
		e.Env = map[string]string{"AGENT_PROXYURL": env.devNetwork.ProxyURL(), "HTTPS_PROXY": env.devNetwork.ProxyURL()}
		delete(e.Connections, "azureSubscription")
	})
	o = env.execute(forged(environ, "ENDPOINT_URL_SYSTEMVSSCONNECTION", "https://devops.invalid/contoso/"))
	if got := env.devNetwork.Dialled(); len(got) != 0 {
		t.Errorf("the proxy of the step's env: got requests: %v", got)
	}
	if !strings.Contains(strings.Join(o.warnings, " "), "AGENT_PROXYURL") || o.at("transport") != "claimed" || o.at("proxy") != "" {
		t.Errorf("the ignored AGENT_PROXYURL: proxy %v, warnings %q", o.at("proxy"), o.warnings)
	}
	o.want("refused").says("devops.invalid")
}
