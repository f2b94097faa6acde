package report

import (
	"fmt"
	"strings"

	"acrpromote/internal/sanitize"
)

// row is a fact of a receipt for people.
type row struct{ label, value string }

// title returns one line about a verdict.
func (v ReceiptVerdict) title() string {
	switch {
	case v.Receipt == nil:
		return "none that is valid"
	case !v.Met:
		return "valid, but not as expected; what it says is signed"
	case v.Valid > 1:
		return fmt.Sprintf("valid, the oldest of %d; what it says is signed", v.Valid)
	}
	return "valid; what it says is signed"
}

// rows returns what a verdict shows, in the order of importance.
func (v ReceiptVerdict) rows() []row {
	var rows []row
	if v.Receipt != nil {
		rows = v.Receipt.rows()
	}
	for _, s := range v.Seals {
		rows = append(rows, row{"Sealed", fmt.Sprintf("%s as %s%s; signed", moment(s.Time), s.Image, s.Run.by())})
	}
	return rows
}

func (r ReceiptContent) rows() []row {
	rows := []row{{"Approval", r.approval()}}
	for _, g := range r.Given {
		rows = append(rows, row{"Approved by", g.sentence()})
	}
	if len(r.Checks) > 0 {
		rows = append(rows, row{"Checks", strings.Join(r.Checks, ", ")})
	}
	rows = append(rows, row{"From", r.From}, row{"For", r.Resource})
	promoted := moment(r.Time) + r.Run.by()
	if r.Run.RequestedBy != "" {
		promoted += ", requested by " + r.Run.RequestedBy
	}
	rows = append(rows, row{"Promoted", promoted})
	if r.Run.URL != "" {
		rows = append(rows, row{"Run", r.Run.URL})
	}
	rules := "not verified"
	if r.RulesVerified {
		rules = "verified"
	}
	if f := r.Flow; f != nil {
		rules += ", by the flow file " + f.Path
		if f.Commit != "" {
			rules += " at " + f.Commit
		}
		rules += ", SHA-256 " + f.SHA256
	}
	rows = append(rows, row{"Rules", rules})
	if len(r.Redacted) > 0 {
		rows = append(rows, row{"Left out", strings.Join(r.Redacted, ", ")})
	}
	return append(rows, row{"Signed by", "the key " + r.KeyID})
}

// approval returns the kind of the approval, and how many approved what.
func (r ReceiptContent) approval() string {
	var words string
	switch r.Approvers {
	case 0:
		words = r.ApprovalKind
	case 1:
		words = r.ApprovalKind + ", 1 approver"
	default:
		words = fmt.Sprintf("%s, %d approvers", r.ApprovalKind, r.Approvers)
	}
	if len(r.Resources) > 0 {
		words += ", of " + strings.Join(r.Resources, ", ")
	}
	return words
}

func (a SignedApproval) sentence() string {
	name := a.Name
	if name == "" {
		name = "a person whose name is left out"
	}
	if a.UniqueName != "" {
		name += " (" + a.UniqueName + ")"
	}
	words := name + ", " + moment(a.At) + ", " + a.Resource
	if a.Comment != "" {
		words += ": “" + a.Comment + "”"
	}
	return words
}

// by returns " by run 4711 …", or "" if there is no run.
func (r Run) by() string {
	if place := r.place(); place != "" {
		return " by " + place
	}
	return ""
}

func (t *text) receipt(v *ReceiptVerdict) {
	if v == nil {
		return
	}
	t.line("")
	t.line(t.paint(bold, "Receipt") + "  " + v.title())
	for _, r := range v.rows() {
		for i, l := range wrap(r.label+": "+sanitize.Visible(r.value, longField), t.width-4) {
			t.line(strings.Repeat(" ", 2+min(i, 1)*2) + l)
		}
	}
}

func (m *markdown) receipt(v *ReceiptVerdict) {
	if v == nil {
		return
	}
	m.line("")
	m.line("### Receipt")
	m.line("")
	m.line("%s.", m.text(upperFirst(v.title())))
	rows := v.rows()
	for i, r := range rows[:min(len(rows), m.rows)] {
		if i == 0 {
			m.line("")
		}
		m.line("- %s: %s", r.label, m.text(r.value))
	}
	m.more(len(rows) - min(len(rows), m.rows))
}
