package sarif

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"acrpromote/internal/doctor"
	"acrpromote/internal/drift"
	"acrpromote/internal/outcome"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/schemacheck"
)

var update = flag.Bool("update", false, "write the golden files")

// document is what the tests read of a document.
type document struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Rules []struct {
					ID string `json:"id"`
				} `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Automation struct {
			ID string `json:"id"`
		} `json:"automationDetails"`
		Invocations []struct {
			Successful bool  `json:"executionSuccessful"`
			Notes      []any `json:"toolExecutionNotifications"`
		} `json:"invocations"`
		Results []struct {
			RuleID    string `json:"ruleId"`
			RuleIndex int    `json:"ruleIndex"`
			Level     string `json:"level"`
			Message   struct {
				Text string `json:"text"`
			} `json:"message"`
			Locations []struct {
				Physical struct {
					Artifact struct {
						URI string `json:"uri"`
					} `json:"artifactLocation"`
					Region struct {
						Line   int `json:"startLine"`
						Column int `json:"startColumn"`
					} `json:"region"`
				} `json:"physicalLocation"`
			} `json:"locations"`
			Fingerprints map[string]string `json:"partialFingerprints"`
		} `json:"results"`
	} `json:"runs"`
}

// written writes a document, checks it against testdata/constraints.json, and returns
// what the tests read of it.
func written(t *testing.T, sources ...Source) (document, string) {
	t.Helper()
	text, err := Write("1.2.3", sources)
	if err != nil || !utf8.Valid(text) {
		t.Fatalf("%v\n%.300s", err, text)
	}
	constraints, err := os.ReadFile("testdata/constraints.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	var value any
	var d document
	for _, err := range []error{json.Unmarshal(constraints, &schema), json.Unmarshal(text, &value), json.Unmarshal(text, &d)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range schemacheck.Violations(schema, value, "document") {
		t.Error(v)
	}
	if len(d.Runs) != 1 || len(d.Runs[0].Invocations) != len(sources) {
		t.Fatalf("%s", text)
	}
	for _, r := range d.Runs[0].Results {
		if rules := d.Runs[0].Tool.Driver.Rules; r.RuleIndex >= len(rules) || rules[r.RuleIndex].ID != r.RuleID || len(r.Locations) != 1 || len(r.Fingerprints["acrpromote/v1"]) != 32 {
			t.Errorf("%+v", r)
		}
	}
	return d, string(text)
}

func TestResults(t *testing.T) {
	refused := report.Result{Action: "promote", Outcome: outcome.Refused, StartedAt: "2026-11-23T12:01:00.123456789Z", FinishedAt: "2026-11-23T12:02:00Z", Refusals: []rule.Refusal{
		{Rule: rule.ApprovalMissing, Subject: "this step", Reason: "nobody approved", Remedy: "Approve it."}, {Rule: rule.ApprovalMissing, Subject: "that step", Reason: "nobody approved"},
	}}
	checked := report.Result{Action: "check", Outcome: outcome.Misuse, Errors: []report.Problem{
		{Side: report.InputSide, Subject: "flows.yml:3:5", Reason: "unknown key", File: "flows.yml", Line: 3, Column: 5}, {Side: report.InputSide, Subject: "flows.yml", Reason: "it is empty", File: "flows.yml"},
	}}
	audited := report.Result{Action: "audit", Outcome: outcome.Failed, Flow: &report.FlowFile{Path: "/rules/flows.yml"}, Errors: []report.Problem{
		{Side: report.TargetSide, Subject: "dev.azurecr.io/a:1", Reason: "the tag does not exist"}, {Side: report.ServiceSide, Subject: "prod.azurecr.io", Reason: "no route"},
	}}
	drifted := report.Result{Action: "audit", Outcome: outcome.Partial, Drift: []drift.Finding{{Kind: drift.Unlocked, Registry: "dev.azurecr.io", Repository: "a", Tag: "1", Reason: "it is not locked"}}, Errors: []report.Problem{
		{Side: report.TargetSide, Subject: "dev.azurecr.io/a:1", Reason: "it is not locked", Remedy: "Lock it."}, {Side: report.TargetSide, Subject: "dev.azurecr.io", Reason: "no route"},
	}}
	found := report.Result{Action: "doctor", Outcome: outcome.Refused, Findings: []doctor.Finding{
		{ID: "a", Severity: doctor.High, Where: "registry x", Allows: "Everyone may pull.", Mend: "az acr update"}, {ID: "b", Severity: doctor.Unknown}, {ID: "c", Severity: doctor.Medium}, {ID: "d", Severity: doctor.Low},
	}}
	for _, c := range []struct {
		name       string
		source     Source
		successful bool
		want       []string // level, rule, line, column, file, message
	}{
		{"refused", Source{"result.json", refused}, true, []string{"error approval-missing 0:0 result.json this step: nobody approved. Approve it.", "error approval-missing 0:0 result.json that step: nobody approved."}},
		{"checked", Source{"check.json", checked}, true, []string{"error flow-file 3:5 flows.yml flows.yml: unknown key.", "error flow-file 0:0 flows.yml flows.yml: it is empty."}},
		{"audited", Source{"result.json", audited}, false, []string{"error incomplete 0:0 file:///rules/flows.yml dev.azurecr.io/a:1: the tag does not exist."}},
		{"drifted", Source{"result.json", drifted}, true, []string{"error drift-unlocked 0:0 result.json dev.azurecr.io/a:1: it is not locked. Lock it.", "error incomplete 0:0 result.json dev.azurecr.io: no route."}},
		{"found", Source{"result.json", found}, true, []string{"error a 0:0 result.json registry x: Everyone may pull. az acr update", "error b 0:0 result.json unknown.", "warning c 0:0 result.json unknown.", "note d 0:0 result.json unknown."}},
		{"done", Source{"result.json", report.Result{Action: "promote", Outcome: outcome.Done}}, true, nil},
		{"cancelled", Source{"result.json", report.Result{Action: "promote", Outcome: outcome.Cancelled}}, false, nil},
	} {
		d, text := written(t, c.source)
		var got []string
		for _, r := range d.Runs[0].Results {
			place := r.Locations[0].Physical
			got = append(got, strings.Join([]string{r.Level, r.RuleID, strconv.Itoa(place.Region.Line) + ":" + strconv.Itoa(place.Region.Column), place.Artifact.URI, r.Message.Text}, " "))
		}
		if !reflect.DeepEqual(got, c.want) || d.Runs[0].Invocations[0].Successful != c.successful || d.Runs[0].Automation.ID != "acrpromote/"+c.source.Result.Action+"/" {
			t.Errorf("%s:\n%q\nwant\n%q\n%+v", c.name, got, c.want, d.Runs[0].Invocations)
		}
		if c.name != "refused" {
			continue
		}
		path := filepath.Join("testdata", c.name+".sarif.golden")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal([]byte(text), want) {
			t.Errorf("%s differs (run with -update to write it): %v\n%s", path, err, text)
		}
	}
	d, _ := written(t, Source{"a.json", refused}, Source{"b.json", audited})
	if r := d.Runs[0]; len(r.Results) != 3 || r.Automation.ID != "acrpromote/" || len(r.Tool.Driver.Rules) != 2 {
		t.Errorf("%+v", r)
	}
}

// TestFingerprints checks that a result keeps its fingerprint from run to run, and that
// others have others.
func TestFingerprints(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []rule.Refusal{{Rule: "a", Subject: "b", Reason: "c"}, {Rule: "a", Subject: "b", Reason: "c", Remedy: "d"}, {Rule: "a", Subject: "b", Reason: "d"}, {Rule: "a", Subject: "bc"}, {Rule: "ab", Subject: "", Reason: "c"}} {
		d, _ := written(t, Source{"r", report.Result{Refusals: []rule.Refusal{r}}})
		seen[d.Runs[0].Results[0].Fingerprints["acrpromote/v1"]] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d fingerprints", len(seen))
	}
}

// TestHostile checks a result with a hostile text in every string: the document is
// valid, and no text has a link or the number of an argument.
func TestHostile(t *testing.T) {
	for _, nasty := range []string{
		`[click](https://evil.example) [a\](1)`, `{0} {12} {{0}} {x}`, "\x00\u202e\xff\r\n##vso[task.complete]", `"],"x":["`, strings.Repeat("é", 100_000), " ",
	} {
		var r report.Result
		fill(reflect.ValueOf(&r).Elem(), nasty)
		r.Flow = nil
		d, text := written(t, Source{nasty, r})
		if len(d.Runs[0].Results) < 2 {
			t.Errorf("%.40q: %+v", nasty, d)
		}
		for _, one := range d.Runs[0].Results {
			if m := one.Message.Text; strings.Contains(m, "](") || strings.Contains(m, "{0") || strings.Contains(m, "{1") || len(m) > 8000 {
				t.Errorf("%.40q: the message is %.300q", nasty, m)
			}
		}
		if len(text) > 1<<20 {
			t.Errorf("%.40q: %d bytes", nasty, len(text))
		}
	}
}

// fill sets every string, also in lists, to a text.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	}
}

func TestAddress(t *testing.T) {
	for file, want := range map[string]string{
		"flows.yml": "flows.yml", "./a b/flows.yml": "a%20b/flows.yml", "/tmp/a#b.json": "file:///tmp/a%23b.json", `C:\rules\flows.yml`: "file:///C:/rules/flows.yml",
		`rules\flows.yml`: "rules/flows.yml", "a:b": "./a:b", "": "", "../x?.yml": "../x%3F.yml",
	} {
		if got := address(file); got != want {
			t.Errorf("%q: %q, want %q", file, got, want)
		}
	}
}

// TestManyRules checks that each result has its rule where there are many.
func TestManyRules(t *testing.T) {
	const n = 1000
	r := report.Result{Outcome: outcome.Refused}
	for i := range 2 * n {
		r.Refusals = append(r.Refusals, rule.Refusal{Rule: rule.Name("rule-" + strconv.Itoa(i%n))})
	}
	d, _ := written(t, Source{"result.json", r})
	if run := d.Runs[0]; len(run.Tool.Driver.Rules) != n || len(run.Results) != 2*n || run.Results[2*n-1].RuleIndex != n-1 {
		t.Errorf("%d rules, %d results", len(run.Tool.Driver.Rules), len(run.Results))
	}
}
