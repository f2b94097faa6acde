package azdo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/doctor"
	"acrpromote/internal/sim"
)

// clinic is a project in which nothing is wider than its flow needs, and a job of it
// that runs doctor.
type clinic struct {
	cloud        *sim.Cloud
	network      *sim.Network
	client       *http.Client
	org          *sim.Organization
	project      *sim.Project
	env          *sim.Environment
	check        *sim.Check
	source, dest *sim.ServiceConnection
	template     *sim.Check // of dest
	asked        *sim.Check // of dest
	queue        *sim.Queue
	rules        *sim.Repository
	policy       *sim.BranchPolicy
	prod, dev    *doctor.Access
	query        azdo.DoctorQuery
}

const (
	main     = "refs/heads/main"
	prodHost = "prod.azurecr.io"
	devHost  = "web.azurecr.io"
	// knownObject is the object ID of an identity that has a role at the registry in PROD.
	knownObject = "22222222-0000-4000-8000-000000000003"
)

func newClinic(t *testing.T, cloud *sim.Cloud, network *sim.Network) *clinic {
	t.Helper()
	c := &clinic{cloud: cloud, network: network, client: network.Client(), org: cloud.DevOps(fmt.Sprintf("clinic%d", organisations.Add(1)))}
	p := c.org.Project("Shop")
	c.project = p
	releasers := p.Group("Release Managers")
	c.env = p.Environment("Production")
	c.check = c.env.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{releasers}, MinRequired: 1, RequesterCannotApprove: true})
	c.env.SetRole(sim.Person("Project Administrator"), "")
	c.env.SetRole(releasers, sim.Administrator)

	const tenant = "0b1d2a3c-1111-4222-8333-444455556666"
	c.source = p.FederatedConnection("prod-reader", tenant, "11111111-0000-4000-8000-000000000001")
	c.dest = p.FederatedConnection("web-writer", tenant, "11111111-0000-4000-8000-000000000002")
	for _, s := range []*sim.ServiceConnection{c.source, c.dest} {
		s.Permit("release")
	}
	c.source.AddCheck(sim.RequiredTemplate)
	c.template = c.dest.AddCheck(sim.RequiredTemplate)
	c.asked = c.dest.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{releasers}, MinRequired: 1, RequesterCannotApprove: true})

	c.queue = p.Queue("Release agents", sim.LastingAgents)
	c.queue.Permit("release")

	c.rules = p.Repository("Rules")
	c.rules.Commit(main, map[string][]byte{"flow.yml": []byte("version: 1\n")})
	c.policy = c.rules.AddPolicy(sim.BranchPolicy{Branch: main, Minimum: 1})
	c.rules.Allow("*", p.Group("Contributors"), sim.GitContribute)

	c.prod = &doctor.Access{Host: prodHost, Trust: 1, Connection: c.source.ID()}
	c.dev = &doctor.Access{Host: devHost, Target: true, Connection: c.dest.ID()}
	c.query = azdo.DoctorQuery{
		Registries:   []*doctor.Access{c.prod, c.dev},
		Known:        func(host, objectID string) bool { return host == prodHost && objectID == knownObject },
		Environments: []*doctor.Environment{{Where: "Production", Flow: "released", MinApprovers: 1}},
		Repository:   "Rules", Ref: main, Path: "flow.yml",
	}
	return c
}

// judge runs doctor in a job of the project.
func (c *clinic) judge(t *testing.T) []doctor.Finding {
	t.Helper()
	st := c.project.QueueRun(sim.RunOptions{Queue: c.queue}).Stage("Look")
	job := st.JobRequest()
	v := job.Variables
	number := func(name string) int {
		n, err := strconv.Atoi(v[name])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s, err := azdo.New(c.client, azdo.Claims{
		Claims: approval.Claims{HostType: "build", ProjectID: v["system.teamProjectId"], PlanID: v["system.planId"], JobID: v["system.jobId"],
			StageID: v["system.stageId"], StageName: v["system.stageName"], StageAttempt: number("system.stageAttempt"), BuildID: number("build.buildId")},
		Collection: c.org.Collection(), ProjectName: "Shop", OIDCRequestURI: v["system.oidcRequestUri"],
	}, job.Secrets["system.accessToken"])
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Judge(doctor.Setup{DevOps: s.Doctor(context.Background(), c.query)}).Findings
}

func TestDoctor(t *testing.T) {
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	network := cloud.Network("agents", "10.1.0.4")
	contributor := sim.Person("Developer")
	for _, test := range []struct {
		name  string
		fault func(*clinic)
		want  string // ID, severity and part of the finding; "" if there is none
	}{
		{"clean", func(*clinic) {}, ""},
		{"no template and no approval", func(c *clinic) { c.template.Delete(); c.asked.Delete() }, "connection-unprotected high service connection web-writer: "},
		{"no template", func(c *clinic) { c.template.Delete() }, "connection-no-template medium service connection web-writer: "},
		{"a disabled template", func(c *clinic) { c.template.Disable() }, "connection-no-template medium "},
		{"no approval", func(c *clinic) { c.asked.Disable() }, "connection-no-approval medium service connection web-writer: It writes to web.azurecr.io, "},
		{"open to all pipelines", func(c *clinic) { c.source.OpenToAll(true) }, "connection-open high service connection prod-reader: "},
		{"one connection for both sides", func(c *clinic) {
			c.prod.Connection = c.dest.ID()
		}, "identity-on-both-sides medium service connection web-writer: One identity (11111111-0000-4000-8000-000000000002) signs in to web.azurecr.io, and to prod.azurecr.io"},
		{"two connections of one identity", func(c *clinic) {
			c.dest.SetParameter("serviceprincipalid", "11111111-0000-4000-8000-000000000001")
		}, "identity-on-both-sides medium service connection web-writer: "},
		{"a connection that no input names, by its identity's role", func(c *clinic) {
			other := c.project.SecretConnection("old", "0b1d2a3c-1111-4222-8333-444455556666", "11111111-0000-4000-8000-000000000003", "x")
			other.SetData("spnObjectId", knownObject)
		}, "connection-unprotected high service connection old: "},
		{"a Docker connection that no input names", func(c *clinic) {
			c.project.DockerConnection("docker", prodHost, "token", "password").AddCheck(sim.RequiredTemplate)
			c.project.DockerConnection("elsewhere", "example.azurecr.io", "token", "password")
		}, ""},
		{"a Docker connection without checks", func(c *clinic) { c.project.DockerConnection("docker", prodHost, "token", "password") }, "connection-unprotected high service connection docker: "},
		{"a Docker connection to an address with a path", func(c *clinic) { c.project.DockerConnection("docker", "Prod.azurecr.io:443/v2", "token", "password") }, "connection-unprotected high service connection docker: "},
		{"the identity of open agents", func(c *clinic) {
			c.queue = c.project.Queue("Fresh agents", sim.SingleUseAgents)
			c.queue.OpenToAll(true)
			c.project.ManagedIdentityConnection("machine", "0b1d2a3c-1111-4222-8333-444455556666", "").AddCheck(sim.RequiredTemplate)
			c.prod.Connection = c.project.ManagedIdentityConnection("machine", "", "").ID()
		}, "identity-of-agents high service connection machine: "},
		{"the identity of agents for these pipelines", func(c *clinic) {
			c.project.ManagedIdentityConnection("machine", "0b1d2a3c-1111-4222-8333-444455556666", "").AddCheck(sim.RequiredTemplate)
			c.prod.Connection = c.project.ManagedIdentityConnection("machine", "", "").ID()
		}, ""},
		{"a flow without an environment", func(c *clinic) { c.query.Environments[0].Where = "" }, "environment-not-named medium flow released: "},
		{"no approval of the environment", func(c *clinic) { c.check.Delete() }, "environment-no-approval high environment Production: Nobody is asked"},
		{"a disabled approval", func(c *clinic) { c.check.Disable() }, "environment-no-approval high "},
		{"requesters may approve", func(c *clinic) {
			c.check.Update(sim.ApprovalSettings{Approvers: []sim.Identity{c.project.Group("Release Managers")}, MinRequired: 1})
		}, "environment-requester-approves medium environment Production: "},
		{"requesters may approve by the flow's rules", func(c *clinic) {
			c.check.Update(sim.ApprovalSettings{Approvers: []sim.Identity{c.project.Group("Release Managers")}, MinRequired: 1})
			c.query.Environments[0].RequesterCanApprove = true
		}, ""},
		{"fewer approvers than the flow requires", func(c *clinic) { c.query.Environments[0].MinApprovers = 2 }, "environment-too-few-approvers medium environment Production: Azure DevOps lets the stage begin after 1 of the 2 approvals"},
		{"all of two approvers", func(c *clinic) {
			c.query.Environments[0].MinApprovers = 2
			c.check.Update(sim.ApprovalSettings{Approvers: []sim.Identity{sim.Person("Release Manager"), sim.Person("Second Manager")}, RequesterCannotApprove: true})
		}, ""},
		{"the creator administers the environment", func(c *clinic) { c.env.SetRole(contributor, sim.Administrator) }, "environment-administrator high environment Production: Each of these persons is an administrator of it by name, as the one who creates it becomes, and can remove its approval or change who approves: Developer."},
		{"contributors administer the environment", func(c *clinic) { c.env.SetRole(c.project.Group("Contributors"), sim.Administrator) }, "environment-administrators-wide high environment Production: Everybody"},
		{"the default team administers the environment", func(c *clinic) { c.env.SetRole(c.project.Group("Shop Team"), sim.Administrator) }, `environment-administrators-wide high `},
		{"pipelines administer the environment", func(c *clinic) {
			c.env.SetRole(sim.Service("Shop Build Service (clinic)", "svc"), sim.Administrator)
		}, "environment-administrators-wide high environment Production: "},
		{"the approval of a connection counts", func(c *clinic) { c.query.Environments[0].Where = "endpoint:web-writer" }, ""},
		{"the approval of a connection counts, and somebody administers it", func(c *clinic) {
			c.query.Environments[0].Where = "endpoint:web-writer"
			c.dest.SetRole(contributor, sim.Administrator)
		}, "environment-administrator high service connection web-writer: "},
		{"no branch policy", func(c *clinic) { c.policy.Deleted = true }, "flow-file-no-policy high flow file Rules@refs/heads/main:flow.yml: No policy requires a review before the flow file changes. These can change its rules alone: the group S-1-"},
		{"a disabled policy", func(c *clinic) { c.policy.Disabled = true }, "flow-file-no-policy high "},
		{"an optional policy", func(c *clinic) { c.policy.Optional = true }, "flow-file-no-policy high "},
		{"a policy of another branch", func(c *clinic) { c.policy.Branch = "refs/heads/release/" }, "flow-file-no-policy high "},
		{"a policy of the whole repository", func(c *clinic) { c.policy.Branch = "" }, ""},
		{"a policy of the branch's folder", func(c *clinic) { c.policy.Branch = "refs/heads/" }, ""},
		{"a tag", func(c *clinic) { c.query.Ref = "refs/tags/v1" }, "flow-file-no-policy high flow file Rules@refs/tags/v1:flow.yml: "},
		{"a commit", func(c *clinic) { c.query.Ref = strings.Repeat("a", 40); c.policy.Deleted = true }, ""},
		{"a file in the workspace", func(c *clinic) { c.query.Repository = ""; c.policy.Deleted = true }, ""},
		{"required reviewers", func(c *clinic) {
			c.policy.Reviewers, c.policy.Files = []sim.Identity{contributor}, []string{"/flow.yml"}
		}, ""},
		{"required reviewers of other files", func(c *clinic) { c.policy.Reviewers, c.policy.Files = []sim.Identity{contributor}, []string{"/src/*"} }, "flow-file-no-policy high "},
		{"required reviewers of all files but others", func(c *clinic) {
			c.policy.Reviewers, c.policy.Files = []sim.Identity{contributor}, []string{"*", "!/docs/*", "!/README.md"}
		}, ""},
		{"required reviewers of all files but this", func(c *clinic) {
			c.policy.Reviewers, c.policy.Files = []sim.Identity{contributor}, []string{"*", "!/Flow.yml"}
		}, "flow-file-no-policy high "},
		{"required reviewers of all files but those like this", func(c *clinic) {
			c.policy.Reviewers, c.policy.Files = []sim.Identity{contributor}, []string{"*", "!*.yml"}
		}, "flow-file-no-policy high "},
		{"an exclusion that is taken back", func(c *clinic) {
			c.policy.Reviewers, c.policy.Files = []sim.Identity{contributor}, []string{"!*", "/flow.yml"}
		}, ""},
		{"the creator's vote is enough", func(c *clinic) { c.policy.CreatorVoteCounts = true }, "flow-file-self-review high flow file Rules"},
		{"the creator's vote is one of two", func(c *clinic) { c.policy.CreatorVoteCounts, c.policy.Minimum = true, 2 }, "flow-file-creator-vote medium flow file Rules"},
		{"somebody may bypass policies when pushing", func(c *clinic) { c.rules.Allow(main, contributor, sim.GitPolicyExempt) }, "flow-file-bypass high flow file Rules@refs/heads/main:flow.yml: These may bypass the branch's policies, and so change the rules without a review: developer@example.com."},
		{"somebody may bypass policies of pull requests", func(c *clinic) { c.rules.Allow("", contributor, sim.GitBypassPullRequests) }, "flow-file-bypass high "},
		{"a group may bypass policies in the whole project", func(c *clinic) { c.rules.Allow("*", c.project.Group("Hotfix"), sim.GitPolicyExempt) }, "flow-file-bypass high "},
		{"a bypass that the branch denies", func(c *clinic) {
			c.rules.Allow("*", contributor, sim.GitPolicyExempt)
			c.rules.Deny(main, contributor, sim.GitPolicyExempt)
		}, ""},
		{"pipelines may contribute", func(c *clinic) {
			c.rules.Allow("", sim.Service("Shop Build Service (clinic)", "svc"), sim.GitContribute)
		}, "flow-file-contributors medium flow file Rules@refs/heads/main:flow.yml: "},
		{"all users may contribute", func(c *clinic) { c.rules.Allow("*", c.project.Group("Project Valid Users"), sim.GitContribute) }, "flow-file-contributors medium "},
		{"a queue open to all pipelines", func(c *clinic) { c.queue.OpenToAll(true) }, "pool-open high agent pool Release agents: "},
		{"an open queue of agents for single use", func(c *clinic) {
			c.queue = c.project.Queue("Fresh agents", sim.SingleUseAgents)
			c.queue.OpenToAll(true)
		}, ""},
		{"Microsoft-hosted agents", func(c *clinic) { c.queue = nil }, ""},
	} {
		for _, explicit := range []bool{false, true} {
			if explicit && !strings.Contains(test.name, "bypass") && !strings.Contains(test.name, "contribute") {
				continue // it has nothing to do with access control lists
			}
			c := newClinic(t, cloud, network)
			if explicit {
				c.org.ListOnlyExplicitEntries()
			}
			test.fault(c)
			var got []string
			for _, f := range c.judge(t) {
				got = append(got, fmt.Sprintf("%s %s %s: %s %s", f.ID, f.Severity, f.Where, f.Allows, f.Mend))
			}
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], test.want)) {
				t.Errorf("%s (only explicit entries: %t): %q, want %q", test.name, explicit, got, test.want)
			}
			for _, d := range c.org.Deviations() {
				t.Errorf("%s: differs from the published description: %s", test.name, d)
			}
		}
	}
}

// TestDoctorWithoutRights checks that what cannot be read is unknown, with what to
// grant to whom, and that everything else is judged all the same.
func TestDoctorWithoutRights(t *testing.T) {
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	network := cloud.Network("agents", "10.1.0.4")
	for _, test := range []struct {
		name string
		deny func(*clinic)
		want []string
	}{
		{"connections", func(c *clinic) { c.project.Deny(sim.Endpoints) }, []string{"service connections"}},
		{"checks", func(c *clinic) { c.project.Deny(sim.Configurations) }, []string{"environment Production", "service connection prod-reader", "service connection web-writer"}},
		{"pipeline permissions", func(c *clinic) { c.project.Deny(sim.PipelinePermissions) }, []string{"agent pool Release agents", "service connection prod-reader", "service connection web-writer"}},
		{"roles", func(c *clinic) { c.project.Deny(sim.Roles) }, []string{"environment Production"}},
		{"environments", func(c *clinic) { c.project.Deny(sim.Environments) }, []string{"environment Production"}},
		{"a hidden environment", func(c *clinic) { c.env.DenyView() }, []string{"environment Production"}},
		{"the queue", func(c *clinic) { c.project.Deny(sim.Queues) }, []string{"agent pool"}},
		{"policies", func(c *clinic) { c.project.Deny(sim.Policies) }, []string{"flow file Rules@refs/heads/main:flow.yml"}},
		{"access control lists", func(c *clinic) { c.project.Deny(sim.AccessLists) }, []string{"flow file Rules@refs/heads/main:flow.yml"}},
		{"the repository", func(c *clinic) { c.project.Deny(sim.Repositories) }, []string{"flow file Rules@refs/heads/main:flow.yml"}},
		{"a repository that is not there", func(c *clinic) { c.query.Repository = "Other/Rules" }, []string{"flow file Other/Rules@refs/heads/main:flow.yml"}},
		{"a hidden connection", func(c *clinic) { c.dest.DenyView() }, []string{"service connection " + "web-writer"}},
		{"a page in place of every document", func(c *clinic) {
			c.org.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if path := strings.ToLower(r.URL.Path); strings.Contains(path, "accesscontrollists") || strings.Contains(path, "pipelinepermissions") {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(`{}`))
					return true
				}
				return false
			})
		}, []string{"agent pool Release agents", "flow file Rules@refs/heads/main:flow.yml", "service connection prod-reader", "service connection web-writer"}},
		{"approval settings", func(c *clinic) {
			client := *c.client
			client.Transport = rewriting{client.Transport, "/checks/configurations", func(document any) any {
				for _, v := range in(document, "value").(list) {
					if in(v, "type", "name") == "Approval" {
						set(v, "x", "settings", "approvers")
					}
				}
				return document
			}}
			c.client = &client
		}, []string{"environment Production"}},
		{"nothing", func(c *clinic) {
			c.org.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
				http.Error(w, "no", http.StatusBadGateway)
				return true
			})
		}, []string{"Azure DevOps"}},
	} {
		c := newClinic(t, cloud, network)
		test.deny(c)
		var where []string
		for _, f := range c.judge(t) {
			if f.Severity != doctor.Unknown || f.Mend == "" {
				t.Errorf("%s: %+v", test.name, f)
			}
			where = append(where, f.Where)
		}
		slices.Sort(where)
		if where = slices.Compact(where); test.name == "a hidden connection" {
			where = []string{strings.ReplaceAll(strings.Join(where, ","), c.dest.ID(), "web-writer")}
		}
		if !slices.Equal(where, test.want) {
			t.Errorf("%s: unknown are %q, want %q", test.name, where, test.want)
		}
	}
}

// TestDoctorOfDamagedDocuments replaces each value of the documents that show a fault.
// The fault is found all the same, or something is unknown.
func TestDoctorOfDamagedDocuments(t *testing.T) {
	cloud, err := sim.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	network := cloud.Network("agents", "10.1.0.4")
	for _, test := range []struct {
		address string // a part of it that no other has; DEST is the ID of dest
		fault   func(*clinic)
	}{
		{"/pipelinepermissions/endpoint/DEST", func(c *clinic) { c.dest.OpenToAll(true) }},
		{"/pipelinepermissions/queue/", func(c *clinic) { c.queue.OpenToAll(true) }},
		{"/distributedtask/queues/", func(c *clinic) { c.queue.OpenToAll(true) }},
		{"/roleassignments/", func(c *clinic) { c.env.SetRole(sim.Person("Developer"), sim.Administrator) }},
		{"/policy/configurations", func(c *clinic) { c.policy.CreatorVoteCounts = true }},
		{"/git/repositories/Rules", func(c *clinic) { c.policy.Deleted = true }},
		{"%2Frefs%2Fheads%2F6d00", func(c *clinic) { c.rules.Allow("refs/heads/main", sim.Person("Developer"), sim.GitPolicyExempt) }},
		{"/serviceendpoint/endpoints", func(c *clinic) { c.template.Delete(); c.asked.Delete() }},
	} {
		c := newClinic(t, cloud, network)
		c.org.ListOnlyExplicitEntries()
		test.fault(c)
		var original any
		change := func(any) any { return original }
		client := *network.Client()
		client.Transport = rewriting{client.Transport, strings.Replace(test.address, "DEST", c.dest.ID(), 1), func(document any) any {
			if original == nil {
				original = document
			}
			return change(document)
		}}
		c.client = &client
		if len(c.judge(t)) == 0 || original == nil {
			t.Fatalf("%s: the fault is not found, or the document is not read", test.address)
		}
		tried := 0
		raw, _ := json.Marshal(original)
		for _, path := range pathsOf(original, "") {
			// A value of another type.
			var value any = "x"
			change = func(any) any {
				return replaceAt(parse(raw), path, func(old any) any {
					if _, text := old.(string); text {
						value = list{}
					}
					return value
				})
			}
			tried++
			if len(c.judge(t)) == 0 {
				t.Errorf("%s: with %s = %v nothing is found", test.address, path, value)
			}
		}
		if tried < 4 {
			t.Errorf("%s: only %d values were replaced", test.address, tried)
		}
	}
}

// irrelevant are names that nothing depends on.
var irrelevant = []string{"_links", "url", "createdBy", "createdDate", "authorizedBy", "authorizedOn", "count", "revision", "isEnterpriseManaged", "accessDisplayName", "access",
	"identifier", "scope", "description", "allowPermissions", "denyPermissions", "isShared", "isReady", "owner", "serviceEndpointProjectReferences", "poolType", "size", "isLegacy", "remoteUrl", "sshUrl", "webUrl"}

// pathsOf returns the paths of the values of a document.
func pathsOf(document any, path string) []string {
	all := []string{path}
	switch v := document.(type) {
	case object:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if slices.Contains(irrelevant, name) {
				continue
			}
			all = append(all, pathsOf(v[name], path+"/"+name)...)
		}
	case list:
		for i, item := range v {
			all = append(all, pathsOf(item, fmt.Sprint(path, "/", i))...)
		}
	}
	return all
}

// rewriting changes the documents at an address.
type rewriting struct {
	next    http.RoundTripper
	address string
	change  func(document any) any
}

func (w rewriting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err != nil || !strings.Contains(request.URL.String(), w.address) {
		return response, err
	}
	raw, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	changed, err := json.Marshal(w.change(parse(raw)))
	if err != nil {
		return nil, err
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
	return response, nil
}
