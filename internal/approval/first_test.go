package approval_test

import (
	"testing"
	"time"

	"acrpromote/internal/approval"
)

// TestFirst: what counts is the earliest approval that counts, at the earliest
// time at which it may have been given.
func TestFirst(t *testing.T) {
	hour, two := now.Add(-time.Hour), now.Add(-2*time.Hour)
	earlier := func(e *approval.Evidence) { e.Approvals[0].Steps[1].Modified = two }
	for _, c := range []struct {
		name   string
		s      scenario
		change func(*approval.Evidence)
		want   time.Time
	}{
		{"one", with(), nil, hour},
		{"two", with(dSecond, "carol approved"), earlier, two},
		{"two of whom two are needed", with(dSecond, "carol approved", dMin, "2"), earlier, two},
		{"the requester does not count", with(dSecond, "alice approved"), earlier, hour},
		{"two approvals", with(dApprovals, "2"), func(e *approval.Evidence) { e.Approvals[1].Steps[0].Modified = two }, two},
		{"one person, who approved twice", with(dApprovals, "2", dWho2, "bob"), func(e *approval.Evidence) { e.Approvals[1].Steps[0].Modified = two }, two},
		{"deferred", with(dAnswer, "deferred"), nil, asked},
		{"written by another", with(dAnswer, "written by another"), nil, asked},
		{"as old as any", with(dAnswer, "deferred, initiated unknown"), nil, time.Unix(0, 0)},
		{"nobody counts", with(dWho1, "alice"), nil, time.Time{}},
		{"pending", with(dStatus1, "pending"), nil, time.Time{}},
	} {
		e, r := c.s.build()
		if c.change != nil {
			c.change(&e)
		}
		if got := approval.Judge(e, r, now).First; !got.Equal(c.want) {
			t.Errorf("%s: first at %s, want %s", c.name, got, c.want)
		}
	}
}

// TestFirstCheck: of an automated approval it is the earliest check.
func TestFirstCheck(t *testing.T) {
	for _, c := range []struct {
		name      string
		completed time.Time
		want      time.Time
	}{
		{"passed", now.Add(-time.Hour), now.Add(-time.Hour)},
		{"before another", now.Add(-3 * time.Hour), now.Add(-3 * time.Hour)},
		{"after another", now.Add(-time.Minute), now.Add(-2 * time.Hour)},
		{"at a time that is not known", time.Time{}, time.Unix(0, 0)},
	} {
		e, r := with().build()
		r.Approval = approval.Automated
		resource := approval.Resource{Type: "environment", ID: "7", Name: "Production"}
		for i, at := range []time.Time{c.completed, now.Add(-2 * time.Hour)} {
			if c.name == "passed" && i > 0 {
				break
			}
			r.Checks = append(r.Checks, approval.Check{Definition: []string{"31", "32"}[i], Resource: "Production"})
			e.Suite.Runs = append(e.Suite.Runs, approval.CheckRun{ID: guid(400 + i), Status: "approved", Type: approval.TypeTaskCheck, ConfigurationID: 31 + i, Version: 1, Resource: resource, Completed: at})
			e.Configurations.Checks = append(e.Configurations.Checks, approval.Configuration{ID: 31 + i, Version: 1, Type: approval.TypeTaskCheck, Resource: resource, Definition: guid(500)})
		}
		for _, kind := range []approval.Kind{approval.Automated, approval.Any} {
			r.Approval = kind
			want := c.want
			if kind == approval.Any {
				// A person has approved, and counts first.
				want = now.Add(-time.Hour)
			}
			v := approval.Judge(e, r, now)
			if !v.Granted || !v.First.Equal(want) {
				t.Errorf("%s, %s: granted %v, first at %s, want %s: %+v", c.name, kind, v.Granted, v.First, want, v.Refusals)
			}
		}
	}
}

// TestFirstOfSeveral: where several approvals are judged, the earliest counts.
func TestFirstOfSeveral(t *testing.T) {
	part := func(at time.Time) approval.Part {
		e, r := with().build()
		for i := range e.Approvals {
			e.Approvals[i].Steps[0].Modified = at
		}
		return approval.Part{Rules: r, Evidence: &e}
	}
	late, early := part(now.Add(-time.Minute)), part(now.Add(-time.Hour))
	for _, parts := range [][]approval.Part{{late, early}, {early, late}, {early}} {
		v := approval.Decide(approval.Case{NeedsApproval: true, InRun: true, Covered: true, Parts: parts}, now)
		if !v.First.Equal(now.Add(-time.Hour)) {
			t.Errorf("%d parts: first at %s", len(parts), v.First)
		}
	}
}
