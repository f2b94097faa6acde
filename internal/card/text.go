package card

import (
	"fmt"
	"strings"

	"acrpromote/internal/imageinfo"
	"acrpromote/internal/markup"
	"acrpromote/internal/sanitize"
)

// mostLines limits how many comparisons of a set the text has.
const mostLines = 20

// Text returns the comparisons for a log: one paragraph each, without line breaks.
func Text(c Card) []string {
	var lines []string
	total := 0
	for _, image := range c.Images {
		total += len(image.Changes)
		for _, change := range image.Changes {
			if len(lines) < mostLines {
				lines = append(lines, sentence(image, change))
			}
		}
	}
	if left := total - len(lines); left > 0 {
		lines = append(lines, fmt.Sprintf("%s more; result.json lists them all.", count(left, "comparison")))
	}
	for _, note := range c.Notes[:min(len(c.Notes), mostNotes)] {
		lines = append(lines, upperFirst(sanitize.Visible(note, longField))+".")
	}
	return lines
}

func visible(s string) string { return sanitize.Visible(s, field) }

// sentence says how an image differs from one that targets have.
func sentence(image Image, c Change) string {
	where := image.Source
	if len(c.Targets) > 0 {
		where = c.Targets[0]
	}
	s := visible(where) + more(len(c.Targets)-1) + ": "
	switch c.Basis {
	case imageinfo.Same:
		return s + "already there, and what is missing or attached is added."
	case imageinfo.First:
		return s + "the first image of this repository there."
	case imageinfo.Unknown:
		return s + "not compared. " + notes(c)
	case imageinfo.Moved:
		s += "the tag moves from " + visible(short(c.Old.Digest))
	default:
		s += "compared with " + visible(c.Old.Tag) + ", " + visible(short(c.Old.Digest))
	}
	var facts []string
	if c.Compared {
		if old, new := c.Old.Version, image.Description.Version; old != new {
			facts = append(facts, fmt.Sprintf("version %s → %s (claimed)", claimed(old), claimed(new)))
		}
		if old, new := c.Old.BaseName+" "+c.Old.BaseDigest, image.Description.BaseName+" "+image.Description.BaseDigest; old != new {
			facts = append(facts, fmt.Sprintf("base image %s → %s (claimed)", none(c.Old.BaseName), none(image.Description.BaseName)))
		}
		facts = append(facts, fmt.Sprintf("%d layers shared, %d new (%s)", c.LayersShared.Count, c.LayersNew.Count, markup.Size(c.LayersNew.Bytes)))
		for _, p := range c.PlatformsAdded {
			facts = append(facts, "platform "+visible(p)+" added")
		}
		for _, p := range c.PlatformsRemoved {
			facts = append(facts, "platform "+visible(p)+" removed")
		}
		var names []string
		for _, s := range c.Settings {
			names = append(names, visible(s.Name))
		}
		if len(names) > 0 {
			facts = append(facts, "changed: "+strings.Join(names, ", "))
		}
		for _, p := range c.Packages {
			facts = append(facts, fmt.Sprintf("packages of %s: %d added, %d removed, %d with another version", visible(strings.Join(p.Platforms, ", ")), p.Counts.Added, p.Counts.Removed, p.Counts.Changed))
		}
	}
	const mostFacts = 12
	if left := len(facts) - mostFacts; left > 0 {
		facts = append(facts[:mostFacts], fmt.Sprintf("%d more facts", left))
	}
	for _, fact := range facts {
		s += "; " + fact
	}
	return strings.TrimSpace(s + ". " + notes(c))
}

func notes(c Change) string {
	var b strings.Builder
	for _, n := range c.Notes[:min(len(c.Notes), mostNotes)] {
		b.WriteString(upperFirst(sanitize.Visible(n, longField)) + ". ")
	}
	return strings.TrimSpace(b.String())
}

// claimed returns a version that an image claims, in quotes if it has the form of none.
func claimed(version string) string {
	if limited, quoted := quotedClaim(version); quoted {
		return `"` + sanitize.Visible(limited, longestClaim) + `"`
	}
	return none(version)
}

// longestClaim limits the bytes of a version that has the form of none.
const longestClaim = 60

// quotedClaim reports whether a version has to be in quotes, and returns it without
// any.
func quotedClaim(version string) (string, bool) {
	word := len(version) <= longestClaim && !strings.ContainsFunc(version, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._+-", r))
	})
	return strings.ReplaceAll(version, `"`, "'"), !word
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return visible(s)
}
