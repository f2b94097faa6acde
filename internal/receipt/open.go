package receipt

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"acrpromote/internal/ref"
	"acrpromote/internal/strictjson"
)

// Opened is a statement whose signature is valid. Exactly one of Summary, Promotion
// and Sealing is set.
type Opened struct {
	Key       Key
	Digest    string // of the statement's content
	Subject   Subject
	Summary   *Summary
	Promotion *Promotion
	Sealing   *Sealing
}

// Open verifies the layer of a receipt, with the given media type, of the image with
// the given digest, and returns its statement. The signature must be by one of the
// keys. A field of the statement that is not known is ignored.
func Open(mediaType string, content []byte, digest string, keys []Key) (Opened, error) {
	e, hint, err := parseEnvelope(mediaType, content)
	if err != nil {
		return Opened{}, err
	}
	message, signature := pae(e.PayloadType, e.Payload), e.Signatures[0]
	i := slices.IndexFunc(keys, func(k Key) bool {
		named := signature.KeyID == "" || signature.KeyID == k.ID()
		return named && (mediaType != BundleType || hint == k.hint()) && k.Verify(message, signature.Sig)
	})
	if i < 0 {
		return Opened{}, errors.New("it is not signed by one of the keys in receiptKeys")
	}
	o, err := statementOf(e, digest)
	o.Key = keys[i]
	return o, err
}

// ErrOtherImage is the kind of the error of a statement about another image, for
// errors.Is.
var ErrOtherImage = errors.New("the statement is about another image")

type otherImage struct{ reason string }

func (o otherImage) Error() string        { return o.reason }
func (o otherImage) Is(target error) bool { return target == ErrOtherImage }

// Claim returns the statement of a receipt like Open, with any signature: nothing in it
// is evidence.
func Claim(mediaType string, content []byte, digest string) (Opened, error) {
	e, _, err := parseEnvelope(mediaType, content)
	if err != nil {
		return Opened{}, err
	}
	return statementOf(e, digest)
}

// statementOf returns the statement of an envelope, which must be about the image with
// the given digest.
func statementOf(e envelope, digest string) (Opened, error) {
	if err := strictjson.CheckObject("statement", e.Payload, maxDepth); err != nil {
		return Opened{}, err
	}
	var head Statement[json.RawMessage]
	if err := json.Unmarshal(e.Payload, &head); err != nil {
		return Opened{}, errors.New("the statement is not a valid in-toto statement")
	}
	o := Opened{Digest: ref.DigestOf(e.Payload)}
	read, known := opened[head.PredicateType]
	switch {
	case head.Type != statementType:
		return Opened{}, fmt.Errorf("the statement is of the type %q", head.Type)
	case len(head.Subject) != 1 || len(head.Subject[0].Digest) != 1:
		return Opened{}, errors.New("the statement does not have one subject with one digest")
	case ref.PrefixDigest(head.Subject[0].Digest["sha256"]) != digest:
		return Opened{}, otherImage{"the statement is about another image, " + subjectDigest(head.Subject[0])}
	case !known:
		return Opened{}, fmt.Errorf("the statement has the predicate type %q", head.PredicateType)
	}
	o.Subject = head.Subject[0]
	if err := read(&o, head.Predicate, digest); err != nil {
		return Opened{}, fmt.Errorf("the statement is not valid: %w", err)
	}
	return o, nil
}

// subjectDigest returns the digest of a subject for a message.
func subjectDigest(s Subject) string {
	for algorithm, hex := range s.Digest {
		return algorithm + ":" + hex
	}
	return ""
}

// opened has the function that reads each type of predicate.
var opened = map[string]func(o *Opened, predicate []byte, digest string) error{
	SummaryType: func(o *Opened, predicate []byte, _ string) error {
		o.Summary = &Summary{}
		return parse(predicate, o.Summary)
	},
	PromotionType: func(o *Opened, predicate []byte, digest string) error {
		o.Promotion = &Promotion{}
		if err := parse(predicate, o.Promotion); err != nil {
			return err
		}
		return matching(o.Promotion.Digest, digest, o.Promotion.check())
	},
	SealType: func(o *Opened, predicate []byte, digest string) error {
		o.Sealing = &Sealing{}
		if err := parse(predicate, o.Sealing); err != nil {
			return err
		}
		return matching(o.Sealing.Digest, digest, o.Sealing.check())
	},
}

func parse(predicate []byte, into any) error {
	if err := json.Unmarshal(predicate, into); err != nil {
		return errors.New("its predicate is not as its type requires")
	}
	return nil
}

func matching(digest, want string, err error) error {
	if digest != want {
		return otherImage{"its predicate is about another image, " + digest}
	}
	return err
}

// Receipt is a summary with the promotion that belongs to it.
type Receipt struct {
	Summary   Summary
	Promotion Promotion
	Key       Key
	// Manifests are the digests of the two artifacts, if known: that of the summary
	// and that of the promotion.
	Manifests [2]string
	statement string // digest of the summary's statement
}

// pair returns the receipt that a summary and a promotion by the same key make. It returns an error
// if the two do not belong together or contradict each other.
func pair(summary, promotion Opened) (Receipt, error) {
	s, p := *summary.Summary, *promotion.Promotion
	policy := ""
	if hex, has := s.Policy.Digest["sha256"]; has {
		policy = ref.PrefixDigest(hex)
	}
	switch {
	case !s.TimeVerified.Equal(p.Time):
		return Receipt{}, errors.New("its two statements name different times")
	case !p.names(s.ResourceURI):
		return Receipt{}, fmt.Errorf("its summary is about %q, which is neither source nor target of the promotion", s.ResourceURI)
	case summary.Subject.Name+"@"+p.Digest != s.ResourceURI:
		return Receipt{}, fmt.Errorf("its summary is about %q and has the subject %q", s.ResourceURI, summary.Subject.Name)
	case s.Policy.URI != policyURI || policy != p.PolicyDigest():
		return Receipt{}, errors.New("its two statements name different rules")
	case !slices.Equal(s.VerifiedLevels, p.levels()):
		return Receipt{}, errors.New("its two statements name different levels")
	case s.Verifier.ID != VerifierID:
		return Receipt{}, fmt.Errorf("its verifier is %q", s.Verifier.ID)
	}
	return Receipt{Summary: s, Promotion: p, Key: summary.Key, statement: summary.Digest}, nil
}

// promotionOf returns the digest of the promotion's statement that a summary names,
// or "".
func (s Summary) promotionOf() string {
	if len(s.InputAttestations) != 1 || s.InputAttestations[0].URI != PromotionType {
		return ""
	}
	return ref.PrefixDigest(s.InputAttestations[0].Digest["sha256"])
}

// Unwrap returns the statement in an envelope, which may be of another package, and the
// key that has signed it. signed is false if none of the keys has.
func Unwrap(content []byte, keys []Key) (statement []byte, key Key, signed bool, err error) {
	e, _, err := parseEnvelope(MediaType, content)
	if err != nil {
		return nil, Key{}, false, err
	}
	message := pae(e.PayloadType, e.Payload)
	for _, k := range keys {
		if s := e.Signatures[0]; (s.KeyID == "" || s.KeyID == k.ID()) && k.Verify(message, s.Sig) {
			return e.Payload, k, true, nil
		}
	}
	return e.Payload, Key{}, false, nil
}
