package azdo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"acrpromote/internal/rule"
)

// fileDocument is one item of a repository, with its content.
type fileDocument struct {
	ObjectID string `json:"objectId"`
	CommitID string `json:"commitId"`
	Path     string `json:"path"`
	Type     string `json:"gitObjectType"`
	IsFolder bool   `json:"isFolder"`
	Content  string `json:"content"`
	Metadata *struct {
		Encoding int  `json:"encoding"`
		IsBinary bool `json:"isBinary"`
	} `json:"contentMetadata"`
}

// File reads a file of a repository of this project (or PROJECT/NAME) from the
// server: at the branch, tag or commit that ref names. It returns the content
// and the commit that the server read it at. If it cannot be read, the refusal
// is flow-unverified: only flow files are read this way.
//
// https://learn.microsoft.com/rest/api/azure/devops/git/items/get
func (s *Service) File(ctx context.Context, repository, ref, path string) ([]byte, string, *rule.Refusal) {
	subject := fmt.Sprintf("%s@%s:%s", s.secrets.Line(repository), s.secrets.Line(ref), s.secrets.Line(path))
	refuse := func(reason, remedy string) ([]byte, string, *rule.Refusal) {
		return nil, "", &rule.Refusal{Rule: rule.FlowUnverified, Subject: subject, Reason: reason, Remedy: remedy}
	}
	if _, refusals := s.Run(ctx); s.areas == nil {
		if len(refusals) > 0 {
			return refuse(refusals[0].Reason, refusals[0].Remedy)
		}
		return refuse("Azure DevOps could not be reached", "Run the step again.")
	}
	route := map[string]string{"repositoryId": repository}
	project, name, elsewhere := strings.Cut(repository, "/")
	if elsewhere {
		route["project"], route["repositoryId"] = project, name
	} else {
		route = s.inProject(route)
	}
	kind, version := versionOf(ref)
	query := url.Values{
		"path": {"/" + strings.TrimPrefix(path, "/")}, "includeContent": {"true"}, "$format": {"json"},
		"versionDescriptor.version": {version}, "versionDescriptor.versionType": {kind},
	}
	var document fileDocument
	const permission = `the permission "Read" on the repository`
	if err := s.get(ctx, areaGit, locationItem, "7.1-preview.1", route, query, &document); err != nil {
		unread := s.unreadable("the flow file", err, permission)
		var a *statusError
		if errors.As(err, &a) && a.Status == http.StatusNotFound {
			unread.Remedy = "Use the repository's own name (NAME or PROJECT/NAME), not an alias, and an existing ref and path. Let the job use the repository (uses: repositories, or a checkout), and grant " + s.identity() + " " + permission + "."
		}
		return refuse(unread.Reason, unread.Remedy)
	}
	switch {
	case document.IsFolder || document.Type != "" && document.Type != "blob":
		return refuse("it is not a file", "Use the path of the flow file.")
	case document.ObjectID == "" || document.CommitID == "":
		return refuse("the server does not say which version it read", "Run the step again. If the error persists, pin the file's hash instead (path#sha256:HEX).")
	case document.Metadata != nil && document.Metadata.IsBinary:
		return refuse("it is a binary file", "Use the path of the flow file.")
	}
	return []byte(document.Content), document.CommitID, nil
}

// versionOf returns how the server names a ref.
func versionOf(ref string) (kind, version string) {
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return "branch", branch
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return "tag", tag
	}
	if len(ref) == 40 && strings.Trim(strings.ToLower(ref), "0123456789abcdef") == "" {
		return "commit", strings.ToLower(ref)
	}
	return "branch", ref
}
