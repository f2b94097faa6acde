package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/outcome"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/strictjson"
)

// StoredLimit limits the size of a result.json that is read. That of 500 images at 20
// targets has less than 20 MiB.
const StoredLimit = 64 << 20

// StoredDepth limits how deep a result.json is nested.
const StoredDepth = 32

// checked is what `check --output json` prints.
type checked struct {
	Problems []struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Key    string `json:"key"`
		Reason string `json:"reason"`
	} `json:"problems"`
	Registries int               `json:"registries"`
	Flows      []json.RawMessage `json:"flows"`
}

// Stored returns the result in a result.json, or that of a check in what `check --output
// json` printed. It refuses what it cannot show completely: a result of another format,
// or with fields or values that it does not know.
func Stored(content []byte) (Result, error) {
	if err := strictjson.CheckObject("result", content, StoredDepth); err != nil {
		return Result{}, err
	}
	var head struct {
		Schema   *string         `json:"schema"`
		Tool     string          `json:"tool"`
		Problems json.RawMessage `json:"problems"`
	}
	var r Result
	var err error
	if json.Unmarshal(content, &head) != nil {
		return Result{}, fmt.Errorf("it is not a result of acrpromote")
	}
	switch {
	case head.Schema == nil && head.Problems != nil:
		var c checked
		err = strict(content, &c)
		r = c.result()
	case head.Schema == nil || *head.Schema != Schema:
		return Result{}, fmt.Errorf("it is not a result of acrpromote: its schema is not %s", Schema)
	default:
		err = strict(content, &r)
	}
	if err == nil {
		err = r.known()
	}
	if err != nil {
		written := "it was changed, or another version of acrpromote wrote it"
		if head.Tool != "" {
			written = "it was changed, or another version wrote it: " + sanitize.Line(head.Tool)
		}
		return Result{}, fmt.Errorf("this version cannot read it completely (%s); %s", sanitize.Line(err.Error()), written)
	}
	return Complete(r), nil
}

// strict decodes a document in which every field is known.
func strict(content []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// known returns an error if the result has an outcome or a state that does not exist.
func (r *Result) known() error {
	if !slices.Contains(outcome.All, r.Outcome) {
		return fmt.Errorf("unknown outcome %q", r.Outcome)
	}
	var err error
	check := func(known bool, state string) {
		if !known && err == nil {
			err = fmt.Errorf("unknown state %q", state)
		}
	}
	attached := func(all []Attached) {
		for _, a := range all {
			check(slices.Contains(outcome.States, a.State), string(a.State))
		}
	}
	for _, image := range r.Images {
		attached(image.Attached)
		for _, t := range image.Targets {
			attached(t.Attached)
			check(slices.Contains(outcome.States, t.State), string(t.State))
		}
	}
	for _, s := range r.Receipts {
		check(s.State == ReceiptPlanned || s.State == ReceiptAttached || s.State == ReceiptPresent || s.State == ReceiptFailed, string(s.State))
	}
	for _, s := range r.Rights {
		check(s.State == RightGranted || s.State == RightMissing || s.State == RightUnchecked, string(s.State))
	}
	return err
}

// result returns a check as a result.
func (c checked) result() Result {
	r := Result{Action: "check", Outcome: outcome.Done, Rules: "inputs"}
	for _, p := range c.Problems {
		r.Outcome = outcome.Misuse
		subject := p.File
		if p.Line > 0 {
			subject = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
		}
		r.Errors = append(r.Errors, Problem{Side: InputSide, Subject: subject, Reason: strings.TrimRight(p.Reason, "."), File: p.File, Line: p.Line, Column: p.Column})
	}
	return r
}

// Started returns when the step started, the zero time if that is not known. As texts,
// times are not in order: the digits after the second vary in number.
func (r Result) Started() time.Time {
	at, _ := time.Parse(time.RFC3339, r.StartedAt) // without an error, or the zero time
	return at
}

// Categories returns a function that returns the category of a problem of the result,
// for formats that have rules: drift-KIND for drift, InFlowFile for a mistake in a flow
// file, Incomplete for what else an audit found at a target, and otherwise the side.
func (r Result) Categories() func(Problem) string {
	kinds := map[string]string{}
	for _, d := range r.Drift {
		kinds[d.Subject()+"\x00"+d.Reason] = "drift-" + string(d.Kind)
	}
	return func(p Problem) string {
		kind := kinds[p.Subject+"\x00"+p.Reason]
		switch {
		case p.File != "":
			return InFlowFile
		case r.Action != "audit" || p.Side != TargetSide:
			return string(p.Side)
		case kind != "":
			return kind
		}
		return Incomplete
	}
}

// Categories of problems.
const (
	InFlowFile = "flow-file"
	Incomplete = "incomplete"
)
