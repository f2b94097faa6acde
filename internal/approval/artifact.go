package approval

import (
	"fmt"
	"time"

	"acrpromote/internal/rule"
)

// Artifact is the primary artifact of a classic release and the build that
// made it.
type Artifact struct {
	ReleaseID int
	Primary   bool // the release has a primary artifact
	BuildID   int  // the build that made it; 0 if it is not from Azure Pipelines
	Build     BuildRecord
	// Unread is why the records could not be read, and Remedy what to do.
	Unread, Remedy string
}

// JudgeArtifact returns when the build of the artifact started: anything it
// pushed is newer. If the time is unknown, it is unknown what the build made,
// and JudgeArtifact refuses.
func JudgeArtifact(a Artifact) (time.Time, *rule.Refusal) {
	reason, remedy := "", "Seal in the pipeline that builds and pushes the image, or make its build the primary artifact of the release."
	switch {
	case a.Unread != "":
		reason, remedy = a.Unread, a.Remedy
	case !a.Primary:
		reason = "the release has no primary artifact, so it is unknown when the image was built"
	case a.BuildID < 1:
		reason = "the primary artifact was not made by a build of Azure Pipelines, so it is unknown when the image was built"
	case !a.Build.ID.is(a.BuildID) || a.Build.Started.IsZero():
		reason = fmt.Sprintf("the record of build %d, which made the release's artifact, does not say when it started", a.BuildID)
	default:
		return a.Build.Started, nil
	}
	return time.Time{}, &rule.Refusal{Rule: rule.OlderThanRun, Subject: fmt.Sprintf("release %d", a.ReleaseID), Reason: reason, Remedy: remedy}
}
