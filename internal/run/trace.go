package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/explain"
	"acrpromote/internal/plan"
	"acrpromote/internal/recall"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
	"acrpromote/internal/trace"
	"acrpromote/internal/transfer"
	"acrpromote/internal/vault"
)

const (
	// unsignedLimit limits how many statements of an image are kept in a repository that
	// none of the keys has signed.
	unsignedLimit = 64
	// tagLimit limits how many tags of an image are shown, and how many tags of a
	// repository are read to find the images of a run.
	tagLimit = 200
)

// tracer reads where images are and what is attached to them.
type tracer struct {
	s      *session.Session
	keys   []receipt.Key
	result *collector

	mu     sync.Mutex
	failed []report.Problem
	tags   []string // that may point to the image: of the source, and of receipts
}

// traceImages tells the life of an image, or of all images that a run has promoted,
// from the registries that the inputs or the flow file name.
func traceImages(ctx context.Context, c *agent.Config, to *reporter, result *collector) (*session.Session, *order) {
	s, err := open(c, to, result)
	if err != nil {
		result.add(err)
		return nil, nil
	}
	wrong := &mistakes{}
	keys := wrong.keys(c, s, c.ReceiptKeys)
	var source ref.Reference
	if c.Source != "" {
		source = wrong.source(c.Source)
	}
	var places []ref.Reference // in repositories; the image itself is not named
	add := func(at ref.Reference) {
		at.Tag, at.Digest = "", ""
		if at.Registry != "" && at.Repository != "" && !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	add(source)
	for _, text := range c.Targets {
		target, err := ref.ParseTarget(text, source)
		switch {
		case err != nil:
			wrong.add("targets", err, "Correct this line of the input targets.")
		case target.Repository == "":
			wrong.add("targets", fmt.Errorf("%q names no repository", text), "Write host/repository.")
		}
		add(target)
	}
	if c.FlowFile != "" && source.Repository != "" {
		flow, err := loadFlow(ctx, c, s, result)
		if err != nil && !isUsage(err) {
			result.result.Errors = append(result.result.Errors, flowProblem(c.FlowFile, err))
			return s, nil
		}
		wrong.join(err)
		if flow != nil {
			for _, name := range slices.Sorted(maps.Keys(flow.Registries)) {
				add(ref.Reference{Registry: string(flow.Registries[name].Host), Repository: source.Repository})
			}
		}
	}
	o := &order{action: c.Action, verifiers: keys.vaults}
	for _, at := range places {
		o.images = append(o.images, plan.Wanted{Action: c.Action, Source: at})
		rights := []string{"pull"}
		if isAzure(at.Registry) {
			rights = append(rights, "metadata_read")
		}
		if err := s.SignIn(at.Registry, at.Registry != source.Registry, map[string][]string{at.Repository: rights}); err != nil {
			wrong.join(credentialError(at.Registry, err))
		}
	}
	if err := wrong.orNil(); err != nil {
		result.add(err)
		return s, nil
	}
	if err := keys.fetch(ctx); err != nil {
		if errors.Is(err, vault.ErrUnsuitable) {
			result.add(usage("receiptKeys", err, "Name another key."))
		} else {
			result.result.Errors = append(result.result.Errors, vaultProblem(err))
		}
		return s, o
	}
	images := []ref.Reference{source}
	t := &tracer{s: s, keys: keys.all, result: result}
	if c.Run.Given {
		images = t.ofRun(ctx, places, c.Run.Value)
	}
	for _, image := range images {
		life, err := t.life(ctx, image, places)
		if err != nil {
			result.result.Errors = append(result.result.Errors, problem(report.SourceSide, err))
			continue
		}
		result.result.Images = append(result.result.Images, report.Image{Source: image.String(), Digest: life.Digest})
		result.result.Trace = append(result.result.Trace, life)
	}
	for _, p := range t.failed {
		if !slices.Contains(result.result.Errors, p) {
			result.result.Errors = append(result.result.Errors, p)
		}
	}
	result.unexecuted = ctx.Err() != nil
	return s, o
}

// flowProblem is the failure to read a flow file, of which only the registries are
// needed: no rule is judged.
func flowProblem(name string, err error) report.Problem {
	p := report.Problem{Side: report.ServiceSide, Subject: name}
	if no, ok := errors.AsType[*refusalError](err); ok {
		p.Reason, p.Remedy = no.Refusal.Reason, no.Refusal.Remedy
		return p
	}
	p.Reason, p.Remedy = explain.Split(err, "Correct the input flowFile.")
	return p
}

// life reads the life of one image.
func (t *tracer) life(ctx context.Context, image ref.Reference, places []ref.Reference) (trace.Life, error) {
	digest := image.Digest
	t.tags = nil
	if digest == "" {
		at, err := t.s.Registry(image.Registry)
		if err != nil {
			return trace.Life{}, err
		}
		found, err := at.Data.Resolve(ctx, image.Repository, image.Tag)
		if err != nil && readsDisabled(ctx, at, image, err) {
			// The image is recalled, and the attributes of its tag still show which it is.
			found.Digest, err = attributedDigest(ctx, at, image)
		}
		if err != nil {
			return trace.Life{}, err
		}
		digest, t.tags = found.Digest, []string{image.Tag}
	}
	seen := t.visit(ctx, places, digest)
	// Receipts may name other repositories of the same registries.
	var more []ref.Reference
	for _, s := range seen {
		for _, one := range s.Statements {
			if one.Promotion == nil {
				continue
			}
			for _, at := range append([]receipt.Place{one.Promotion.From}, one.Promotion.To...) {
				named := ref.Reference{Registry: at.Registry, Repository: at.Repository}
				known := slices.ContainsFunc(places, func(p ref.Reference) bool { return p.Registry == at.Registry })
				if known && one.Signed && !slices.Contains(places, named) && !slices.Contains(more, named) {
					more = append(more, named)
				}
			}
		}
	}
	for _, at := range more {
		rights := []string{"pull"}
		if isAzure(at.Registry) {
			rights = append(rights, "metadata_read")
		}
		if err := t.s.SignIn(at.Registry, true, map[string][]string{at.Repository: rights}); err != nil {
			return trace.Life{}, err
		}
	}
	seen = append(seen, t.visit(ctx, more, digest)...)
	return trace.Of(image.String(), digest, seen), nil
}

// attributedDigest returns the digest that the attributes of a tag show.
func attributedDigest(ctx context.Context, at *session.Registry, image ref.Reference) (string, error) {
	metadata, err := at.Metadata()
	if err != nil {
		return "", err
	}
	tag, err := metadata.Tag(ctx, image.Repository, image.Tag)
	return tag.Digest, err
}

// visit reads what each place has of an image.
func (t *tracer) visit(ctx context.Context, places []ref.Reference, digest string) []trace.Seen {
	seen := make([]trace.Seen, len(places))
	var group errgroup.Group
	group.SetLimit(artifactsAtOnce)
	for i, at := range places {
		group.Go(func() error {
			defer defect.Catch(ctx)
			seen[i] = t.see(ctx, at, digest)
			return nil
		})
	}
	_ = group.Wait()
	return seen
}

// see reads what one place has of an image.
func (t *tracer) see(ctx context.Context, at ref.Reference, digest string) trace.Seen {
	seen := trace.Seen{Registry: at.Registry, Repository: at.Repository, State: trace.Unread}
	failed := func(err error) trace.Seen {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.failed = append(t.failed, problem(report.SourceSide, err))
		return seen
	}
	registry, err := t.s.Registry(at.Registry)
	if err != nil {
		return failed(err)
	}
	_, err = registry.Data.Resolve(ctx, at.Repository, digest)
	switch {
	case err != nil && readsDisabled(ctx, registry, ref.Reference{Registry: at.Registry, Repository: at.Repository, Digest: digest}, err):
		seen.State = trace.Withdrawn
		return seen
	case errors.Is(err, transfer.NotFound):
		seen.State = trace.Missing
		return seen
	case err != nil:
		return failed(err)
	}
	seen.State = trace.Present
	kept := 0
	found, notes, err := openReceipts(ctx, registry, at.Repository, digest, func(mediaType string, content []byte) error {
		if _, err := receipt.Open(mediaType, content, digest, t.keys); err == nil {
			return nil
		}
		if _, err := receipt.Claim(mediaType, content, digest); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if kept++; kept > unsignedLimit {
			return fmt.Errorf("more than %d statements are not signed by one of the keys", unsignedLimit)
		}
		return nil
	})
	if err != nil {
		return failed(err)
	}
	for _, f := range found {
		if f.Problem != "" {
			notes = append(notes, fmt.Sprintf("%s/%s: %s is not shown: %s.", at.Registry, at.Repository, f.Manifest, f.Problem))
			continue
		}
		opened, err := receipt.Open(f.MediaType, f.Content, digest, t.keys)
		signed := err == nil
		if !signed {
			opened, err = receipt.Claim(f.MediaType, f.Content, digest)
		}
		if err == nil {
			seen.Statements = append(seen.Statements, trace.Statement{Opened: opened, Signed: signed})
		}
	}
	recalls, doubts, err := t.recalls(ctx, registry, at.Repository, digest)
	if err != nil {
		return failed(err)
	}
	seen.Recalls, notes = recalls, append(notes, doubts...)
	records, doubts, err := readRecords(ctx, registry, at.Repository, digest, false)
	if err != nil {
		return failed(err)
	}
	for _, r := range records {
		claimed := ""
		if r.Run.ID != 0 {
			claimed = fmt.Sprintf("run %d of %s", r.Run.ID, r.Run.Project)
		}
		seen.Records = append(seen.Records, trace.Record{Digest: r.Digest, Created: r.Created, Run: claimed})
	}
	notes = append(notes, doubts...)
	seen.Tags, err = t.tagsOf(ctx, registry, at.Repository, digest, &seen)
	if err != nil {
		notes = append(notes, fmt.Sprintf("%s/%s: its tags and times were not read: %s.", at.Registry, at.Repository, problem(report.SourceSide, err).Reason))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, note := range notes[:min(len(notes), unsignedLimit)] {
		t.result.warn(note)
	}
	return seen
}

// recalls reads the recall records of an image. The list is the one that receipts are
// found in, so that it is not asked for again.
func (t *tracer) recalls(ctx context.Context, at *session.Registry, repository, digest string) (recalls []trace.Recall, notes []string, err error) {
	listed, err := at.Data.Referrers(ctx, repository, digest, "")
	if err != nil {
		return nil, nil, err
	}
	listed = slices.DeleteFunc(listed, func(d transfer.Descriptor) bool { return d.ArtifactType != recall.ArtifactType })
	if len(listed) > receiptLimit {
		notes = append(notes, fmt.Sprintf("%d recall records are attached to %s; only %d of them were read.", len(listed), digest, receiptLimit))
		listed = listed[:receiptLimit]
	}
	kept, doubts, err := readRecallRecords(ctx, at, repository, digest, listed, t.keys)
	for _, k := range kept {
		recalls = append(recalls, trace.Recall{Digest: k.Digest, Time: k.Time, Lifts: len(k.Lifts) > 0, Reason: k.Reason, By: k.Approvers, Run: k.Run, KeyID: k.KeyID})
	}
	return recalls, append(notes, doubts...), err
}

// tagsOf returns the tags that point to the image, and sets when it was pushed. A
// registry outside Azure is asked only for tags that the source or a receipt names.
func (t *tracer) tagsOf(ctx context.Context, at *session.Registry, repository, digest string, seen *trace.Seen) (tags []string, err error) {
	if at.Azure {
		metadata, err := at.Metadata()
		if err != nil {
			return nil, err
		}
		attributes, err := metadata.Manifest(ctx, repository, digest)
		if err != nil {
			return nil, err
		}
		seen.Pushed = attributes.Created
		listed, err := metadata.TagsOf(ctx, repository, digest, tagLimit)
		for _, tag := range listed {
			tags = append(tags, tag.Name)
		}
		return tags, err
	}
	maybe := slices.Clone(t.tags)
	for _, s := range seen.Statements {
		if s.Promotion == nil {
			continue
		}
		for _, to := range append(s.Promotion.To, s.Promotion.From) {
			if ref.IsTag(to.Tag) && !slices.Contains(maybe, to.Tag) && len(maybe) < tagLimit {
				maybe = append(maybe, to.Tag)
			}
		}
	}
	for _, tag := range maybe {
		found, err := at.Data.Resolve(ctx, repository, tag)
		if err != nil && !errors.Is(err, transfer.NotFound) {
			return tags, err
		}
		if found.Digest == digest {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// ofRun returns the images in the repositories that a run has promoted, as receipts
// say.
func (t *tracer) ofRun(ctx context.Context, places []ref.Reference, run int) []ref.Reference {
	var images []ref.Reference
	known := map[string]bool{}
	for _, p := range t.promotions(ctx, places, false, func(p receipt.Promotion) bool { return p.Run.ID == run }) {
		if digest := p.found.Digest; !known[digest] {
			images, known[digest] = append(images, p.found), true
		}
	}
	if len(images) == 0 && len(t.failed) == 0 {
		t.result.warn(fmt.Sprintf("No image with a receipt of run %d was found.", run))
	}
	return images
}

// promotion is what a receipt says, and the image that it is attached to.
type promotion struct {
	receipt.Promotion
	found ref.Reference
}

// promotions returns the promotions in the repositories that are wanted: as receipts say
// or, if signed is set, as those say that one of the keys has signed.
func (t *tracer) promotions(ctx context.Context, places []ref.Reference, signed bool, wanted func(receipt.Promotion) bool) []promotion {
	var promotions []promotion
	for _, at := range places {
		digests, err := t.digests(ctx, at)
		if err != nil {
			t.failed = append(t.failed, problem(report.SourceSide, err))
			continue
		}
		registry, err := t.s.Registry(at.Registry)
		if err != nil {
			continue
		}
		for _, digest := range digests {
			found := ref.Reference{Registry: at.Registry, Repository: at.Repository, Digest: digest}
			_, _, err := openReceipts(ctx, registry, at.Repository, digest, func(mediaType string, content []byte) error {
				o, err := receipt.Open(mediaType, content, digest, t.keys)
				if err != nil && !signed {
					o, err = receipt.Claim(mediaType, content, digest)
				}
				if err == nil && o.Promotion != nil && wanted(*o.Promotion) {
					t.mu.Lock()
					promotions = append(promotions, promotion{*o.Promotion, found})
					t.mu.Unlock()
				}
				return cmp.Or(err, errNotKept)
			})
			switch {
			case err != nil && readsDisabled(ctx, registry, found, err):
				t.result.warn(fmt.Sprintf("%s may not be read any more, so that its receipts are not known.", found))
			case err != nil:
				t.failed = append(t.failed, problem(report.SourceSide, err))
			}
		}
	}
	return promotions
}

var errNotKept = errors.New("not kept")

// digests returns the digests of the newest tags of a repository.
func (t *tracer) digests(ctx context.Context, at ref.Reference) (digests []string, err error) {
	registry, err := t.s.Registry(at.Registry)
	if err != nil {
		return nil, err
	}
	add := func(digest string) {
		if !slices.Contains(digests, digest) {
			digests = append(digests, digest)
		}
	}
	if registry.Azure {
		metadata, err := registry.Metadata()
		if err != nil {
			return nil, err
		}
		tags, err := metadata.NewestTags(ctx, at.Repository, tagLimit)
		for _, tag := range tags {
			add(tag.Digest)
		}
		return digests, err
	}
	tags, err := registry.Data.Tags(ctx, at.Repository, tagLimit)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		found, err := registry.Data.Resolve(ctx, at.Repository, tag)
		if err != nil {
			return nil, err
		}
		add(found.Digest)
	}
	return digests, nil
}
