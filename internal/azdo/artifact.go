package azdo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// ArtifactStarted tells when the build began that made the primary artifact of
// a classic release: what it pushed is newer. It costs one request. Where no
// build made it, or its record cannot be read, nothing says what this release
// built, and that is a refusal.
func (s *Service) ArtifactStarted(ctx context.Context) (time.Time, *rule.Refusal) {
	refuse := func(reason, remedy string) (time.Time, *rule.Refusal) {
		return time.Time{}, &rule.Refusal{Rule: rule.OlderThanRun, Subject: fmt.Sprintf("release %d", s.claims.ReleaseID), Reason: reason, Remedy: remedy}
	}
	if _, refusals := s.Run(ctx); s.run.release == nil {
		if len(refusals) > 0 {
			// Told already, by the run.
			return time.Time{}, nil
		}
		return refuse("the release's record was not read", "Run this again.")
	}
	const remedy = "Seal in the pipeline that builds and pushes the image, or make its build the primary artifact of the release."
	for _, artifact := range s.run.release.Artifacts {
		if !artifact.IsPrimary {
			continue
		}
		number, err := strconv.Atoi(artifact.DefinitionReference["version"].ID)
		project := approval.GUID(artifact.DefinitionReference["project"].ID)
		if err != nil || number < 1 || project == "" {
			return refuse("its primary artifact was made by no build of Azure Pipelines, so nothing says when the image was built", remedy)
		}
		var b build
		route := map[string]string{"project": project, "buildId": strconv.Itoa(number)}
		if err := s.get(ctx, areaBuild, locationBuild, "7.1-preview.7", route, nil, &b); err != nil {
			unread := s.unreadable(fmt.Sprintf("the record of build %d, which made the release's artifact", number), err, viewBuilds)
			return refuse(unread.Reason, unread.Remedy)
		}
		if !b.ID.Set || b.ID.Value != number || b.started().IsZero() {
			return refuse(fmt.Sprintf("the record of build %d, which made the release's artifact, does not say when it started", number), remedy)
		}
		return b.started(), nil
	}
	return refuse("it has no primary artifact, so nothing says when the image was built", remedy)
}
