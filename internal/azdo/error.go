package azdo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"acrpromote/internal/refusal"
	"acrpromote/internal/rule"
)

// unreadable returns the refusal for a failed read: what was read, where, why
// it failed, and what to grant to whom. permission is what the job's identity
// needs for it.
func (s *Service) unreadable(what string, err error, permission string) rule.Refusal {
	host := s.collection.Host()
	r := rule.Refusal{Rule: rule.ApprovalUnreadable, Subject: what}
	var a *statusError
	var m *malformed
	switch {
	case errors.Is(err, context.Canceled):
		r.Reason = fmt.Sprintf("reading %s from Azure DevOps (%s) was cancelled", what, host)
		r.Remedy = "Run the step again."
	case errors.As(err, &a):
		r.Reason, r.Remedy = s.describeStatus(what, a, permission)
	case errors.As(err, &m):
		r.Reason = fmt.Sprintf("Azure DevOps (%s) returned an invalid response for %s: %s", host, what, s.secrets.Line(m.reason))
		r.Remedy = cmp.Or(m.remedy, "Run the step again. If the error persists, check whether a proxy responds in place of Azure DevOps.")
	default:
		r.Reason = fmt.Sprintf("Azure DevOps (%s) could not be reached to read %s: %s", host, what, s.cause(err))
		r.Remedy = fmt.Sprintf("Allow the agent to reach %s over HTTPS (firewall, the agent's proxy settings, its CA), then run the step again.", host)
	}
	// Secrets that the server repeats are removed.
	r.Reason = s.secrets.Redact(r.Reason)
	return r
}

func (s *Service) describeStatus(what string, a *statusError, permission string) (reason, remedy string) {
	said := ""
	if a.Message != "" {
		said = fmt.Sprintf(" (%q)", a.Message)
	}
	entry, known := refusal.Find(refusal.DevOps, refusal.Response{Status: a.Status, Code: refusal.DevOpsCode(a.Message), Message: a.Message})
	if !known {
		entry = refusal.Named("devops-unavailable")
	}
	cause, remedy := entry.Fill("what", what, "grant", s.grant(permission))
	return fmt.Sprintf("Azure DevOps (%s) %s: status %d%s", s.collection.Host(), cause, a.Status, said), strings.TrimSuffix(remedy, ".") + "."
}

// grant returns what to grant to the identity that the job runs as.
func (s *Service) grant(permission string) string {
	return fmt.Sprintf("Grant %s %s. If the job's authorization scope is not limited to the project, grant it to \"Project Collection Build Service (%s)\" instead.",
		s.identity(), permission, s.collection.Name())
}

// identity returns the name of the build service whose token the job has.
func (s *Service) identity() string {
	project := s.claims.ProjectName
	if s.run.project != "" {
		project = s.run.project
	}
	if project == "" {
		project = "<project>"
	}
	return fmt.Sprintf("%q", fmt.Sprintf("%s Build Service (%s)", project, s.collection.Name()))
}

// cause returns the innermost network error that is specific: the outer ones
// repeat the URL.
func (s *Service) cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return "it did not respond in time"
		}
		err = u.Err
	}
	return s.secrets.Line(err.Error())
}
