package run

import (
	"errors"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/explain"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
)

// collector collects the result while the phases run.
type collector struct {
	usageError bool // a usage error: the inputs are invalid or contradictory
	unexecuted bool // cancelled before anything was executed
	astray     int  // drift of an audit that belongs to no image

	mu     sync.Mutex // guards result while images are copied concurrently
	result report.Result
}

// newCollector returns a collector with the initial result, which says for each
// field that nothing is known yet.
func newCollector(c *agent.Config, version string) *collector {
	return &collector{result: report.Result{
		Schema:      report.Schema,
		Tool:        version,
		Action:      c.Action,
		DryRun:      c.DryRun.Or(false),
		StartedAt:   formatTime(time.Now()),
		Direction:   "unchecked",
		Rules:       "inputs",
		Protection:  "unknown: the checks on the service connections were not read",
		Transport:   "direct",
		Run:         report.Run{Kind: "none"},
		Approval:    report.Approval{Kind: "none"},
		Warnings:    c.Warnings,
		Environment: c.Suspicious,
	}}
}

// refusalError is a refusal as an error.
type refusalError struct{ rule.Refusal }

func (r *refusalError) Error() string { return r.Reason }

// add records the error that ends the run, or several that are joined: a rule that
// is not met, a registry that could not be listed, or otherwise a usage error.
func (r *collector) add(err error) {
	if all, joined := err.(interface{ Unwrap() []error }); joined {
		for _, err := range all.Unwrap() {
			r.add(err)
		}
		return
	}
	var no *refusalError
	var unread *listError
	var wrong *agent.UsageError
	var closed *session.Error
	switch {
	case errors.As(err, &no):
		r.result.Refusals = append(r.result.Refusals, no.Refusal)
		return
	case errors.As(err, &unread):
		r.result.Errors = append(r.result.Errors, unread.problem())
		return
	}
	r.usageError = true
	switch {
	case errors.As(err, &wrong):
		for _, p := range wrong.Problems {
			r.result.Errors = append(r.result.Errors, report.Problem{Side: report.InputSide, Subject: p.Subject, Reason: p.Reason, Remedy: p.Remedy})
		}
	case errors.As(err, &closed):
		r.result.Errors = append(r.result.Errors, report.Problem{Side: report.InputSide, Subject: closed.Subject, Reason: closed.Reason, Remedy: closed.Remedy})
	default:
		r.result.Errors = append(r.result.Errors, report.Problem{
			Side: report.InputSide, Subject: "inputs", Reason: err.Error(), Remedy: "Correct the inputs; `acrpromote help` lists them.",
		})
	}
}

// addDefect records that the program panicked. The result keeps earlier findings.
func (r *collector) addDefect(d *defect.Defect) {
	r.unexecuted = false
	r.result.Errors = append(r.result.Errors, report.Problem{Side: report.ServiceSide, Subject: r.result.Action, Reason: d.Reason,
		Remedy: "Report this as a bug, with the version of acrpromote and the log of a run with System.Debug set to true. Images that have arrived stay."})
}

// warn adds a warning, once.
func (r *collector) warn(text string) {
	if !slices.Contains(r.result.Warnings, text) {
		r.result.Warnings = append(r.result.Warnings, text)
	}
}

// note adds a warning while images are copied concurrently.
func (r *collector) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warn(text)
}

// done records the result of one image at one target. It is safe for concurrent
// use.
func (r *collector) done(changed bool, problems ...report.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Changed = r.result.Changed || changed
	r.result.Errors = append(r.result.Errors, problems...)
}

// usage returns a usage error for one input. The remedy is for an error that has
// none of its own.
func usage(input string, err error, remedy string) error {
	reason, remedy := explain.Split(err, remedy)
	return &agent.UsageError{Problems: []agent.Problem{{Subject: input, Reason: reason, Remedy: remedy}}}
}

// formatTime formats a time for result.json. It returns "" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
