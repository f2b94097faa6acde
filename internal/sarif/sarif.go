// Package sarif writes results as SARIF 2.1.0, for code scanning and editors
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html). The package is pure.
package sarif

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"acrpromote/internal/doctor"
	"acrpromote/internal/manual"
	"acrpromote/internal/outcome"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/sanitize"
)

// longestValue limits one value, in bytes.
const longestValue = 1500

// texts has the rules that are not those of package rule.
var texts = map[string]string{
	report.InFlowFile: "Flow file is valid",
	report.Incomplete: "Everything has arrived at the target",
}

// Source is a result, and the file that it was read from.
type Source struct {
	File   string
	Result report.Result
}

// log collects the parts of a document.
type log struct {
	rules, results, invocations []string
	ids                         map[string]int // of rules: their places
}

// Write returns a document with one run for all results: code scanning accepts only one
// for each tool. version is that of the program.
func Write(version string, sources []Source) ([]byte, error) {
	l := &log{ids: map[string]int{}}
	category := "acrpromote/"
	for _, s := range sources {
		l.add(s)
	}
	if len(sources) == 1 && sources[0].Result.Action != "" {
		category += visible(sources[0].Result.Action) + "/"
	}
	address := ""
	if a := manual.Address(); a != "" {
		address = `,"informationUri":` + quoted(a)
	}
	document := fmt.Sprintf(`{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"tool":{"driver":{"name":"acrpromote","version":%s%s,"rules":[%s]}},`+
		`"automationDetails":{"id":%s},"columnKind":"unicodeCodePoints","invocations":[%s],"results":[%s]}]}`,
		quoted(version), address, strings.Join(l.rules, ","), quoted(category), strings.Join(l.invocations, ","), strings.Join(l.results, ","))
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(json.RawMessage(document))
	return []byte(b.String()), err
}

// add adds what a result found, and how the program ended.
func (l *log) add(s Source) {
	r, file := s.Result, s.File
	if r.Flow != nil && r.Flow.Path != "" {
		file = r.Flow.Path
	}
	for _, f := range r.Refusals {
		l.found(string(f.Rule), "error", f.Subject, f.Reason, f.Remedy, file, 0, 0)
	}
	for _, f := range r.Findings {
		level := map[doctor.Severity]string{doctor.Low: "note", doctor.Medium: "warning"}[f.Severity]
		l.found(f.ID, cmp.Or(level, "error"), f.Where, f.Allows, f.Mend, file, 0, 0)
	}
	var notes []string
	category := r.Categories()
	for _, e := range r.Errors {
		switch id := category(e); id {
		case report.InFlowFile:
			// The subject has the line, which changes.
			l.found(id, "error", e.File, e.Reason, e.Remedy, e.File, e.Line, e.Column)
		case string(e.Side):
			notes = append(notes, fmt.Sprintf(`{"level":"error","message":{"text":%s}}`, quoted(message(e.Subject, e.Reason, e.Remedy))))
		default:
			l.found(id, "error", e.Subject, e.Reason, e.Remedy, file, 0, 0)
		}
	}
	when := ""
	for _, t := range [][2]string{{"startTimeUtc", r.StartedAt}, {"endTimeUtc", r.FinishedAt}} {
		if at, err := time.Parse(time.RFC3339, t[1]); err == nil {
			when += fmt.Sprintf(`"%s":%s,`, t[0], quoted(at.UTC().Format("2006-01-02T15:04:05.000Z")))
		}
	}
	l.invocations = append(l.invocations, fmt.Sprintf(`{%s"executionSuccessful":%t,"toolExecutionNotifications":[%s],"properties":{"action":%s,"outcome":%s,"run":%s}}`,
		when, len(notes) == 0 && r.Outcome != outcome.Cancelled, strings.Join(notes, ","), quoted(visible(r.Action)), quoted(visible(string(r.Outcome))), quoted(visible(r.Run.URL))))
}

// found adds a result at a place in a file, or about the whole file if line is 0.
func (l *log) found(id, level, subject, reason, remedy, file string, line, column int) {
	id = visible(id)
	region := ""
	if line > 0 {
		region = fmt.Sprintf(`,"region":{"startLine":%d,"startColumn":%d}`, line, max(column, 1))
	}
	sum := sha256.Sum256([]byte(id + "\x00" + subject + "\x00" + reason))
	l.results = append(l.results, fmt.Sprintf(`{"ruleId":%s,"ruleIndex":%d,"level":"%s","message":{"text":%s},"locations":[{"physicalLocation":{"artifactLocation":{"uri":%s}%s},"logicalLocations":[{"fullyQualifiedName":%s}]}],"partialFingerprints":{"acrpromote/v1":"%x"}}`,
		quoted(id), l.rule(id), level, quoted(message(subject, reason, remedy)), quoted(address(visible(file))), region, quoted(visible(subject)), sum[:16]))
}

// rule returns the index of a rule, and adds it if it is new.
func (l *log) rule(id string) int {
	if at, there := l.ids[id]; there {
		return at
	}
	l.ids[id] = len(l.rules)
	label := cmp.Or(texts[id], rule.Name(id).Label(), id)
	help, known := manual.Entry(id, 100)
	if !known {
		help = label
	}
	more := ""
	if url := manual.URL(id); known && url != "" {
		more = `,"helpUri":` + quoted(url)
	}
	l.rules = append(l.rules, fmt.Sprintf(`{"id":%s,"shortDescription":{"text":%s},"help":{"text":%s}%s}`, quoted(id), quoted(plain(label)), quoted(plain(help)), more))
	return l.ids[id]
}

// message returns sentences about a subject.
func message(subject, reason, remedy string) string {
	var parts []string
	for _, p := range []string{subject, reason, remedy} {
		parts = append(parts, visible(p))
	}
	text := parts[1]
	if parts[0] != "" {
		text = parts[0] + ": " + text
	}
	if text = strings.TrimRight(text, ". "); text == "" {
		text = "unknown"
	}
	return plain(strings.TrimRight(text+". "+parts[2], " "))
}

// plain returns a text in which no program finds a link, [text](address), or the number
// of an argument, {0}.
func plain(text string) string {
	text = strings.ReplaceAll(text, "](", "] (")
	var b strings.Builder
	for i, r := range text {
		b.WriteRune(r)
		if r == '{' && i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9' {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// address returns the URI reference of a file.
func address(file string) string {
	file = strings.ReplaceAll(file, `\`, "/")
	u := url.URL{Path: strings.TrimPrefix(file, "./")}
	switch {
	case len(file) > 2 && file[1:3] == ":/":
		u.Scheme, u.Path = "file", "/"+file
	case strings.HasPrefix(file, "/"):
		u.Scheme = "file"
	}
	return u.String()
}

func visible(s string) string { return sanitize.Visible(s, longestValue) }

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(text)
}
