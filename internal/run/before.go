package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
	"acrpromote/internal/sorting"
)

// resolveBefore replaces the source of a rollback: by the image that its tag pointed to
// before a run moved it, as signed receipts say.
func resolveBefore(ctx context.Context, c *agent.Config, s *session.Session, result *collector) error {
	const remedy = "Name the image itself in source: trace shows what was promoted when."
	wrong := &mistakes{}
	source := wrong.source(c.Source)
	if c.HasSet() || source.Tag == "" {
		wrong.add("before", errors.New("before takes a source with a tag that moves"), "Set source to host/repository:tag.")
	}
	o := &order{}
	if c.FlowFile != "" {
		flow, err := loadFlow(ctx, c, s, result)
		if err != nil {
			return err
		}
		o.flow, source.Registry = flow, flow.MainHost(source.Registry)
	}
	keys := wrong.keys(c, s, c.ReceiptKeys)
	target := slices.ContainsFunc(c.Targets, func(t string) bool {
		named, err := plan.ParseDestination(t)
		return err == nil && o.mainHost(named.Registry) == source.Registry
	})
	rights := []string{"pull"}
	if isAzure(source.Registry) {
		rights = append(rights, "metadata_read")
	}
	if err := wrong.orNil(); err != nil {
		return err
	}
	if err := s.SignIn(source.Registry, target, map[string][]string{source.Repository: rights}); err != nil {
		return credentialError(source.Registry, err)
	}
	err := keys.fetch(ctx)
	if err == nil {
		var own []receipt.Key
		var notes []string
		own, notes, err = recallKeys(ctx, c, s, o)
		keys.all = append(keys.all, own...)
		for _, note := range notes {
			result.warn(note)
		}
	}
	switch {
	case err != nil:
		return usage("receiptKeys", err, remedy)
	case len(keys.all) == 0:
		return usage("before", errors.New("before takes receipts that are signed, and no key says whose count"), "Set receiptKeys, or receiptKey.")
	}
	t := &tracer{s: s, keys: keys.all, result: result}
	place := source
	place.Tag = ""
	moves := t.promotions(ctx, []ref.Reference{place}, true, func(p receipt.Promotion) bool {
		for _, to := range p.To {
			if o.at(to) == source {
				return true
			}
		}
		return false
	})
	if len(t.failed) > 0 {
		return usage("before", errors.New("the receipts were not read: "+t.failed[0].Reason), cmp.Or(t.failed[0].Remedy, remedy))
	}
	sorting.By(moves, func(a, b promotion) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Run.ID, b.Run.ID), strings.Compare(a.Digest, b.Digest))
	})
	at := 0
	for at < len(moves) && moves[at].Run.ID != c.Before.Value {
		at++
	}
	if at == len(moves) {
		return usage("before", fmt.Errorf("no signed receipt in this repository says that run %d has set the tag %s", c.Before.Value, source.Tag), remedy)
	}
	for at--; at >= 0 && moves[at].Digest == moves[at+1].Digest; at-- {
	}
	if at < 0 {
		return usage("before", fmt.Errorf("no signed receipt says what the tag %s pointed to before run %d", source.Tag, c.Before.Value), remedy)
	}
	before := o.at(moves[at].From)
	if before.Tag == "" {
		before.Digest = moves[at].Digest
	} else if c.Digest == "" {
		c.Digest = moves[at].Digest
	}
	c.Source = before.String()
	return nil
}

// at returns a place as a reference, with the main host of its registry.
func (o *order) at(p receipt.Place) ref.Reference {
	r := reference(p)
	r.Registry = o.mainHost(r.Registry)
	return r
}
