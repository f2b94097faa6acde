// Package sbom reads the packages that a software bill of materials lists, and
// compares two such lists. It knows SPDX 2 and CycloneDX in JSON, each as a plain
// document or as the predicate of an unsigned in-toto statement.
//
// Documents come from anyone who may push. They are read as a stream, within
// limits, and what is kept of them is the set of packages.
package sbom

import (
	"fmt"
	"io"
	"maps"
	"sort"
	"strings"

	"acrpromote/internal/sorting"
)

// Limits of one document.
const (
	MaxBytes    = 32 << 20
	MaxPackages = 20_000

	maxString = 1 << 20 // bytes of one string
	maxDepth  = 200     // of nested values
	maxName   = 300     // bytes of a name or version that are kept
)

// Format is the format of a document.
type Format string

const (
	SPDX      Format = "SPDX"
	CycloneDX Format = "CycloneDX"
)

// Package is one package of an image. Type is the type of its package URL
// ("deb", "npm"), empty if it has none. Name has the namespace.
type Package struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// key orders packages by name, type and version.
func (p Package) key() string { return p.Name + "\x00" + p.Type + "\x00" + p.Version }

// Document is what was read of one document.
type Document struct {
	Format   Format
	Packages map[Package]bool
	// Subjects has the digests (sha256:…) that an in-toto statement is about;
	// empty for a plain document.
	Subjects []string
}

// Error says why a document cannot be compared.
type Error struct {
	Reason string
	// TooLarge is set if a limit was exceeded.
	TooLarge bool
}

func (e *Error) Error() string { return e.Reason }

func invalid(format string, args ...any) error { return &Error{Reason: fmt.Sprintf(format, args...)} }

func tooLarge(format string, args ...any) error {
	return &Error{Reason: "it is too large to compare: " + fmt.Sprintf(format, args...), TooLarge: true}
}

// FormatOf returns the format that an artifact type, a media type or the predicate
// type of a statement stands for, and whether it is one of an SBOM that Parse reads.
func FormatOf(mediaType string) (Format, bool) {
	essence, _, _ := strings.Cut(mediaType, ";")
	switch strings.ToLower(strings.TrimSpace(essence)) {
	case "application/spdx+json", "text/spdx+json":
		return SPDX, true
	case "application/vnd.cyclonedx+json", "application/vnd.cyclonedx":
		return CycloneDX, true
	}
	switch {
	case strings.HasPrefix(mediaType, "https://spdx.dev/Document"):
		return SPDX, true
	case strings.HasPrefix(mediaType, "https://cyclonedx.org/bom"):
		return CycloneDX, true
	}
	return "", false
}

// Same reports whether two documents list the same packages. Packages without a
// package URL do not count: each tool names them in its own way.
func Same(a, b Document) bool {
	return maps.Equal(identified(a), identified(b))
}

func identified(d Document) map[Package]bool {
	found := map[Package]bool{}
	for p := range d.Packages {
		if p.Type != "" {
			found[p] = true
		}
	}
	return found
}

// Change is a package of which both sides have other versions.
type Change struct {
	Type string   `json:"type"`
	Name string   `json:"name"`
	Old  []string `json:"old"`
	New  []string `json:"new"`
	// Older is set if the newest version of the new side is older than that of the
	// old side.
	Older bool `json:"older"`
}

// Difference is the difference of two lists of packages, each sorted by name.
type Difference struct {
	Added   []Package `json:"added"`
	Removed []Package `json:"removed"`
	Changed []Change  `json:"changed"`
	Same    int       `json:"same"`
}

// Empty reports whether nothing differs.
func (d Difference) Empty() bool { return len(d.Added)+len(d.Removed)+len(d.Changed) == 0 }

// Compare returns how the packages of two documents differ. Packages are the same
// if their package URLs are the same up to the version; without a package URL, if
// their names are. Versions that both sides have do not differ, and what is left is
// a change if both sides have another version, else added or removed.
func Compare(before, after Document) Difference {
	type name struct{ kind, name string }
	type versions struct{ old, new []string }
	different := map[name]versions{}
	d := Difference{Added: []Package{}, Removed: []Package{}, Changed: []Change{}}
	for p := range before.Packages {
		if after.Packages[p] {
			d.Same++
			continue
		}
		v := different[name{p.Type, p.Name}]
		v.old = append(v.old, p.Version)
		different[name{p.Type, p.Name}] = v
	}
	for p := range after.Packages {
		if !before.Packages[p] {
			v := different[name{p.Type, p.Name}]
			v.new = append(v.new, p.Version)
			different[name{p.Type, p.Name}] = v
		}
	}
	for n, v := range different {
		if len(v.old) > 0 && len(v.new) > 0 {
			compare := comparison(n.kind)
			sorting.By(v.old, compare)
			sorting.By(v.new, compare)
			d.Changed = append(d.Changed, Change{Type: n.kind, Name: n.name, Old: v.old, New: v.new,
				Older: compare(v.new[len(v.new)-1], v.old[len(v.old)-1]) < 0})
			continue
		}
		for _, version := range v.old {
			d.Removed = append(d.Removed, Package{n.kind, n.name, version})
		}
		for _, version := range v.new {
			d.Added = append(d.Added, Package{n.kind, n.name, version})
		}
	}
	for _, list := range [][]Package{d.Added, d.Removed} {
		sort.Slice(list, func(i, j int) bool { return list[i].key() < list[j].key() })
	}
	sort.Slice(d.Changed, func(i, j int) bool {
		a, b := d.Changed[i], d.Changed[j]
		return Package{a.Type, a.Name, ""}.key() < Package{b.Type, b.Name, ""}.key()
	})
	return d
}

// OlderFirst returns the changes with those to an older version first, so that a list
// which is cut does not hide them.
func OlderFirst(list []Change) []Change {
	var older, others []Change
	for _, c := range list {
		if c.Older {
			older = append(older, c)
		} else {
			others = append(others, c)
		}
	}
	return append(older, others...)
}

// Parse reads a document. Its format is the one that its content has.
func Parse(r io.Reader) (Document, error) {
	return parse(&bounded{reader: r, left: MaxBytes})
}
