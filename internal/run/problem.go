package run

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"acrpromote/internal/acr"
	"acrpromote/internal/egress"
	"acrpromote/internal/explain"
	"acrpromote/internal/outcome"
	"acrpromote/internal/promote"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
	"acrpromote/internal/vault"
)

// problem converts an error for the result: what failed, on which side, why, and
// what to do about it.
func problem(side report.Side, err error) report.Problem {
	p := report.Problem{Side: side, Subject: string(side), Reason: err.Error(), Remedy: rerun}
	var signIn *acr.Error
	var copying *transfer.Error
	var readBack *promote.ReadBackError
	var unanswered *egress.Error
	var signing *vault.Error
	if errors.As(err, &signing) {
		p.Side, p.Subject = report.ServiceSide, "receiptKey"
		p.Reason, p.Remedy = explain.Split(signing, p.Remedy)
		return p
	}
	if slow := (*session.SlowTargetError)(nil); errors.As(err, &slow) {
		p.Subject, p.Reason = slow.Registry, slow.Error()
		p.Remedy = "Check the registry's health and throttling, then run the step again. Only the rest is copied."
		return p
	}
	if errors.As(err, &copying) {
		p.Subject, p.Reason = copying.Subject(), copying.Op+" failed: "+copying.Reason
		p.Remedy = cmp.Or(copying.Remedy, remedyOf(copying))
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
			// The reason begins with the host.
			p.Subject, p.Reason = signIn.Host, strings.TrimPrefix(p.Reason, signIn.Host+": ")
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
			p.Remedy = unanswered.Remedy
		}
	}
	if errors.As(err, &readBack) {
		p.Subject, p.Reason = readBack.At.String(), readBack.Reason
		p.Remedy = cmp.Or(readBack.Remedy, "Find out who else writes to this registry, then run the step again.")
	}
	if !strings.HasSuffix(p.Remedy, "?") {
		p.Remedy = strings.TrimSuffix(p.Remedy, ".") + "."
	}
	return p
}

// reported reports whether an error is in the result already: a registry that does
// not respond is reported once for all images, and an identity that gets no token
// once for all registries.
func (r *collector) reported(p report.Problem, err error) bool {
	own, copying := (*acr.Error)(nil), (*transfer.Error)(nil)
	identity := errors.As(err, &own) && errors.As(err, &copying) && own.Host != copying.Registry
	return slices.ContainsFunc(r.result.Errors, func(q report.Problem) bool {
		return q == p || identity && q.Reason == p.Reason && q.Remedy == p.Remedy
	})
}

// rerun is the remedy of a failure that may be gone at the next attempt.
const rerun = "Run the step again. If the error persists, fix its cause."

// remedyOf returns the remedy of an error that has none of its own. A rerun mends
// only what another attempt may find changed.
func remedyOf(e *transfer.Error) string {
	switch {
	case e.Kind == transfer.TooLarge, e.Kind == transfer.Unsupported, e.Kind == transfer.Conflict, e.Kind == transfer.Corrupt:
		return "Correct the image. Running the step again does not help."
	case e.Status >= 400 && e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests:
		return fmt.Sprintf("Correct what %s names, or ask its administrators. Running the step again does not help.", e.Registry)
	}
	return rerun
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
