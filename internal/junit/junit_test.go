package junit

import (
	"bytes"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acrpromote/internal/doctor"
	"acrpromote/internal/outcome"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
)

var update = flag.Bool("update", false, "write the golden files")

// node is an element of a document.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []node     `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (n node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (n node) all(name string) (found []node) {
	for _, c := range n.Children {
		if c.XMLName.Local == name {
			found = append(found, c)
		}
	}
	return found
}

// check parses a document, checks what the schemas of Apache Ant
// (windyroad/JUnit-Schema, JUnit.xsd) and Jenkins (xunit-plugin, junit-10.xsd) require,
// and returns its suites.
func check(t *testing.T, document []byte) []node {
	t.Helper()
	var root node
	if err := xml.Unmarshal(document, &root); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	if root.XMLName.Local != "testsuites" || len(root.Attrs) != 0 {
		t.Errorf("the root is %v %v", root.XMLName, root.Attrs)
	}
	names := func(n node, want ...string) {
		t.Helper()
		var got []string
		for _, a := range n.Attrs {
			got = append(got, a.Name.Local)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has the attributes %v, want %v", n.XMLName.Local, got, want)
		}
	}
	for i, s := range root.Children {
		names(s, "errors", "failures", "hostname", "id", "name", "package", "skipped", "tests", "time", "timestamp")
		if s.XMLName.Local != "testsuite" || s.attr("id") != strconv.Itoa(i) || s.attr("name") == "" {
			t.Errorf("suite %d: %v", i, s.Attrs)
		}
		if !regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}$`).MatchString(s.attr("timestamp")) || !regexp.MustCompile(`^[0-9]+\.[0-9]{3}$`).MatchString(s.attr("time")) {
			t.Errorf("suite %d: %v", i, s.Attrs)
		}
		var order []string
		counts := map[string]int{}
		for _, c := range s.Children {
			if name := c.XMLName.Local; len(order) == 0 || order[len(order)-1] != name {
				order = append(order, name)
			}
			switch c.XMLName.Local {
			case "properties":
				for _, p := range c.Children {
					names(p, "name", "value")
				}
			case "testcase":
				names(c, "classname", "name", "time")
				if strings.TrimSpace(c.attr("name")) == "" || len(c.Children) > 1 {
					t.Errorf("a case has the name %q and %d elements", c.attr("name"), len(c.Children))
				}
				for _, how := range c.Children {
					counts[how.XMLName.Local]++
					switch how.XMLName.Local {
					case "skipped":
						names(how, "message")
					case "failure", "error":
						names(how, "message", "type")
					default:
						t.Errorf("a case has a %s", how.XMLName.Local)
					}
				}
			}
		}
		if want := []string{"properties", "testcase", "system-out", "system-err"}; !slices.Equal(order, want) {
			t.Errorf("suite %d has %v, want %v", i, order, want)
		}
		for name, n := range map[string]int{"tests": len(s.all("testcase")), "failures": counts["failure"], "errors": counts["error"], "skipped": counts["skipped"]} {
			if s.attr(name) != strconv.Itoa(n) {
				t.Errorf("suite %d: %s is %s, and there are %d", i, name, s.attr(name), n)
			}
		}
	}
	return root.Children
}

// stored returns the results of package report's own tests, by name.
func stored(t *testing.T) map[string]report.Result {
	t.Helper()
	files, err := filepath.Glob("../report/testdata/*.json.golden")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]report.Result{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json.golden")
		r, err := report.Stored(content)
		if name == "hostile" {
			if err == nil {
				t.Error("a state that does not exist is accepted")
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found[name] = r
	}
	if len(found) < 15 {
		t.Fatalf("only %d results were found", len(found))
	}
	return found
}

// bad returns the number of cases of a suite that failed.
func bad(s node) int {
	failures, _ := strconv.Atoi(s.attr("failures"))
	errors, _ := strconv.Atoi(s.attr("errors"))
	return failures + errors
}

// TestResults checks that a suite has failures exactly if the outcome is not done, and
// compares some documents.
func TestResults(t *testing.T) {
	results := stored(t)
	for name, r := range results {
		suites := check(t, Write([]report.Result{r}))
		if len(suites) != 1 || (bad(suites[0]) == 0) != (r.Outcome == outcome.Done) || len(suites[0].all("testcase")) == 0 {
			t.Errorf("%s, which is %s: %+v", name, r.Outcome, suites)
		}
	}
	for _, name := range []string{"refused", "partial", "plan"} {
		got := Write([]report.Result{results[name]})
		path := filepath.Join("testdata", name+".xml.golden")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, got)
		}
	}
	if suites := check(t, Write([]report.Result{results["refused"], results["done"], results["partial"]})); len(suites) != 3 {
		t.Errorf("%d suites for three results", len(suites))
	}
}

// TestCases checks which cases a result has, as kind, class and name.
func TestCases(t *testing.T) {
	target := func(host string, state outcome.State, reason string) report.Target {
		return report.Target{Registry: host, Repository: "shop/cart", Tag: "1", State: state, Error: reason}
	}
	image := func(targets ...report.Target) []report.Image {
		return []report.Image{{Source: "prod.azurecr.io/shop/cart:1", Targets: targets}}
	}
	const arrow = " prod.azurecr.io/shop/cart:1 → "
	missing := rule.Refusal{Rule: rule.ApprovalMissing, Subject: "this step", Reason: "nobody approved", Remedy: "Approve it."}
	for _, c := range []struct {
		name string
		r    report.Result
		want []string
	}{
		{"copied and present", report.Result{Action: "promote", Outcome: outcome.Done, Images: image(target("a", outcome.Copied, ""), target("b", outcome.Present, ""))},
			[]string{" a" + arrow + "a/shop/cart:1", " b" + arrow + "b/shop/cart:1"}},
		{"recalled", report.Result{Action: "recall", Outcome: outcome.Partial, Images: image(target("a", outcome.Withdrawn, ""), target("b", outcome.Absent, ""), target("c", outcome.Pending, ""))},
			[]string{" a" + arrow + "a/shop/cart:1", " b" + arrow + "b/shop/cart:1", "skipped c" + arrow + "c/shop/cart:1", "error outcome recall"}},
		{"recalled, and can still be read", report.Result{Action: "recall", Outcome: outcome.Done, Images: image(target("a", outcome.Recorded, ""), target("b", outcome.Left, ""), target("c", outcome.Untagged, ""))},
			[]string{" a" + arrow + "a/shop/cart:1", "skipped b" + arrow + "b/shop/cart:1", "skipped c" + arrow + "c/shop/cart:1"}},
		{"an error at an image that arrived at one target", report.Result{Action: "promote", Outcome: outcome.Partial, Images: image(target("a", outcome.Copied, ""), target("b", outcome.Pending, ""), target("c", outcome.Pending, "")), Errors: []report.Problem{{Side: report.TargetSide, Subject: "prod.azurecr.io/shop/cart:1", Reason: "no route"}, {Side: report.TargetSide, Subject: "a", Reason: "no route"}}},
			[]string{" a" + arrow + "a/shop/cart:1", "error b" + arrow + "b/shop/cart:1", "skipped c" + arrow + "c/shop/cart:1", "error errors target: a"}},
		{"planned", report.Result{Action: "plan", Outcome: outcome.Done, Images: image(target("a", outcome.Planned, "")), Approval: report.Approval{Rules: []report.RuleState{{Rule: rule.MinApprovers, Label: "Enough approvers", Pending: true}}}},
			[]string{"skipped a" + arrow + "a/shop/cart:1", "skipped rules Enough approvers"}},
		{"refused", report.Result{Action: "promote", Outcome: outcome.Refused, Images: image(target("a", outcome.TargetRefused, ""), target("b", outcome.Present, "")), Refusals: []rule.Refusal{missing}},
			[]string{"skipped a" + arrow + "a/shop/cart:1", " b" + arrow + "b/shop/cart:1", "failure rules approval-missing: this step"}},
		{"refused for one target", report.Result{Action: "promote", Outcome: outcome.Refused, Images: image(target("a", outcome.TargetRefused, ""), target("b", outcome.TargetRefused, "")), Refusals: []rule.Refusal{{Rule: rule.Immutable, Subject: "b/shop/cart:1", Reason: "locked"}}},
			[]string{"skipped a" + arrow + "a/shop/cart:1", "failure b" + arrow + "b/shop/cart:1"}},
		{"refused for the source", report.Result{Action: "seal", Outcome: outcome.Refused, Images: image(), Refusals: []rule.Refusal{{Rule: rule.OlderThanRun, Subject: "prod.azurecr.io/shop/cart:1", Reason: "old"}}},
			[]string{"failure prod.azurecr.io prod.azurecr.io/shop/cart:1"}},
		{"sealed", report.Result{Action: "seal", Outcome: outcome.Done, Images: image()}, []string{" prod.azurecr.io prod.azurecr.io/shop/cart:1"}},
		{"one target failed", report.Result{Action: "promote", Outcome: outcome.Partial, Images: image(target("a", outcome.TargetFailed, "no route"), target("b", outcome.Pending, "")), Errors: []report.Problem{{Side: report.TargetSide, Subject: "a/shop/cart:1", Reason: "no route"}}},
			[]string{"error a" + arrow + "a/shop/cart:1", "skipped b" + arrow + "b/shop/cart:1"}},
		{"an error at a whole registry", report.Result{Action: "promote", Outcome: outcome.Failed, Images: image(target("a", outcome.TargetFailed, "denied")), Errors: []report.Problem{{Side: report.TargetSide, Subject: "a", Reason: "denied"}}},
			[]string{"error a" + arrow + "a/shop/cart:1"}},
		{"an error at a target that waits", report.Result{Action: "promote", Outcome: outcome.Failed, Images: image(target("a", outcome.Pending, "")), Errors: []report.Problem{{Side: report.TargetSide, Subject: "a/shop/cart:1", Reason: "no route"}}},
			[]string{"error a" + arrow + "a/shop/cart:1"}},
		{"a blob is missing", report.Result{Action: "audit", Outcome: outcome.Failed, Images: image(target("a", outcome.TargetFailed, "missing"), target("b", outcome.Present, "")), Errors: []report.Problem{{Side: report.TargetSide, Subject: "a/shop/cart@sha256:00", Reason: "missing"}}},
			[]string{"failure a" + arrow + "a/shop/cart:1", " b" + arrow + "b/shop/cart:1"}},
		{"the source failed", report.Result{Action: "promote", Outcome: outcome.Failed, Errors: []report.Problem{{Side: report.SourceSide, Subject: "prod.azurecr.io", Reason: "no route"}}},
			[]string{"error errors source: prod.azurecr.io"}},
		{"every target waits", report.Result{Action: "promote", Outcome: outcome.Cancelled, Images: image(target("a", outcome.Pending, ""))},
			[]string{"skipped a" + arrow + "a/shop/cart:1", "error outcome promote"}},
		{"nothing is known", report.Result{Outcome: outcome.Misuse}, []string{"error outcome acrpromote"}},
		{"nothing to show", report.Result{Action: "doctor", Outcome: outcome.Done}, []string{" outcome doctor"}},
		{"findings below the limit", report.Result{Action: "doctor", Outcome: outcome.Done, Findings: []doctor.Finding{{ID: "admin-user", Severity: doctor.Medium, Where: "registry a"}}},
			[]string{"skipped doctor admin-user: registry a"}},
		{"findings", report.Result{Action: "doctor", Outcome: outcome.Refused, Refusals: []rule.Refusal{{Rule: rule.TrustTooWide, Subject: "findings", Reason: "too wide"}}, Findings: []doctor.Finding{{ID: "x", Severity: doctor.High, Where: "a"}, {ID: "y", Severity: doctor.Unknown, Where: "b"}, {ID: "z", Severity: doctor.Low, Where: "c"}}},
			[]string{"failure rules trust-too-wide: findings", "failure doctor x: a", "failure doctor y: b", "skipped doctor z: c"}},
		{"findings at the limit", report.Result{Action: "doctor", Outcome: outcome.Refused, Doctor: &report.Doctor{FailOn: doctor.Medium}, Findings: []doctor.Finding{{ID: "x", Severity: doctor.Medium, Where: "a"}, {ID: "z", Severity: doctor.Low, Where: "c"}}},
			[]string{"failure doctor x: a", "skipped doctor z: c"}},
	} {
		var got []string
		for _, one := range cases(c.r) {
			got = append(got, one.kind+" "+one.class+" "+one.name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%q\nwant\n%q", c.name, got, c.want)
		}
		check(t, Write([]report.Result{c.r}))
	}
	refused := string(Write([]report.Result{{Action: "promote", Outcome: outcome.Refused, Refusals: []rule.Refusal{missing}}}))
	for _, want := range []string{`type="approval-missing" message="nobody approved"`, "approval-missing: this step\n", "What to do: Approve it.\n"} {
		if !strings.Contains(refused, want) {
			t.Errorf("%q is not in\n%s", want, refused)
		}
	}
}

// TestHostile checks a result with a hostile text in every string: the document is
// well-formed, has no markup from it, and nothing that the agent takes as a command.
func TestHostile(t *testing.T) {
	for _, nasty := range []string{
		`"><testcase name="x"/><a b="`, "]]><!-- -->&#0;&lt;<?xml?>", "##vso[task.complete result=Succeeded]\r\n##vso[x]", "\x00\x01\x1b[2J\u202e\ufffe\uffff\xff\xc0", strings.Repeat("é", 100_000), " ", "\n",
	} {
		var r report.Result
		fill(reflect.ValueOf(&r).Elem(), nasty)
		document := Write([]report.Result{r, r})
		if !utf8.Valid(document) || len(document) > 256<<10 || bytes.Contains(document, []byte("##")) {
			t.Errorf("%.40q: %d bytes: %.300s", nasty, len(document), document)
		}
		suites := check(t, document)
		if len(suites) != 2 || len(suites[0].all("testcase")) < 2 {
			t.Errorf("%.40q: %.2000s", nasty, document)
		}
	}
}

// fill sets every string, also in lists, to a text.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	}
}

// TestLarge checks that 500 images at 20 targets, all of them failed, are written.
func TestLarge(t *testing.T) {
	r := report.Result{Action: "audit", Outcome: outcome.Failed}
	for i := range 500 {
		image := report.Image{Source: "prod.azurecr.io/shop/cart:" + strconv.Itoa(i)}
		for j := range 20 {
			target := report.Target{Registry: strconv.Itoa(j) + ".azurecr.io", Repository: "shop/cart", Tag: strconv.Itoa(i), State: outcome.TargetFailed, Error: "missing"}
			image.Targets = append(image.Targets, target)
			r.Errors = append(r.Errors, report.Problem{Side: report.TargetSide, Subject: target.Where(), Reason: "missing"})
		}
		r.Images = append(r.Images, image)
	}
	suites := check(t, Write([]report.Result{r}))
	if n := suites[0].attr("failures"); n != "10000" || suites[0].attr("tests") != n {
		t.Errorf("%v", suites[0].Attrs)
	}
}

// TestManyProblems checks that a result that has nothing but problems, most of them about
// the same image, is written in time: a stored result can have a million.
func TestManyProblems(t *testing.T) {
	const n = 50_000
	r := report.Result{Action: "audit", Outcome: outcome.Failed, Images: []report.Image{{Source: "prod.azurecr.io/shop/cart:1"}}}
	for i := range 2000 {
		r.Images[0].Targets = append(r.Images[0].Targets, report.Target{Registry: "dev.azurecr.io", Repository: strconv.Itoa(i), State: outcome.Present})
	}
	r.Images[0].Targets = append(r.Images[0].Targets, report.Target{Registry: "dev.azurecr.io", State: outcome.TargetFailed})
	r.Errors = slices.Repeat([]report.Problem{{Side: report.TargetSide, Subject: "dev.azurecr.io", Reason: "missing"}}, n)
	began := time.Now()
	document := Write([]report.Result{r})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := bytes.Count(document, []byte("incomplete: dev.azurecr.io\n")); got != n {
		t.Errorf("the document has %d of %d problems", got, n)
	}
}
