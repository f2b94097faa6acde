package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// find finds out whether the place has a receipt that makes a new one unnecessary:
// valid by the key that signs, and of this run or, where it changes nothing, of any.
func (p *receiptPlace) find(ctx context.Context) error {
	if p.known {
		return nil
	}
	if err := p.registry.Open(); err != nil {
		return err
	}
	verdict, err := judgeReceipts(ctx, p.registry, p.at.Repository, p.subject.Digest, p.at.Resource(p.subject.Digest), p.signer.key)
	if err != nil {
		return err
	}
	p.known = true
	found := 0
	for _, at := range p.tags {
		for i := range verdict.Valid {
			r := &verdict.Valid[i]
			if r.Passed(time.Now()) && r.SameRules(p.promotion, p.redact, at) && (p.anyRun || r.SameRun(p.promotion)) {
				p.digests = [2]string{r.Manifests[1], r.Manifests[0]}
				found++
				break
			}
		}
	}
	if p.present = found == len(p.tags); p.present {
		return nil
	}
	for _, note := range verdict.Notes {
		p.result.note(fmt.Sprintf("%s/%s@%s: a new receipt is needed. %s", p.at.Registry, p.at.Repository, p.subject.Digest, note))
	}
	return nil
}

// judgeReceipts reads the receipts that are attached to an image, and judges them by
// the key that signs.
func judgeReceipts(ctx context.Context, at *session.Registry, repository, digest, resource string, key receipt.Key) (receipt.Verdict, error) {
	found, notes, err := openReceipts(ctx, at, repository, digest, signedBy(key, digest))
	if err != nil || len(found) == 0 {
		return receipt.Verdict{}, err
	}
	verdict := receipt.Judge(receipt.Image{Digest: digest, Resources: []string{resource}}, found, []receipt.Key{key}, receipt.Expectations{}, time.Now())
	verdict.Notes = append(verdict.Notes, notes...)
	return verdict, nil
}

// signedBy returns the function that accepts what a key has signed of an image.
func signedBy(key receipt.Key, digest string) func(mediaType string, content []byte) error {
	return func(mediaType string, content []byte) error {
		_, err := receipt.Open(mediaType, content, digest, []receipt.Key{key})
		return err
	}
}

// start begins to sign, and to upload what does not have to wait for the copy, unless
// another target has. stop ends it; finish is called in between, or not at all.
func (p *receiptPlace) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.begun.Do(func() {
		go func() {
			defer defect.Catch(ctx)
			defer close(p.prepared)
			p.err = p.prepare(ctx)
		}()
	})
	return func() {
		cancel()
		<-p.prepared
	}
}

// prepare signs both statements and uploads their content, unless there is a receipt.
func (p *receiptPlace) prepare(ctx context.Context) error {
	if err := p.find(ctx); err != nil || p.present {
		return err
	}
	var group errgroup.Group
	var signed [2]receipt.Artifact
	group.Go(func() (err error) {
		defer defect.Catch(ctx)
		signed[0], err = p.signed()
		return err
	})
	group.Go(func() (err error) {
		defer defect.Catch(ctx)
		signed[1], err = p.sign(ctx, p.summary, p.signer)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for i, a := range signed {
		p.artifacts[i] = attachment(a, p.subject)
	}
	return p.registry.Data.PutArtifactBlobs(ctx, p.at.Repository, p.artifacts[:]...)
}

func attachment(a receipt.Artifact, subject transfer.Descriptor) transfer.Artifact {
	return transfer.Artifact{
		Type: a.Type, Subject: subject, Annotations: a.Annotations,
		Contents: []transfer.Content{{MediaType: a.MediaType, Data: a.Content, Inline: len(a.Content) <= inlineLimit}},
	}
}

// finish attaches the receipt after everything else has arrived, unless another target
// has. A refusal because the image is locked is an error only if receipts are required.
func (p *receiptPlace) finish(ctx context.Context) error {
	select {
	case <-p.prepared:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if p.err != nil || p.present || p.settled {
		return p.err
	}
	var group errgroup.Group
	for i := range p.artifacts {
		group.Go(func() error {
			defer defect.Catch(ctx)
			d, err := p.registry.Data.PutArtifactManifest(ctx, p.at.Repository, p.artifacts[i])
			if err == nil {
				p.settle(i, report.ReceiptAttached, d.Digest)
			}
			return err
		})
	}
	err := group.Wait()
	p.settled = err == nil
	if errors.Is(err, transfer.Locked) && !p.required {
		p.settled = true
		p.result.note(fmt.Sprintf("the approval is not signed at %s/%s: the registry refuses receipts of a locked image: %v", p.at.Registry, p.at.Repository, err))
		p.fail()
		return nil
	}
	return err
}

// attest attaches the receipt to an image that is there already.
func (p *receiptPlace) attest(ctx context.Context) (changed bool, err error) {
	stop := p.start(ctx)
	defer stop()
	err = p.finish(ctx)
	return p.wrote(), err
}

// settle sets the state of one of the two statements in the result.
func (p *receiptPlace) settle(i int, state report.ReceiptState, digest string) {
	p.result.mu.Lock()
	defer p.result.mu.Unlock()
	r := &p.result.result.Receipts[p.entry+i]
	r.State, r.Digest = state, digest
	if state == report.ReceiptAttached {
		p.result.result.Changed = true
	}
}

// fail sets the state of what has not been attached.
func (p *receiptPlace) fail() {
	for i := range p.artifacts {
		if p.state(i) == report.ReceiptPlanned {
			p.settle(i, report.ReceiptFailed, "")
		}
	}
}

func (p *receiptPlace) state(i int) report.ReceiptState {
	p.result.mu.Lock()
	defer p.result.mu.Unlock()
	return p.result.result.Receipts[p.entry+i].State
}

// wrote reports whether anything was attached.
func (p *receiptPlace) wrote() bool {
	return p.state(0) == report.ReceiptAttached || p.state(1) == report.ReceiptAttached
}

// conclude sets the state of a place whose copy has ended: what was found out late to
// be there, and what was not attached.
func (p *receiptPlace) conclude(err error) {
	if err == nil && p.present {
		for i, digest := range p.digests {
			p.settle(i, report.ReceiptPresent, digest)
		}
	}
	p.fail()
}

// conclude sets the state of what was never begun, because its image did not arrive.
func (rs *receipts) conclude() {
	rs.result.mu.Lock()
	defer rs.result.mu.Unlock()
	for i := range rs.result.result.Receipts {
		if r := &rs.result.result.Receipts[i]; r.State == report.ReceiptPlanned {
			r.State = report.ReceiptFailed
		}
	}
}

// startSource begins to attach the receipt at the source, and returns a function that
// waits for its end.
func (e *executor) startSource(ctx context.Context, i int) (wait func()) {
	p := e.receipts.source[i]
	if p == nil || !slices.ContainsFunc(e.parts[i].Steps, func(s plan.Step) bool { return s.Work != plan.Wait }) {
		return func() {}
	}
	go func() {
		defer defect.Catch(ctx)
		defer close(p.ended)
		changed, err := p.attest(ctx)
		p.conclude(err)
		if err != nil {
			e.result.done(changed, problem(report.SourceSide, err))
		}
	}()
	return func() { <-p.ended }
}

// attester attaches receipts to the image of one part.
type attester struct {
	*executor
	image int
}

func (a attester) Attest(ctx context.Context, step plan.Step) (changed bool, err error) {
	p := a.place(a.image, step)
	if p == nil {
		return false, nil
	}
	changed, err = p.attest(ctx)
	p.conclude(err)
	return changed, err
}

// place returns where a step leaves a receipt, or nil.
func (e *executor) place(i int, step plan.Step) *receiptPlace {
	if len(e.receipts.places[i]) == 0 {
		return nil
	}
	return e.receipts.places[i][slices.Index(e.order.images[i].Targets, step.Target)]
}
