// Package receipt makes and judges receipts: signed statements, attached to an
// image, of who approved its promotion and under which rules. A receipt is two
// in-toto statements that belong together: a Verification Summary of SLSA, which
// other tools understand, and the promotion in full.
//
// The package is pure: it makes bytes from what a run has found, and a verdict from
// bytes that were read. Signers, times and public keys are passed in.
// docs/receipts-format.md describes the format field by field.
package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// The types of statements.
const (
	SummaryType   = "https://slsa.dev/verification_summary/v1"
	PromotionType = "urn:acrpromote:promotion:v1"
	SealType      = "urn:acrpromote:seal:v1"
)

const (
	statementType = "https://in-toto.io/Statement/v1"
	// VerifierID is the ID of the verifier in a Verification Summary.
	VerifierID = "urn:acrpromote:verifier:v1"
	policyURI  = "urn:acrpromote:rules:v1"
	// slsaVersion is the version of SLSA that describes the summary.
	slsaVersion = "1.1"
	passed      = "PASSED"
)

// The levels of a Verification Summary. None is a level of SLSA: an approval says
// nothing of how an image was built.
const (
	ApprovedByPersons = "ACRPROMOTE_APPROVED_BY_PERSONS"
	ApprovedByChecks  = "ACRPROMOTE_APPROVED_BY_CHECKS"
	RulesVerified     = "ACRPROMOTE_RULES_VERIFIED"
	RulesUnverified   = "ACRPROMOTE_RULES_UNVERIFIED"
)

// The kinds of approval that a receipt can show.
const (
	Manual    = "manual"
	Automated = "automated"
)

// Statement is an in-toto statement with one subject.
type Statement[P any] struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     P         `json:"predicate"`
}

// Subject is the image: its repository, and its digest by algorithm, without the
// algorithm's prefix.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Summary is the predicate of a Verification Summary of SLSA for one target.
type Summary struct {
	Verifier           Verifier     `json:"verifier"`
	TimeVerified       time.Time    `json:"timeVerified"`
	ResourceURI        string       `json:"resourceUri"`
	Policy             Policy       `json:"policy"`
	InputAttestations  []Descriptor `json:"inputAttestations"`
	VerificationResult string       `json:"verificationResult"`
	VerifiedLevels     []string     `json:"verifiedLevels"`
	SLSAVersion        string       `json:"slsaVersion"`
}

// Verifier is the program that decided, with its version.
type Verifier struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}

// Policy is the rules in force. It has no digest if they are redacted.
type Policy struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Descriptor is the type of another statement and the digest of its content.
type Descriptor struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// Promotion is the predicate of the promotion of one image in full. The numbers of
// approvers and of attached artifacts, and the resources of the approval, are counted
// from the rest.
type Promotion struct {
	Time          time.Time   `json:"time"`
	Tool          string      `json:"tool"`
	Action        string      `json:"action"`
	Digest        string      `json:"digest"`
	From          Place       `json:"from"`
	To            []Place     `json:"to"`
	Run           Run         `json:"run"`
	Requesters    []Person    `json:"requesters"`
	Approval      Approval    `json:"approval"`
	RulesVerified bool        `json:"rulesVerified"`
	Rules         []Rule      `json:"rules"`
	Outcomes      []Outcome   `json:"outcomes"`
	Seal          *Seal       `json:"seal,omitempty"`
	Flow          *Flow       `json:"flow,omitempty"`
	Attached      []Attached  `json:"attached"`
	AttachedCount int         `json:"attachedCount"`
	Egress        []string    `json:"egress"`
	Redacted      []Redaction `json:"redacted"`
}

// Place is where an image is: the registry's host, the repository, and the tag if
// it has one there.
type Place struct {
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
}

// name returns the place without its tag.
func (p Place) name() string { return p.Registry + "/" + p.Repository }

// Resource returns the resourceUri of an image at a place.
func (p Place) Resource(digest string) string { return p.name() + "@" + digest }

// Run is a run of Azure Pipelines as the server confirmed it. Kind is yaml,
// release or none.
type Run struct {
	Kind         string   `json:"kind"`
	Organization string   `json:"organization,omitempty"`
	Project      string   `json:"project,omitempty"`
	Pipeline     Pipeline `json:"pipeline,omitzero"`
	ID           int      `json:"id,omitempty"`
	URL          string   `json:"url,omitempty"`
	Stage        string   `json:"stage,omitempty"`
	Attempt      int      `json:"attempt,omitempty"`
	Branch       string   `json:"branch,omitempty"`
	Commit       string   `json:"commit,omitempty"`
}

// Pipeline is a pipeline or release definition.
type Pipeline struct {
	ID   int    `json:"id"`
	Name string `json:"name,omitempty"`
}

// Person is a person as Azure DevOps knows them.
type Person struct {
	ID         string `json:"id,omitempty"`
	UniqueName string `json:"uniqueName,omitempty"`
	Name       string `json:"name,omitempty"`
}

// Approval is the approval that was judged and met. Approvers is the number of
// different persons who approved, and Resources has what was approved or checked.
type Approval struct {
	Kind      string     `json:"kind"`
	Approvers int        `json:"approvers"`
	Resources []Resource `json:"resources"`
	Given     []Given    `json:"given"`
	Checks    []Check    `json:"checks"`
}

// Resource is a protected resource: an environment or a service connection.
type Resource struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// Given is one person's approval. Number is the same for all approvals of a person,
// so that persons can be counted where nothing else tells them apart.
type Given struct {
	ID       string    `json:"id,omitempty"`
	Check    int       `json:"check,omitempty"`
	Resource Resource  `json:"resource"`
	Number   int       `json:"number"`
	Approver Person    `json:"approver"`
	Time     time.Time `json:"time"`
	Comment  string    `json:"comment,omitempty"`
}

// Check is an automated check that passed.
type Check struct {
	Definition string    `json:"definition"`
	Resource   Resource  `json:"resource"`
	Time       time.Time `json:"time,omitzero"`
}

// Rule is a rule in force: its effective value, and whether an input, the flow or
// the default sets it. People is set if the value names people.
type Rule struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	From   string `json:"from,omitempty"`
	People bool   `json:"-"`
}

// Outcome is a rule that was judged and met.
type Outcome struct {
	Rule   string `json:"rule"`
	Met    bool   `json:"met"`
	Detail string `json:"detail,omitempty"`
}

// Seal is the seal of the image: the digest of the seal record, since when the
// registry has it, and the run that sealed the image.
type Seal struct {
	Record string    `json:"record"`
	Time   time.Time `json:"time,omitzero"`
	Run    Run       `json:"run"`
}

// Flow is the flow file in force. SHA256 is the hash of its content in hexadecimal.
type Flow struct {
	Name       string `json:"name,omitempty"`
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
}

// Attached is an attached artifact that came along.
type Attached struct {
	Digest       string `json:"digest"`
	ArtifactType string `json:"artifactType,omitempty"`
	Subject      string `json:"subject"`
}

// Sealing is the predicate of a signed seal.
type Sealing struct {
	Time   time.Time `json:"time"`
	Tool   string    `json:"tool"`
	Digest string    `json:"digest"`
	Image  Place     `json:"image"`
	Record string    `json:"record"`
	Run    Run       `json:"run"`
	Rules  []string  `json:"rules"`
}

// Payload is a statement before it is signed.
type Payload struct {
	Type    string // the type of its predicate
	Time    time.Time
	Content []byte
}

// Statements returns the statements of a promotion: the promotion itself, without
// what is redacted, and the summary for each place. Places are targets of the
// promotion or its source. The summaries name the promotion by the hash of its
// content, so that neither can be exchanged, and all can be signed at once.
//
// It returns an error unless an approval was given: no unapproved push has a
// receipt.
func (p Promotion) Statements(redact []Redaction, places ...Place) (promotion Payload, summaries []Payload, err error) {
	refused := func(err error) (Payload, []Payload, error) {
		return Payload{}, nil, fmt.Errorf("cannot make a receipt of %s: %w", p.Digest, err)
	}
	p, err = p.normal().redact(redact)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return refused(err)
	}
	if promotion, err = encode(PromotionType, p.From, p.Digest, p.Time, p); err != nil {
		return refused(err)
	}
	for _, place := range places {
		if !p.names(place.Resource(p.Digest)) {
			return refused(fmt.Errorf("%s is not a place of the promotion", place.name()))
		}
		summary, err := encode(SummaryType, place, p.Digest, p.Time, p.summary(place, promotion.Content))
		if err != nil {
			return refused(err)
		}
		summaries = append(summaries, summary)
	}
	return promotion, summaries, nil
}

// Statement returns the statement of a signed seal.
func (s Sealing) Statement() (Payload, error) {
	s.Time = s.Time.UTC().Truncate(time.Second)
	s.Rules = filled(s.Rules)
	if err := s.check(); err != nil {
		return Payload{}, fmt.Errorf("cannot make the signed seal of %s: %w", s.Digest, err)
	}
	return encode(SealType, s.Image, s.Digest, s.Time, s)
}

func encode[P any](predicateType string, at Place, digest string, time time.Time, predicate P) (Payload, error) {
	content, err := marshal(Statement[P]{
		Type:          statementType,
		Subject:       []Subject{{Name: at.name(), Digest: digestSet(digest)}},
		PredicateType: predicateType,
		Predicate:     predicate,
	})
	if err == nil && len(content) > maxPayload {
		err = fmt.Errorf("the statement has %d bytes, and %d are allowed", len(content), maxPayload)
	}
	return Payload{Type: predicateType, Time: time, Content: content}, err
}

// marshal returns v as compact JSON without escaped HTML. Equal values have equal
// bytes.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// digestSet returns a digest as in-toto writes it.
func digestSet(digest string) map[string]string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return map[string]string{algorithm: hex}
}

// summary returns the summary of the promotion, whose statement has the given
// content, at a place.
func (p Promotion) summary(at Place, content []byte) Summary {
	policy := Policy{URI: policyURI}
	if digest := p.PolicyDigest(); digest != "" {
		policy.Digest = digestSet(digest)
	}
	return Summary{
		Verifier:           Verifier{ID: VerifierID, Version: map[string]string{"acrpromote": p.Tool}},
		TimeVerified:       p.Time,
		ResourceURI:        at.Resource(p.Digest),
		Policy:             policy,
		InputAttestations:  []Descriptor{{URI: PromotionType, Digest: digestSet(ref.DigestOf(content))}},
		VerificationResult: passed,
		VerifiedLevels:     p.levels(),
		SLSAVersion:        slsaVersion,
	}
}

// levels returns what a summary may claim of the promotion.
func (p Promotion) levels() []string {
	var levels []string
	if p.Approval.Approvers > 0 {
		levels = append(levels, ApprovedByPersons)
	}
	if len(p.Approval.Checks) > 0 {
		levels = append(levels, ApprovedByChecks)
	}
	if p.RulesVerified {
		return append(levels, RulesVerified)
	}
	return append(levels, RulesUnverified)
}

// PolicyDigest returns the digest of the rules in force, as far as the statement
// has them: the SHA-256 of the line "acrpromote/rules/v1" and one line NAME=VALUE
// for each rule, sorted bytewise, the value as a JSON string and each line ended by
// a line feed. What is redacted is not in it, so that the digest cannot be used to
// confirm a guess. It is empty if the rules are redacted.
func (p Promotion) PolicyDigest() string {
	if slices.Contains(p.Redacted, RedactRules) {
		return ""
	}
	lines := make([]string, 0, len(p.Rules))
	for _, r := range p.Rules {
		value, err := marshal(r.Value)
		if err != nil {
			return "" // a string always has JSON
		}
		lines = append(lines, r.Name+"="+string(value)+"\n")
	}
	slices.Sort(lines)
	return ref.DigestOf([]byte("acrpromote/rules/v1\n" + strings.Join(lines, "")))
}

// names reports whether a resource is the image at the source or a target of the
// promotion.
func (p Promotion) names(resource string) bool {
	return slices.ContainsFunc(append([]Place{p.From}, p.To...), func(at Place) bool { return at.Resource(p.Digest) == resource })
}

// normal returns the promotion in the form in which it is signed: times in whole
// seconds of UTC, persons numbered, no list missing. It changes nothing of p.
func (p Promotion) normal() Promotion {
	second := func(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
	p.Time = second(p.Time)
	p.To, p.Requesters, p.Rules = filled(p.To), filled(p.Requesters), filled(p.Rules)
	p.Outcomes, p.Attached, p.Egress = filled(p.Outcomes), filled(p.Attached), filled(p.Egress)
	p.AttachedCount, p.Attached = len(p.Attached), p.Attached[:min(len(p.Attached), maxAttached)]
	sorting.StableBy(p.Rules, func(a, b Rule) int { return strings.Compare(a.Name, b.Name) })
	p.Redacted = []Redaction{}
	if p.Seal != nil {
		seal := *p.Seal
		seal.Time = second(seal.Time)
		p.Seal = &seal
	}
	p.Approval.Given, p.Approval.Checks = filled(p.Approval.Given), filled(p.Approval.Checks)
	p.Approval.Resources = []Resource{}
	add := func(r Resource) {
		if !slices.Contains(p.Approval.Resources, r) {
			p.Approval.Resources = append(p.Approval.Resources, r)
		}
	}
	numbers := map[string]int{}
	for i, g := range p.Approval.Given {
		who := strings.ToLower(g.Approver.ID)
		if who == "" {
			who = "\x00" + strings.ToLower(g.Approver.UniqueName) + "\x00" + g.Approver.Name
		}
		if numbers[who] == 0 {
			numbers[who] = len(numbers) + 1
		}
		p.Approval.Given[i].Number, p.Approval.Given[i].Time = numbers[who], second(g.Time)
		p.Approval.Given[i].Comment = cut(g.Comment)
		add(g.Resource)
	}
	p.Approval.Approvers = len(numbers)
	for i, c := range p.Approval.Checks {
		p.Approval.Checks[i].Time = second(c.Time)
		add(c.Resource)
	}
	return p
}

// filled returns a copy of a list that is not nil.
func filled[T any](list []T) []T { return append([]T{}, list...) }

// maxAttached is how many attached artifacts a promotion lists.
const maxAttached = 500

// maxComment is the length in bytes to which a comment is cut.
const maxComment = 4096

func cut(comment string) string {
	if len(comment) <= maxComment {
		return comment
	}
	return strings.ToValidUTF8(comment[:maxComment], "") + "…"
}

// check returns why the promotion cannot have a receipt.
func (p Promotion) check() error {
	numbers := map[int]bool{}
	for _, g := range p.Approval.Given {
		numbers[g.Number] = true
		if g.Time.IsZero() || g.Number < 1 {
			return errors.New("an approval has no time or no number")
		}
	}
	switch {
	case p.Approval.Kind != Manual && p.Approval.Kind != Automated:
		return fmt.Errorf("its approval is of kind %q, so that nobody and no check has approved", p.Approval.Kind)
	case p.Approval.Kind == Manual && p.Approval.Approvers < 1:
		return errors.New("nobody has approved")
	case p.Approval.Kind == Automated && len(p.Approval.Checks) == 0:
		return errors.New("no check has approved")
	case p.Approval.Approvers < 0, !slices.Contains(p.Redacted, RedactApprovers) && p.Approval.Approvers != len(numbers):
		return errors.New("the number of approvers is not that of the approvals")
	case !ref.IsDigest(p.Digest):
		return fmt.Errorf("%q is not a valid digest", p.Digest)
	case p.Time.IsZero():
		return errors.New("it has no time")
	case !p.From.valid():
		return errors.New("it has no source")
	case len(p.To) == 0 || slices.ContainsFunc(p.To, func(at Place) bool { return !at.valid() }):
		return errors.New("it has no target, or one without a registry and a repository")
	case p.Run.Kind == "":
		return errors.New("its run has no kind")
	}
	for _, o := range p.Outcomes {
		if !o.Met {
			return fmt.Errorf("the rule %s is not met", o.Rule)
		}
	}
	for _, name := range p.Redacted {
		if _, known := redactions[name]; !known {
			return fmt.Errorf("%q is not something that can be left out", name)
		}
	}
	return nil
}

func (p Place) valid() bool {
	_, err := ref.ParseHost(p.Registry)
	return err == nil && ref.IsRepository(p.Repository)
}

// check returns why the seal cannot be signed.
func (s Sealing) check() error {
	switch {
	case !ref.IsDigest(s.Digest):
		return fmt.Errorf("%q is not a valid digest", s.Digest)
	case !ref.IsDigest(s.Record):
		return fmt.Errorf("the seal record %q is not a valid digest", s.Record)
	case s.Time.IsZero():
		return errors.New("it has no time")
	case !s.Image.valid():
		return errors.New("it has no registry and repository")
	case s.Run.Kind == "":
		return errors.New("its run has no kind")
	}
	return nil
}

// SameRules reports whether the receipt shows the promotion p to a place under the
// same rules, with the same redaction: a new one would say nothing new of them.
func (r Receipt) SameRules(p Promotion, redact []Redaction, at Place) bool {
	p, err := p.normal().redact(redact)
	if err != nil {
		return false
	}
	of := func(f *Flow) string {
		if f == nil {
			return ""
		}
		return f.SHA256
	}
	is := r.Promotion
	return r.Summary.ResourceURI == at.Resource(p.Digest) && is.Digest == p.Digest && slices.Contains(is.To, at) == slices.Contains(p.To, at) &&
		is.From.name() == p.From.name() && is.RulesVerified == p.RulesVerified && is.PolicyDigest() == p.PolicyDigest() &&
		of(is.Flow) == of(p.Flow) && slices.Equal(is.Redacted, p.Redacted)
}

// SameRun reports whether the receipt is of the same run, stage and attempt as p. The
// branch can be left out of the receipt.
func (r Receipt) SameRun(p Promotion) bool {
	is, of := r.Promotion.Run, p.Run
	is.URL, of.URL = "", ""
	is.Branch, of.Branch = "", ""
	return is == of
}
