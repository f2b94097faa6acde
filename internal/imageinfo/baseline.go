package imageinfo

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"acrpromote/internal/ref"
)

// Tag is a tag of a repository. Digest is empty and Updated zero if they are not
// known.
type Tag struct {
	Name    string
	Digest  string
	Updated time.Time
}

// Basis says why an image is compared with another one.
type Basis string

const (
	// Moved: it is what the tag points at now.
	Moved Basis = "moved"
	// Version: its tag is the highest version below the new one.
	Version Basis = "version"
	// Newest: its tag was set last.
	Newest Basis = "newest"
	// Same: the target has this very image, and lacks a part of it or something that
	// is attached.
	Same Basis = "same"
	// First: the repository has no other image.
	First Basis = "first"
	// Unknown: there are other images, but neither versions nor times to choose by.
	Unknown Basis = "unknown"
)

// Baseline returns with which of a repository's tags to compare an image that is to
// get a new tag: the highest version below the new one if the new tag is a version,
// of the same variant if there is one ("1.4.2-alpine"); else the tag that was set
// last. digest is that of the new image, with which it is not compared.
func Baseline(tag, digest string, tags []Tag) (Tag, Basis) {
	others := slices.DeleteFunc(slices.Clone(tags), func(t Tag) bool {
		_, _, attached := ref.ParseDigestTag(t.Name)
		return t.Name == tag || t.Digest == digest && digest != "" || attached
	})
	sort.Slice(others, func(i, j int) bool { return others[i].Name < others[j].Name })
	if len(others) == 0 {
		return Tag{}, First
	}
	if new, err := semver.NewVersion(tag); err == nil {
		if found, ok := highestBelow(new, others); ok {
			return found, Version
		}
	}
	latest := slices.MaxFunc(others, func(a, b Tag) int {
		return cmp.Or(a.Updated.Compare(b.Updated), strings.Compare(a.Name, b.Name))
	})
	if latest.Updated.IsZero() {
		return Tag{}, Unknown
	}
	return latest, Newest
}

// highestBelow returns the tag with the highest version below the given one, of the
// same variant if possible.
func highestBelow(new *semver.Version, tags []Tag) (found Tag, ok bool) {
	var highest *semver.Version
	for _, t := range tags {
		v, err := semver.NewVersion(t.Name)
		if err != nil || !v.LessThan(new) {
			continue
		}
		if highest != nil {
			same, sameHighest := v.Prerelease() == new.Prerelease(), highest.Prerelease() == new.Prerelease()
			if sameHighest && !same || same == sameHighest && !highest.LessThan(v) {
				continue
			}
		}
		found, highest = t, v
	}
	return found, highest != nil
}
