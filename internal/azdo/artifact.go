package azdo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// ArtifactStarted returns when the build that made the primary artifact of a
// classic release started. It costs one request. If the run could not be read,
// it does not refuse again.
func (s *Service) ArtifactStarted(ctx context.Context) (time.Time, *rule.Refusal) {
	if _, refusals := s.Run(ctx); s.run.release == nil && len(refusals) > 0 {
		return time.Time{}, nil
	}
	return approval.JudgeArtifact(s.readArtifact(ctx))
}

func (s *Service) readArtifact(ctx context.Context) approval.Artifact {
	a := approval.Artifact{ReleaseID: s.claims.ReleaseID}
	if s.run.release == nil {
		a.Unread, a.Remedy = "the release's record was not read", "Run the step again."
		return a
	}
	for _, artifact := range s.run.release.Artifacts {
		if !artifact.IsPrimary {
			continue
		}
		a.Primary = true
		number, err := strconv.Atoi(artifact.DefinitionReference["version"].ID)
		project := approval.GUID(artifact.DefinitionReference["project"].ID)
		if err != nil || number < 1 || project == "" {
			return a
		}
		a.BuildID = number
		var b build
		route := map[string]string{"project": project, "buildId": strconv.Itoa(number)}
		if err := s.get(ctx, areaBuild, locationBuild, "7.1-preview.7", route, nil, &b); err != nil {
			unread := s.unreadable(fmt.Sprintf("the record of build %d, which made the release's artifact", number), err, viewBuilds)
			a.Unread, a.Remedy = unread.Reason, unread.Remedy
			return a
		}
		a.Build = b.record()
		return a
	}
	return a
}
