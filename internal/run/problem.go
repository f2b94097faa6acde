package run

import (
	"errors"

	"acrpromote/internal/acr"
	"acrpromote/internal/egress"
	"acrpromote/internal/outcome"
	"acrpromote/internal/promote"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// problem puts an error into the result's terms: what failed, on which side,
// why, and what to do about it.
func problem(side report.Side, err error) report.Problem {
	p := report.Problem{Side: side, Subject: string(side), Reason: err.Error(), Remedy: "Run it again; if it stays, look at the reason."}
	var signIn *acr.Error
	var copying *transfer.Error
	var readBack *promote.ReadBackError
	var unanswered *egress.Error
	if slow := (*session.SlowTarget)(nil); errors.As(err, &slow) {
		p.Subject, p.Reason = slow.Registry, slow.Error()
		p.Remedy = "Look at the registry's health and throttling, and run it again: only what is left is done."
		return p
	}
	if errors.As(err, &copying) {
		p.Subject, p.Reason = copying.Subject(), copying.Op+" failed: "+copying.Reason
		if copying.Remedy != "" {
			p.Remedy = copying.Remedy
		}
		// A copy has two ends; the error knows which one failed.
		switch copying.Side {
		case transfer.Source:
			p.Side = report.Source
		case transfer.Target:
			p.Side = report.AtTarget
		}
	}
	if errors.As(err, &signIn) {
		p.Reason = signIn.Reason()
		if copying == nil {
			p.Subject = signIn.Host
		}
		if signIn.Remedy != "" {
			p.Remedy = signIn.Remedy
		}
	}
	if errors.As(err, &unanswered) {
		// What lies between is known best by who tried.
		p.Reason = unanswered.Host + " " + unanswered.Reason
		if unanswered.Remedy != "" {
			p.Remedy = unanswered.Remedy + "."
		}
	}
	if errors.As(err, &readBack) {
		p.Subject, p.Reason = readBack.At.String(), readBack.Reason
		p.Remedy = "Look at who else writes to this registry, then run it again."
	}
	return p
}

// unjudged: a target that cannot be reached waits for a rerun; one that
// answered no has failed.
func unjudged(err error) outcome.State {
	if slow := (*session.SlowTarget)(nil); errors.As(err, &slow) {
		return outcome.Pending
	}
	if errors.Is(err, acr.ErrDenied) {
		return outcome.TargetFailed
	}
	for _, kind := range []error{transfer.Unreachable, transfer.Throttled, transfer.Cancelled, acr.ErrUnreachable} {
		if errors.Is(err, kind) {
			return outcome.Pending
		}
	}
	return outcome.TargetFailed
}

func (u *unlisted) problem() report.Problem {
	p := problem(report.Source, u.err)
	if errors.Is(u.err, transfer.Denied) {
		p.Remedy = "Grant the identity Container Registry Repository Catalog Lister (or AcrPull, where permissions are not by repository), or name the repositories one by one."
	}
	return p
}
