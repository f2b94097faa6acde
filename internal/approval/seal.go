package approval

import (
	"acrpromote/internal/rule"
)

// judgeSeals refuses images that are not sealed, regardless of approvals.
func (j *judge) judgeSeals() {
	if j.r.Seals == nil {
		return
	}
	if len(j.r.Seals) == 0 {
		j.refuse(rule.NotSealed, j.r.Subject, "a seal is required, but no image was read", "Set the input source to the image.")
	}
	for _, s := range j.r.Seals {
		j.refusals = append(j.refusals, JudgeSeal(s)...)
	}
}

// JudgeSeal refuses an image that is not sealed, regardless of approvals.
func JudgeSeal(s Seal) []rule.Refusal {
	why := s.problem()
	if why == "" {
		return nil
	}
	return []rule.Refusal{{Rule: rule.NotSealed, Subject: s.Subject, Reason: why,
		Remedy: "Run the action seal on the image after the build has pushed it, and have the stage approved after that."}}
}

// problem returns why an image is not sealed, or "" if it is.
func (s Seal) problem() string {
	switch {
	case s.Problem != "":
		return s.Problem
	case !s.Locked:
		return "the image is not locked, so it can change at any time"
	case s.TagUpdated.IsZero():
		return "the registry does not say when the image was last changed"
	case s.RecordCreated.IsZero():
		return "the registry does not say when the seal record was attached"
	}
	return ""
}

// judgeOrder checks that the image was sealed before the approval was given,
// and has not changed since. All times are from servers, and equal times do not
// count as before.
func (j *judge) judgeOrder(c *candidate) {
	for _, s := range j.r.Seals {
		if s.problem() != "" {
			continue
		}
		if !c.decided.After(s.TagUpdated) {
			c.fail(rule.ChangedSinceApproval, "%s, but %s was changed at %s", c.when(), s.Subject, formatTime(s.TagUpdated))
		}
		if !c.decided.After(s.RecordCreated) {
			c.fail(rule.NotSealed, "%s, but %s was sealed at %s", c.when(), s.Subject, formatTime(s.RecordCreated))
		}
	}
}

// sealed returns the subject of the seals.
func (j *judge) sealed() string {
	if j.r.Subject != "" {
		return j.r.Subject
	}
	var words []string
	for _, s := range j.r.Seals {
		words = append(words, s.Subject)
	}
	return list(words)
}
