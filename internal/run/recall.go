package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/outcome"
	"acrpromote/internal/plan"
	"acrpromote/internal/promote"
	"acrpromote/internal/recall"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
)

const (
	// placesAtOnce limits in how many registries an image is withdrawn concurrently, and
	// childrenAtOnce how many manifests in each.
	placesAtOnce   = 16
	childrenAtOnce = 8
	// maxIndexes limits how many indexes of a repository are read to find out which
	// children of an image others have.
	maxIndexes = 2000
)

// recaller withdraws images, or lifts that.
type recaller struct {
	*order
	c      *agent.Config
	s      *session.Session
	result *collector
	lift   bool
	f      *findings
	keys   []receipt.Key
	images []*withdrawal // by image of the order
}

// recallImages withdraws an image from all registries that it may have been copied to, or
// all images that a run has promoted, or lifts that.
func recallImages(ctx context.Context, c *agent.Config, to *reporter, result *collector) (*session.Session, *order) {
	s, err := open(c, to, result)
	if err != nil {
		result.add(err)
		return nil, nil
	}
	x := &recaller{order: &order{action: plan.Recall}, c: c, s: s, result: result, lift: c.Lift.Value, f: &findings{}}
	result.result.Recall = &report.Recall{Reason: recall.Reason(c.Secrets.Redact(c.Reason)), Lift: x.lift}
	if !x.resolveRecall(ctx) {
		return s, x.order
	}
	x.readRecall(ctx)
	if ctx.Err() != nil {
		result.unexecuted = true
		return s, x.order
	}
	if !x.decideRecall() || c.DryRun.Value {
		return s, x.order
	}
	for i := range x.images {
		x.execute(ctx, i)
	}
	return s, x.order
}

// resolveRecall finds the images, where they may be, and whose approval that takes. It
// reports whether the run goes on.
func (x *recaller) resolveRecall(ctx context.Context) bool {
	c, s, result := x.c, x.s, x.result
	wrong := &mistakes{}
	if c.FlowFile != "" {
		flow, err := loadFlow(ctx, c, s, result)
		if err != nil && !isUsage(err) {
			result.add(err)
			return false
		}
		wrong.join(err)
		x.flow = flow
	}
	named, err := parseReferences(c)
	wrong.join(err)
	if c.Digest != "" && !ref.IsDigest(c.Digest) {
		wrong.add("digest", fmt.Errorf("%q is not a valid digest", c.Digest), "A digest is sha256: followed by 64 lower-case hexadecimal digits.")
	}
	named.source.Registry = x.mainHost(named.source.Registry)
	var targets []ref.Reference
	for _, t := range named.targets {
		at := ref.Reference{Registry: x.mainHost(t.Registry), Repository: t.Repository}
		if at.Repository == "" {
			at.Repository = named.source.Repository
		}
		if at.Repository == "" {
			wrong.add("targets", fmt.Errorf("%q names no repository", t.Registry), "Write host/repository.")
		}
		targets = append(targets, at)
	}
	if err := wrong.orNil(); err != nil {
		result.add(err)
		return false
	}
	sources := []ref.Reference{named.source}
	if c.Run.Given {
		var ok bool
		if sources, targets, ok = x.ofRun(ctx, targets); !ok {
			return false
		}
	}
	if err := errors.Join(x.want(sources, targets), signIn(c, s, x.order), prepareSigners(c, s, x.order, result)); err != nil {
		result.add(err)
		return false
	}
	permitTokenHosts(ctx, c, s, x.flow, x.signIns(s))
	warnOfUnused(c, x.order, result)
	result.result.RulesInForce = x.rulesInForce(inputs(c))
	var notes []string
	if x.keys, notes, err = recallKeys(ctx, c, s, x.order); err != nil && ctx.Err() == nil {
		result.result.Errors = append(result.result.Errors, vaultProblem(err))
		return false
	}
	for _, note := range notes {
		result.note(note)
	}
	return true
}

func (o *order) mainHost(host string) string {
	if o.flow == nil {
		return host
	}
	return o.flow.MainHost(host)
}

// want makes the images of the order: each with all places where it may be, and the
// rules of its approval.
func (x *recaller) want(sources, targets []ref.Reference) error {
	for _, source := range sources {
		places := []ref.Reference{{Registry: source.Registry, Repository: source.Repository}}
		if x.flow != nil {
			var more bool
			if places, more = recall.Places(x.flow.File, source); more {
				return usage("flowFile", fmt.Errorf("its flows lead %s to more than %d repositories", source, len(places)), "Recall it without a flow file, with those repositories in targets.")
			}
		}
		for _, at := range targets {
			if !slices.Contains(places, at) {
				places = append(places, at)
			}
		}
		routes, refused, err := plan.RecallRequest{File: x.topology(), Flow: x.c.Flow, Source: source, Inputs: inputs(x.c), Lift: x.lift}.Routes()
		if err != nil {
			return usage("flow", err, "Remove the input, or ask the owners of the flow file to change it.")
		}
		w := plan.Wanted{Action: plan.Recall, Source: source, Targets: places[1:], Digest: x.c.Digest, Covered: x.flow != nil}
		if refused != nil {
			x.refusals = append(x.refusals, *refused)
			x.order.images = append(x.order.images, w)
			continue
		}
		for range max(len(w.Targets), 1) {
			w.Routes = append(w.Routes, routes[0])
		}
		for _, route := range routes {
			r := route.Rules
			for _, ignored := range r.Ignored {
				x.result.warn(ignored)
			}
			i := slices.IndexFunc(x.groups, func(g plan.Group) bool { return g.Rules.SameApproval(r) })
			if i < 0 {
				i = len(x.groups)
				x.groups = append(x.groups, plan.Group{Rules: r})
			}
			x.groups[i].Images = append(x.groups[i].Images, len(x.order.images))
		}
		x.order.images = append(x.order.images, w)
	}
	return nil
}

// deletesTags reports whether the tags are deleted where reads cannot be disabled.
func (o *order) deletesTags() bool {
	return o.flow != nil && o.flow.Recall.Elsewhere == topology.DeleteElsewhere
}

// ofRun returns the images that a run has promoted, by the receipts in the repositories
// that are signed by one of the keys, and the repositories that these receipts name.
func (x *recaller) ofRun(ctx context.Context, places []ref.Reference) (sources, targets []ref.Reference, ok bool) {
	wrong := &mistakes{}
	keys := wrong.keys(x.c, x.s, x.c.ReceiptKeys)
	for _, at := range places {
		if err := x.s.SignIn(at.Registry, true, x.rightsOf(at)); err != nil {
			wrong.join(credentialError(at.Registry, err))
		}
	}
	if err := wrong.orNil(); err != nil {
		x.result.add(err)
		return nil, nil, false
	}
	err := keys.fetch(ctx)
	if err == nil {
		var own []receipt.Key
		var notes []string
		own, notes, err = recallKeys(ctx, x.c, x.s, x.order)
		keys.all = append(keys.all, own...)
		for _, note := range notes {
			x.result.note(note)
		}
	}
	switch {
	case err != nil:
		x.result.result.Errors = append(x.result.result.Errors, vaultProblem(err))
		return nil, nil, false
	case len(keys.all) == 0:
		x.result.add(usage("receiptKeys", errors.New("run takes receipts that are signed, and no key says whose count"), "Set receiptKeys, or receiptKey."))
		return nil, nil, false
	}
	t := &tracer{s: x.s, keys: keys.all, result: x.result}
	targets = slices.Clone(places)
	for _, p := range t.promotions(ctx, places, true, func(p receipt.Promotion) bool { return p.Run.ID == x.c.Run.Value }) {
		from := x.at(p.From)
		from.Tag, from.Digest = "", p.Digest
		if !slices.Contains(sources, from) {
			sources = append(sources, from)
		}
		for _, place := range p.To {
			to := x.at(place)
			if to.Tag = ""; !slices.Contains(targets, to) {
				targets = append(targets, to)
			}
		}
	}
	if len(t.failed) > 0 {
		x.result.result.Errors = append(x.result.result.Errors, t.failed...)
		return nil, nil, false
	}
	if len(sources) == 0 {
		x.result.add(usage("run", fmt.Errorf("no image in these repositories has a receipt of run %d that is signed by one of the keys", x.c.Run.Value), "Name the repositories that the run has promoted to, or the image itself in source."))
		return nil, nil, false
	}
	return sources, targets, true
}

// rightsOf returns the rights that a recall takes in one place.
func (x *recaller) rightsOf(at ref.Reference) map[string][]string {
	return plan.RequiredRights([]plan.Wanted{{Action: plan.Recall, Source: at}}, nil,
		plan.Usage{Writes: !x.c.ReadOnly(), Azure: isAzure, Deletes: x.deletesTags()})[at.Registry]
}

// readRecall reads the run with its approvals, and the images wherever they may be.
func (x *recaller) readRecall(ctx context.Context) {
	r := &reader{x.c, x.s, x.order}
	var all sync.WaitGroup
	all.Go(func() {
		defer defect.Catch(ctx)
		if wrong := r.readRun(ctx, x.f); wrong != nil {
			x.result.mu.Lock()
			defer x.result.mu.Unlock()
			x.result.add(wrong)
		}
	})
	all.Go(func() {
		defer defect.Catch(ctx)
		x.readySigners(ctx)
	})
	x.images = make([]*withdrawal, len(x.order.images))
	var group errgroup.Group
	group.SetLimit(placesAtOnce)
	for i, w := range x.order.images {
		group.Go(func() error {
			defer defect.Catch(ctx)
			x.images[i] = x.look(ctx, i, w)
			return nil
		})
	}
	_ = group.Wait()
	all.Wait()
}

// look reads one image wherever it may be.
func (x *recaller) look(ctx context.Context, i int, w plan.Wanted) *withdrawal {
	m := &withdrawal{image: i, record: -1, source: w.Source, contents: map[string][]string{}, apart: map[string]bool{}}
	if m.digest, m.err = x.digestOf(ctx, w.Source); m.err != nil {
		return m
	}
	for _, at := range append([]ref.Reference{w.Source}, w.Targets...) {
		p := &recallPlace{Reference: ref.Reference{Registry: at.Registry, Repository: at.Repository, Digest: m.digest}}
		p.registry, p.err = x.s.Registry(at.Registry)
		m.places = append(m.places, p)
	}
	each(ctx, m.places, func(p *recallPlace) { p.see(ctx) })
	if m.err = m.readContents(ctx); m.err != nil {
		return m
	}
	each(ctx, m.places, func(p *recallPlace) {
		// What a lift does not see yet may be hidden, and is looked at when the image can
		// be read again.
		if x.blocks(m, p) && !(x.lift && p.root == recall.Absent) {
			p.seeChildren(ctx, m, x.lift)
		}
	})
	if source := m.places[0]; source.err == nil {
		m.kept, m.err = x.recordsOf(ctx, source, m.digest)
		if m.err != nil && (source.veiled() || source.root == recall.Absent) {
			m.err = nil // what is attached to an image may be hidden with it
		}
	}
	return m
}

// digestOf returns the digest of an image. Where reads are disabled, the registry's
// metadata still has that of a tag.
func (x *recaller) digestOf(ctx context.Context, source ref.Reference) (string, error) {
	if source.Tag == "" {
		return source.Digest, nil
	}
	at, err := x.s.Registry(source.Registry)
	if err != nil {
		return "", err
	}
	found, err := at.Data.Resolve(ctx, source.Repository, source.Tag)
	if err == nil || !at.Azure || !refusedOrUnknown(err) {
		return found.Digest, err
	}
	metadata, unusable := at.Metadata()
	if unusable != nil {
		return "", err
	}
	tag, hidden := metadata.Tag(ctx, source.Repository, source.Tag)
	if hidden != nil {
		return "", err
	}
	return tag.Digest, nil
}

// recordsOf returns the recalls of an image, or of a part of it, at the source.
func (x *recaller) recordsOf(ctx context.Context, at *recallPlace, digest string) (recall.Verdict, error) {
	listed, err := at.registry.Data.ReferrersNow(ctx, at.Repository, digest, recall.ArtifactType)
	if err != nil || len(listed) == 0 {
		return recall.Verdict{}, err
	}
	kept, notes, err := readRecallRecords(ctx, at.registry, at.Repository, digest, listed, x.keys)
	for _, note := range notes {
		x.result.note(note)
	}
	return recall.Judge(kept), err
}

// decideRecall judges the approval and adds what is known to the result. It reports
// whether the recall goes on.
func (x *recaller) decideRecall() bool {
	r := &x.result.result
	addRun(x.f, x.result)
	addRules(x.s, x.order, x.f, x.result)
	images := make([]plan.Image, len(x.images))
	known := true
	for i, m := range x.images {
		images[i] = plan.Image{Wanted: x.order.images[i], Observed: plan.Observed{Source: plan.Source{Digest: m.digest, Unreadable: m.err != nil}}}
		r.Images = append(r.Images, report.Image{Source: m.source.String(), Digest: m.digest})
		if m.err != nil {
			known = false
			r.Errors = append(r.Errors, problem(report.SourceSide, m.err))
			continue
		}
		r.Refusals = append(r.Refusals, plan.JudgeDigest(images[i].Wanted, images[i].Observed.Source)...)
		for _, p := range m.places {
			t := report.Target{Registry: p.Registry, Repository: p.Repository, State: x.state(m, p, true)}
			if p.err != nil {
				problem := problem(sideOf(m, p), p.err)
				t.Error = problem.Reason
				if !x.result.reported(problem, p.err) {
					r.Errors = append(r.Errors, problem)
				}
			}
			t.Readable = m.shares(p)
			r.Images[i].Targets = append(r.Images[i].Targets, t)
		}
		x.addRecord(i, m)
	}
	if len(images) == 1 {
		r.ApprovalCode = approvalCodeOf(x.images[0].digest)
	}
	asked := plan.Case(plan.Recall, images, x.groups, x.subject(), r.ApprovalCode, images)
	asked.Covered = asked.Covered && len(x.refusals) == 0
	asked.Unapproved, asked.InRun, asked.RunRefusals = x.c.Unapproved(), x.c.InRun, x.f.runRefusals
	for i := range x.f.evidence {
		asked.Parts[i].Evidence = x.f.evidence[i]
	}
	verdict := approval.Decide(asked, time.Now())
	x.f.verdict = verdict
	addVerdict(verdict, x.result)
	r.Direction = "checked"
	r.Refusals = slices.Concat(verdict.Refusals, x.refusals, r.Refusals)
	for _, g := range x.signers {
		if g.err != nil {
			addSignerError(g, x.result)
			known = false
		}
	}
	granted := verdict.Granted || verdict.Kind == approval.Unapproved
	if len(r.Refusals) > 0 {
		for i := range r.Images {
			for j := range r.Images[i].Targets {
				if t := &r.Images[i].Targets[j]; t.State == outcome.Planned {
					t.State = outcome.TargetRefused
				}
			}
		}
	}
	return granted && known && len(r.Refusals) == 0 && !x.result.usageError
}

// sideOf returns the side of a place: only the first is the source's.
func sideOf(m *withdrawal, p *recallPlace) report.Side {
	if p == m.places[0] {
		return report.SourceSide
	}
	return report.TargetSide
}

// blocks reports whether reads are set in a place: at the source only if the flow file
// says so, or to undo it.
func (x *recaller) blocks(m *withdrawal, p *recallPlace) bool {
	return x.lift || p != m.places[0] || x.flow != nil && x.flow.Recall.Source == topology.BlockSource
}

// work reports whether something has to be done in a place, as far as that is known.
func (x *recaller) work(m *withdrawal, p *recallPlace) bool {
	if p.root == recall.Unsupported {
		return !x.lift && x.deletesTags()
	}
	if p.root.Set(x.lift, false) {
		return true
	}
	for digest, state := range p.children {
		if state.Set(x.lift, false) && !p.shared[digest] {
			return true
		}
	}
	return false
}

// state returns the state of the image in a place, before or after anything was done.
func (x *recaller) state(m *withdrawal, p *recallPlace, before bool) outcome.State {
	source := p == m.places[0] && !x.blocks(m, p)
	switch {
	case p.err != nil:
		return unreadState(p.err)
	case before && source && !x.recorded(m), before && !source && x.work(m, p):
		return outcome.Planned
	case p.root == recall.Absent && (x.lift || !p.hadParts()):
		return outcome.Absent
	case source && p.root != recall.Disabled:
		return outcome.Recorded
	case p.root == recall.Unsupported && !x.lift && x.deletesTags():
		return outcome.Untagged
	case p.root == recall.Unsupported && !x.lift:
		return outcome.Left
	case x.lift:
		return outcome.Restored
	}
	return outcome.Withdrawn
}

// hadParts reports whether a place had parts of the image that could be read.
func (p *recallPlace) hadParts() bool {
	for digest, state := range p.children {
		if state.Set(false, false) && !p.shared[digest] {
			return true
		}
	}
	return false
}

// signer returns the key that signs the record of an image, or nil.
func (x *recaller) signerOf(i int) *signer {
	if routes := x.order.images[i].Routes; len(routes) > 0 {
		return x.signer(routes[0].Rules.ReceiptKey)
	}
	return nil
}

// recorded reports whether the image has the record already: a recall that is signed if
// there is a key or, without one, that has the same reason.
func (x *recaller) recorded(m *withdrawal) bool {
	return x.recordOf(m) != nil
}

func (x *recaller) recordOf(m *withdrawal) *recall.Kept {
	if len(m.kept.Signed) > 0 {
		return &m.kept.Signed[0]
	}
	if x.signerOf(m.image) != nil {
		return nil
	}
	for j, k := range m.kept.Unsigned {
		if k.Reason == x.result.result.Recall.Reason {
			return &m.kept.Unsigned[j]
		}
	}
	return nil
}

// addRecord adds the record of an image to the result.
func (x *recaller) addRecord(i int, m *withdrawal) {
	if x.lift && !x.active(m) {
		return
	}
	entry := report.Receipt{Registry: m.source.Registry, Repository: m.source.Repository, Subject: m.digest, PredicateType: recall.StatementType, State: report.ReceiptPlanned}
	if g := x.signerOf(i); g != nil && g.sign != nil {
		entry.KeyID = g.key.ID()
	}
	if k := x.recordOf(m); k != nil && !x.lift {
		entry.State, entry.Digest, entry.KeyID = report.ReceiptPresent, k.Manifest, k.KeyID
	}
	m.record = len(x.result.result.Receipts)
	x.result.result.Receipts = append(x.result.result.Receipts, entry)
}

// active reports whether the image is recalled, by a record or because reads are disabled.
func (x *recaller) active(m *withdrawal) bool {
	return len(m.kept.Signed)+len(m.kept.Unsigned) > 0
}

// execute withdraws one image, or lifts that.
func (x *recaller) execute(ctx context.Context, i int) {
	m := x.images[i]
	if x.lift {
		x.executeLift(ctx, i)
		return
	}
	nowhere := m.nowhere()
	source := m.places[0]
	if !nowhere && !x.recorded(m) {
		switch err := x.attach(ctx, i, nil); {
		case err == nil:
		case source.root == recall.Disabled, source.veiled() && x.blocks(m, source):
			// It may have been attached before, and be hidden with the image.
			x.result.note(fmt.Sprintf("Whether %s has a recall record is not known, because reads of it are disabled: %s", m.source, problem(report.SourceSide, err).Reason))
		default:
			problem := problem(report.SourceSide, err)
			if !x.result.reported(problem, err) {
				x.result.done(false, lockRemedy(problem, source, err))
			}
			for j := range m.places[1:] {
				x.settle(i, j+1, outcome.Pending)
			}
			x.settle(i, 0, unreadState(err))
			return
		}
	}
	rest := m.places[1:]
	each(ctx, rest, func(p *recallPlace) { x.withdraw(ctx, m, p, nowhere) })
	if x.blocks(m, source) || nowhere {
		x.withdraw(ctx, m, source, nowhere)
	}
	if nowhere && m.nowhere() {
		x.result.done(false, report.Problem{Side: report.SourceSide, Subject: m.source.String(), Reason: "no registry has it, so that there is nothing to recall",
			Remedy: "Check the digest and the repositories."})
	}
	x.report(i)
}

// executeLift makes an image readable everywhere, the source first, and then attaches the
// record that lifts all recalls of it.
func (x *recaller) executeLift(ctx context.Context, i int) {
	m := x.images[i]
	blind, changed := true, false
	for _, p := range m.places {
		blind = blind && p.root != recall.Disabled
	}
	source := m.places[0]
	if source.err == nil {
		source.err = x.unsignedLift(i, m.kept)
	}
	x.restore(ctx, source, blind)
	if source.err == nil {
		// Its records may have been hidden with it.
		m.kept, source.err = x.recordsOf(ctx, source, m.digest)
	}
	if source.err == nil {
		source.err = x.unsignedLift(i, m.kept)
	}
	if source.err != nil {
		problem := problem(report.SourceSide, source.err)
		if !x.result.reported(problem, source.err) {
			x.result.done(source.changed, lockRemedy(problem, source, source.err))
		}
		for j := range m.places[1:] {
			x.settle(i, j+1, outcome.Pending)
		}
		x.settle(i, 0, unreadState(source.err))
		return
	}
	each(ctx, m.places[1:], func(p *recallPlace) { x.restore(ctx, p, blind) })
	defer x.report(i)
	// What belongs to it may have been hidden with it, and what belongs to that.
	for i, before := 0, -1; i <= maxIndexDepth && source.err == nil && len(m.parts()) > before; i++ {
		if !m.complete {
			source.err = m.readContents(ctx)
		}
		parts := len(m.parts())
		x.keepRecalled(ctx, m)
		each(ctx, m.places, func(p *recallPlace) {
			if p.children == nil || len(p.children) < parts {
				p.seeChildren(ctx, m, true)
			}
			if p.err == nil {
				x.setChildren(ctx, m, p, blind)
			}
		})
		if before = parts; !m.complete && source.err == nil {
			source.err = m.readContents(ctx)
		}
	}
	if source.err != nil {
		return
	}
	kept, err := x.recordsOf(ctx, source, m.digest)
	if err != nil {
		source.err = err
		return
	}
	m.kept = kept
	if !x.active(m) {
		for _, p := range m.places {
			changed = changed || p.changed
		}
		if !changed {
			x.result.warn(fmt.Sprintf("%s is not recalled: there is nothing to lift.", m.source))
		}
		return
	}
	var lifts []string
	for _, k := range append(kept.Signed, kept.Unsigned...) {
		lifts = append(lifts, k.Digest)
	}
	if source.err = x.unsignedLift(i, kept); source.err == nil {
		source.err = x.attach(ctx, i, lifts)
	}
}

// unsignedLift returns an error if a signed record is to be lifted by one that is not.
func (x *recaller) unsignedLift(i int, kept recall.Verdict) error {
	if x.signerOf(i) != nil {
		return nil
	}
	for _, k := range append(kept.Signed, kept.Unsigned...) {
		if k.Sealed {
			return &promote.ReadBackError{At: x.images[i].source, Reason: "the recall record " + k.Manifest + " is signed, and only a signed record lifts it",
				Remedy: "Set receiptKey, or use the flow file that names the key."}
		}
	}
	return nil
}

// restore enables reads of the image itself in one place.
func (x *recaller) restore(ctx context.Context, p *recallPlace, blind bool) {
	if p.err == nil {
		x.setRoot(ctx, p, blind)
		p.registry.Observe(p.err)
	}
}

// report adds the final state of an image in each place.
func (x *recaller) report(i int) {
	m := x.images[i]
	for j, p := range m.places {
		x.settle(i, j, x.state(m, p, false))
		if p.err != nil {
			problem := lockRemedy(problem(sideOf(m, p), p.err), p, p.err)
			t := &x.result.result.Images[i].Targets[j]
			first := t.Error == ""
			t.Error = problem.Reason
			if first {
				x.result.done(p.changed, problem)
				continue
			}
		}
		x.result.done(p.changed)
		if p.err == nil && p.root == recall.Unsupported && !x.lift {
			what := "It stays readable there; with recall.elsewhere: delete in the flow file its tags are deleted."
			if x.deletesTags() {
				what = "Its tags are deleted; by its digest it stays readable there."
			}
			x.result.note(fmt.Sprintf("%s cannot disable reads of an image. %s", p.Registry, what))
		}
	}
}

func (x *recaller) settle(i, j int, state outcome.State) {
	x.result.mu.Lock()
	defer x.result.mu.Unlock()
	t := &x.result.result.Images[i].Targets[j]
	t.State, t.Readable = state, x.images[i].shares(x.images[i].places[j])
}

// lockRemedy adds the command that an owner runs if a lock refuses the change: this
// program opens none.
func lockRemedy(p report.Problem, at *recallPlace, err error) report.Problem {
	if at.registry != nil && at.registry.Azure && (errors.Is(err, acr.ErrDisallowed) || errors.Is(err, transfer.Locked)) {
		name, _, _ := strings.Cut(at.Registry, ".")
		p.Remedy = fmt.Sprintf("Let an owner of the registry unlock the manifest that is named (az acr repository update --name %s --image %s@sha256:… --write-enabled true), run the step again, and lock it again.", name, at.Repository)
	}
	return p
}

// attach attaches the record of an image at its source: one that recalls it, or one that
// lifts other records.
func (x *recaller) attach(ctx context.Context, i int, lifts []string) error {
	m := x.images[i]
	at := m.places[0]
	entry := &report.Receipt{}
	if m.record >= 0 {
		entry = &x.result.result.Receipts[m.record]
	}
	fail := func(err error) error {
		entry.State = report.ReceiptFailed
		return err
	}
	if at.err != nil {
		return fail(at.err)
	}
	if m.subject.Digest == "" {
		return fail(&promote.ReadBackError{At: m.source, Reason: "no registry shows the image, so that no record can be attached to it"})
	}
	run, verdict, clean := x.result.result.Run, x.f.verdict, x.c.Secrets.Redact
	record := recall.Record{Time: time.Now(), Tool: x.result.result.Tool, Lifts: lifts, Reason: x.result.result.Recall.Reason, ApprovalKind: string(verdict.Kind), Run: receiptRun(run)}
	for _, g := range verdict.Given {
		record.Approvers = append(record.Approvers, receipt.Person{ID: g.Approver.ID, UniqueName: clean(g.UniqueName), Name: clean(g.Name)})
	}
	record.Requesters = requesters(x.f.run.Requesters, clean)
	payload, err := record.Statement(at.Registry+"/"+at.Repository, m.digest)
	if err != nil {
		return fail(err)
	}
	content := transfer.Content{MediaType: recall.ArtifactType, Data: payload.Content}
	if g := x.signerOf(i); g != nil {
		signed, err := payload.Sign(ctx, g.sign, receipt.DSSE)
		if err != nil {
			return fail(err)
		}
		content = transfer.Content{MediaType: recall.SignedType, Data: signed.Content}
	}
	content.Inline = len(content.Data) <= inlineLimit
	d, err := at.registry.Data.PutArtifact(ctx, at.Repository, transfer.Artifact{Type: recall.ArtifactType, Subject: m.subject, Contents: []transfer.Content{content}})
	if err != nil {
		return fail(err)
	}
	at.changed = true
	entry.State, entry.Digest = report.ReceiptAttached, d.Digest
	return nil
}

// withdraw disables reads of an image in one place: what belongs to it first, so that as
// long as it can be read itself, something is left to do.
func (x *recaller) withdraw(ctx context.Context, m *withdrawal, p *recallPlace, blind bool) {
	if p.err != nil {
		return
	}
	defer func() { p.registry.Observe(p.err) }()
	if p.root == recall.Absent && !blind {
		// A copy may have come since.
		if p.see(ctx); p.err == nil {
			p.seeChildren(ctx, m, false)
		}
	}
	switch {
	case p.err != nil:
	case p.root == recall.Unsupported && x.deletesTags():
		p.err = p.deleteTags(ctx, m)
	case p.root != recall.Unsupported:
		x.setChildren(ctx, m, p, false)
		x.setRoot(ctx, p, blind)
		if p.err == nil {
			p.err = p.unsure
		}
	}
}

// setRoot sets whether the image itself may be read in one place.
func (x *recaller) setRoot(ctx context.Context, p *recallPlace, blind bool) {
	if p.registry != nil && p.registry.Azure && (p.err == nil || !x.lift) {
		p.root = x.setReadable(ctx, p, p.Digest, p.root, blind)
	}
}

// setChildren sets whether what belongs to the image may be read in one place. Indexes in
// the image are withdrawn after what is in them: a registry may hide what that is.
func (x *recaller) setChildren(ctx context.Context, m *withdrawal, p *recallPlace, blind bool) {
	parts := m.parts()
	for _, indexes := range []bool{x.lift, !x.lift} {
		atOnce(ctx, len(parts), childrenAtOnce, func(i int) {
			state, seen := p.children[parts[i]]
			if is := len(m.contents[parts[i]]) > 0; seen && is == indexes && !p.shared[parts[i]] && !m.apart[parts[i]] {
				x.setReadable(ctx, p, parts[i], state, blind)
			}
		})
	}
}

// keepRecalled finds out which parts of an image have been recalled by themselves, at its
// source: these are not lifted with it.
func (x *recaller) keepRecalled(ctx context.Context, m *withdrawal) {
	at := m.places[0]
	for _, digest := range m.parts() {
		if m.apart[digest] || at.err != nil {
			continue
		}
		verdict, err := x.recordsOf(ctx, at, digest)
		switch {
		case refusedOrUnknown(err): // it may be hidden with the image
		case err != nil:
			at.err = err
		case verdict.Recalled() || len(x.keys) == 0 && len(verdict.Unsigned) > 0:
			m.apart[digest] = true
			x.result.note(fmt.Sprintf("%s is recalled by itself, which lifting the recall of %s does not undo.", digest, m.source))
		}
	}
}

func (x *recaller) setReadable(ctx context.Context, p *recallPlace, digest string, seen recall.State, blind bool) recall.State {
	at := p.Reference
	at.Digest = digest
	state, changed, err := promote.SetReadable(ctx, placeReads{p}, at, seen, x.lift, blind)
	x.result.mu.Lock()
	defer x.result.mu.Unlock()
	p.changed = p.changed || changed
	if err != nil && p.err == nil {
		p.err = err
	}
	return state
}
