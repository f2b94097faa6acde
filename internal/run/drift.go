package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/acr"
	"acrpromote/internal/defect"
	"acrpromote/internal/drift"
	"acrpromote/internal/plan"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
	"acrpromote/internal/transfer"
	"acrpromote/internal/vault"
)

// wholeFlow is an audit of all that a flow covers.
type wholeFlow struct {
	flow   *topology.Flow
	home   drift.Home
	images map[string]int  // number of images by repository
	places []ref.Reference // the repositories in the flow's names that targets may have
	keys   *publicKeys     // that sign receipts; nil if the flow signs none
	unread []drift.Finding // what of the targets could not be listed
}

// everything returns the entries of a set that has all that a flow covers.
func everything(flow *topology.Flow) ([]topology.Image, error) {
	lines := "**:*"
	if names := flow.Repositories.Names(); len(names) > 0 {
		lines = strings.Join(names, ":*\n") + ":*"
	}
	return topology.ParseImages("flow", []byte(lines))
}

// checkWhole returns a usage error if an audit cannot tell what a target of the flow
// should have.
func checkWhole(flow *topology.Flow) error {
	const remedy = "Name the image in source and its targets, or audit another flow."
	switch {
	case !slices.ContainsFunc(flow.To, func(to string) bool { return to != flow.From }):
		return usage("flow", fmt.Errorf("flow %s stays within one registry, so there is nothing to compare", flow.Name), remedy)
	case flow.As.Tag != "" && !strings.Contains(string(flow.As.Tag), "{tag}"):
		return usage("flow", fmt.Errorf("flow %s gives every image the tag %s, and does not say which image should have it", flow.Name, flow.As.Tag), remedy)
	}
	return nil
}

// resolveWhole finds the repositories in the flow's names that its targets have.
func (r *resolver) resolveWhole(ctx context.Context, flow *topology.Flow, sources []ref.Reference) error {
	w := &wholeFlow{flow: flow, home: drift.Home{}, images: map[string]int{}}
	r.whole = w
	for _, s := range slices.Concat(sources, r.others) {
		w.home[ref.Reference{Repository: s.Repository, Tag: s.Tag}] = true
		w.images[s.Repository]++
	}
	if flow.Require.Approval.Kind != topology.None && (flow.Receipt.Key != "" || bool(flow.Receipt.Required)) {
		if err := r.countedKeys(); err != nil {
			return err
		}
	}
	var hosts []string
	for _, name := range flow.To {
		if name == flow.From {
			continue
		}
		host := string(r.flow.Registries[name].Host)
		if err := r.s.SignIn(host, true, nil); err != nil {
			return credentialError(host, err)
		}
		hosts = append(hosts, host)
	}
	permitTokenHosts(ctx, r.c, r.s, r.flow, r.signInsOf(flow, string(r.flow.Registries[flow.From].Host)))
	found := make([][]string, len(hosts))
	failures := make([]error, len(hosts))
	var group errgroup.Group
	for i, host := range hosts {
		group.Go(func() error {
			defer defect.Catch(ctx)
			found[i], failures[i] = r.targetRepositories(ctx, host)
			return nil
		})
	}
	_ = group.Wait()
	for i, host := range hosts {
		if failures[i] != nil {
			w.unread = append(w.unread, unread(r.s, ref.Reference{Registry: host}, "its repositories could not be listed, so that those which the source does not have are not found: ", failures[i]))
		}
		for _, repository := range found[i] {
			w.places = append(w.places, ref.Reference{Registry: host, Repository: repository})
		}
	}
	return nil
}

// unread returns the finding of a place that could not be read.
func unread(s *session.Session, at ref.Reference, what string, err error) drift.Finding {
	p := problem(report.TargetSide, err)
	f := drift.Finding{Kind: drift.Unread, Registry: at.Registry, Repository: at.Repository, Reason: what + p.Reason, Mend: p.Remedy}
	if registry, unknown := s.Registry(at.Registry); unknown == nil && errors.Is(err, transfer.Denied) {
		if f.Mend = registry.Grant(nil); at.Repository == "" {
			f.Mend = "Name the repositories in the flow file, or let the identity list them. " + registry.Grant(map[string][]string{acr.Catalog: {"*"}})
		}
	}
	return f
}

// countedKeys prepares the keys whose receipts count: those of the input or else the
// public part of the flow's.
func (r *resolver) countedKeys() error {
	named, own := []string(r.c.ReceiptKeys), string(r.whole.flow.Receipt.Key)
	wrong := &mistakes{}
	switch {
	case len(named) > 0:
	case own == "":
		return usage("receiptKeys", fmt.Errorf("flow %s requires receipts, and names no key", r.whole.flow.Name), "Set receiptKeys to the public key that signs them.")
	case !vault.IsURL(own):
		private, err := vault.ReadPrivateKey(own)
		if err != nil {
			return usage("receiptKeys", err, "Set receiptKeys to the public key that signs the flow's receipts.")
		}
		key, err := receipt.NewKey(private.Public())
		r.whole.keys = &publicKeys{all: []receipt.Key{key}}
		return err
	default:
		named = []string{own}
	}
	r.whole.keys = wrong.keys(r.c, r.s, named)
	r.verifiers = r.whole.keys.vaults
	return wrong.orNil()
}

// targetRepositories returns the repositories of a target that the flow may have
// brought there: those that it names, or those in the registry's list. If the registry
// cannot be listed, it returns the names of the source's.
func (r *resolver) targetRepositories(ctx context.Context, host string) ([]string, error) {
	flow, slice := r.whole.flow, r.slice()
	var sources []string
	var failed error
	if sources = flow.Repositories.Names(); len(sources) == 0 {
		at, err := r.s.Registry(host)
		var listed []string
		if err == nil {
			listed, err = at.Data.Repositories(ctx, setLimit)
			at.Observe(err)
		}
		if err == nil {
			return slices.DeleteFunc(listed, func(repository string) bool {
				source, ok := flow.SourceRepository(repository)
				return !ok || !slice.Has(source)
			}), nil
		}
		failed = err
		sources = slices.Collect(maps.Keys(r.whole.images))
	}
	var names []string
	for _, source := range sources {
		if name, _, err := flow.Names(source, ""); err == nil && slice.Has(source) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, failed
}

// fetchKeys reads the keys whose receipts count.
func (r *reader) fetchKeys(ctx context.Context, f *findings) {
	if r.whole == nil || r.whole.keys == nil {
		return
	}
	if f.keysErr = r.whole.keys.fetch(ctx); f.keysErr != nil {
		r.whole.keys = nil
	}
}

// manifestsOfImage is how many manifests a repository may have for each image that the
// flow covers, to be read instead of lists of referrers.
const manifestsOfImage = 16

// relate reads the manifests of a source repository, and reports whether all lists of
// referrers are known then.
func (r *reader) relate(ctx context.Context, at *session.Registry, repository string) bool {
	return r.whole != nil && at.Azure && r.c.Referrers.Or(true) && at.Data.Relate(ctx, repository, manifestsOfImage*r.whole.images[repository])
}

// readDrift adds what only an audit of a whole flow reads of a target.
func (r *reader) readDrift(ctx context.Context, wanted plan.Wanted, i int, tree *transfer.Tree, t *targetState) {
	target, at, found := wanted.Targets[i], t.registry, &t.drift
	if t.disabled {
		return
	}
	found.There = t.presence.Root
	if !found.There && t.presence.TagDigest != "" {
		_, err := r.resolve(ctx, at, target.Repository, tree.Digest())
		found.There = err == nil
	}
	found.Lock = wanted.Routes[i].Rules.Lock
	if at.Azure {
		if list, err := at.Data.List(ctx, target.Repository); err == nil {
			if _, tag, ok := list.Find(target.Tag); ok {
				found.Tag = (*drift.Attributes)(&tag)
			}
			for _, m := range tree.Manifests() {
				if _, a, ok := list.Find(m.Digest); ok {
					found.Manifests = append(found.Manifests, drift.Manifest{Digest: m.Digest, Attributes: drift.Attributes(a)})
				}
			}
		}
	}
	if r.whole.keys == nil || !t.presence.Root {
		return
	}
	verdict, other, err := r.judgeReceipts(ctx, at, target, tree.Digest())
	if err != nil {
		t.err = err
		return
	}
	found.Receipt, found.OtherDigest = &verdict, other
}

// judgeReceipts judges the receipts of an image at a target. other is set if one of
// them is about another image.
func (r *reader) judgeReceipts(ctx context.Context, at *session.Registry, target ref.Reference, digest string) (v receipt.Verdict, other bool, err error) {
	keys := r.whole.keys.all
	var foreign atomic.Bool
	found, _, err := openReceipts(ctx, at, target.Repository, digest, func(mediaType string, content []byte) error {
		_, err := receipt.Open(mediaType, content, digest, keys)
		if errors.Is(err, receipt.ErrOtherImage) {
			foreign.Store(true)
		}
		return err
	})
	if err != nil {
		return v, false, err
	}
	v = receipt.Judge(receipt.Image{Digest: digest, Resources: resourcesOf(target, digest)}, found, keys, receipt.Expectations{}, time.Now())
	// The receipts of all images would take much memory.
	return receipt.Verdict{Met: v.Met, Refusals: v.Refusals}, foreign.Load() && len(v.Valid) == 0, nil
}

// readTags judges the tags in all repositories of the targets that have the flow's
// names.
func (r *reader) readTags(ctx context.Context, f *findings) {
	if r.whole == nil {
		return
	}
	found := make([][]drift.Finding, len(r.whole.places))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, at := range r.whole.places {
		group.Go(func() (err error) {
			defer defect.Catch(ctx)
			if found[i], err = r.judgeTags(ctx, at); err != nil {
				found[i] = append(found[i], unread(r.s, at, "its tags and locks could not be read: ", err))
			}
			return nil
		})
	}
	_ = group.Wait()
	all := r.whole.unread
	for _, list := range found {
		all = append(all, list...)
	}
	f.astray = drift.Merge(all)
}

// judgeTags judges the tags of one repository of a target. Tags that the source did not
// have are looked for there again.
func (r *reader) judgeTags(ctx context.Context, place ref.Reference) ([]drift.Finding, error) {
	at, err := r.s.Registry(place.Registry)
	if err == nil {
		err = at.Open()
	}
	if err != nil {
		return nil, err
	}
	var tags []string
	if at.Azure {
		var list *transfer.Listing
		if list, err = at.Data.List(ctx, place.Repository); err == nil {
			tags = list.Tags()
		}
	} else if tags, err = at.Data.Tags(ctx, place.Repository, setLimit); errors.Is(err, transfer.NotFound) {
		err = nil
	}
	if err != nil {
		at.Observe(err)
		return nil, err
	}
	extra, found := drift.JudgeTags(r.flow.File, r.whole.flow, r.whole.home, place, tags)
	for _, one := range extra {
		home, err := r.s.Registry(one.Source.Registry)
		if err != nil {
			return found, err
		}
		_, err = home.Data.Resolve(ctx, one.Source.Repository, one.Source.Tag)
		switch {
		case errors.Is(err, transfer.NotFound):
			found = append(found, one.Finding())
		case err != nil:
			return found, err
		}
	}
	return found, nil
}

// readRecalled finds out whether images that are recalled can be pulled from the targets.
func (r *reader) readRecalled(ctx context.Context, f *findings) {
	if r.whole == nil {
		return
	}
	for i, wanted := range r.images {
		found := &f.images[i]
		found.recalled = r.recalledDigest(ctx, wanted, found)
		for j, target := range wanted.Targets {
			switch t := &found.targets[j]; {
			case found.recalled != "":
				t.drift = drift.Target{Recalled: true}
				t.drift.Readable, t.err = r.readable(ctx, target, found.recalled)
			case t.disabled:
				t.drift, t.err = drift.Target{Recalled: true}, nil
			}
		}
	}
}

// recalledDigest returns the digest of an image that is recalled, or of the part of it
// that is, and "" for others.
func (r *reader) recalledDigest(ctx context.Context, wanted plan.Wanted, found *observation) string {
	source := &found.source
	if source.recall.Recalled() && source.tree != nil {
		return cmp.Or(source.recall.Signed[0].Part, source.tree.Digest())
	}
	at, err := r.s.Registry(wanted.Source.Registry)
	if err != nil || !at.Azure || !refusedOrUnknown(source.err) {
		return ""
	}
	list, err := at.Data.List(ctx, wanted.Source.Repository)
	if err != nil {
		return ""
	}
	digest, _, _ := list.Find(wanted.Source.Tag)
	if _, a, listed := list.Find(digest); !source.disabled && (!listed || a.Read) {
		return ""
	}
	source.disabled = true
	return digest
}

// listedDigest returns the digest that a listed tag points to, or "".
func listedDigest(ctx context.Context, at *session.Registry, image ref.Reference) string {
	list, err := at.Data.List(ctx, image.Repository)
	if err != nil {
		return ""
	}
	digest, _, _ := list.Find(image.Tag)
	return digest
}

// readable reports whether a recalled image can be pulled from a target. In a registry
// that cannot disable reads, a recall leaves the image, or deletes its tags.
func (r *reader) readable(ctx context.Context, target ref.Reference, digest string) (bool, error) {
	at, err := r.s.Registry(target.Registry)
	if err == nil {
		err = at.Open()
	}
	if err != nil {
		return false, err
	}
	by := digest
	if !at.Azure {
		if by = target.Tag; r.flow.Recall.Elsewhere != topology.DeleteElsewhere {
			return false, nil
		}
	} else if list, err := at.Data.List(ctx, target.Repository); err == nil {
		if _, a, listed := list.Find(digest); listed {
			return a.Read, nil
		}
	}
	d, err := r.resolve(ctx, at, target.Repository, by)
	if refusedOrUnknown(err) {
		return false, nil
	}
	return d.Digest == digest, err
}

// addDrift adds the drift that belongs to no image to the result.
func addDrift(o *order, f *findings, result *collector) {
	if o.whole == nil {
		return
	}
	if errors.Is(f.keysErr, vault.ErrUnsuitable) {
		result.add(usage("receiptKeys", f.keysErr, "Name another key."))
	} else if f.keysErr != nil {
		result.done(false, vaultProblem(f.keysErr))
	}
	for _, one := range f.astray {
		result.addDrift(one)
		result.astray++
	}
}

// addDrift adds drift to the result, as a failure at a target too.
func (r *collector) addDrift(one drift.Finding) {
	r.result.Drift = append(r.result.Drift, one)
	r.done(false, driftProblem(one))
}

func driftProblem(one drift.Finding) report.Problem {
	return report.Problem{Side: report.TargetSide, Subject: one.Subject(), Reason: one.Reason, Remedy: one.Remedy()}
}
