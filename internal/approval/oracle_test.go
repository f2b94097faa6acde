package approval_test

import (
	"fmt"
	"maps"
	"math/rand"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// A scenario describes what happened to one stage. build makes evidence of it,
// and expect, the oracle, returns the expected result; they are independent of
// each other. Each element is an index into the values of one of the
// dimensions.
type scenario [dimensions]int

const (
	dEnvironment = iota // the input environment
	dApprovals          // how many approvals the stage has
	dJoin               // how approvals and checks of the suite are related
	dStatus1
	dStatus2
	dSuite   // the suite's status
	dRun     // the status of the check runs
	dContext // what is wrong in the suite context
	dConfig  // the check's configuration now
	dWho1    // who approved the first approval
	dWho2
	dSecond // another step of the first approval
	dMin
	dRequester
	dAuthor
	dList
	dWhen   // when it was approved
	dAnswer // how the response was written
	dSeal
	dMaxAge
	dComment
	dPattern
	dCode
	dEvidence
	dimensions
)

var values = [dimensions][]string{
	dEnvironment: {"Production", "PRODUCTION", "", "Releaſe", "endpoint:production", "Test"},
	dApprovals:   {"1", "2", "0", "unchecked"},
	dJoin:        {"same id", "other ids", "other ids and a foreign check", "guards another", "one more check", "twice", "check without type", "two resources", "wrong type of check", "with a foreign check", "no ids", "other ids, the first guards another"},
	dStatus1:     {"approved", "pending", "uninitiated", "deferred", "rejected", "canceled", "timedOut", "failed", "skipped", "undefined", "completed", "bypassed", "", "Approved"},
	dStatus2:     {"approved", "pending", "rejected", "skipped", "completed"},
	dSuite:       {"approved", "running", "rejected", "bypassed", ""},
	dRun:         {"approved", "running", "bypassed"},
	dContext:     {"right", "plan", "build", "stage", "attempt", "project", "no plan", "no build", "no stage", "no attempt", "no project", "stage in capitals"},
	dConfig:      {"right", "disabled", "other version", "version unknown", "evaluated version unknown", "gone", "not an approval", "elsewhere", "twice", "cannot be read", "on another type of resource"},
	dWho1:        {"bob", "alice", "queuer", "author", "carol", "claimed", "nobody", "zero", "group", "no step", "service", "unknown kind"},
	dWho2:        {"carol", "bob", "alice", "author"},
	dSecond:      {"none", "carol approved", "carol pending", "carol rejected", "alice approved"},
	dMin:         {"1", "2", "0"},
	dRequester:   {"may not", "may"},
	dAuthor:      {"may", "may not", "may not, unknown"},
	dList:        {"none", "bob", "carol's group by name", "bob's descriptor", "display name of bob", "carol and bob", "service"},
	dWhen:        {"an hour ago", "two hours ago", "at the tag", "at the record", "before the tag", "between tag and record", "in 5 minutes", "in 6 minutes", "unknown"},
	dAnswer:      {"by the approver", "by an unknown person", "written by another", "deferred", "deferred, initiated unknown"},
	dSeal:        {"not required", "sealed", "not locked", "no record", "tag time unknown", "record time unknown", "no image"},
	dMaxAge:      {"none", "1h", "59m59s"},
	dComment:     {"CHG0001 and the code", "nothing", "CHG0001", "the code in another format", "the code with a slip", "the code with a long s"},
	dPattern:     {"none", "required"},
	dCode:        {"none", "required", "too short"},
	dEvidence:    {"complete", "incomplete, with a reason", "incomplete, without a reason", "complete, but another run"},
}

func (s scenario) is(dimension int, any ...string) bool {
	return slices.Contains(any, values[dimension][s[dimension]])
}

func (s scenario) String() string {
	var b strings.Builder
	for d, i := range s {
		if i != 0 {
			fmt.Fprintf(&b, "%d=%q ", d, values[d][i])
		}
	}
	return b.String()
}

var (
	now      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	recorded = now.Add(-3 * time.Hour)
	tagged   = now.Add(-4 * time.Hour)
	asked    = now.Add(-5 * time.Hour)
)

const code = "ABCD-EFGH-JKMN-PQRS-TVWX-YZ01"

func guid(n int) string { return fmt.Sprintf("%08x-1111-4111-8111-111111111111", n) }

func person(n int, name string) approval.Person {
	return approval.Person{ID: guid(n), Name: name, UniqueName: strings.ToLower(name) + "@example.com", Descriptor: "aad." + name}
}

var people = map[string]approval.Person{
	"alice": person(1, "Alice"), "queuer": person(2, "Queuer"), "author": person(3, "Author"),
	"bob": person(4, "Bob"), "carol": person(5, "Carol"), "claimed": person(6, "Claimed"),
	"service": {ID: guid(8), Name: "Deploy", UniqueName: "deploy", Descriptor: "aadsp.Deploy"}, "unknown kind": {ID: guid(9), Name: "Ghost", UniqueName: "ghost@example.com"},
	"zero":  {ID: "00000000-0000-0000-0000-000000000000", Name: "Zero"},
	"group": {ID: guid(7), Name: `[Shop]\Release Managers`, Descriptor: "vssgp.rm", Group: true},
}

// build returns the evidence and rules for a scenario.
func (s scenario) build() (approval.Evidence, approval.Rules) {
	r := approval.Rules{
		Environment:         values[dEnvironment][s[dEnvironment]],
		RequesterCanApprove: s.is(dRequester, "may"),
		AuthorCanApprove:    s.is(dAuthor, "may"),
		MinApprovers:        map[string]int{"1": 1, "2": 2, "0": 0}[values[dMin][s[dMin]]],
		Subject:             "prod.example/shop/cart:1.4.2",
	}
	switch values[dList][s[dList]] {
	case "bob":
		r.Approvers = []string{"BOB@example.com"}
	case "carol's group by name":
		r.Approvers = []string{`[shop]\release managers`}
	case "bob's descriptor":
		r.Approvers = []string{"aad.Bob"}
	case "display name of bob":
		r.Approvers = []string{"Bob"}
	case "carol and bob":
		r.Approvers = []string{"carol@example.com", "bob@example.com"}
	case "service":
		r.Approvers = []string{"aadsp.Deploy"}
	}
	switch values[dMaxAge][s[dMaxAge]] {
	case "1h":
		r.MaxAge = time.Hour
	case "59m59s":
		r.MaxAge = time.Hour - time.Second
	}
	if s.is(dPattern, "required") {
		r.CommentPatterns = []*regexp.Regexp{regexp.MustCompile(`CHG\d{4}`)}
	}
	switch values[dCode][s[dCode]] {
	case "required":
		r.Code = code
	case "too short":
		r.Code = "ABCD"
	}
	seal := approval.Seal{Subject: "prod.example/shop/cart:1.4.2", Locked: true, TagUpdated: tagged, RecordCreated: recorded}
	r.Seals = []approval.Seal{seal}
	switch values[dSeal][s[dSeal]] {
	case "not required":
		r.Seals = nil
	case "not locked":
		r.Seals[0].Locked = false
	case "no record":
		r.Seals[0].Problem = "it has no seal record"
	case "tag time unknown":
		r.Seals[0].TagUpdated = time.Time{}
	case "record time unknown":
		r.Seals[0].RecordCreated = time.Time{}
	case "no image":
		r.Seals = []approval.Seal{}
	}

	e := approval.Evidence{
		Source: approval.YAML, Project: "Shop", ProjectID: guid(900), PlanID: guid(901), BuildID: 4711, Stage: "Production", Attempt: 2,
		Requesters: []approval.Requester{{Person: people["alice"], As: "is the person that run 4711 was requested for"}, {Person: people["queuer"]}, {Person: approval.Person{ID: strings.ToUpper(guid(6))}}},
		Token:      approval.Token{State: approval.TokenMatched},
		Complete:   !s.is(dEvidence, "incomplete, with a reason", "incomplete, without a reason"),
	}
	if s.is(dEvidence, "incomplete, with a reason") {
		e.Refusals = []rule.Refusal{{Rule: rule.ApprovalUnreadable, Subject: "the approvals", Reason: "503", Remedy: "again"}}
	}
	if s.is(dEvidence, "complete, but another run") {
		e.Refusals = []rule.Refusal{{Rule: rule.RunMismatch, Subject: "the run", Reason: "another plan", Remedy: "again"}}
	}
	if !s.is(dAuthor, "may not, unknown") {
		e.AuthorsKnown, e.Authors = true, []approval.Person{people["author"]}
	}
	e.Unchecked = s.is(dApprovals, "unchecked")

	context := approval.Context{PlanID: strings.ToUpper(guid(901)), ProjectID: guid(900), BuildID: 4711, Stage: "Production", Attempt: 2}
	switch values[dContext][s[dContext]] {
	case "plan":
		context.PlanID = guid(902)
	case "build":
		context.BuildID++
	case "stage":
		context.Stage = "Test"
	case "attempt":
		context.Attempt = 1
	case "project":
		context.ProjectID = guid(903)
	case "no plan":
		context.PlanID = ""
	case "no build":
		context.BuildID = 0
	case "no stage":
		context.Stage = ""
	case "no attempt":
		context.Attempt = 0
	case "no project":
		context.ProjectID = ""
	case "stage in capitals":
		context.Stage = "PRODUCTION"
	}
	suite := &approval.Suite{ID: guid(904), Status: values[dSuite][s[dSuite]], Context: context}
	e.Suite = suite

	n := map[string]int{"0": 0, "1": 1, "2": 2, "unchecked": 0}[values[dApprovals][s[dApprovals]]]
	for i := range n {
		a := approval.Approval{ID: guid(100 + i), Status: values[dStatus1+i][s[dStatus1+i]]}
		who := values[dWho1+i][s[dWho1+i]]
		if who != "no step" {
			a.Steps = append(a.Steps, s.step("approved", who))
		}
		if i == 0 {
			switch values[dSecond][s[dSecond]] {
			case "carol approved":
				a.Steps = append(a.Steps, s.step("approved", "carol"))
			case "carol pending":
				a.Steps = append(a.Steps, approval.Step{Status: "pending", Assigned: people["carol"], Initiated: asked})
			case "carol rejected":
				a.Steps = append(a.Steps, s.step("rejected", "carol"))
			case "alice approved":
				a.Steps = append(a.Steps, s.step("approved", "alice"))
			}
		}
		e.Approvals = append(e.Approvals, a)
		run := approval.CheckRun{
			ID: strings.ToUpper(a.ID), Status: values[dRun][s[dRun]], Type: approval.TypeApproval, ConfigurationID: 20 + i, Version: 3,
			Resource: approval.Resource{Type: "environment", ID: "7", Name: "Production"},
		}
		if s.is(dJoin, "other ids", "other ids and a foreign check") {
			run.ID = guid(200 + i)
		}
		if s.is(dJoin, "no ids") {
			run.ID = ""
		}
		if s.is(dJoin, "other ids, the first guards another") {
			run.ID = guid(200 + i)
			if i == 0 {
				run.Resource = approval.Resource{Type: "environment", ID: "8", Name: "Release"}
			}
		}
		if s.is(dJoin, "guards another") {
			run.Resource = approval.Resource{Type: "environment", ID: "8", Name: "Release"}
		}
		if s.is(dJoin, "two resources") && i == 1 {
			run.Resource.ID = "9"
		}
		if s.is(dJoin, "wrong type of check") {
			run.Type = approval.TypeTaskCheck
		}
		if s.is(dJoin, "check without type") {
			run.Type = ""
		}
		if s.is(dConfig, "evaluated version unknown") {
			run.Version = 0
		}
		suite.Runs = append(suite.Runs, run)
		configuration := approval.Configuration{ID: 20 + i, Version: 3, Type: approval.TypeApproval, Resource: run.Resource}
		switch values[dConfig][s[dConfig]] {
		case "disabled":
			configuration.Disabled = true
		case "other version":
			configuration.Version = 4
		case "version unknown":
			configuration.Version = 0
		case "not an approval":
			configuration.Type = approval.TypeTaskCheck
		case "elsewhere":
			configuration.Resource.ID = "10"
		case "on another type of resource":
			configuration.Resource.Type = "queue"
		}
		if !s.is(dConfig, "gone") {
			e.Configurations.Checks = append(e.Configurations.Checks, configuration)
		}
		if s.is(dConfig, "twice") {
			e.Configurations.Checks = append(e.Configurations.Checks, configuration)
		}
	}
	e.Configurations.Read = !s.is(dConfig, "cannot be read")
	if !e.Configurations.Read {
		e.Configurations.Checks = nil
	}
	foreign := approval.CheckRun{ID: guid(300), Status: "approved", Type: approval.TypeApproval, Resource: approval.Resource{Type: "environment", ID: "8", Name: "Release"}}
	switch values[dJoin][s[dJoin]] {
	case "other ids and a foreign check", "with a foreign check":
		suite.Runs = append(suite.Runs, foreign)
	case "one more check":
		foreign.Resource = approval.Resource{Type: "environment", ID: "7", Name: "Production"}
		foreign.Status = values[dRun][s[dRun]]
		suite.Runs = append(suite.Runs, foreign)
	case "twice":
		if len(suite.Runs) > 0 {
			suite.Runs = append(suite.Runs, suite.Runs[0])
		}
	}
	return e, r
}

func (s scenario) step(status, who string) approval.Step {
	step := approval.Step{Status: status, Initiated: asked, Modified: s.modified(), Comment: s.comment()}
	p := people[who]
	step.Assigned = p
	if who == "carol" { // she answers for the group that is asked
		step.Assigned = people["group"]
	}
	if who != "nobody" {
		step.Actual = &p
	}
	step.ModifiedBy = strings.ToUpper(p.ID)
	switch values[dAnswer][s[dAnswer]] {
	case "by an unknown person":
		step.ModifiedBy = ""
	case "written by another":
		step.ModifiedBy = guid(800)
	case "deferred":
		step.Deferred = true
	case "deferred, initiated unknown":
		step.Deferred, step.Initiated = true, time.Time{}
	}
	return step
}

func (s scenario) modified() time.Time {
	switch values[dWhen][s[dWhen]] {
	case "two hours ago":
		return now.Add(-2 * time.Hour)
	case "at the tag":
		return tagged
	case "at the record":
		return recorded
	case "before the tag":
		return tagged.Add(-time.Nanosecond)
	case "between tag and record":
		return tagged.Add(time.Minute)
	case "in 5 minutes":
		return now.Add(5 * time.Minute)
	case "in 6 minutes":
		return now.Add(6 * time.Minute)
	case "unknown":
		return time.Time{}
	}
	return now.Add(-time.Hour)
}

func (s scenario) comment() string {
	switch values[dComment][s[dComment]] {
	case "nothing":
		return ""
	case "CHG0001":
		return "CHG0001"
	case "the code in another format":
		return "CHG0001: abcd efgh‐jkmn–pqrs\tTVWX\u00a0yz01."
	case "the code with a slip":
		return "CHG0001: ABCD-EFGH-JKMN-PQRS-TVWX-YZO1"
	case "the code with a long s":
		return "CHG0001: ABCD-EFGH-JKMN-PQRſ-TVWX-YZ01"
	}
	return "CHG0001 " + code
}

// expect is the oracle: it returns the names of the rules that must refuse. It
// follows the contract sentence by sentence and does not use the evidence.
func (s scenario) expect() map[rule.Name]bool {
	out := map[rule.Name]bool{}
	// A missing seal is always reported.
	if s.is(dSeal, "not locked", "no record", "tag time unknown", "record time unknown", "no image") {
		out[rule.NotSealed] = true
	}
	switch {
	case s.is(dEvidence, "incomplete, with a reason", "incomplete, without a reason"):
		out[rule.ApprovalUnreadable] = true
		return out
	case s.is(dEvidence, "complete, but another run"):
		out[rule.RunMismatch] = true
	}
	two := s.is(dApprovals, "2")
	none := s.is(dApprovals, "0")
	if s.is(dApprovals, "unchecked") {
		out[rule.ApprovalMissing] = true
		return out
	}
	// The check suite.
	switch {
	case s.is(dContext, "no plan", "no build", "no stage", "no attempt"):
		out[rule.ApprovalUnreadable] = true
		return out
	case s.is(dContext, "plan", "build", "stage", "attempt", "project"):
		out[rule.RunMismatch] = true
		return out
	case s.is(dJoin, "twice", "check without type") && !none:
		out[rule.ApprovalUnreadable] = true
		return out
	}
	if s.is(dEnvironment, "") {
		out[rule.ApprovalUnbound] = true
	}
	if none {
		if s.is(dJoin, "one more check", "other ids and a foreign check", "with a foreign check") {
			out[rule.ApprovalUnreadable] = true // an approval that no timeline shows
		} else {
			out[rule.ApprovalMissing] = true
		}
		return out
	}
	// The guarded resource.
	named := s.is(dEnvironment, "Production", "PRODUCTION")
	switch {
	case !named || s.is(dJoin, "guards another", "other ids and a foreign check", "wrong type of check", "other ids, the first guards another"):
		out[rule.ApprovalUnbound] = true
		return out
	case s.is(dJoin, "one more check"):
		out[rule.ApprovalUnreadable] = true
		return out
	case s.is(dJoin, "two resources") && two:
		out[rule.ApprovalUnbound] = true
		return out
	}
	if s.is(dConfig, "disabled", "other version", "gone", "not an approval", "elsewhere", "twice", "on another type of resource") {
		out[rule.ApprovalUnbound] = true
	}
	// The status.
	granted := map[int]bool{}
	verdicts := map[string]rule.Name{
		"pending": rule.ApprovalPending, "uninitiated": rule.ApprovalPending, "deferred": rule.ApprovalPending,
		"rejected": rule.ApprovalRejected, "canceled": rule.ApprovalRejected, "timedOut": rule.ApprovalRejected, "failed": rule.ApprovalRejected,
		"skipped": rule.ApprovalMissing,
	}
	all := true
	for i := range 2 {
		if i == 1 && !two {
			continue
		}
		status := values[dStatus1+i][s[dStatus1+i]]
		if status == "approved" {
			granted[i] = true
			continue
		}
		all = false
		if name, known := verdicts[status]; known {
			out[name] = true
		} else {
			out[rule.ApprovalUnreadable] = true
		}
	}
	if all && (!s.is(dSuite, "approved") || !s.is(dRun, "approved")) {
		out[rule.ApprovalUnreadable] = true
	}
	// The approvers.
	type answer struct {
		approval int
		who      string
		fails    []rule.Name
	}
	var answers []answer
	for i := range 2 {
		if !granted[i] {
			continue
		}
		here := []string{values[dWho1+i][s[dWho1+i]]}
		if i == 0 {
			switch {
			case s.is(dSecond, "carol approved"):
				here = append(here, "carol")
			case s.is(dSecond, "alice approved"):
				here = append(here, "alice")
			case s.is(dSecond, "carol rejected"):
				out[rule.ApprovalUnreadable] = true
			}
		}
		usable := 0
		for _, who := range here {
			switch {
			case who == "no step":
			case who == "nobody", who == "zero", s.is(dWhen, "unknown"):
				out[rule.ApprovalUnreadable] = true
			default:
				usable++
				answers = append(answers, answer{approval: i, who: who, fails: s.fails(who)})
			}
		}
		if usable == 0 {
			out[rule.ApprovalUnreadable] = true
		}
	}
	if s.is(dAuthor, "may not, unknown") {
		out[rule.AuthorApproved] = true
	}
	counting := map[string]bool{}
	for _, a := range answers {
		if len(a.fails) == 0 {
			counting[a.who] = true
		}
	}
	least := 1
	if s.is(dMin, "2") {
		least = 2
	}
	for i := range granted {
		served := false
		for _, a := range answers {
			served = served || a.approval == i && len(a.fails) == 0
		}
		for _, a := range answers {
			if a.approval == i && (!served || len(counting) < least) {
				for _, name := range a.fails {
					out[name] = true
				}
			}
		}
	}
	if len(granted) > 0 && len(counting) < least && least > 1 {
		out[rule.MinApprovers] = true
	}
	return out
}

// fails returns the rules that one person's response fails.
func (s scenario) fails(who string) []rule.Name {
	var out []rule.Name
	if s.is(dWhen, "in 6 minutes") {
		out = append(out, rule.ApprovalUnreadable)
	}
	if s.is(dRequester, "may not") && slices.Contains([]string{"alice", "queuer", "claimed"}, who) {
		out = append(out, rule.RequesterApproved)
	}
	if s.is(dAuthor, "may not") && who == "author" {
		out = append(out, rule.AuthorApproved)
	}
	allowed := map[string][]string{
		"bob": {"bob"}, "carol's group by name": {"carol"}, "bob's descriptor": {"bob"}, "display name of bob": {}, "carol and bob": {"bob", "carol"}, "service": {"service"},
	}
	if list, demanded := allowed[values[dList][s[dList]]]; demanded && !slices.Contains(list, who) {
		out = append(out, rule.ApproverNotListed)
	}
	// Only people count, and a service that the list names.
	if who == "group" || who == "unknown kind" || who == "service" && !s.is(dList, "service") {
		out = append(out, rule.NotAPerson)
	}
	// The earliest time at which the person may have decided.
	at := s.modified()
	switch {
	case s.is(dAnswer, "written by another", "deferred"):
		at = asked
	case s.is(dAnswer, "deferred, initiated unknown"):
		at = time.Time{}
	}
	oldest := map[string]time.Time{"1h": now.Add(-time.Hour), "59m59s": now.Add(-time.Hour + time.Second)}
	if limit, demanded := oldest[values[dMaxAge][s[dMaxAge]]]; demanded && at.Before(limit) {
		out = append(out, rule.ApprovalTooOld)
	}
	if s.is(dPattern, "required") && s.is(dComment, "nothing") {
		out = append(out, rule.CommentPattern)
	}
	if s.is(dCode, "too short") || s.is(dCode, "required") && !s.is(dComment, "CHG0001 and the code", "the code in another format") {
		out = append(out, rule.ApprovalCode)
	}
	if s.is(dSeal, "sealed") {
		if !tagged.Before(at) {
			out = append(out, rule.ChangedSinceApproval)
		}
		if !recorded.Before(at) {
			out = append(out, rule.NotSealed)
		}
	}
	return out
}

// scenarios returns the granted scenario, every single deviation from it, every pair
// of deviations, and random scenarios.
func scenarios() []scenario {
	var cases []scenario
	cases = append(cases, scenario{})
	for d := range dimensions {
		for i := 1; i < len(values[d]); i++ {
			one := scenario{}
			one[d] = i
			cases = append(cases, one)
			for d2 := d + 1; d2 < dimensions; d2++ {
				for i2 := 1; i2 < len(values[d2]); i2++ {
					pair := one
					pair[d2] = i2
					cases = append(cases, pair)
				}
			}
		}
	}
	random := rand.New(rand.NewSource(1))
	for range 20000 {
		var s scenario
		for d := range dimensions {
			if random.Intn(4) == 0 {
				s[d] = random.Intn(len(values[d]))
			}
		}
		cases = append(cases, s)
	}
	return cases
}

func TestJudgeMatchesOracle(t *testing.T) {
	cases := scenarios()
	granted := 0
	failures := 0
	for _, s := range cases {
		e, r := s.build()
		v := approval.Judge(e, r, now)
		want := s.expect()
		got := map[rule.Name]bool{}
		for _, refusal := range v.Refusals {
			got[refusal.Rule] = true
			if refusal.Subject == "" || refusal.Reason == "" || refusal.Remedy == "" {
				t.Errorf("%v: a refusal has an empty field: %+v", s, refusal)
			}
		}
		if !maps.Equal(got, want) || v.Granted != (len(want) == 0) {
			t.Errorf("%v\n got %v granted %v\nwant %v", s, slices.Sorted(maps.Keys(got)), v.Granted, slices.Sorted(maps.Keys(want)))
			if failures++; failures > 10 {
				t.Fatal("too many differences")
			}
		}
		for _, o := range v.Rules {
			if o.Met == got[o.Rule] && !(o.Rule == rule.MinApprovers && !o.Met) {
				t.Errorf("%v: rule %s is reported met=%v, refused: %v", s, o.Rule, o.Met, got[o.Rule])
			}
		}
		if v.Granted {
			granted++
			if len(v.Approvers) < max(r.MinApprovers, 1) {
				t.Errorf("%v: granted by %d approvers", s, len(v.Approvers))
			}
		}
	}
	if granted < 1000 || len(cases)-granted < 1000 {
		t.Errorf("%d of %d cases are granted: the table tests only one result", granted, len(cases))
	}
	t.Logf("%d cases, %d granted", len(cases), granted)
}
