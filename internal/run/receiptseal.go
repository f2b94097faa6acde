package run

import (
	"context"
	"slices"
	"time"

	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// sealPlace is the signed seal of one image.
type sealPlace struct {
	*receipts
	signer   *signer
	sealing  receipt.Sealing // of the record that is there; without one if a new one is attached
	registry *session.Registry
	subject  transfer.Descriptor

	present string // the digest of the artifact that is there
	entry   int
}

// sealPlace returns the signed seal of an image that is to be sealed, or nil if its
// registry is not part of the run.
func (rs *receipts) sealPlace(i int, part plan.Part, with *signer, now time.Time) *sealPlace {
	w, source := rs.o.images[i], rs.f.images[i].source
	registry, err := rs.s.Registry(w.Source.Registry)
	if err != nil {
		return nil
	}
	run := rs.result.result.Run
	p := &sealPlace{receipts: rs, signer: with, registry: registry, subject: source.tree.Manifests()[0], entry: -1}
	p.sealing = receipt.Sealing{Time: now, Tool: rs.result.result.Tool, Digest: part.Digest, Image: placeOf(w.Source), Run: receiptRun(run), Rules: sealRules}
	if !part.Record {
		record, _ := plan.Oldest(source.records)
		if own := slices.IndexFunc(source.records, func(r plan.Record) bool { return r.Run.ID == run.ID && r.Run.Kind == run.Kind }); own >= 0 {
			record = source.records[own]
		}
		p.sealing.Record = record.Digest
	}
	return p
}

// find finds out whether the record is signed already.
func (p *sealPlace) find(ctx context.Context) {
	if p.sealing.Record == "" {
		return
	}
	found, _, err := openReceipts(ctx, p.registry, p.sealing.Image.Repository, p.subject.Digest, signedBy(p.signer.key, p.subject.Digest))
	if err != nil {
		return // it is signed once more, or fails then
	}
	for _, f := range found {
		o, err := receipt.Open(f.MediaType, f.Content, p.subject.Digest, []receipt.Key{p.signer.key})
		if err == nil && o.Sealing != nil && o.Sealing.Record == p.sealing.Record && o.Sealing.Run.ID == p.sealing.Run.ID && o.Sealing.Run.Kind == p.sealing.Run.Kind {
			p.present = f.Manifest
			return
		}
	}
}

// attach signs the record and attaches the statement, unless there is one. record is
// the digest of the record that was attached just now, or empty.
func (p *sealPlace) attach(ctx context.Context, record string) (changed bool, err error) {
	if p.present != "" {
		return false, nil
	}
	if record != "" {
		p.sealing.Record = record
	}
	payload, err := p.sealing.Statement()
	if err != nil {
		return false, err
	}
	signed, err := p.sign(ctx, payload, p.signer)
	if err != nil {
		return false, err
	}
	d, err := p.registry.Data.PutArtifact(ctx, p.sealing.Image.Repository, attachment(signed, p.subject))
	p.result.mu.Lock()
	defer p.result.mu.Unlock()
	r := &p.result.result.Receipts[p.entry]
	if err != nil {
		r.State = report.ReceiptFailed
		return false, err
	}
	r.State, r.Digest = report.ReceiptAttached, d.Digest
	return true, nil
}
