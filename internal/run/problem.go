package run

import (
	"cmp"
	"errors"
	"fmt"

	"acrpromote/internal/acr"
	"acrpromote/internal/egress"
	"acrpromote/internal/outcome"
	"acrpromote/internal/promote"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// problem converts an error for the result: what failed, on which side, why, and
// what to do about it.
func problem(side report.Side, err error) report.Problem {
	p := report.Problem{Side: side, Subject: string(side), Reason: err.Error(), Remedy: "Run the step again. If the error persists, fix its cause."}
	var signIn *acr.Error
	var copying *transfer.Error
	var readBack *promote.ReadBackError
	var unanswered *egress.Error
	if slow := (*session.SlowTargetError)(nil); errors.As(err, &slow) {
		p.Subject, p.Reason = slow.Registry, slow.Error()
		p.Remedy = "Check the registry's health and throttling, then run the step again. Only the rest is copied."
		return p
	}
	if errors.As(err, &copying) {
		p.Subject, p.Reason = copying.Subject(), copying.Op+" failed: "+copying.Reason
		if copying.Remedy != "" {
			p.Remedy = copying.Remedy
		}
		// The error of a copy says which side failed.
		switch copying.Side {
		case transfer.Source:
			p.Side = report.SourceSide
		case transfer.Target:
			p.Side = report.TargetSide
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
		// For failures of the network, the error of the request is the most
		// precise.
		p.Reason = unanswered.Host + " " + unanswered.Reason
		if unanswered.Remedy != "" {
			p.Remedy = unanswered.Remedy + "."
		}
	}
	if errors.As(err, &readBack) {
		p.Subject, p.Reason = readBack.At.String(), readBack.Reason
		p.Remedy = cmp.Or(readBack.Remedy, "Find out who else writes to this registry, then run the step again.")
	}
	return p
}

// unreadState returns the state of a target that could not be read: pending if it
// could not be reached, failed if it denied access.
func unreadState(err error) outcome.State {
	if slow := (*session.SlowTargetError)(nil); errors.As(err, &slow) {
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

func (u *listError) problem() report.Problem {
	p := problem(report.SourceSide, u.err)
	var denied *transfer.Error
	if !errors.As(u.err, &denied) || denied.Kind != transfer.Denied {
		return p
	}
	if denied.Repository == "" {
		p.Remedy = "Name the repositories instead of a pattern, or let the identity list them. " + u.grant(map[string][]string{acr.Catalog: {"*"}})
	} else {
		p.Remedy = fmt.Sprintf("Name the tags instead of a pattern, or give the identity the right metadata/read on the repository %s. ", denied.Repository) + u.grant(nil)
	}
	return p
}
