package azdo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
)

// authors are the persons who brought the source version to the server: who
// pushed it, and who opened its pull request. A commit's author field is text
// that anyone can write, and is not used.
type authors struct {
	persons []approval.Person
	known   bool
	unknown string
}

func setAuthors(e *approval.Evidence, a authors) {
	e.Authors, e.AuthorsKnown, e.AuthorsUnknown = a.persons, a.known, a.unknown
}

// readAuthors asks the repository: one request for a run of a pull request, two
// in parallel for any other run.
func (s *Service) readAuthors(ctx context.Context) authors {
	b := s.run.build
	if b.Repository == nil || b.Repository.Type != "TfsGit" || b.SourceVersion == "" {
		kind := "nothing"
		if b.Repository != nil && b.Repository.Type != "" {
			kind = s.secrets.Line(b.Repository.Type)
		}
		return authors{unknown: fmt.Sprintf("the source is in a repository of the type %s, whose pushes Azure DevOps does not record", kind)}
	}
	if number, ok := pullRequest(b.SourceBranch); ok {
		return s.pullRequestAuthor(ctx, b, number)
	}
	var pushed, opened authors
	var both sync.WaitGroup
	both.Go(func() {
		defer defect.Catch(ctx)
		pushed = s.pusher(ctx, b)
	})
	both.Go(func() {
		defer defect.Catch(ctx)
		opened = s.mergedBy(ctx, b)
	})
	both.Wait()
	switch {
	case !pushed.known:
		return pushed
	case !opened.known:
		return opened
	}
	return authors{known: true, persons: append(pushed.persons, opened.persons...)}
}

// pullRequest reads refs/pull/<number>/merge.
func pullRequest(branch string) (int, bool) {
	rest, ok := strings.CutPrefix(branch, "refs/pull/")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, "/")
	number, err := strconv.Atoi(digits)
	return number, err == nil && number > 0
}

func (s *Service) inRepository(b *build, route map[string]string) map[string]string {
	route["repositoryId"] = b.Repository.ID
	return s.inProject(route)
}

func singleAuthor(i *identity, missing string) authors {
	p := i.person()
	if p.ID == "" {
		return authors{unknown: missing}
	}
	return authors{known: true, persons: []approval.Person{p}}
}

func (s *Service) unreadAuthors(what string, err error) authors {
	return authors{unknown: s.unreadable(what, err, `the permission "Read" on the repository`).Reason}
}

func (s *Service) pullRequestAuthor(ctx context.Context, b *build, number int) authors {
	var document struct {
		CreatedBy *identity `json:"createdBy"`
	}
	what := fmt.Sprintf("the pull request %d", number)
	err := s.get(ctx, areaGit, locationPullRequest, "7.1-preview.1", s.inRepository(b, map[string]string{"pullRequestId": strconv.Itoa(number)}), nil, &document)
	if err != nil {
		return s.unreadAuthors(what, err)
	}
	return singleAuthor(document.CreatedBy, what+" does not say who opened it")
}

func (s *Service) pusher(ctx context.Context, b *build) authors {
	var document struct {
		CommitID string `json:"commitId"`
		Push     *struct {
			PushedBy *identity `json:"pushedBy"`
		} `json:"push"`
	}
	what := "the push of " + s.secrets.Line(b.SourceVersion)
	err := s.get(ctx, areaGit, locationCommit, "7.1-preview.1", s.inRepository(b, map[string]string{"commitId": b.SourceVersion}), url.Values{}, &document)
	if err != nil {
		return s.unreadAuthors(what, err)
	}
	if !strings.EqualFold(document.CommitID, b.SourceVersion) || document.Push == nil {
		return authors{unknown: what + " is not recorded"}
	}
	return singleAuthor(document.Push.PushedBy, what+" does not say who pushed")
}

// mergedBy returns who opened the pull requests that were merged as the source
// version, if there are any: the person who completes one pushes the work of
// another.
func (s *Service) mergedBy(ctx context.Context, b *build) authors {
	body, err := json.Marshal(map[string]any{
		"queries": []any{map[string]any{"type": "lastMergeCommit", "items": []string{b.SourceVersion}}},
	})
	if err != nil {
		return authors{unknown: "the pull requests of the source version could not be requested"}
	}
	what := "the pull requests merged as " + s.secrets.Line(b.SourceVersion)
	client := s.areas[areaGit]
	if client == nil {
		return s.unreadAuthors(what, &malformed{reason: "it does not list the resource area of repositories"})
	}
	var document struct {
		Results *[]map[string][]struct {
			CreatedBy *identity `json:"createdBy"`
		} `json:"results"`
	}
	if err := s.send(ctx, client, http.MethodPost, locationMergeQuery, "7.1-preview.1", s.inRepository(b, map[string]string{}), nil, body, &document); err != nil {
		return s.unreadAuthors(what, err)
	}
	if document.Results == nil {
		return authors{unknown: what + " are not recorded"}
	}
	found := authors{known: true}
	for _, result := range *document.Results {
		for _, requests := range result {
			for _, request := range requests {
				opened := singleAuthor(request.CreatedBy, what+" do not say who opened them")
				if !opened.known {
					return opened
				}
				found.persons = append(found.persons, opened.persons...)
			}
		}
	}
	return found
}
