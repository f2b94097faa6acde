package plan

import (
	"fmt"

	"acrpromote/internal/approval"
)

// Seal returns the state of the image's seal. Of several records the oldest
// counts.
func (i Image) Seal() approval.Seal {
	s := i.Observed.Source
	found := approval.Seal{Subject: i.Wanted.Source.String()}
	switch {
	case s.Tag != nil:
		found.Locked = !s.Tag.WriteEnabled && !s.Tag.DeleteEnabled
		found.TagUpdated = s.Tag.Updated
		if s.Tag.Digest != s.Digest {
			found.Problem = fmt.Sprintf("the tag pointed at %s and then at %s while it was being read", s.Digest, s.Tag.Digest)
		}
	case s.Manifest != nil:
		found.Locked = !s.Manifest.DeleteEnabled
		found.TagUpdated = s.Manifest.Created
	}
	if len(s.Records) == 0 && found.Problem == "" {
		found.Problem = "no seal record of this program refers to " + s.Digest
	}
	if oldest, ok := Oldest(s.Records); ok {
		found.RecordCreated = oldest.Created
	}
	return found
}

// Oldest returns the oldest seal record.
func Oldest(records []Record) (oldest Record, ok bool) {
	for i, r := range records {
		if i == 0 || r.Created.Before(oldest.Created) {
			oldest = r
		}
	}
	return oldest, len(records) > 0
}

// NeedsRecords reports whether the rules for any target ask who sealed the
// source.
func (w Wanted) NeedsRecords() bool { return len(w.sealers()) > 0 }

// NeedsSeal reports whether the rules for any target require a sealed source.
func (w Wanted) NeedsSeal() bool {
	for _, route := range w.Routes {
		if route.Rules.Sealed {
			return true
		}
	}
	return false
}
