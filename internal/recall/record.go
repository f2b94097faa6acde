// Package recall decides what it takes to withdraw an image: what a recall record says
// and whether it counts, and where an image may be. It is pure: registries are read and
// written elsewhere.
package recall

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/strictjson"
)

const (
	// ArtifactType is the artifact type of recall records among an image's referrers.
	ArtifactType = "application/vnd.acrpromote.recall.v1+json"
	// SignedType is the media type of the layer of a signed record: an envelope, as a
	// receipt has. That of an unsigned one is ArtifactType, and its layer the statement.
	SignedType = "application/vnd.acrpromote.recall.v1.dsse+json"
	// StatementType is the predicate type of the statement.
	StatementType = "urn:acrpromote:recall:v1"

	inTotoType = "https://in-toto.io/Statement/v1"

	// MaxSize limits the content of a record.
	MaxSize   = 64 << 10
	maxDepth  = 16
	maxReason = 4096
)

// Record is the statement that an image is recalled, or no longer. It is bound to the
// repository that it is attached in, so that a copy elsewhere says nothing.
type Record struct {
	Time time.Time `json:"time"`
	Tool string    `json:"tool"`
	// Lifts has the digests of the statements that this one lifts; a record that lifts
	// none recalls the image.
	Lifts        []string         `json:"lifts"`
	Reason       string           `json:"reason"`
	ApprovalKind string           `json:"approvalKind"`
	Approvers    []receipt.Person `json:"approvers"`
	Requesters   []receipt.Person `json:"requesters"`
	Run          receipt.Run      `json:"run"`
}

// Reason returns a reason as a record has it.
func Reason(text string) string {
	if text = strings.ToValidUTF8(text, "\uFFFD"); len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason-len("…")], "") + "…"
	}
	return text
}

type statement struct {
	Type          string            `json:"_type"`
	Subject       []receipt.Subject `json:"subject"`
	PredicateType string            `json:"predicateType"`
	Predicate     Record            `json:"predicate"`
}

// Statement returns the record of an image in a repository (host/repository) as a
// statement.
func (r Record) Statement(name, digest string) (receipt.Payload, error) {
	r.Time = r.Time.UTC().Truncate(time.Second)
	r.Reason = Reason(r.Reason)
	content, err := json.Marshal(statement{
		Type: inTotoType, Subject: []receipt.Subject{{Name: name, Digest: map[string]string{"sha256": strings.TrimPrefix(ref.DigestTag(digest), ref.DigestTagPrefix)}}},
		PredicateType: StatementType, Predicate: r,
	})
	if err == nil && len(content) > MaxSize/2 {
		err = fmt.Errorf("the recall record of %s has %d bytes, and %d are allowed", digest, len(content), MaxSize/2)
	}
	return receipt.Payload{Type: StatementType, Time: r.Time, Content: content}, err
}

// Found is an artifact that is listed as a recall record: the digest of its manifest, and
// its layer.
type Found struct {
	Manifest  string
	MediaType string
	Content   []byte
	// Problem is why it could not be read as one, or empty.
	Problem string
}

// Kept is a record that was read. Signed reports whether one of the keys has signed it.
type Kept struct {
	Record
	Manifest string
	Digest   string // of the statement
	KeyID    string
	Signed   bool
	Sealed   bool // it is in an envelope, with any signature
	// Part is the digest of the part of the image that it is about, or empty if it is
	// about the image itself.
	Part string
}

// Open reads an artifact as a record of an image in a repository (host/repository).
func Open(f Found, name, digest string, keys []receipt.Key) (Kept, error) {
	k := Kept{Manifest: f.Manifest}
	if f.Problem != "" {
		return k, errors.New(f.Problem)
	}
	content := f.Content
	switch f.MediaType {
	case ArtifactType:
	case SignedType:
		var key receipt.Key
		var err error
		k.Sealed = true
		if content, key, k.Signed, err = receipt.Unwrap(content, keys); err != nil {
			return k, err
		}
		if k.Signed {
			k.KeyID = key.ID()
		}
	default:
		return k, fmt.Errorf("its layer has the media type %q", f.MediaType)
	}
	if err := strictjson.CheckObject("statement", content, maxDepth); err != nil {
		return k, err
	}
	var s statement
	switch err := json.Unmarshal(content, &s); {
	case err != nil || s.Type != inTotoType || s.PredicateType != StatementType || len(s.Subject) != 1:
		return k, errors.New("it is not the statement of a recall")
	case ref.PrefixDigest(s.Subject[0].Digest["sha256"]) != digest || len(s.Subject[0].Digest) != 1:
		return k, errors.New("it is about another image")
	case !sameName(s.Subject[0].Name, name):
		return k, fmt.Errorf("it is about the image in %q", s.Subject[0].Name)
	}
	k.Record, k.Digest = s.Predicate, ref.DigestOf(content)
	return k, nil
}

// sameName reports whether two names (host/repository) are of the same repository.
func sameName(a, b string) bool {
	server := func(name string) string {
		host, repository, _ := strings.Cut(name, "/")
		return ref.LoginServer(ref.CanonicalHost(host)) + "/" + repository
	}
	return server(a) == server(b)
}

// Verdict has the recalls of an image that are not lifted. Only a signed one counts:
// anyone with push access can attach one that is not.
type Verdict struct{ Signed, Unsigned []Kept }

// Recalled reports whether the image is recalled.
func (v Verdict) Recalled() bool { return len(v.Signed) > 0 }

// Judge decides by the records that are attached to an image whether it is recalled. A
// signed recall is lifted only by a signed record.
func Judge(kept []Kept) Verdict {
	lifted := map[string]bool{} // by statement: whether a signed record lifts it
	for _, k := range kept {
		for _, d := range k.Lifts {
			lifted[d] = lifted[d] || k.Signed
		}
	}
	var v Verdict
	known := map[string]bool{}
	for _, k := range kept {
		bySigned, isLifted := lifted[k.Digest]
		switch {
		case len(k.Lifts) > 0, known[k.Digest]:
		case k.Signed && !bySigned:
			v.Signed, known[k.Digest] = append(v.Signed, k), true
		case !k.Signed && !isLifted:
			v.Unsigned = append(v.Unsigned, k)
		}
	}
	return v
}

// OfPart returns the verdict on a part of an image as one on the image.
func (v Verdict) OfPart(digest string) Verdict {
	for _, list := range [][]Kept{v.Signed, v.Unsigned} {
		for i := range list {
			list[i].Part = digest
		}
	}
	return v
}

// And adds what another verdict has.
func (v Verdict) And(other Verdict) Verdict {
	return Verdict{append(v.Signed, other.Signed...), append(v.Unsigned, other.Unsigned...)}
}

// Refuse returns the refusal of an image that is recalled: by a signed record, or because
// reads of it are disabled.
func Refuse(subject string, v Verdict, disabled bool) []rule.Refusal {
	reason := "reads of the image, or of a part of it, are disabled there (readEnabled: false)"
	switch {
	case v.Recalled():
		reason = v.Signed[0].Sentence()
	case !disabled:
		return nil
	}
	return []rule.Refusal{{Rule: rule.Recalled, Subject: subject, Reason: reason,
		Remedy: "Use another image. If this one was recalled by mistake, let the recall be lifted (recall with lift: true)."}}
}

// Sentence says who recalled the image, when and why.
func (k Kept) Sentence() string {
	s := "recalled at " + k.Time.UTC().Format("2006-01-02 15:04 UTC")
	if k.Part != "" {
		s = "its part " + k.Part + " was " + s
	}
	var names []string
	for _, p := range append(k.Approvers[:len(k.Approvers):len(k.Approvers)], k.Requesters...) {
		if p.Name != "" && !slices.Contains(names, p.Name) && len(names) < 5 {
			names = append(names, p.Name)
		}
	}
	if len(names) > 0 {
		s += " by " + strings.Join(names, ", ")
	}
	if k.Run.ID != 0 {
		s += fmt.Sprintf(" in run %d of %s", k.Run.ID, k.Run.Project)
	}
	return s + ": " + k.Reason
}
