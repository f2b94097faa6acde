// Package card writes for an approver what a run would change: which image would go
// where, what it replaces or follows there, and how the two differ. It renders
// what was found, as Markdown for the run's page and as text for a log, and
// decides nothing.
package card

import (
	"time"

	"acrpromote/internal/imageinfo"
	"acrpromote/internal/sbom"
)

// Card is what an approver has to know.
type Card struct {
	// Operation is what the run would do, or has done: seal, promote or
	// invertedPush.
	Operation string
	Done      bool // it was done
	Now       time.Time
	Images    []Image
	// Pending and Violated count rules that are not met.
	Pending  int
	Violated int
	Code     Code
	Notes    []string // what of the set was not compared
}

// Code is the code of what is to be approved. Value is empty if there is none.
type Code struct {
	Value string
	// Covers is what the code is computed from: image, set or plan.
	Covers   string
	Required Requirement
	// Also is the code that other rules of the same approval require, if any.
	Also string
}

// Requirement reports whether the approval's comment has to quote the code.
type Requirement int

const (
	Unknown  Requirement = iota // the step that needs the approval decides
	Optional                    // it need not
	Required
)

// Image is an image and its targets. A seal has none.
type Image struct {
	Source      string
	Digest      string
	Description Description
	Attached    []Attached
	Targets     []Target
	Lock        string // of a seal: what it locks
	// Changes has the images that it is compared with.
	Changes []Change
}

// Attached counts artifacts of a type that are attached to the image, and how many
// of them are not copied.
type Attached struct {
	Type  string
	Count int
	Left  int
}

// State is what happens at a target.
type State string

const (
	New     State = "new"     // the tag or digest is new there
	Moves   State = "moves"   // the tag points to another image
	Present State = "present" // nothing changes
	Repair  State = "repair"  // it is there, and something that belongs to it is missing
	Unread  State = "unread"  // the target could not be read
)

// Target is where the image would go. Change is the index of the comparison, or -1.
type Target struct {
	Where    string
	State    State
	Previous string // digest that the tag points to
	Rollback bool
	Lock     string // what will be locked: tag, image, or none
	Change   int
}

// Description is what an image says about itself, and what a registry says about
// it.
type Description struct {
	imageinfo.Claims
	// LayerBytes is the size of its distinct layers.
	LayerBytes int64    `json:"layerBytes"`
	Platforms  []string `json:"platforms"`
	// SetAt is when its tag was set, or its manifest pushed, by the registry's
	// clock; empty if that is unknown.
	SetAt string `json:"setAt"`
}

// Side is an image that another one is compared with.
type Side struct {
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	Digest     string `json:"digest"`
	Description
}

// Change is how an image differs from one that targets have.
type Change struct {
	Basis imageinfo.Basis `json:"basis"`
	Old   Side            `json:"old"`
	// Targets has the targets that it applies to.
	Targets []string `json:"targets"`
	// Compared is set if both images were read. Without it, the lists are empty
	// because nothing is known.
	Compared bool `json:"compared"`
	imageinfo.Difference
	Packages []Packages `json:"packages"`
	Notes    []string   `json:"notes"`
}

// Packages is how the packages of platforms differ, by an SBOM of each image, in the
// same way on all of them. The lists may be cut; Counts are not.
type Packages struct {
	Platforms []string    `json:"platforms"`
	Format    sbom.Format `json:"format"`
	Old       []string    `json:"old"` // digests of the SBOMs' manifests, by platform
	New       []string    `json:"new"`
	Counts    Counts      `json:"counts"`
	sbom.Difference
}

// Counts counts packages.
type Counts struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Changed int `json:"changed"`
}

// Texts returns the texts of a description that come from outside.
func (d *Description) Texts() []*string {
	var t texts
	t.add(&d.Version, &d.Revision, &d.Source, &d.BaseName, &d.BaseDigest)
	t.lists(d.Platforms)
	return t
}

// Texts returns the texts of a change that come from outside, without references and
// digests.
func (c *Change) Texts() []*string {
	t := texts(c.Old.Texts())
	t.lists(c.PlatformsAdded, c.PlatformsRemoved, c.Notes)
	for i := range c.Settings {
		s := &c.Settings[i]
		t.add(&s.Old, &s.New)
		t.lists(s.Platforms, s.Added, s.Removed, s.Changed)
	}
	for i := range c.Packages {
		p := &c.Packages[i]
		t.lists(p.Platforms)
		for _, list := range [][]sbom.Package{p.Added, p.Removed} {
			for j := range list {
				t.add(&list[j].Type, &list[j].Name, &list[j].Version)
			}
		}
		for j := range p.Changed {
			change := &p.Changed[j]
			t.add(&change.Type, &change.Name)
			t.lists(change.Old, change.New)
		}
	}
	return t
}

type texts []*string

func (t *texts) add(list ...*string) { *t = append(*t, list...) }

func (t *texts) lists(lists ...[]string) {
	for _, list := range lists {
		for i := range list {
			t.add(&list[i])
		}
	}
}
