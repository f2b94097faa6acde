package run

import (
	"errors"
	"slices"
	"sync"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
)

// collector collects the result while the phases run.
type collector struct {
	usageError bool // the inputs could not be understood or obeyed
	unexecuted bool // told to stop before anything was executed

	mu     sync.Mutex // guards result while images are moved side by side
	result report.Result
}

// newCollector begins with the result before anything was done: what is not
// found out is reported as such.
func newCollector(c *agent.Config, version string) *collector {
	return &collector{result: report.Result{
		Schema:     report.Schema,
		Tool:       version,
		Action:     c.Action,
		DryRun:     c.DryRun.Or(false),
		Direction:  "unchecked",
		Rules:      "inputs",
		Protection: "unknown: the checks on the service connections were not read",
		Transport:  "direct",
		Run:        report.Run{Kind: "none"},
		Approval:   report.Approval{Kind: "none"},
		Warnings:   c.Warnings,
	}}
}

// refused is an error that is a rule not met.
type refused struct{ rule.Refusal }

func (r *refused) Error() string { return r.Reason }

// add records why a phase cannot go on: a rule that is not met, a registry that
// could not be read, or else something about the inputs.
func (r *collector) add(err error) {
	var no *refused
	var unread *unlisted
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
			r.result.Errors = append(r.result.Errors, report.Problem{Side: report.Input, Subject: p.Subject, Reason: p.Reason, Remedy: p.Remedy})
		}
	case errors.As(err, &closed):
		r.result.Errors = append(r.result.Errors, report.Problem{Side: report.Input, Subject: closed.Subject, Reason: closed.Reason, Remedy: closed.Remedy})
	default:
		r.result.Errors = append(r.result.Errors, report.Problem{
			Side: report.Input, Subject: "inputs", Reason: err.Error(), Remedy: "Correct the inputs; `acrpromote help` lists them.",
		})
	}
}

// warn records something that people should know and that refuses nothing.
func (r *collector) warn(text string) {
	if !slices.Contains(r.result.Warnings, text) {
		r.result.Warnings = append(r.result.Warnings, text)
	}
}

// done records what became of one image at one target. Images are moved side
// by side.
func (r *collector) done(changed bool, problems ...report.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Changed = r.result.Changed || changed
	r.result.Errors = append(r.result.Errors, problems...)
}

// usage returns a usage error about one input.
func usage(input string, err error, remedy string) error {
	return &agent.UsageError{Problems: []agent.Problem{{Subject: input, Reason: err.Error(), Remedy: remedy}}}
}

// stamp writes a time for result.json, empty for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
