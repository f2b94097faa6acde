package receipt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
	"acrpromote/internal/sorting"
)

// Image is the image whose receipts are judged. Resources are the resourceUris that
// a receipt for it may name: one for each name of its registry.
type Image struct {
	Digest    string
	Resources []string
}

// Found is an artifact that may be a receipt of the image: the digest of its
// manifest, and its layer. Problem is why the artifact is not a receipt that can be
// read, or empty.
type Found struct {
	Manifest  string
	MediaType string
	Content   []byte
	Problem   string
}

// Branch is a pattern of full refs.
type Branch interface{ Match(ref string) bool }

// Expectations are what a receipt must show. The zero value of a field expects
// nothing.
type Expectations struct {
	Project      string
	Rules        bool // that the rules were verified
	Environment  string
	MinApprovers int
	MaxAge       time.Duration
	From         Place // a host as CanonicalHost writes it; without a repository, any in the registry
	FlowHashes   []string
	Branches     []Branch
}

// maxSkew is how far in the future the time of a receipt may be.
const maxSkew = 5 * time.Minute

// Passed reports whether a valid receipt says that the promotion passed, and not in
// the future.
func (r Receipt) Passed(now time.Time) bool {
	return r.Summary.VerificationResult == passed && !r.Summary.TimeVerified.After(now.Add(maxSkew))
}

// Verdict is what the receipts of an image show.
type Verdict struct {
	// Met: a receipt is valid and meets all expectations. Receipt is the oldest that
	// does; if none does, the oldest valid one; nil if none is valid.
	Met     bool
	Receipt *Receipt
	// Valid has all valid receipts, the oldest first, and Seals the signed seals.
	Valid    []Receipt
	Seals    []Sealing
	Refusals []rule.Refusal
	// Notes has a sentence for each artifact that does not count, and for each
	// contradiction.
	Notes []string
}

// Judge decides whether one of the artifacts that were found is a receipt of the
// image, signed by one of the keys, that meets all expectations.
func Judge(image Image, found []Found, keys []Key, e Expectations, now time.Time) Verdict {
	j := judge{image: image, keys: keys, expect: e, now: now}
	j.open(found)
	j.contradictions()
	j.decide(len(found))
	return j.Verdict
}

type judge struct {
	Verdict
	image   Image
	keys    []Key
	expect  Expectations
	now     time.Time
	invalid []string // why artifacts are not valid receipts
}

// open sorts what was found into receipts, seals and what is not valid.
func (j *judge) open(found []Found) {
	type statement struct {
		Opened
		manifest string
	}
	var summaries []statement
	promotions := map[string]statement{} // by digest of the statement and key
	seen := map[string]bool{}
	for _, f := range found {
		if f.Problem != "" {
			j.reject(f.Manifest, f.Problem)
			continue
		}
		o, err := Open(f.MediaType, f.Content, j.image.Digest, j.keys)
		at := o.Digest + o.Key.ID()
		switch {
		case err != nil:
			j.reject(f.Manifest, err.Error())
		case seen[at]:
			// The same statement, signed again.
		case o.Summary != nil:
			summaries = append(summaries, statement{o, f.Manifest})
		case o.Promotion != nil:
			promotions[at] = statement{o, f.Manifest}
		default:
			j.Seals = append(j.Seals, *o.Sealing)
		}
		seen[at] = err == nil
	}
	used := map[string]bool{}
	for _, s := range summaries {
		at := s.Summary.promotionOf() + s.Key.ID()
		p, there := promotions[at]
		if !there {
			j.reject(s.manifest, "the promotion that it names is not attached, or not signed by the same key")
			continue
		}
		used[at] = true
		r, err := pair(s.Opened, p.Opened)
		if err != nil {
			j.reject(s.manifest, err.Error())
			continue
		}
		r.Manifests = [2]string{s.manifest, p.manifest}
		j.Valid = append(j.Valid, r)
	}
	for at, p := range promotions {
		if !used[at] {
			j.reject(p.manifest, "no summary that is attached names this promotion")
		}
	}
	slices.Sort(j.invalid)
	sorting.By(j.Valid, func(a, b Receipt) int {
		return cmp.Or(a.Summary.TimeVerified.Compare(b.Summary.TimeVerified), strings.Compare(a.statement, b.statement))
	})
	sorting.By(j.Seals, func(a, b Sealing) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Record, b.Record))
	})
}

func (j *judge) reject(manifest, why string) {
	j.invalid = append(j.invalid, fmt.Sprintf("receipt %s: %s", cmp.Or(manifest, "(no digest)"), why))
}

// contradictions notes valid receipts of one attempt of a run for one target that
// do not say the same.
func (j *judge) contradictions() {
	for i, r := range j.Valid {
		for _, other := range j.Valid[:i] {
			if r.SameRun(other.Promotion) && r.Summary.ResourceURI == other.Summary.ResourceURI {
				if field := r.differs(other); field != "" {
					j.Notes = append(j.Notes, fmt.Sprintf("Two valid receipts of run %d contradict each other: %s differs (%s, %s).",
						r.Promotion.Run.ID, field, other.Manifests[0], r.Manifests[0]))
					break
				}
			}
		}
	}
}

// differs returns the first of the fields that no redaction leaves out and that
// differs between two receipts of one attempt of a run, or "".
func (r Receipt) differs(other Receipt) string {
	a, b := r.Promotion, other.Promotion
	flow := func(f *Flow) Flow {
		if f == nil {
			return Flow{}
		}
		return *f
	}
	switch {
	case r.Summary.VerificationResult != other.Summary.VerificationResult:
		return "verificationResult"
	case a.From.name() != b.From.name():
		return "from"
	case a.Approval.Kind != b.Approval.Kind || a.Approval.Approvers != b.Approval.Approvers:
		return "approval"
	case a.RulesVerified != b.RulesVerified:
		return "rulesVerified"
	case flow(a.Flow) != flow(b.Flow):
		return "flow"
	}
	return ""
}

// maxListed is how many receipts a verdict explains.
const maxListed = 10

func (j *judge) decide(found int) {
	subject := j.image.Digest
	if len(j.image.Resources) > 0 {
		subject = j.image.Resources[0]
	}
	unmet := make([][]string, len(j.Valid))
	for i, r := range j.Valid {
		if unmet[i] = j.unmet(r); len(unmet[i]) == 0 && !j.Met {
			j.Met, j.Receipt = true, &j.Valid[i]
		}
	}
	if j.Receipt == nil && len(j.Valid) > 0 {
		j.Receipt = &j.Valid[0]
	}
	for _, why := range listed(j.invalid) {
		j.Notes = append(j.Notes, "Not counted: "+why+".")
	}
	switch {
	case j.Met:
	case len(j.Valid) > 0:
		for i, r := range j.Valid {
			if i == maxListed {
				j.Notes = append(j.Notes, fmt.Sprintf("%d more valid receipts do not meet the expectations either.", len(j.Valid)-i))
				break
			}
			j.Refusals = append(j.Refusals, rule.Refusal{
				Rule: rule.ReceiptPolicy, Subject: subject,
				Reason: fmt.Sprintf("the receipt of %s does not meet the expectations: %s", r.Summary.TimeVerified.UTC().Format(time.RFC3339), strings.Join(unmet[i], "; ")),
				Remedy: "Promote the image under the rules that are expected, or correct the expectation.",
			})
		}
	case len(j.invalid) > 0:
		j.Refusals = append(j.Refusals, rule.Refusal{
			Rule: rule.ReceiptInvalid, Subject: subject,
			Reason: "no receipt is valid: " + strings.Join(listed(j.invalid), "; "),
			Remedy: "Check that receiptKeys names the key that signs receipts. If it does, the image was not promoted as its receipt says: promote it again.",
		})
	default:
		reason := "the image has no receipt"
		if found > 0 {
			reason = "the image has a signed seal, but no receipt of a promotion"
		}
		j.Refusals = append(j.Refusals, rule.Refusal{
			Rule: rule.ReceiptMissing, Subject: subject, Reason: reason,
			Remedy: "Promote the image with receiptKey, which attaches a receipt.",
		})
	}
}

// listed returns the first reasons of a list.
func listed(reasons []string) []string {
	if len(reasons) <= maxListed {
		return reasons
	}
	return append(slices.Clone(reasons[:maxListed]), fmt.Sprintf("and %d more", len(reasons)-maxListed))
}

// unmet returns what a valid receipt does not show of what is expected.
func (j *judge) unmet(r Receipt) (reasons []string) {
	s, p, e := r.Summary, r.Promotion, j.expect
	age := j.now.Sub(s.TimeVerified)
	unless := func(met bool, format string, args ...any) {
		if !met {
			reasons = append(reasons, fmt.Sprintf(format, args...))
		}
	}
	unless(s.VerificationResult == passed, "its result is %q", s.VerificationResult)
	unless(slices.Contains(j.image.Resources, s.ResourceURI), "it is for %q", s.ResourceURI)
	unless(age >= -maxSkew, "its time %s is in the future", s.TimeVerified.UTC().Format(time.RFC3339))
	unless(e.MaxAge == 0 || age <= e.MaxAge, "receiptMaxAge: it is older than %s", e.MaxAge)
	unless(e.Project == "" || approval.SameName(e.Project, p.Run.Project), "project: it is from %q", p.Run.Project)
	unless(!e.Rules || p.RulesVerified, "rules: they were not verified")
	unless(e.From == Place{} || e.From.Registry == p.From.Registry && (e.From.Repository == "" || e.From.Repository == p.From.Repository),
		"from: the source was %s", p.From.name())
	unless(len(e.FlowHashes) == 0 || p.Flow != nil && slices.Contains(e.FlowHashes, p.Flow.SHA256), "flowHashes: %s", flowHash(p.Flow))
	unless(len(e.Branches) == 0 || slices.ContainsFunc(e.Branches, func(b Branch) bool { return p.Run.Branch != "" && b.Match(p.Run.Branch) }),
		"branches: the run was of %q", p.Run.Branch)
	return append(reasons, e.unmetApproval(p)...)
}

func flowHash(f *Flow) string {
	if f == nil {
		return "there was no flow file"
	}
	return "the flow file was " + f.SHA256
}

// unmetApproval returns what the approval does not show. Only the approvers of the
// expected environment count; where these cannot be told apart, because the
// approvers are redacted, the environment must be the only resource.
func (e Expectations) unmetApproval(p Promotion) []string {
	a, approvers := p.Approval, p.Approval.Approvers
	if e.Environment != "" {
		named := func(r Resource) bool { return approval.NamesResource(e.Environment, approval.Resource(r)) }
		if !slices.ContainsFunc(a.Resources, named) {
			return []string{"environment: it was not approved there"}
		}
		switch {
		case slices.Contains(p.Redacted, RedactApprovers):
			if len(a.Resources) > 1 {
				return []string{"environment: the approvers are left out of the receipt, and several resources were approved"}
			}
		default:
			numbers := map[int]bool{}
			for _, g := range a.Given {
				if named(g.Resource) {
					numbers[g.Number] = true
				}
			}
			approvers = len(numbers)
			if approvers == 0 && !slices.ContainsFunc(a.Checks, func(c Check) bool { return named(c.Resource) }) {
				return []string{"environment: it was not approved there"}
			}
		}
	}
	if approvers < e.MinApprovers {
		return []string{fmt.Sprintf("minApprovers: %d approved", approvers)}
	}
	return nil
}
