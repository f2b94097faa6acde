package receipt

import (
	"fmt"
	"slices"
	"strings"
)

// Redaction names something that is left out of a receipt.
type Redaction string

// What can be left out. The names are those of the flow file.
const (
	RedactApprovers   Redaction = "approvers"   // all about the approvers but their number
	RedactComments    Redaction = "comments"    // their comments
	RedactEgress      Redaction = "egress"      // the hosts that the run reached
	RedactRequester   Redaction = "requester"   // who requested the run
	RedactRules       Redaction = "rules"       // the rules and their outcomes
	RedactUniqueNames Redaction = "uniqueNames" // unique names and IDs of persons
)

// redactions has what is left out for each name, for messages and tests.
var redactions = map[Redaction]func(*Promotion){
	RedactApprovers:   func(p *Promotion) { p.Approval.Given = []Given{} },
	RedactComments:    (*Promotion).dropComments,
	RedactEgress:      func(p *Promotion) { p.Egress = []string{} },
	RedactRequester:   func(p *Promotion) { p.Requesters = []Person{} },
	RedactRules:       func(p *Promotion) { p.Rules, p.Outcomes = []Rule{}, []Outcome{} },
	RedactUniqueNames: (*Promotion).dropUniqueNames,
}

// DefaultRedaction is what is left out in registries of less trust than the source.
func DefaultRedaction() []Redaction { return []Redaction{RedactComments, RedactUniqueNames} }

// aboutPeople are the redactions after which texts that may quote people go too.
var aboutPeople = []Redaction{RedactApprovers, RedactComments, RedactRequester, RedactUniqueNames}

func (p *Promotion) dropComments() {
	for i := range p.Approval.Given {
		p.Approval.Given[i].Comment = ""
	}
}

func (p *Promotion) dropUniqueNames() {
	for i := range p.Approval.Given {
		p.Approval.Given[i].Approver = Person{Name: p.Approval.Given[i].Approver.Name}
	}
	for i := range p.Requesters {
		p.Requesters[i] = Person{Name: p.Requesters[i].Name}
	}
}

// redact returns the promotion, which is in normal form and a copy, without what
// the names say. Texts that may contain what is left out go with it: the details of
// outcomes, values of rules that name people, names and comments that contain the name
// of someone who is left out, and branches with a unique name.
func (p Promotion) redact(names []Redaction) (Promotion, error) {
	p.Redacted = slices.Compact(slices.Sorted(slices.Values(names)))
	if p.Redacted == nil {
		p.Redacted = []Redaction{}
	}
	identities, persons := p.secrets()
	for _, name := range p.Redacted {
		drop, known := redactions[name]
		if !known {
			return Promotion{}, fmt.Errorf("%q is not something that can be left out", name)
		}
		drop(&p)
	}
	people := slices.ContainsFunc(p.Redacted, func(name Redaction) bool { return slices.Contains(aboutPeople, name) })
	naming := people && !slices.Equal(p.Redacted, []Redaction{RedactComments})
	for i := range p.Outcomes {
		if people {
			p.Outcomes[i].Detail = ""
		}
	}
	for i, r := range p.Rules {
		if naming && r.People || containsAny(r.Value, identities) {
			p.Rules[i].Value = ""
		}
	}
	for i, g := range p.Approval.Given {
		if containsAny(g.Comment, persons) {
			p.Approval.Given[i].Comment = ""
		}
		if containsAny(g.Approver.Name, identities) {
			p.Approval.Given[i].Approver.Name = ""
		}
	}
	for i, r := range p.Requesters {
		if containsAny(r.Name, identities) {
			p.Requesters[i].Name = ""
		}
	}
	branches := []*string{&p.Run.Branch}
	if p.Seal != nil {
		branches = append(branches, &p.Seal.Run.Branch)
	}
	for _, branch := range branches {
		if containsAny(*branch, identities) {
			*branch = ""
		}
	}
	return p, nil
}

// secrets returns what must not be quoted elsewhere: the unique names and IDs that
// are left out, and these with the names of the persons who are.
func (p Promotion) secrets() (identities, persons []string) {
	unnamed := slices.Contains(p.Redacted, RedactUniqueNames)
	add := func(who Person, gone bool) {
		if gone || unnamed {
			identities = append(identities, who.ID, who.UniqueName)
		}
		if gone {
			persons = append(persons, who.Name)
		}
	}
	for _, g := range p.Approval.Given {
		add(g.Approver, slices.Contains(p.Redacted, RedactApprovers))
	}
	for _, r := range p.Requesters {
		add(r, slices.Contains(p.Redacted, RedactRequester))
	}
	return identities, append(persons, identities...)
}

// containsAny reports whether a text contains one of the words, in any case.
func containsAny(text string, words []string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(words, func(word string) bool { return word != "" && strings.Contains(text, strings.ToLower(word)) })
}
