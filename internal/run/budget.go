package run

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/egress"
	"acrpromote/internal/plan"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/sorting"
)

// budget counts the requests of the whole run for each Azure registry, before
// anything is written: those that have been sent, and those that the plan takes.
func budget(c *agent.Config, s *session.Session, o *order, f *findings, p plan.Plan, rs *receipts) []report.Budget {
	b := &budgeter{requests: map[string]*report.Requests{}, sent: map[string]bool{}}
	for _, t := range s.Traffic() {
		b.requests[t.Registry] = &report.Requests{Read: t.Read - t.Redirected, Write: t.Write, Referrers: t.Referrers, Token: t.Token}
	}
	atomic := o.set && plan.Atomic(o.images)
	rechecks := o.rechecksRecall(c)
	for i, part := range p.Parts {
		image := f.images[i]
		if image.source.err != nil || image.source.tree == nil {
			continue
		}
		source := part.Wanted.Source.Registry
		manifests := len(image.source.tree.Manifests())
		if rechecks && plan.Approved(part.Wanted.Action) && slices.ContainsFunc(part.Steps, func(s plan.Step) bool { return s.Work != plan.Nothing && s.Work != plan.Wait }) {
			b.at(source).Referrers++ // whether it was recalled meanwhile
		}
		for j, step := range part.Steps {
			at := b.at(step.Target.Registry)
			switch {
			case part.Wanted.Action == plan.Seal:
				if part.Record {
					at.Write += recordWrites
				}
				at.Read++ // the record's time
			case step.Work == plan.Wait || j >= len(image.targets) || image.targets[j].presence == nil:
				continue
			default:
				b.copy(source, step.Target.Registry, image.targets[j], atomic)
			}
			b.lock(at, step, manifests, step.Work != plan.Nothing || part.Record)
		}
	}
	if rs != nil {
		b.receipts(rs)
	}
	var all []report.Budget
	for host, requests := range b.requests {
		if isAzure(host) {
			all = append(all, report.Budget{Registry: host, Requests: *requests, Shares: shares(*requests)})
		}
	}
	sorting.By(all, func(x, y report.Budget) int { return strings.Compare(x.Registry, y.Registry) })
	return all
}

// recordWrites is what attaching a seal record takes: two blobs, each with the start
// of an upload and the upload, and the manifest.
const recordWrites = 5

// emptyConfig is the digest of the config of an artifact, {}.
const emptyConfig = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

type budgeter struct {
	requests map[string]*report.Requests // by registry
	sent     map[string]bool             // blobs, by registry and digest
}

func (b *budgeter) at(host string) *report.Requests {
	host = strings.ToLower(host)
	if b.requests[host] == nil {
		b.requests[host] = &report.Requests{}
	}
	return b.requests[host]
}

// first reports whether a blob is seen at a registry for the first time.
func (b *budgeter) first(host, digest string) bool {
	known := b.sent[host+" "+digest]
	b.sent[host+" "+digest] = true
	return !known
}

// copy counts what a copy to one target takes. A blob that other images of the run
// need too is read at the source once, and mounted once it is in the registry.
func (b *budgeter) copy(source, target string, t targetState, atomic bool) {
	work := t.presence.Work()
	from, to := b.at(source), b.at(target)
	for _, blob := range work.Blobs {
		to.Write++
		if !blob.Mount && b.first("to "+target, blob.Digest) {
			to.Write++
		}
		if blob.Read && b.first("from "+source, blob.Digest) {
			from.Read++
		}
	}
	to.Write += work.Manifests
	to.Read += work.Lookups
	to.Referrers += work.Lists
	if atomic && work.Manifests > 0 {
		// The root by its digest first.
		to.Write++
		to.Read++
	}
}

// receipts counts what attaching receipts takes: the empty config and the content of
// each statement, with the start of an upload and the upload, and the manifests.
func (b *budgeter) receipts(rs *receipts) {
	for i, p := range rs.source {
		if p != nil && len(rs.f.images[i].source.records) > 0 {
			b.first("to "+p.at.Registry, emptyConfig) // that of the seal record
		}
	}
	rs.each(func(p *receiptPlace) {
		at := b.at(p.at.Registry)
		if listed := p.ended != nil && rs.c.Referrers.Or(true); !p.known && !listed {
			at.Referrers++ // those of another attempt
		}
		if p.present {
			return
		}
		at.Write += 6
		for _, blob := range []string{emptyConfig, fmt.Sprintf("promotion %p", p.statement)} {
			if b.first("to "+p.at.Registry, blob) {
				at.Write++
			}
		}
	})
	for _, p := range rs.seals {
		if p != nil && p.present == "" {
			b.at(p.sealing.Image.Registry).Write += recordWrites - 1 // its config is that of the record
		}
	}
}

// lock counts what locking takes: each tag and manifest is read, and read again if
// it is not locked yet.
func (b *budgeter) lock(at *report.Requests, step plan.Step, manifests int, fresh bool) {
	if step.Lock == plan.LockNone || step.Lock == "" {
		return
	}
	things := manifests
	if step.Target.Tag != "" {
		things++
	}
	at.Read += things
	if fresh {
		at.Read += things
		at.Write += things
	}
}

// shares returns the part of one minute's limits that the requests are, by tier.
func shares(r report.Requests) report.Shares {
	part := func(n, limit int) float64 { return math.Round(float64(n)/float64(limit)*1e4) / 1e4 }
	of := func(t egress.Tier) report.Share {
		return report.Share{Read: part(r.Read, t.Read), Write: part(r.Write, t.Write), Referrers: part(r.Referrers, t.Referrers)}
	}
	return report.Shares{Basic: of(egress.Basic), Standard: of(egress.Standard), Premium: of(egress.Premium)}
}

// planBudget adds the budget to the result of an action that writes, or would.
func planBudget(c *agent.Config, s *session.Session, o *order, f *findings, p plan.Plan, rs *receipts, result *collector) {
	if c.Action != agent.Audit {
		result.result.Budget = budget(c, s, o, f, p, rs)
	}
}
