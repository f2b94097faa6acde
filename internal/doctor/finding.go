// Package doctor finds where the configuration of Azure is wider than the flows need,
// from what was read of it. It does no I/O.
package doctor

import (
	"fmt"
	"strings"
	"time"

	"acrpromote/internal/rule"
	"acrpromote/internal/sorting"
)

// Severity is how much a finding allows.
type Severity string

// The severities. Unknown is for what could not be read. It counts as High: otherwise
// taking the right to read away would be a way to pass.
const (
	Low     Severity = "low"
	Medium  Severity = "medium"
	High    Severity = "high"
	Unknown Severity = "unknown"
)

// level orders the severities.
func (s Severity) level() int {
	switch s {
	case Low:
		return 1
	case Medium:
		return 2
	}
	return 3
}

// AtLeast reports whether a severity is at or above another.
func (s Severity) AtLeast(other Severity) bool { return s.level() >= other.level() }

// Finding is one place where the configuration is wider than the flows need, or could
// not be read.
type Finding struct {
	// ID is the stable name of the kind of finding.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Where is the resource, such as "registry prod.azurecr.io".
	Where string `json:"where"`
	// Allows is what it allows, in one sentence.
	Allows string `json:"allows"`
	// Mend is the command that narrows it, or a sentence that says what to click or
	// to grant.
	Mend string `json:"mend"`
}

// Texts returns the texts of the finding that come from elsewhere.
func (f *Finding) Texts() []*string { return []*string{&f.Where, &f.Allows, &f.Mend} }

// Kind is a kind of finding. Allows and Mend have placeholders: {name} stands for a
// fact about the resource. In Mend it is quoted for a shell, unless it is written as
// {name=}.
type Kind struct {
	ID       string
	Severity Severity
	Allows   string
	Mend     string
}

// Setup is what was read.
type Setup struct {
	Now        time.Time
	Registries []Registry
	DevOps     *DevOps // nil if nothing of Azure DevOps was asked
}

// Verdict is what was found, and what the flow file expects and was found.
type Verdict struct {
	Findings []Finding
	Accepted []Accepted
}

// Accepted is a right on a registry that the flow file expects.
type Accepted struct {
	Registry  string `json:"registry"`
	Principal string `json:"principal"` // its object ID
	Role      string `json:"role"`
	Scope     string `json:"scope"`
	As        string `json:"as"` // writer or reader
}

// Judge returns what is wider than the flows need, the most severe first.
func Judge(s Setup) Verdict {
	j := &judge{}
	for i := range s.Registries {
		j.registry(s, &s.Registries[i])
	}
	if s.DevOps != nil {
		j.devops(s.DevOps, s.writes)
	}
	sorting.StableBy(j.Findings, func(a, b Finding) int { return b.Severity.level() - a.Severity.level() })
	return j.Verdict
}

// judge collects the verdict.
type judge struct{ Verdict }

// find adds a finding of the kind with an ID in a list. facts has the placeholders of
// its texts, each followed by its value.
func (j *judge) find(kinds []Kind, id, where string, facts ...string) {
	for _, k := range kinds {
		if k.ID != id {
			continue
		}
		f := Finding{ID: k.ID, Severity: k.Severity, Where: where, Allows: fill(k.Allows, facts, plain), Mend: fill(k.Mend, facts, Quote)}
		for _, known := range j.Findings {
			if known == f {
				return
			}
		}
		j.Findings = append(j.Findings, f)
	}
}

// fill replaces the placeholders of a text.
func fill(text string, facts []string, as func(string) string) string {
	pairs := make([]string, 0, len(facts))
	for i := 0; i+1 < len(facts); i += 2 {
		pairs = append(pairs, "{"+facts[i]+"}", as(facts[i+1]), "{"+facts[i]+"=}", facts[i+1])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func plain(value string) string { return value }

// Quote returns a value for a command line: in quotes if a shell would read anything
// else than a plain word. Names come from Azure, where others may choose them.
func Quote(value string) string {
	if value != "" && strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@+") == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// Refuse refuses if a finding is at or above a severity.
func Refuse(findings []Finding, failOn Severity) []rule.Refusal {
	counts := map[Severity]int{}
	for _, f := range findings {
		if f.Severity.AtLeast(failOn) {
			counts[f.Severity]++
		}
	}
	var parts []string
	for _, s := range []Severity{High, Unknown, Medium, Low} {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return []rule.Refusal{{
		Rule: rule.TrustTooWide, Subject: "findings", Reason: "the configuration is wider than the flows need: " + strings.Join(parts, ", "),
		Remedy: "Narrow what the findings list, or grant what it takes to read what is unknown; then run doctor again.",
	}}
}
