package azdo

import (
	"context"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

type release struct{}

func (s *Service) loadRelease(ctx context.Context) {
	s.refuse(s.mismatch("this job", "classic releases are not read"))
}

func (s *Service) releaseEvidence(q Question, run Run, refusals []rule.Refusal) (approval.Evidence, error) {
	return approval.Evidence{Source: approval.Release, Refusals: refusals}, nil
}
