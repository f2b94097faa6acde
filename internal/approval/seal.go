package approval

import (
	"acrpromote/internal/rule"
)

// judgeSeals refuses what is not sealed at all, whoever approved it.
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

// JudgeSeal refuses an image that is not sealed, whenever it was approved.
func JudgeSeal(s Seal) []rule.Refusal {
	why := s.problem()
	if why == "" {
		return nil
	}
	return []rule.Refusal{{Rule: rule.NotSealed, Subject: s.Subject, Reason: why,
		Remedy: "Run the action seal on the image after the build has pushed it, and have the stage approved after that."}}
}

// problem says why an image is not sealed; empty if it is.
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

// judgeOrder: an approval is one of the image only if the image was sealed,
// and has not changed since, before it was given. All times are servers', and
// at the same instant is not before.
func (j *judge) judgeOrder(c *candidate) {
	for _, s := range j.r.Seals {
		if s.problem() != "" {
			continue
		}
		if !c.decided.After(s.TagUpdated) {
			c.fail(rule.ChangedSinceApproval, "%s, but %s was changed at %s", c.when(), s.Subject, stamp(s.TagUpdated))
		}
		if !c.decided.After(s.RecordCreated) {
			c.fail(rule.NotSealed, "%s, but %s was sealed at %s", c.when(), s.Subject, stamp(s.RecordCreated))
		}
	}
}

// sealed names what the seals are about.
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
