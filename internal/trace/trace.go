// Package trace tells the life of an image from what registries have: when it was
// pushed, sealed, approved and promoted, and where it is. It is pure.
package trace

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/receipt"
	"acrpromote/internal/sanitize"
	"acrpromote/internal/sorting"
)

// Basis is what a line of a life rests on.
type Basis string

const (
	// Signed is what a receipt or a signed seal says, by one of the named keys.
	Signed Basis = "signed"
	// Registry is what the registry itself says: what it has, and since when.
	Registry Basis = "registry"
	// Claimed is what is attached to the image, and anyone with push access could have
	// written.
	Claimed Basis = "claimed"
)

// The states of an image at a place.
const (
	Present = "present"
	Missing = "missing"
	Unread  = "unread"
	// Withdrawn is an image of which reads are disabled: it was recalled.
	Withdrawn = "withdrawn"
)

// Seen is what a registry has of an image.
type Seen struct {
	Registry, Repository string
	State                string
	Pushed               time.Time // zero if the registry does not say
	Tags                 []string
	Records              []Record
	Statements           []Statement
	Recalls              []Recall
}

// Recall is a recall record of the image, or one that lifts others. KeyID is empty if
// none of the keys has signed it.
type Recall struct {
	Digest string // of its statement
	Time   time.Time
	Lifts  bool
	Reason string
	By     []receipt.Person // who has approved it
	Run    receipt.Run
	KeyID  string
}

// Record is a seal record, whose time is the registry's.
type Record struct {
	Digest  string
	Created time.Time
	Run     string // what it claims
}

// Statement is a statement of a receipt, or a signed seal. Signed reports whether one of
// the keys has signed it.
type Statement struct {
	receipt.Opened
	Signed bool
}

// Life is the life of one image.
type Life struct {
	Image  string  `json:"image"`
	Digest string  `json:"digest"`
	Places []Place `json:"places"`
	Events []Event `json:"events"`
}

// Place is where the image is, or is not. Pushed is in RFC 3339, UTC, by the registry's
// clock; empty if it does not say.
type Place struct {
	Name   string   `json:"name"` // host/repository
	State  string   `json:"state"`
	Pushed string   `json:"pushed"`
	Tags   []string `json:"tags"`
}

// Event is something that happened: pushed, sealed, approved, promoted, recalled, or
// lifted (a recall). From is where
// a promotion came from, and Run is the run that did it.
type Event struct {
	Time   string   `json:"time"` // RFC 3339, UTC
	Kind   string   `json:"kind"`
	From   string   `json:"from"`
	To     []string `json:"to"`
	By     string   `json:"by"`
	Run    string   `json:"run"`
	Detail string   `json:"detail"`
	Basis  Basis    `json:"basis"`
	KeyID  string   `json:"keyId"`
}

// Of returns the life of an image. A statement that is attached at several places is
// told once; if one of the keys has signed it anywhere, as signed.
func Of(image, digest string, all []Seen) Life {
	life := Life{Image: image, Digest: digest, Places: []Place{}, Events: []Event{}}
	statements, records := map[string]Statement{}, map[string]bool{}
	var order []string
	for _, s := range all {
		name := s.Registry + "/" + s.Repository
		tags := slices.Clone(s.Tags)
		slices.Sort(tags)
		life.Places = append(life.Places, Place{Name: name, State: s.State, Pushed: stamp(s.Pushed), Tags: append([]string{}, tags...)})
		if !s.Pushed.IsZero() {
			life.add(Event{Time: stamp(s.Pushed), Kind: "pushed", To: []string{name}, Basis: Registry})
		}
		for _, r := range s.Records {
			if at := r.Digest + name; !records[at] {
				records[at] = true
				e := Event{Time: stamp(r.Created), Kind: "sealed", To: []string{name}, Run: r.Run, Basis: Registry}
				if r.Run != "" {
					e.Detail = "the seal record claims the run"
				}
				if r.Created.IsZero() {
					e.Basis = Claimed
				}
				life.add(e)
			}
		}
		for _, r := range s.Recalls {
			if at := r.Digest + name; !records[at] {
				records[at] = true
				life.add(r.event(name))
			}
		}
		for _, one := range s.Statements {
			before, seen := statements[one.Digest]
			if !seen {
				order = append(order, one.Digest)
			}
			if !before.Signed {
				statements[one.Digest] = one
			}
		}
	}
	for _, digest := range order {
		life.tell(statements[digest])
	}
	sorting.StableBy(life.Events, func(a, b Event) int {
		return cmp.Or(strings.Compare(a.Time, b.Time), cmp.Compare(rank(a.Kind), rank(b.Kind)))
	})
	return life
}

func (l *Life) add(e Event) {
	if e.To == nil {
		e.To = []string{}
	}
	l.Events = append(l.Events, e)
}

// rank orders events of the same second.
func rank(kind string) int {
	return slices.Index([]string{"pushed", "sealed", "approved", "promoted", "recalled", "lifted"}, kind)
}

// event returns what a recall record at a place says.
func (r Recall) event(name string) Event {
	e := Event{Time: stamp(r.Time), Kind: "recalled", To: []string{name}, Run: run(r.Run), Detail: sanitize.Visible(r.Reason, longestReason), Basis: Claimed, KeyID: r.KeyID}
	if r.Lifts {
		e.Kind = "lifted"
	}
	if r.KeyID != "" {
		e.Basis = Signed
	}
	var names []string
	for _, p := range r.By[:min(len(r.By), mostApprovers)] {
		names = append(names, person(p))
	}
	e.By = strings.Join(names, ", ")
	return e
}

// Limits of what is told.
const (
	mostClaimed = 100 // approvals and targets of one statement that none of the keys has signed
	longestRun  = 300 // bytes; every approval has the run

	longestReason = 4096 // bytes, of a recall
	mostApprovers = 100  // of a recall
)

// tell adds what a statement says.
func (l *Life) tell(s Statement) {
	basis, key, most := Claimed, "", mostClaimed
	if s.Signed {
		basis, key, most = Signed, s.Key.ID(), math.MaxInt
	}
	switch {
	case s.Sealing != nil:
		l.add(Event{Time: stamp(s.Sealing.Time), Kind: "sealed", To: []string{place(s.Sealing.Image)}, Run: run(s.Sealing.Run), Basis: basis, KeyID: key})
	case s.Promotion != nil:
		p := s.Promotion
		for _, g := range p.Approval.Given[:min(len(p.Approval.Given), most)] {
			detail := g.Resource.Type + " " + cmp.Or(g.Resource.Name, "#"+g.Resource.ID)
			if g.Comment != "" {
				detail += ": “" + g.Comment + "”"
			}
			l.add(Event{Time: stamp(g.Time), Kind: "approved", By: person(g.Approver), Run: run(p.Run), Detail: detail, Basis: basis, KeyID: key})
		}
		detail := p.Approval.Kind
		if p.Approval.Approvers > 0 {
			detail += fmt.Sprintf(", approved by %d", p.Approval.Approvers)
		}
		if !p.RulesVerified {
			detail += ", rules not verified"
		}
		e := Event{Time: stamp(p.Time), Kind: "promoted", From: place(p.From), Run: run(p.Run), Detail: detail, Basis: basis, KeyID: key}
		for _, to := range p.To[:min(len(p.To), most)] {
			e.To = append(e.To, place(to))
		}
		l.add(e)
	}
}

func place(p receipt.Place) string {
	name := p.Registry + "/" + p.Repository
	if p.Tag != "" {
		name += ":" + p.Tag
	}
	return name
}

func person(p receipt.Person) string {
	switch {
	case p.Name == "" && p.UniqueName == "":
		return "a person whose name is left out"
	case p.UniqueName == "" || p.UniqueName == p.Name:
		return p.Name
	}
	return strings.TrimLeft(p.Name+" ("+p.UniqueName+")", " ")
}

func run(r receipt.Run) string {
	if r.ID == 0 {
		return ""
	}
	words := fmt.Sprintf("run %d of %s", r.ID, r.Project)
	if r.Kind == "release" {
		words = fmt.Sprintf("release %d of %s", r.ID, r.Project)
	}
	if r.Stage != "" {
		words += ", stage " + r.Stage
	}
	return sanitize.Visible(words, longestRun)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Texts returns the texts of a life that come from elsewhere.
func (l *Life) Texts() []*string {
	var all []*string
	for i := range l.Places {
		for j := range l.Places[i].Tags {
			all = append(all, &l.Places[i].Tags[j])
		}
	}
	for i := range l.Events {
		e := &l.Events[i]
		all = append(all, &e.From, &e.By, &e.Run, &e.Detail)
		for j := range e.To {
			all = append(all, &e.To[j])
		}
	}
	return all
}

// Words returns what an event says, without its time and basis.
func (e Event) Words() string {
	var words string
	switch e.Kind {
	case "pushed":
		words = "pushed to " + strings.Join(e.To, ", ")
	case "sealed":
		words = "sealed at " + strings.Join(e.To, ", ")
	case "approved":
		words = "approved by " + e.By
	case "recalled", "lifted":
		words = map[string]string{"recalled": "recalled at ", "lifted": "recall lifted at "}[e.Kind] + strings.Join(e.To, ", ")
		if e.By != "" {
			words += ", approved by " + e.By
		}
	default:
		words = e.Kind + " from " + e.From + " to " + strings.Join(e.To, ", ")
	}
	if e.Run != "" {
		words += "; " + e.Run
	}
	if e.Detail != "" {
		words += "; " + e.Detail
	}
	return words
}
