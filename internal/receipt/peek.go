package receipt

import (
	"encoding/json"
	"errors"
	"slices"

	"acrpromote/internal/ref"
)

// Peeked is what a statement says of itself, with any signature.
type Peeked struct {
	Type      string // of its predicate
	Digest    string // of its content
	Promotion string // of a summary: the digest of the promotion that it names
	Redacted  []Redaction
}

// Peek parses the layer of a receipt without verifying its signature: to find out what
// it leaves out before it goes where it must not say everything.
func Peek(mediaType string, content []byte) (Peeked, error) {
	e, _, err := parseEnvelope(mediaType, content)
	if err != nil {
		return Peeked{}, err
	}
	var s Statement[struct {
		Redacted          []Redaction  `json:"redacted"`
		InputAttestations []Descriptor `json:"inputAttestations"`
	}]
	if err := json.Unmarshal(e.Payload, &s); err != nil {
		return Peeked{}, errors.New("the statement is not a valid in-toto statement")
	}
	p := Peeked{Type: s.PredicateType, Digest: ref.DigestOf(e.Payload), Redacted: s.Predicate.Redacted}
	if p.Type == SummaryType {
		p.Promotion = Summary{InputAttestations: s.Predicate.InputAttestations}.promotionOf()
	}
	return p, nil
}

// Lacks returns what of the names a statement does not leave out. A statement that is
// not a promotion names no people.
func (p Peeked) Lacks(names []Redaction) []Redaction {
	if p.Type != PromotionType {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(names), func(name Redaction) bool { return slices.Contains(p.Redacted, name) })
}
