package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

const (
	// signaturesAtOnce limits how many signatures are asked for concurrently.
	signaturesAtOnce = 64
	// inlineLimit is the size up to which a statement is in the descriptor of its
	// layer as well, so that reading its manifest is enough.
	inlineLimit = 32 << 10
)

// receipts are the receipts of a run: what is signed, and where it is attached.
type receipts struct {
	c      *agent.Config
	s      *session.Session
	o      *order
	f      *findings
	result *collector
	limit  *semaphore.Weighted // of signatures

	places [][]*receiptPlace // by image and target; nil where there is no receipt. Targets in one repository can share one
	source []*receiptPlace   // by image: at the source
	seals  []*sealPlace      // by image
}

// statement is the statement of a promotion in full, which is signed once and attached
// in one or several places.
type statement struct {
	promotion receipt.Promotion
	redact    []receipt.Redaction
	signer    *signer
	signed    func() (receipt.Artifact, error)
}

// receiptPlace is where an image gets a receipt: in a repository of one or several
// targets, or at the source.
type receiptPlace struct {
	*receipts
	*statement
	at       receipt.Place
	tags     []receipt.Place // at, and further targets in the repository
	registry *session.Registry
	subject  transfer.Descriptor
	summary  receipt.Payload
	required bool
	// anyRun: a receipt of another run serves too, because this one changes nothing.
	anyRun bool

	known     bool // present was found out
	present   bool // there is one already
	begun     sync.Once
	prepared  chan struct{} // closed when artifacts or err is set
	attaching sync.Mutex
	settled   bool          // both statements are attached, or cannot be and need not
	ended     chan struct{} // closed at the end of attest, if that is started for itself
	err       error
	artifacts [2]transfer.Artifact // the promotion and the summary
	digests   [2]string            // of their manifests
	entry     int                  // position of both in the result
}

// prepareReceipts makes the statements of a plan, and finds out what is attached
// already where nothing else is to be written. It returns nil if a key cannot sign, or
// a statement cannot be made.
func prepareReceipts(ctx context.Context, c *agent.Config, s *session.Session, o *order, f *findings, p plan.Plan, result *collector, now time.Time) (rs *receipts, ok bool) {
	rs = &receipts{c: c, s: s, o: o, f: f, result: result, limit: semaphore.NewWeighted(signaturesAtOnce)}
	before := len(result.result.Errors)
	for _, g := range o.signers {
		if g.err != nil {
			addSignerError(g, result)
		}
	}
	if len(result.result.Errors) > before {
		return nil, false
	}
	rs.places, rs.source, rs.seals = make([][]*receiptPlace, len(o.images)), make([]*receiptPlace, len(o.images)), make([]*sealPlace, len(o.images))
	if len(o.signers) == 0 || len(p.Refusals) > 0 || p.Withheld {
		return rs, true
	}
	complete, signed := false, false
	for i, w := range o.images {
		rs.places[i] = make([]*receiptPlace, len(w.Targets))
		if f.images[i].source.err != nil || f.images[i].source.tree == nil {
			continue
		}
		if key := sealKey(c, w); key != "" {
			rs.seals[i] = rs.sealPlace(i, p.Parts[i], o.signer(key), now)
			continue
		}
		for _, r := range w.Receipts(o.topology()) {
			signed, complete = true, complete || r.Complete()
			if err := rs.add(ctx, i, r, p.Parts[i], now); err != nil {
				result.result.Errors = append(result.result.Errors, report.Problem{Side: report.SourceSide, Subject: w.Source.String(), Reason: err.Error(),
					Remedy: "Leave more out of the receipts (receipt.redact in the flow file)."})
			}
		}
	}
	if err := rs.checkFormat(ctx); err != nil {
		result.add(err)
	}
	if signed && !complete {
		result.warn("no registry gets a complete receipt, because something is left out at every target: set receiptAtSource to keep a complete one at the source.")
	}
	rs.look(ctx)
	rs.list(p)
	return rs, len(result.result.Errors) == before
}

// topology returns the flow file, or nil.
func (o *order) topology() *topology.File {
	if o.flow == nil {
		return nil
	}
	return o.flow.File
}

// add makes one statement of an image, and the places that get it.
func (rs *receipts) add(ctx context.Context, i int, r plan.Receipt, part plan.Part, now time.Time) error {
	w, found := rs.o.images[i], rs.f.images[i]
	st := &statement{promotion: rs.promotionOf(i, r, part, now), signer: rs.o.signer(r.Key)}
	for _, name := range r.Redact {
		st.redact = append(st.redact, receipt.Redaction(name))
	}
	subject := found.source.tree.Manifests()[0]
	var places []*receiptPlace
	add := func(at ref.Reference, registry *session.Registry, anyRun bool) *receiptPlace {
		place := placeOf(at)
		for _, p := range places {
			if p.at.Registry == place.Registry && p.at.Repository == place.Repository {
				p.tags, p.anyRun = append(p.tags, place), p.anyRun && anyRun
				return p
			}
		}
		p := &receiptPlace{receipts: rs, statement: st, at: place, tags: []receipt.Place{place}, registry: registry, subject: subject, required: r.Required, anyRun: anyRun, prepared: make(chan struct{}), entry: -1}
		places = append(places, p)
		return p
	}
	unchanged := true
	for _, step := range part.Steps {
		unchanged = unchanged && (step.Work == plan.Nothing || step.Work == plan.Wait)
	}
	here := func(j int) bool {
		return w.Targets[j].Registry == w.Source.Registry && w.Targets[j].Repository == w.Source.Repository
	}
	if r.Source && !slices.ContainsFunc(r.Targets, here) {
		registry, err := rs.s.Registry(w.Source.Registry)
		if err != nil {
			return err
		}
		rs.source[i] = add(w.Source, registry, unchanged)
		rs.source[i].ended = make(chan struct{})
	}
	for _, j := range r.Targets {
		if part.Steps[j].Work != plan.Wait {
			rs.places[i][j] = add(w.Targets[j], found.targets[j].registry, part.Steps[j].Work == plan.Nothing)
		}
	}
	if !rs.f.verdict.Granted {
		return nil // a plan, whose approval is still open: there is nothing to sign yet
	}
	var at []receipt.Place
	for _, p := range places {
		at = append(at, p.at)
	}
	payload, summaries, err := st.promotion.Statements(st.redact, at...)
	if err != nil {
		return err
	}
	st.signed = sync.OnceValues(func() (receipt.Artifact, error) { return rs.sign(ctx, payload, st.signer) })
	for k, p := range places {
		p.summary = summaries[k]
	}
	return nil
}

func placeOf(r ref.Reference) receipt.Place {
	return receipt.Place{Registry: r.Registry, Repository: r.Repository, Tag: r.Tag}
}

// sign signs a statement, a limited number at once.
func (rs *receipts) sign(ctx context.Context, payload receipt.Payload, with *signer) (receipt.Artifact, error) {
	if err := rs.limit.Acquire(ctx, 1); err != nil {
		return receipt.Artifact{}, err
	}
	defer rs.limit.Release(1)
	return payload.Sign(ctx, with.sign, rs.format())
}

func (rs *receipts) format() receipt.Format {
	if rs.c.ReceiptFormat == string(receipt.Bundle) {
		return receipt.Bundle
	}
	return receipt.DSSE
}

// each calls do for every place once, the source's of an image first.
func (rs *receipts) each(do func(p *receiptPlace)) {
	for i := range rs.places {
		if rs.source[i] != nil {
			do(rs.source[i])
		}
		for j, p := range rs.places[i] {
			if p != nil && !slices.Contains(rs.places[i][:j], p) {
				do(p)
			}
		}
	}
}

// checkFormat returns a usage error if a Sigstore bundle would be attached to an image
// with older signatures of cosign, which cosign would then overlook.
func (rs *receipts) checkFormat(ctx context.Context) error {
	if rs.format() != receipt.Bundle {
		return nil
	}
	type signature struct {
		registry   *session.Registry
		repository string
		tag        string
	}
	var list []signature
	brought := ""
	for i := range rs.places {
		source := rs.f.images[i].source
		for _, p := range rs.places[i] {
			if p == nil {
				continue
			}
			tag := ref.DigestTag(p.subject.Digest) + ".sig"
			if list = append(list, signature{p.registry, p.at.Repository, tag}); source.bring[tag] {
				brought = p.at.Registry + "/" + p.at.Repository + ":" + tag
			}
		}
		w := rs.o.images[i].Source
		if rs.source[i] == nil && rs.seals[i] == nil {
			continue
		}
		if at, err := rs.s.Registry(w.Registry); err == nil {
			list = append(list, signature{at, w.Repository, ref.DigestTag(source.tree.Digest()) + ".sig"})
		}
	}
	found := make([]string, len(list))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, one := range list {
		group.Go(func() error {
			defer defect.Catch(ctx)
			_, err := one.registry.Data.Resolve(ctx, one.repository, one.tag)
			switch {
			case err == nil:
				found[i] = one.registry.Host + "/" + one.repository + ":" + one.tag
			case !errors.Is(err, transfer.NotFound):
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return usage("receiptFormat", fmt.Errorf("whether an image has older signatures of cosign, which a bundle would hide, is not known: %w", err), "Set receiptFormat to dsse, or run the step again.")
	}
	for _, at := range append(found, brought) {
		if at != "" {
			return usage("receiptFormat", fmt.Errorf("cosign no longer looks at the signature %s of an image that has a Sigstore bundle", at), "Set receiptFormat to dsse, or sign the image with cosign 3 and delete the tag.")
		}
	}
	return nil
}

// look finds out what is attached where nothing else is to be written. What cannot be
// read is read again later, and is an error then.
func (rs *receipts) look(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	rs.each(func(p *receiptPlace) {
		if p.anyRun {
			group.Go(func() error {
				defer defect.Catch(ctx)
				_ = p.find(ctx)
				return nil
			})
		}
	})
	for _, p := range rs.seals {
		if p != nil {
			group.Go(func() error {
				defer defect.Catch(ctx)
				p.find(ctx)
				return nil
			})
		}
	}
	_ = group.Wait()
}

// list adds the receipts to the result, and how many signatures they take.
func (rs *receipts) list(p plan.Plan) {
	r := &rs.result.result
	count := map[*signer]int{}
	counted := map[*statement]bool{}
	rs.each(func(p *receiptPlace) {
		p.entry = len(r.Receipts)
		state := report.ReceiptPlanned
		if p.present {
			state = report.ReceiptPresent
		} else {
			if !counted[p.statement] {
				counted[p.statement] = true
				count[p.signer]++
			}
			count[p.signer]++
		}
		for _, kind := range []string{receipt.PromotionType, receipt.SummaryType} {
			r.Receipts = append(r.Receipts, report.Receipt{
				Registry: p.at.Registry, Repository: p.at.Repository, Subject: p.subject.Digest, PredicateType: kind, KeyID: p.signer.key.ID(), State: state,
			})
		}
		if p.present {
			r.Receipts[p.entry].Digest, r.Receipts[p.entry+1].Digest = p.digests[0], p.digests[1]
		}
	})
	for i, p := range rs.seals {
		if p == nil {
			continue
		}
		p.entry = len(r.Receipts)
		state := report.ReceiptPlanned
		if p.present != "" {
			state = report.ReceiptPresent
		} else {
			count[p.signer]++
		}
		w := rs.o.images[i].Source
		r.Receipts = append(r.Receipts, report.Receipt{
			Registry: w.Registry, Repository: w.Repository, Digest: p.present, Subject: p.subject.Digest, PredicateType: receipt.SealType, KeyID: p.signer.key.ID(), State: state,
		})
	}
	for _, g := range rs.o.signers {
		r.Signing = append(r.Signing, report.Signing{Key: g.named, KeyID: g.key.ID(), Signatures: count[g]})
	}
}
