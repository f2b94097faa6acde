package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"acrpromote/internal/card"
	"acrpromote/internal/imageinfo"
	"acrpromote/internal/sbom"
	"acrpromote/internal/transfer"
)

// comparedDocuments limits how many SBOMs of one platform of an image are read.
const comparedDocuments = 3

const statementType = "application/vnd.in-toto+json"

// document is an SBOM of an image.
type document struct {
	sbom.Document
	digest string // of the manifest that has it
}

// comparePackages compares the packages of each platform that both images have, by the
// SBOMs that are attached to it, or else to the index. Documents are not kept.
func (r *comparer) comparePackages(ctx context.Context, old, image *described, change *card.Change) {
	select {
	case r.sboms <- struct{}{}:
		defer func() { <-r.sboms }()
	case <-ctx.Done():
		return
	}
	note := func(format string, args ...any) {
		if n := fmt.Sprintf(format, args...); !slices.Contains(change.Notes, n) {
			change.Notes = append(change.Notes, n)
		}
	}
	whole := false // the SBOMs of both indexes were compared
	for _, platform := range image.Platforms {
		at := slices.IndexFunc(old.Platforms, func(p imageinfo.Platform) bool { return p.Name == platform.Name })
		if at < 0 || ctx.Err() != nil {
			continue
		}
		before, ofOldIndex := r.documents(ctx, old, old.Platforms[at].Digest, note)
		after, ofIndex := r.documents(ctx, image, platform.Digest, note)
		name := platform.Name
		if ofIndex && ofOldIndex {
			if whole {
				continue
			}
			whole, name = true, "all platforms"
		}
		switch {
		case len(before) == 0 && len(after) == 0:
		case len(before) == 0:
			note("packages are not compared: the image that is there has no SBOM that can be read")
		case len(after) == 0:
			note("packages are not compared: the new image has no SBOM that can be read")
		default:
			for _, p := range compareDocuments(name, before, after, note) {
				change.Packages = mergePackages(change.Packages, p)
			}
		}
	}
}

// mergePackages adds a comparison, or its platforms to one with the same difference.
func mergePackages(list []card.Packages, p card.Packages) []card.Packages {
	at := slices.IndexFunc(list, func(o card.Packages) bool {
		return o.Format == p.Format && o.Counts == p.Counts && reflect.DeepEqual(o.Difference, p.Difference)
	})
	if at < 0 {
		return append(list, p)
	}
	same := &list[at]
	same.Platforms, same.Old, same.New = append(same.Platforms, p.Platforms...), append(same.Old, p.Old...), append(same.New, p.New...)
	return list
}

// compareDocuments compares documents of the same format, or of two if there is no
// pair of the same one. Documents of one side that contradict are not compared.
func compareDocuments(platform string, before, after []document, note func(string, ...any)) []card.Packages {
	var list []card.Packages
	var sides [2]*document
	for _, format := range []sbom.Format{sbom.SPDX, sbom.CycloneDX} {
		old, new := single(before, format, note), single(after, format, note)
		if old != nil && new != nil {
			list = append(list, comparePair(platform, old, new))
		}
		if old != nil {
			sides[0] = old
		}
		if new != nil {
			sides[1] = new
		}
	}
	switch {
	case len(list) == 0 && sides[0] != nil && sides[1] != nil:
		note("the SBOMs have different formats: what has no package URL is named differently")
		list = append(list, comparePair(platform, sides[0], sides[1]))
	case len(list) == 2 && reflect.DeepEqual(list[0].Difference, list[1].Difference):
		list = list[:1]
	case len(list) == 2:
		note("the SBOMs in %s and in %s differ in what they say about %s, so both are shown", sbom.SPDX, sbom.CycloneDX, platform)
	}
	return list
}

func comparePair(platform string, old, new *document) card.Packages {
	d := sbom.Compare(old.Document, new.Document)
	return card.Packages{Platforms: []string{platform}, Format: new.Format, Old: []string{old.digest}, New: []string{new.digest}, Difference: d,
		Counts: card.Counts{Added: len(d.Added), Removed: len(d.Removed), Changed: len(d.Changed)}}
}

// single returns the document of a format, nil if there is none or if two contradict.
func single(documents []document, format sbom.Format, note func(string, ...any)) *document {
	var found *document
	for i, d := range documents {
		switch {
		case d.Format != format:
		case found == nil:
			found = &documents[i]
		case !sbom.Same(found.Document, d.Document):
			note("two SBOMs contradict each other and are not compared: %s and %s", found.digest, d.digest)
			return nil
		}
	}
	return found
}

// documents reads the SBOMs of a platform of an image or, if it has none, of the
// index, which ofIndex then reports.
func (r *comparer) documents(ctx context.Context, image *described, platform string, note func(string, ...any)) (found []document, ofIndex bool) {
	for _, subject := range slices.Compact([]string{platform, image.Digest}) {
		candidates := slices.Clone(image.attestations[subject])
		list, err := image.registry.Data.Referrers(ctx, image.repository, subject, "")
		if err != nil {
			note("what is attached to %s could not be listed: %s", subject, reason(err))
		}
		for _, d := range list {
			if _, is := sbom.FormatOf(d.ArtifactType); is || d.ArtifactType == statementType {
				candidates = append(candidates, d.Digest)
			}
		}
		slices.Sort(candidates)
		if left := len(candidates) - comparedDocuments; left > 0 {
			note("%d more SBOMs or statements of %s were not read", left, subject)
			candidates = candidates[:comparedDocuments]
		}
		for _, digest := range candidates {
			found = append(found, r.document(ctx, image, subject, digest, note)...)
		}
		if len(found) > 0 {
			return found, subject == image.Digest && subject != platform
		}
	}
	return nil, false
}

// document reads the SBOM in an artifact that is attached to a manifest.
func (r *comparer) document(ctx context.Context, image *described, subject, digest string, note func(string, ...any)) []document {
	at, repository := image.registry.Data, image.repository
	m, err := at.ReadImageManifest(ctx, repository, digest)
	if err != nil {
		note("the SBOM %s could not be read: %s", digest, reason(err))
		return nil
	}
	if !slices.Contains(image.attestations[subject], digest) && m.Subject != subject {
		note("the SBOM %s is listed for %s, but refers to another manifest", digest, subject)
		return nil
	}
	layer, format, ok := documentLayer(m)
	if !ok {
		return nil
	}
	var d sbom.Document
	err = at.ReadBlob(ctx, repository, layer, sbom.MaxBytes, func(body io.Reader) error {
		d, err = sbom.Parse(body)
		return err
	})
	switch {
	case err != nil:
		note("the SBOM %s is not compared: %s", digest, documentReason(err))
	case d.Format != format:
		note("the SBOM %s is not compared: its type stands for %s, but its content is %s", digest, format, d.Format)
	case len(d.Subjects) > 0 && !slices.Contains(d.Subjects, subject) && !slices.Contains(d.Subjects, image.Digest):
		note("the SBOM %s is not compared: it is about another image", digest)
	default:
		return []document{{d, digest}}
	}
	return nil
}

// documentLayer returns the layer that has an SBOM, and the format that its type
// stands for.
func documentLayer(m transfer.ImageManifest) (transfer.Descriptor, sbom.Format, bool) {
	for _, l := range m.Layers {
		if format, ok := sbom.FormatOf(l.MediaType); ok {
			return l, format, true
		}
		if strings.HasPrefix(l.MediaType, statementType) {
			if format, ok := sbom.FormatOf(l.Annotations["in-toto.io/predicate-type"]); ok {
				return l, format, true
			}
		}
	}
	if format, ok := sbom.FormatOf(m.ArtifactType); ok && len(m.Layers) == 1 {
		// Some tools give the layer a general type.
		return m.Layers[0], format, true
	}
	return transfer.Descriptor{}, "", false
}

// documentReason returns why an SBOM could not be read: the reason of its parser as it
// is.
func documentReason(err error) string {
	if invalid, ok := errors.AsType[*sbom.Error](err); ok {
		return invalid.Reason
	}
	if e, ok := errors.AsType[*transfer.Error](err); ok && e.Kind == transfer.TooLarge {
		return "it is too large to compare: " + e.Reason
	}
	return reason(err)
}
