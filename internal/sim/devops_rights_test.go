package sim

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/git"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/pipelinepermissions"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/security"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/taskagent"
)

// TestRights reads with the service's own clients who may use and change what.
func TestRights(t *testing.T) {
	ctx := context.Background()
	o := newOffice(t, ApprovalSettings{})
	project := o.project.Name()
	queue := o.project.Queue("Release agents", SingleUseAgents)
	st := o.project.QueueRun(RunOptions{Queue: queue}).Stage("Production", o.env)
	connection := &azuredevops.Connection{AuthorizationString: "Bearer " + st.Token(), BaseUrl: strings.ToLower(strings.TrimSuffix(o.org.Collection(), "/"))}
	client := *azuredevops.NewClientWithOptions(connection, connection.BaseUrl, azuredevops.WithHTTPClient(o.net.Client()))

	permissions := func(kind, id string) *pipelinepermissions.ResourcePipelinePermissions {
		t.Helper()
		api := pipelinepermissions.ClientImpl{Client: client}
		got, err := api.GetPipelinePermissionsForResource(ctx, pipelinepermissions.GetPipelinePermissionsForResourceArgs{Project: &project, ResourceType: &kind, ResourceId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	endpoint := o.project.FederatedConnection("prod-reader", guidOf("tenant"), guidOf("client"))
	endpoint.Permit("release")
	if got := permissions("endpoint", endpoint.ID()); got.AllPipelines != nil || len(*got.Pipelines) != 1 || *got.Resource.Id != endpoint.ID() {
		t.Errorf("closed: %+v", got)
	}
	endpoint.OpenToAll(true)
	if got := permissions("endpoint", endpoint.ID()); got.AllPipelines == nil || !*got.AllPipelines.Authorized {
		t.Errorf("open: %+v", got)
	}
	if got := permissions("queue", "9"); got.AllPipelines == nil {
		t.Error("the queue of Microsoft-hosted agents is closed")
	}

	agents := taskagent.ClientImpl{Client: client}
	number := queue.number
	found, err := agents.GetAgentQueue(ctx, taskagent.GetAgentQueueArgs{Project: &project, QueueId: &number})
	if err != nil || *found.Pool.IsHosted || *found.Pool.Options != SingleUseAgents {
		t.Fatalf("%+v, %v", found, err)
	}

	rules := o.project.Repository("Rules")
	main, other := "refs/heads/main", "refs/heads/other"
	rules.AddPolicy(BranchPolicy{Branch: main, Minimum: 2})
	rules.AddPolicy(BranchPolicy{Branch: main, Minimum: 1, Deleted: true})
	api := git.ClientImpl{Client: client}
	name := "rules"
	repository, err := api.GetRepository(ctx, git.GetRepositoryArgs{RepositoryId: &name, Project: &project})
	if err != nil || repository.Id.String() != rules.ID() {
		t.Fatalf("%+v, %v", repository, err)
	}
	for ref, want := range map[string]int{main: 1, other: 0} {
		got, err := api.GetPolicyConfigurations(ctx, git.GetPolicyConfigurationsArgs{Project: &project, RepositoryId: repository.Id, RefName: &ref})
		if err != nil || len(*got.PolicyConfigurations) != want {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}

	contributors, manager := o.project.Group("Contributors"), o.manager
	rules.Allow("*", contributors, GitContribute)
	rules.Allow(main, manager, GitPolicyExempt)
	rules.Deny(main, contributors, GitContribute)
	acls := security.ClientImpl{Client: client}
	list := func(ref string) map[string]security.AccessControlEntry {
		t.Helper()
		namespace, token, yes := uuid.MustParse(gitNamespace), rules.token(ref), true
		got, err := acls.QueryAccessControlLists(ctx, security.QueryAccessControlListsArgs{SecurityNamespaceId: &namespace, Token: &token, IncludeExtendedInfo: &yes})
		if err != nil {
			t.Fatal(err)
		}
		if len(*got) == 0 {
			return nil
		}
		return *(*got)[0].AcesDictionary
	}
	if got := list(main); len(got) != 2 || *got[o.project.aclDescriptor(manager)].ExtendedInfo.EffectiveAllow != GitPolicyExempt || got[o.project.aclDescriptor(contributors)].ExtendedInfo.EffectiveAllow != nil {
		t.Errorf("the branch: %+v", got)
	}
	if got := list(""); len(got) != 1 || *got[o.project.aclDescriptor(contributors)].ExtendedInfo.EffectiveAllow != GitContribute {
		t.Errorf("the repository: %+v", got)
	}
	o.org.ListOnlyExplicitEntries()
	if got := list(""); got != nil {
		t.Errorf("without what is inherited: %+v", got)
	}
	if token := rules.token("refs/heads/a/b"); !strings.HasSuffix(token, "/refs/heads/6100/6200") {
		t.Error(token)
	}

	version := "?api-version=7.0"
	roles := func() (status int, found []string) {
		t.Helper()
		request, _ := http.NewRequest(http.MethodGet, o.org.Collection()+"_apis/securityroles/scopes/distributedtask.environmentreferencerole/roleassignments/resources/"+o.project.ID()+"_"+o.env.ID()+version, nil)
		request.Header.Set("Authorization", "Bearer "+st.Token())
		response, err := o.net.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		var document struct {
			Value []struct {
				Identity struct{ UniqueName string }
				Role     struct{ Name string }
				Access   string
			}
		}
		_ = json.Unmarshal(body, &document)
		for _, v := range document.Value {
			found = append(found, v.Identity.UniqueName+" "+v.Role.Name+" "+v.Access)
		}
		return response.StatusCode, found
	}
	want := []string{"project.administrator@example.com Administrator assigned", `[Shop]\Project Administrators Creator inherited`,
		`[Shop]\Contributors Creator inherited`, `[Shop]\Project Valid Users Reader inherited`}
	if status, _ := roles(); status != http.StatusBadRequest {
		t.Errorf("a version that is no preview: %d", status)
	}
	version += "-preview.1"
	if _, got := roles(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	o.env.SetRole(Person("Project Administrator"), "")
	o.env.DenyView()
	if status, _ := roles(); status != http.StatusForbidden {
		t.Errorf("a hidden environment: %d", status)
	}
	o.env.AllowView()
	if _, got := roles(); !slices.Equal(got, want[1:]) {
		t.Errorf("%q", got)
	}
}
