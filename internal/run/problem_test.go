package run

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"acrpromote/internal/acr"
	"acrpromote/internal/report"
	"acrpromote/internal/transfer"
)

// TestRemedies checks what is said to do about an error that has no remedy of its own:
// to run the step again only where that can help.
func TestRemedies(t *testing.T) {
	for _, c := range []struct {
		err   transfer.Error
		rerun bool
	}{
		{transfer.Error{Kind: transfer.Unexpected, Status: 400}, false},
		{transfer.Error{Kind: transfer.Unexpected, Status: 422}, false},
		{transfer.Error{Kind: transfer.TooLarge}, false},
		{transfer.Error{Kind: transfer.Unsupported}, false},
		{transfer.Error{Kind: transfer.Corrupt}, false},
		{transfer.Error{Kind: transfer.Conflict}, false},
		{transfer.Error{Kind: transfer.Unexpected, Status: 408}, true},
		{transfer.Error{Kind: transfer.Throttled, Status: 429}, true},
		{transfer.Error{Kind: transfer.Unexpected, Status: 500}, true},
		{transfer.Error{Kind: transfer.Unreachable}, true},
	} {
		c.err.Registry, c.err.Op, c.err.Reason = "dev.example", "pushing", "no"
		p := problem(report.TargetSide, fmt.Errorf("one target: %w", &c.err))
		if got := p.Remedy == rerun; got != c.rerun || strings.Contains(p.Remedy, "does not help") == c.rerun {
			t.Errorf("%s, %d: %s", c.err.Kind, c.err.Status, p.Remedy)
		}
	}
	own := problem(report.SourceSide, &transfer.Error{Registry: "dev.example", Op: "reading", Kind: transfer.Denied, Remedy: "Sign in"})
	if own.Remedy != "Sign in." {
		t.Errorf("remedy %q, want a sentence", own.Remedy)
	}
}

// TestReported checks that an identity that gets no token is reported once, and a
// registry's refusal for each target.
func TestReported(t *testing.T) {
	failed := func(host string) func(registry string) (report.Problem, error) {
		return func(registry string) (report.Problem, error) {
			err := &transfer.Error{Registry: registry, Op: "reading", Kind: transfer.Unexpected, Err: &acr.Error{Host: host, Op: "signing in"}}
			return problem(report.TargetSide, err), err
		}
	}
	for name, c := range map[string]struct {
		of       func(string) (report.Problem, error)
		reported bool
	}{
		"an identity":     {failed("login.microsoftonline.com"), true},
		"registry by own": {func(registry string) (report.Problem, error) { return failed(registry)(registry) }, false},
		"no sign-in": {func(registry string) (report.Problem, error) {
			err := errors.New(registry + " is down")
			return problem(report.TargetSide, err), err
		}, false},
	} {
		first, _ := c.of("dev.example")
		r := &collector{result: report.Result{Errors: []report.Problem{first}}}
		if second, err := c.of("dev2.example"); r.reported(second, err) != c.reported {
			t.Errorf("%s: reported %v", name, !c.reported)
		}
		if again, err := c.of("dev.example"); !r.reported(again, err) {
			t.Errorf("%s: the same problem twice", name)
		}
	}
}
