package azdo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

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
	host := s.collection.Host()
	said := ""
	if a.Message != "" {
		said = fmt.Sprintf(" (%q)", a.Message)
	}
	switch {
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		return fmt.Sprintf("Azure DevOps (%s) denies the job's identity the right to read %s: status %d%s", host, what, a.Status, said),
			s.grant(permission)
	case a.Status == http.StatusOK || a.Status == http.StatusNonAuthoritativeInfo || a.Status >= 300 && a.Status < 400:
		return fmt.Sprintf("Azure DevOps (%s) returned a sign-in page, or a redirect to one, for %s: status %d", host, what, a.Status),
			"The job's token was not accepted: run the step in the job that the token belongs to. " + s.grant(permission)
	case a.Status == http.StatusNotFound:
		return fmt.Sprintf("Azure DevOps (%s) did not find %s: status 404%s", host, what, said),
			"Azure DevOps also returns this status if access is denied. " + s.grant(permission)
	case a.Status == http.StatusTooManyRequests:
		return fmt.Sprintf("Azure DevOps (%s) is throttling requests and did not return %s: status 429%s", host, what, said),
			"Run the step again in a few minutes."
	}
	return fmt.Sprintf("Azure DevOps (%s) failed while reading %s: status %d%s", host, what, a.Status, said),
		"Run the step again once Azure DevOps responds; status.dev.azure.com shows its status."
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
