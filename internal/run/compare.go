package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/card"
	"acrpromote/internal/defect"
	"acrpromote/internal/imageinfo"
	"acrpromote/internal/keyed"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/sbom"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// Limits of what is read only to show how images differ.
const (
	comparedImages   = 25              // of a set
	comparedPairs    = 50              // of images
	listedTags       = 1000            // repositories of which the tags are listed
	tagsOfList       = 100             // of one list, the newest
	allTags          = 10_000          // of one list without times
	comparedAtOnce   = 8               // images, lists
	comparedChildren = 20              // platforms of an image
	comparingTime    = 2 * time.Minute // for all of it
)

// comparer reads how the images of an order differ from those at its targets. What
// it cannot read is a note, never an error of the run.
type comparer struct {
	*reader
	images *keyed.Cache[string, *described]       // by registry, repository and digest
	lists  *keyed.Cache[string, *[]imageinfo.Tag] // by registry and repository
	sboms  chan struct{}                          // of the comparisons of packages that may run
	limits changeLimits
}

// described is an image as far as it was read.
type described struct {
	imageinfo.Image
	repository   string
	registry     *session.Registry
	attestations map[string][]string // digests of BuildKit's attestations, by platform
	notes        []string
}

// compare describes the images, and compares them with what they replace or follow at
// their targets. A seal, which has no target, is compared within its repository.
func compare(ctx context.Context, c *agent.Config, s *session.Session, o *order, f *findings, p plan.Plan, result *collector, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, comparingTime)
	defer cancel()
	r := &comparer{reader: &reader{c, s, o}, sboms: make(chan struct{}, 1)}
	r.images = keyed.NewCache[string, *described](comparedPairs+comparedImages, nil)
	r.lists = keyed.NewCache[string, *[]imageinfo.Tag](listedTags, nil)
	changes := r.baselines(ctx, f, p)
	var group errgroup.Group
	group.SetLimit(comparedAtOnce)
	pairs, left := 0, 0
	for i := range changes {
		image := &result.result.Images[i]
		found := f.images[i].source
		if found.tree == nil {
			continue
		}
		if i >= comparedImages {
			left++
			image.Changes = plain(changes[i])
			continue
		}
		compared := changes[i][:min(len(changes[i]), comparedPairs-pairs)]
		pairs += len(compared)
		group.Go(func() error {
			defer defect.Catch(ctx)
			description, list := r.compareImage(ctx, o.images[i], found, compared)
			image.Description = &description
			image.Changes = append(list, plain(changes[i][len(compared):])...)
			return nil
		})
	}
	_ = group.Wait()
	var notes []string
	if left > 0 {
		notes = append(notes, fmt.Sprintf("only the first %d images were compared in detail", comparedImages))
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		notes = append(notes, fmt.Sprintf("reading what differs took more than %s and was ended", comparingTime))
	}
	result.result.Card = &report.CardFacts{Operation: o.action, At: formatTime(now), Notes: notes}
	if o.action == plan.Seal && len(p.Parts) == 1 && len(p.Parts[0].Steps) == 1 {
		result.result.Card.Lock = string(p.Parts[0].Steps[0].Lock)
		result.result.Images[0].Types = r.attachedTypes(ctx, o.images[0].Source, f.images[0].source.tree)
	}
}

// baseline is an image to compare with, and the targets that it applies to.
type baseline struct {
	basis      imageinfo.Basis
	registry   string
	repository string
	tag        imageinfo.Tag
	targets    []string
	note       string // why there is nothing to compare with
}

// plain returns changes of which nothing else was read.
func plain(baselines []*baseline) []card.Change {
	var list []card.Change
	for _, b := range baselines {
		list = append(list, b.change())
	}
	return list
}

// change returns the change before anything was compared.
func (b *baseline) change() card.Change {
	c := card.Change{Basis: b.basis, Targets: append([]string{}, b.targets...), Packages: []card.Packages{}, Notes: []string{}, Difference: imageinfo.Difference{
		PlatformsAdded: []string{}, PlatformsRemoved: []string{}, Settings: []imageinfo.Setting{}}}
	c.Old = card.Side{Registry: b.registry, Repository: b.repository, Tag: b.tag.Name, Digest: b.tag.Digest, Description: card.Description{Platforms: []string{}, SetAt: formatTime(b.tag.Updated)}}
	if b.note != "" {
		c.Notes = append(c.Notes, b.note)
	}
	return c
}

// lookup is a target that gets a new tag, of which the repository's tags are listed.
type lookup struct {
	image, target int
	at            ref.Reference
	where         string
}

// baselines finds for each image what to compare it with: at each target what the
// tag points to if it moves; if it is new, another tag of the repository.
func (r *comparer) baselines(ctx context.Context, f *findings, p plan.Plan) [][]*baseline {
	found := make([][]*baseline, len(r.order.images))
	var lookups []lookup
	for i, wanted := range r.order.images {
		if f.images[i].source.tree == nil {
			continue
		}
		if wanted.Action == plan.Seal {
			lookups = append(lookups, lookup{i, 0, wanted.Source, ""})
			continue
		}
		for j, step := range p.Parts[i].Steps {
			switch seen := f.images[i].targets[j]; {
			case step.Work == plan.Repair:
				found[i] = merge(found[i], &baseline{basis: imageinfo.Same, registry: step.Target.Registry, repository: step.Target.Repository,
					tag: imageinfo.Tag{Name: step.Target.Tag, Digest: f.images[i].source.tree.Digest()}, targets: []string{place(step.Target)}})
			case seen.presence == nil || step.Work == plan.Nothing:
			case seen.presence.TagDigest != "":
				found[i] = merge(found[i], &baseline{basis: imageinfo.Moved, registry: step.Target.Registry, repository: step.Target.Repository,
					tag: imageinfo.Tag{Name: step.Target.Tag, Digest: seen.presence.TagDigest}, targets: []string{place(step.Target)}})
			default:
				lookups = append(lookups, lookup{i, j, step.Target, place(step.Target)})
			}
		}
	}
	// The first targets of all images come first.
	sort.SliceStable(lookups, func(i, j int) bool { return lookups[i].target < lookups[j].target })
	chosen := make([]*baseline, min(len(lookups), listedTags))
	var group errgroup.Group
	group.SetLimit(comparedAtOnce)
	for n := range chosen {
		group.Go(func() error {
			defer defect.Catch(ctx)
			l := lookups[n]
			chosen[n] = r.choose(ctx, l.at, f.images[l.image].source.tree.Digest())
			return nil
		})
	}
	_ = group.Wait()
	for n, l := range lookups {
		b := &baseline{basis: imageinfo.Unknown, registry: l.at.Registry, repository: l.at.Repository, note: fmt.Sprintf("the tags of more than %d repositories were not listed", listedTags)}
		if n < len(chosen) {
			b = chosen[n]
		}
		if l.where != "" {
			b.targets = []string{l.where}
		}
		found[l.image] = merge(found[l.image], b)
	}
	return found
}

// merge adds a baseline, or its targets to one with the same image.
func merge(list []*baseline, b *baseline) []*baseline {
	at := slices.IndexFunc(list, func(o *baseline) bool {
		return o.basis == b.basis && o.tag.Digest == b.tag.Digest && o.tag.Name == b.tag.Name && o.note == b.note
	})
	if at < 0 {
		return append(list, b)
	}
	list[at].targets = append(list[at].targets, b.targets...)
	return list
}

// place returns a target as the result has it.
func place(t ref.Reference) string {
	return report.Target{Registry: t.Registry, Repository: t.Repository, Tag: t.Tag}.Where()
}

// choose returns with which tag of the repository to compare the image.
func (r *comparer) choose(ctx context.Context, at ref.Reference, digest string) *baseline {
	b := &baseline{basis: imageinfo.Unknown, registry: at.Registry, repository: at.Repository}
	tags, err := r.lists.Get(ctx, at.Registry+"/"+at.Repository, func(ctx context.Context) (*[]imageinfo.Tag, error) {
		tags, err := r.listTags(ctx, at.Registry, at.Repository)
		return &tags, err
	})
	if err != nil {
		b.note = "the tags of " + at.Registry + "/" + at.Repository + " could not be listed: " + reason(err)
		return b
	}
	b.tag, b.basis = imageinfo.Baseline(at.Tag, digest, *tags)
	if b.basis == imageinfo.Unknown {
		b.note = "the registry has no times by which to choose another tag of " + at.Repository
	}
	if b.tag.Name == "" || b.tag.Digest != "" {
		return b
	}
	registry, err := r.s.Registry(at.Registry)
	if err == nil {
		var d transfer.Descriptor
		d, err = registry.Data.Resolve(ctx, at.Repository, b.tag.Name)
		b.tag.Digest = d.Digest
	}
	switch {
	case err != nil:
		b.basis, b.note = imageinfo.Unknown, "the tag "+b.tag.Name+" could not be read: "+reason(err)
	case b.tag.Digest == digest:
		b.basis, b.note = imageinfo.Unknown, "it is the same image as "+b.tag.Name
	}
	return b
}

// listTags lists the tags of a repository: of Azure the newest, with what they point
// to and when they were set.
func (r *comparer) listTags(ctx context.Context, host, repository string) ([]imageinfo.Tag, error) {
	at, err := r.s.Registry(host)
	if err != nil {
		return nil, err
	}
	var tags []imageinfo.Tag
	if !at.Azure {
		names, err := at.Data.Tags(ctx, repository, allTags)
		if err != nil && !errors.Is(err, transfer.NotFound) {
			return nil, err
		}
		for _, name := range names {
			tags = append(tags, imageinfo.Tag{Name: name})
		}
		return tags, nil
	}
	metadata, err := at.Metadata()
	if err != nil {
		return nil, err
	}
	list, err := metadata.NewestTags(ctx, repository, tagsOfList)
	if err != nil && !errors.Is(err, acr.ErrNotFound) {
		return nil, err
	}
	for _, t := range list {
		tags = append(tags, imageinfo.Tag(t))
	}
	return tags, nil
}

// reason returns why something could not be read.
func reason(err error) string { return problem(report.SourceSide, err).Reason }

// compareImage describes an image and compares it with others.
func (r *comparer) compareImage(ctx context.Context, wanted plan.Wanted, source sourceState, with []*baseline) (card.Description, []card.Change) {
	image := r.describe(ctx, wanted.Source.Registry, wanted.Source.Repository, source.tree.Digest())
	description := describe(image)
	switch {
	case source.tag != nil:
		description.SetAt = formatTime(source.tag.Updated)
	case source.manifest != nil:
		description.SetAt = formatTime(source.manifest.Created)
	default:
		description.SetAt = formatTime(r.created(ctx, wanted.Source.Registry, wanted.Source.Repository, image.Digest))
	}
	var changes []card.Change
	for _, b := range with {
		change := b.change()
		if b.tag.Digest != "" && b.note == "" && b.basis != imageinfo.Same {
			r.compareWith(ctx, image, &change)
		}
		changes = append(changes, change)
	}
	return description, changes
}

// compareWith compares the image with the old one of a change.
func (r *comparer) compareWith(ctx context.Context, image *described, change *card.Change) {
	old := r.describe(ctx, change.Old.Registry, change.Old.Repository, change.Old.Digest)
	set := change.Old.SetAt
	change.Old.Description = describe(old)
	if change.Old.SetAt = set; set == "" {
		change.Old.SetAt = formatTime(r.created(ctx, change.Old.Registry, change.Old.Repository, change.Old.Digest))
	}
	for _, side := range []*described{old, image} {
		change.Notes = append(change.Notes, side.notes...)
	}
	if len(old.Platforms) == 0 || len(image.Platforms) == 0 {
		return
	}
	change.Compared = true
	change.Difference = imageinfo.Compare(old.Image, image.Image)
	if r.c.Referrers.Or(true) {
		r.comparePackages(ctx, old, image, change)
	}
	r.limits.apply(change)
}

func describe(image *described) card.Description {
	d := card.Description{Claims: image.Claims(), LayerBytes: image.Bytes(), Platforms: []string{}}
	for _, p := range image.Platforms {
		d.Platforms = append(d.Platforms, p.Name)
	}
	return d
}

// attachedTypes returns the types of what is attached to an image and to the
// manifests that it contains. What cannot be listed is not counted.
func (r *comparer) attachedTypes(ctx context.Context, source ref.Reference, tree *transfer.Tree) []string {
	at, err := r.s.Registry(source.Registry)
	if err != nil || tree == nil {
		return nil
	}
	var types []string
	for _, m := range tree.Manifests()[:min(len(tree.Manifests()), comparedChildren+1)] {
		list, err := at.Data.Referrers(ctx, source.Repository, m.Digest, "")
		if err != nil {
			continue
		}
		for _, d := range list {
			types = append(types, d.ArtifactType)
		}
	}
	return types
}

// describe reads the manifests and the configurations of an image, once for all
// targets that have it.
func (r *comparer) describe(ctx context.Context, host, repository, digest string) *described {
	image, err := r.images.Get(ctx, host+"/"+repository+"@"+digest, func(ctx context.Context) (*described, error) {
		at, err := r.s.Registry(host)
		if err != nil {
			return nil, err
		}
		return r.readImage(ctx, at, repository, digest)
	})
	if err != nil {
		image = &described{notes: []string{"the image " + digest + " could not be read: " + reason(err)}}
		image.Digest = digest
	}
	return image
}

func (r *comparer) readImage(ctx context.Context, at *session.Registry, repository, digest string) (*described, error) {
	image := &described{repository: repository, registry: at, attestations: map[string][]string{}}
	root, err := at.Data.ReadImageManifest(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	image.Digest, image.Annotations = digest, root.Annotations
	if root.Config.Digest != "" {
		image.Platforms = []imageinfo.Platform{r.platform(ctx, at, repository, root, nil, image)}
		return image, nil
	}
	var children []transfer.ChildManifest
	for _, child := range root.Children {
		// https://docs.docker.com/build/metadata/attestations/attestation-storage/
		if child.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			subject := child.Annotations["vnd.docker.reference.digest"]
			image.attestations[subject] = append(image.attestations[subject], child.Digest)
			continue
		}
		children = append(children, child)
	}
	if left := len(children) - comparedChildren; left > 0 {
		image.notes = append(image.notes, fmt.Sprintf("%d platforms of %s were not read", left, digest))
		children = children[:comparedChildren]
	}
	platforms := make([]*imageinfo.Platform, len(children))
	var mu sync.Mutex // of the notes
	var group errgroup.Group
	group.SetLimit(comparedAtOnce)
	for i, child := range children {
		group.Go(func() error {
			defer defect.Catch(ctx)
			own := &described{}
			m, err := at.Data.ReadImageManifest(ctx, repository, child.Digest)
			switch {
			case err != nil:
				own.notes = []string{"the manifest " + child.Digest + " could not be read: " + reason(err)}
			case m.Config.Digest != "":
				p := r.platform(ctx, at, repository, m, child.Platform, own)
				platforms[i] = &p
			}
			mu.Lock()
			defer mu.Unlock()
			image.notes = append(image.notes, own.notes...)
			return nil
		})
	}
	_ = group.Wait()
	for _, p := range platforms {
		if p != nil {
			image.Platforms = append(image.Platforms, *p)
		}
	}
	slices.Sort(image.notes)
	return image, nil
}

// imageConfigs are the media types of configurations of images.
var imageConfigs = []string{"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}

// platform returns what a manifest and its configuration say.
func (r *comparer) platform(ctx context.Context, at *session.Registry, repository string, m transfer.ImageManifest, named *transfer.Platform, image *described) imageinfo.Platform {
	p := imageinfo.Platform{Digest: m.Digest, Annotations: m.Annotations}
	if named != nil {
		p.Name = imageinfo.PlatformName(named.OS, named.Architecture, named.Variant, named.OSVersion)
	}
	for _, l := range m.Layers {
		p.Layers = append(p.Layers, imageinfo.Layer{Digest: l.Digest, Size: l.Size})
	}
	if !slices.Contains(imageConfigs, m.Config.MediaType) {
		p.Name = cmp.Or(p.Name, m.ArtifactType)
		return p
	}
	err := at.Data.ReadBlob(ctx, repository, m.Config, imageinfo.MaxConfig, func(body io.Reader) error {
		raw, err := io.ReadAll(body)
		if err == nil {
			p.Config, err = imageinfo.ParseConfig(raw)
		}
		return err
	})
	if err != nil {
		p.Config = nil
		image.notes = append(image.notes, "the configuration "+m.Config.Digest+" could not be read: "+reason(err))
		return p
	}
	if p.Name == "" {
		p.Name = p.Config.Platform
	}
	return p
}

// changeLimits limits the packages that the result lists; the counts are not limited.
type changeLimits struct {
	mu     sync.Mutex
	listed int
}

const (
	listedPackages    = 5_000  // of one kind of change
	allListedPackages = 50_000 // of a run
)

func (l *changeLimits) apply(change *card.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range change.Packages {
		p := &change.Packages[i]
		p.Added = p.Added[:l.take(len(p.Added))]
		p.Removed = p.Removed[:l.take(len(p.Removed))]
		if n := l.take(len(p.Changed)); n < len(p.Changed) {
			p.Changed = sbom.OlderFirst(p.Changed)[:n]
		}
	}
}

func (l *changeLimits) take(n int) int {
	n = min(n, listedPackages, allListedPackages-l.listed)
	l.listed += n
	return n
}
