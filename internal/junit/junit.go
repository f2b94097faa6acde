// Package junit writes results as JUnit XML. The documents are valid by the schema of
// Apache Ant, which the Tests tab of Azure Pipelines reads (microsoft/azure-pipelines-agent,
// JunitResultReader.cs), and by that of Jenkins. The package is pure.
package junit

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"acrpromote/internal/doctor"
	"acrpromote/internal/manual"
	"acrpromote/internal/outcome"
	"acrpromote/internal/report"
	"acrpromote/internal/sanitize"
)

// Limits of one value and of one line, in bytes.
const (
	longestValue = 1500
	longestLine  = 2000
)

// The kinds of a test case that did not pass: the names of their elements.
const (
	skipped = "skipped"
	failure = "failure"
	failed  = "error"
)

// testCase is an image at a target, a rule, an error or a finding. It passed if kind is
// empty.
type testCase struct {
	class, name string
	kind        string
	category    string // of a failure: the name of the rule, for example
	message     string
	texts       []string
}

// fail makes the case a failure or an error. If it is one already, it gets one more
// text.
func (c *testCase) fail(kind, category, subject, reason, remedy string) {
	line := func(s string) string { return sanitize.Visible(s, longestValue) }
	text := line(category) + ": " + line(subject) + "\n" + line(reason) + "\n"
	if remedy != "" {
		text += "What to do: " + line(remedy) + "\n"
	}
	if url := manual.URL(category); url != "" {
		text += "More: " + url + "\n"
	}
	if c.kind != failure && c.kind != failed {
		c.kind, c.category, c.message, c.texts = kind, category, reason, nil
	}
	c.texts = append(c.texts, text)
}

// Write returns a document with one suite for each result.
func Write(results []report.Result) []byte {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<testsuites>\n")
	for i, r := range results {
		writeSuite(&b, i, r)
	}
	b.WriteString("</testsuites>\n")
	return []byte(b.String())
}

func writeSuite(b *strings.Builder, id int, r report.Result) {
	all := cases(r)
	counts := map[string]int{}
	for _, c := range all {
		counts[c.kind]++
	}
	began, seconds := times(r)
	fmt.Fprintf(b, `  <testsuite name="%s" package="acrpromote" id="%d" hostname="localhost" timestamp="%s" time="%.3f" tests="%d" failures="%d" errors="%d" skipped="%d">`+"\n",
		escape(Name(r)), id, began, seconds, len(all), counts[failure], counts[failed], counts[skipped])
	b.WriteString("    <properties>\n")
	for _, p := range [][2]string{{"outcome", string(r.Outcome)}, {"summary", report.Headline(r)}, {"tool", r.Tool}, {"run", r.Run.URL}, {"rules", r.Rules}} {
		fmt.Fprintf(b, `      <property name="%s" value="%s"/>`+"\n", p[0], escape(p[1]))
	}
	b.WriteString("    </properties>\n")
	for _, c := range all {
		fmt.Fprintf(b, `    <testcase classname="%s" name="%s" time="0"`, escape(c.class), escape(c.name))
		switch c.kind {
		case "":
			b.WriteString("/>\n")
			continue
		case skipped:
			fmt.Fprintf(b, `><skipped message="%s"/>`, escape(c.message))
		default:
			fmt.Fprintf(b, `><%s type="%s" message="%s">`, c.kind, escape(c.category), escape(c.message))
			for _, text := range c.texts {
				for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
					b.WriteString(escape(line) + "\n")
				}
			}
			b.WriteString("</" + c.kind + ">")
		}
		b.WriteString("</testcase>\n")
	}
	b.WriteString("    <system-out></system-out>\n    <system-err></system-err>\n  </testsuite>\n")
}

// Name returns what ran and where, as the name of a suite.
func Name(r report.Result) string {
	name := cmp.Or(r.Action, "acrpromote")
	if r.DryRun {
		name += " (dry run)"
	}
	for _, part := range [][2]string{{"stage", r.Run.Stage}, {"job", r.Run.Job}} {
		if part[1] != "" {
			name += ", " + part[0] + " " + part[1]
		}
	}
	if r.Run.Attempt > 1 {
		name += fmt.Sprintf(", attempt %d", r.Run.Attempt)
	}
	return name
}

// times returns when a result began, without a zone as the schema requires, and how
// many seconds it took.
func times(r report.Result) (began string, seconds float64) {
	const layout = "2006-01-02T15:04:05"
	from, err := time.Parse(time.RFC3339, r.StartedAt)
	if err != nil || from.Year() < 1970 || from.Year() > 9000 {
		return "1970-01-01T00:00:00", 0
	}
	if to, err := time.Parse(time.RFC3339, r.FinishedAt); err == nil && to.After(from) {
		seconds = to.Sub(from).Seconds()
	}
	return from.UTC().Format(layout), seconds
}

// passed stands for the case of a subject all of whose cases passed.
const passed = -1

// cases returns the test cases of a result. One has failed or is an error, unless the
// outcome is done.
func cases(r report.Result) []testCase {
	all := images(r)
	// The first case about an image, a target, a repository or a registry that did not
	// pass, or passed if all did.
	at := map[string]int{}
	n := 0
	note := func(subjects ...string) {
		for _, subject := range subjects {
			if first, there := at[subject]; !there || first == passed {
				at[subject] = n
				if all[n].kind == "" {
					at[subject] = passed
				}
			}
		}
		n++
	}
	for _, image := range r.Images {
		for _, t := range image.Targets {
			note(t.Where(), t.Registry+"/"+t.Repository, t.Registry, image.Source)
		}
		if len(image.Targets) == 0 {
			note(image.Source)
		}
	}
	// fail adds a failure to the first case that it is about and that did not pass, or
	// else as a case of its own.
	fail := func(kind, category, class, name, subject, reason, remedy string) {
		about := subject
		if _, there := at[about]; !there {
			about, _, _ = strings.Cut(subject, "@")
		}
		if i, there := at[about]; there && i != passed {
			all[i].fail(kind, category, subject, reason, remedy)
			return
		}
		c := testCase{class: class, name: name}
		c.fail(kind, category, subject, reason, remedy)
		all = append(all, c)
	}
	for _, f := range r.Refusals {
		fail(failure, string(f.Rule), "rules", string(f.Rule)+": "+f.Subject, f.Subject, f.Reason, f.Remedy)
	}
	category := r.Categories()
	for _, e := range r.Errors {
		kind, id := failure, category(e)
		if id == string(e.Side) {
			kind = failed
		}
		fail(kind, id, "errors", id+": "+e.Subject, e.Subject, e.Reason, e.Remedy)
	}
	failOn := doctor.High
	if r.Doctor != nil {
		failOn = r.Doctor.FailOn
	}
	for _, f := range r.Findings {
		c := testCase{class: "doctor", name: f.ID + ": " + f.Where, kind: skipped, message: string(f.Severity) + ": " + f.Allows}
		if r.Outcome != outcome.Done && f.Severity.AtLeast(failOn) {
			c.fail(failure, f.ID, f.Where, f.Allows, f.Mend)
		}
		all = append(all, c)
	}
	for _, s := range r.Approval.Rules {
		if s.Pending {
			all = append(all, testCase{class: "rules", name: cmp.Or(s.Label, string(s.Rule)), kind: skipped, message: "pending: " + s.Detail})
		}
	}
	bad := false
	for _, c := range all {
		bad = bad || c.kind == failure || c.kind == failed
	}
	if len(all) == 0 || !bad && r.Outcome != outcome.Done {
		c := testCase{class: "outcome", name: cmp.Or(r.Action, "acrpromote")}
		if r.Outcome != outcome.Done {
			c.fail(failed, string(r.Outcome), c.name, report.Headline(r), "")
		}
		all = append(all, c)
	}
	return all
}

// images returns a case for each image at each target, or for an image without
// targets.
func images(r report.Result) []testCase {
	var all []testCase
	for _, image := range r.Images {
		if len(image.Targets) == 0 {
			host, _, _ := strings.Cut(image.Source, "/")
			c := testCase{class: host, name: image.Source}
			if r.Outcome != outcome.Done {
				c.kind, c.message = skipped, string(r.Outcome)
			}
			all = append(all, c)
		}
		for _, t := range image.Targets {
			c := testCase{class: t.Registry, name: image.Source + " → " + t.Where()}
			switch t.State {
			case outcome.TargetFailed:
				c.kind, c.category, c.message = failed, string(t.State), t.Error
				if r.Action == "audit" {
					c.kind = failure
				}
			case outcome.Planned, outcome.Pending, outcome.TargetRefused, outcome.Left, outcome.Untagged:
				// After a recall, an image that is left or untagged can still be read.
				c.kind, c.message = skipped, string(t.State)
				if t.Error != "" {
					c.message += ": " + t.Error
				}
			}
			all = append(all, c)
		}
	}
	return all
}

// escape returns a text as an attribute or as content: in one line, bounded, without
// the characters that XML forbids, and without two number signs in a row, which could
// begin a command of the agent.
func escape(s string) string {
	var b strings.Builder
	for _, r := range sanitize.Visible(s, longestLine) {
		switch {
		case r == '&' || r == '<' || r == '>' || r == '"' || r == '#':
			fmt.Fprintf(&b, "&#%d;", r)
		case r < ' ' || r == utf8.RuneError || r == 0xfffe || r == 0xffff:
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
