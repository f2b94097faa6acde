// Package run takes one action from its inputs to its result, in phases:
// resolve, read, decide, execute, report. Each phase gets the results of the
// phases before it. The pure packages (approval, plan, topology, outcome) decide
// what may be done; this package connects them to the services.
package run

import (
	"context"
	"io"
	"slices"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
)

// defectGrace is how long the phases may take to end after a panic. Goroutines that
// wait for something that never comes are abandoned.
const defectGrace = 10 * time.Second

// Run runs the action of a configuration and returns the exit code. If usage is
// not nil, it only reports that error. The reported result is always complete,
// even after a panic.
func Run(ctx context.Context, c *agent.Config, usage error, version string, stdout, stderr io.Writer) int {
	to := newReporter(c, stdout, stderr)
	return to.report(supervise(ctx, c, version, to, func(ctx context.Context, result *collector) (*session.Session, *order) {
		return phases(ctx, c, usage, to, result)
	}))
}

// supervise runs the phases and concludes, even after a panic.
func supervise(ctx context.Context, c *agent.Config, version string, to *reporter, phases func(context.Context, *collector) (*session.Session, *order)) conclusion {
	guarded, guard, stop := defect.With(ctx)
	defer stop()
	result := newCollector(c, version)
	var s *session.Session
	var o *order
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer defect.Catch(guarded)
		s, o = phases(guarded, result)
	}()
	select {
	case <-ended:
	case <-guarded.Done():
		select {
		case <-ended:
		case <-after(guard):
			// The phases may still be writing to their findings.
			started := result.result.StartedAt
			s, o, result = nil, nil, newCollector(c, version)
			result.result.StartedAt = started
		}
	}
	if broken := guard.First(); broken != nil {
		result.addDefect(broken)
		to.defect(broken)
	}
	return conclude(ctx, s, o, result)
}

// after returns a channel that receives some time after a panic, but never if the
// run was only cancelled.
func after(guard *defect.Guard) <-chan time.Time {
	if guard.First() == nil {
		return nil
	}
	return time.After(defectGrace)
}

// phases runs the phases in order. A phase that ends the run adds the reason to
// the result.
func phases(ctx context.Context, c *agent.Config, usage error, to *reporter, result *collector) (*session.Session, *order) {
	switch {
	case usage != nil:
	case c.Action == agent.VerifyReceipt:
		return verifyReceipt(ctx, c, to, result)
	case c.Action == agent.Trace:
		return traceImages(ctx, c, to, result)
	case c.Action == agent.Recall:
		return recallImages(ctx, c, to, result)
	case c.Action == agent.Doctor:
		return diagnose(ctx, c, to, result)
	}
	s, o, ok := resolve(ctx, c, usage, to, result)
	if !ok {
		return s, o
	}
	found, err := read(ctx, c, s, o)
	switch {
	case err != nil:
		result.add(err)
		return s, o
	case ctx.Err() != nil:
		// Records that were not read because of the cancellation are no reason
		// to refuse.
		result.unexecuted = true
		return s, o
	case c.Action == agent.Audit:
		audit(c, s, o, found, result)
		return s, o
	}
	now := time.Now()
	decided := decide(c, s, o, found, result, now)
	if c.Action == agent.Seal && len(decided.Refusals) == 0 {
		compare(ctx, c, s, o, found, decided, result, now)
	}
	explainStale(ctx, s, o, result)
	if c.Action == agent.Plan {
		publishPlan(o, to, result)
	}
	receipts, ready := prepareReceipts(ctx, c, s, o, found, decided, result, now)
	planBudget(c, s, o, found, decided, receipts, result)
	if c.Action == agent.Plan {
		// The action that is planned does not compare: its budget is without this.
		compare(ctx, c, s, o, found, decided, result, now)
	}
	switch {
	case len(decided.Refusals) > 0 || decided.Withheld || !ready || c.ReadOnly():
		return s, o
	case ctx.Err() != nil:
		result.unexecuted = true
		return s, o
	}
	execute(ctx, c, s, o, found, decided, receipts, to, result)
	return s, o
}

// conclude determines the outcome and adds the network's statistics. s and o are
// nil if the run ended before there were any.
func conclude(ctx context.Context, s *session.Session, o *order, result *collector) conclusion {
	r := &result.result
	end := conclusion{}
	if o != nil {
		end.warnOnPartial = plan.WarnsOnPartial(o.images)
		end.digest = o.setDigest
		if !o.set && len(r.Images) == 1 {
			end.digest = r.Images[0].Digest
		}
	}
	if s != nil {
		s.Close()
		r.Egress = s.Hosts()
		for _, t := range s.Traffic() {
			r.Traffic = append(r.Traffic, report.Traffic{
				Registry: t.Registry, BytesRead: t.BytesRead, BytesWritten: t.BytesWritten, Retries: t.Retries, WaitedMs: t.Waited.Milliseconds(), HeldMs: t.Held.Milliseconds(),
				Requests: report.Requests{Read: t.Read, Write: t.Write, Referrers: t.Referrers, Token: t.Token},
			})
		}
		r.Warnings = append(r.Warnings, s.Warnings()...)
		if o != nil {
			r.Identities = o.identities(s)
		}
	}
	facts := outcome.Facts{
		UsageError: result.usageError, Refused: len(r.Refusals) > 0,
		Stopped: ctx.Err() != nil, Unexecuted: result.unexecuted,
		Whole:  r.Action == agent.Plan,
		Errors: len(r.Errors), BeyondTargets: slices.ContainsFunc(r.Errors, func(p report.Problem) bool { return p.Side != report.TargetSide }),
	}
	for i, image := range r.Images {
		var attached [][]report.Attached
		for _, t := range image.Targets {
			attached = append(attached, t.Attached)
			facts.Targets = append(facts.Targets, t.State)
		}
		r.Images[i].Attached = report.MergeAttached(attached...)
	}
	for range result.astray {
		facts.Targets = append(facts.Targets, outcome.TargetFailed)
	}
	r.Outcome = outcome.Rank(facts)
	if r.Outcome == outcome.Cancelled && len(r.Errors) == 0 {
		r.Errors = append(r.Errors, report.Problem{
			Side: report.ServiceSide, Subject: r.Action, Reason: "the run was cancelled",
			Remedy: "Run the step again. Images that have arrived stay, and only the rest is copied.",
		})
	}
	if o != nil {
		nameConnections(r, o.byInput)
	}
	r.FinishedAt = formatTime(time.Now())
	end.result = *r
	return end
}
