package sim

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7/git"
)

// TestGitItems: the service's own client reads what was committed, at a
// branch, a tag and a commit, and reports what is missing as Azure DevOps does.
func TestGitItems(t *testing.T) {
	o := newOffice(t, ApprovalSettings{})
	rules := o.project.Repository("Rules")
	first := rules.Commit("refs/heads/main", map[string][]byte{"flows/all.yml": []byte("version: 1\n"), "README.md": []byte("x")})
	rules.Point("refs/tags/v1", first)
	second := rules.Commit("refs/heads/main", map[string][]byte{"/flows/all.yml": []byte("version: 2\n"), "README.md": nil})
	if first == second || o.project.Repository("rules") != rules {
		t.Fatal("a commit or a repository is not told from another")
	}
	st := o.project.QueueRun(RunOptions{}).Stage("Production", o.env)
	client := o.net.Client()
	connection := &azuredevops.Connection{AuthorizationString: "Bearer " + st.Token(), BaseUrl: strings.ToLower(strings.TrimSuffix(o.org.Collection(), "/"))}
	api := git.ClientImpl{Client: *azuredevops.NewClientWithOptions(connection, connection.BaseUrl, azuredevops.WithHTTPClient(client))}
	read := func(repository, kind, version, path string) (*git.GitItem, error) {
		project, yes := o.project.Name(), true
		versionType := git.GitVersionType(kind)
		return api.GetItem(context.Background(), git.GetItemArgs{RepositoryId: &repository, Project: &project, Path: &path, IncludeContent: &yes,
			VersionDescriptor: &git.GitVersionDescriptor{Version: &version, VersionType: &versionType}})
	}
	for _, c := range []struct{ repository, kind, version, commit, content string }{
		{"Rules", "branch", "main", second, "version: 2\n"},
		{"rules", "tag", "v1", first, "version: 1\n"},
		{rules.ID(), "commit", first, first, "version: 1\n"},
	} {
		item, err := read(c.repository, c.kind, c.version, "/flows/all.yml")
		if err != nil {
			t.Fatal(err)
		}
		if *item.CommitId != c.commit || *item.Content != c.content || *item.Path != "/flows/all.yml" || *item.GitObjectType != "blob" || *item.ObjectId != gitID("blob", []byte(c.content)) {
			t.Errorf("%s %s: %s %q %s %s", c.kind, c.version, *item.CommitId, *item.Content, *item.Path, *item.ObjectId)
		}
	}
	if item, err := read("Rules", "branch", "main", "/flows"); err != nil || item.IsFolder == nil || !*item.IsFolder {
		t.Errorf("a folder: %+v, %v", item, err)
	}
	refused := func(want int, key string, err error) {
		t.Helper()
		var wrapped *azuredevops.WrappedError
		var value azuredevops.WrappedError
		if errors.As(err, &value) {
			wrapped = &value
		}
		if wrapped == nil && !errors.As(err, &wrapped) || wrapped.TypeKey == nil || *wrapped.TypeKey != key || wrapped.StatusCode == nil || *wrapped.StatusCode != want {
			t.Errorf("%v; want %d %s", err, want, key)
		}
	}
	_, err := read("Rules", "branch", "main", "/README.md")
	refused(404, "GitItemNotFoundException", err)
	_, err = read("Rules", "branch", "nowhere", "/README.md")
	refused(404, "GitUnresolvableToCommitException", err)
	_, err = read("Others", "branch", "main", "/README.md")
	refused(404, "GitRepositoryNotFoundException", err)
	o.project.Deny(Repositories)
	_, err = read("Rules", "branch", "main", "/flows/all.yml")
	refused(403, "GitNeedsPermissionException", err)
	o.project.Allow(Repositories)
	if _, err := read("Rules", "branch", "main", "/flows/all.yml"); err != nil {
		t.Error(err)
	}
}
