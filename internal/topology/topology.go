// Package topology knows the registries, how much each is trusted, and the
// flows between them: the flow file. It reads that file from bytes, says all
// that is wrong with it, and answers which flow covers an image and under what
// rules. It is pure: files are read, registries listed and rules judged
// elsewhere.
package topology

import (
	"slices"
	"strings"
)

// File is a flow file that was understood and found sound as a whole.
type File struct {
	// The version of this format: 1.
	Version Version `flow:"version,required"`
	// The degrees of trust, from the least to the most trusted.
	Trust []string `flow:"trust,required"`
	// The registries, by the names that flows know them by.
	Registries map[string]*Registry `flow:"registries,required"`
	// The ways that images may take, by name.
	Flows map[string]*Flow `flow:"flows,required"`

	// Notes are what people should know and what makes no file invalid.
	Notes []Problem `flow:"-"`

	hosts map[string]*Registry `flow:"-"`
}

// Registry is one registry of the flow file.
type Registry struct {
	// Name is the key that the file has it under.
	Name string `flow:"-"`
	// The host name, with a port where it is not that of HTTPS.
	Host Host `flow:"host,required"`
	// How much this registry is trusted: a name of the list trust.
	Trust string `flow:"trust,required"`
	// No tag here ever moves, save those that a flow's movingTags name.
	Immutable bool `flow:"immutable"`
}

// Flow is one way that images may take, and the rules for taking it.
type Flow struct {
	// Name is the key that the file has it under.
	Name string `flow:"-"`
	// The registry that images come from.
	From string `flow:"from,required"`
	// The registries that images may go to.
	To []string `flow:"to,required"`
	// Patterns of the source repositories covered. Left out: every repository.
	Repositories Repositories `flow:"repositories"`
	// Patterns or semantic version ranges of the source tags covered. Left out: every tag.
	Tags Tags `flow:"tags"`
	// Patterns of the target tags that may move. No other tag of an immutable registry ever does.
	MovingTags []TagGlob `flow:"movingTags"`
	// The names at the target. Left out: those of the source.
	As As `flow:"as"`
	// Which target subscribes to which repositories. Given, it names every target. Left out: each gets all.
	Teams map[string]Repositories `flow:"teams"`
	// No tag of a set of images appears before all of the set has arrived.
	Atomic bool `flow:"atomic"`
	// What becomes of the artifacts that refer to an image.
	Referrers Referrers `flow:"referrers"`
	// How a task ends where some targets are done and others are not. Left out: fail.
	OnPartial OnPartial `flow:"onPartial"`
	// What is locked at the targets. Left out: as the action has it.
	Lock Lock `flow:"lock"`
	// A tag older than the run may be sealed: for base images.
	SealExisting bool `flow:"sealExisting"`
	// The rules an image must meet. Left out: one manual approval.
	Require Require `flow:"require"`
}

// As maps names at the source to names at the target.
type As struct {
	// The repository at the target, made of text and {repository}.
	Repository RepositoryTemplate `flow:"repository"`
	// The tag at the target, made of text and {tag}.
	Tag TagTemplate `flow:"tag"`
}

// Referrers says which artifacts stay behind.
type Referrers struct {
	// Artifact types that are not brought along.
	Exclude []ArtifactType `flow:"exclude"`
}

// Require are the rules that an image must meet to take a flow.
type Require struct {
	// Who has to let the image out.
	Approval Approval `flow:"approval"`
	// Patterns of the full refs that the run may be of, by the server's record. Left out: any.
	Branches []BranchPattern `flow:"branches"`
	// Sealed before it was approved. Left out: true for invertedPush, else false.
	Sealed *bool `flow:"sealed"`
	// Artifacts that must refer to the image.
	Attached []Attached `flow:"attached"`
}

// Approval is which approval a flow demands.
type Approval struct {
	// manual: by persons; automated: by the named checks; any: by either; none: by nobody. Left out: manual.
	Kind Kind `flow:"kind"`
	// The protected resource whose approval counts: an environment, or endpoint:NAME. May hold {tag}, the target tag.
	Environment Resource `flow:"environment"`
	// How many distinct persons must approve. Left out: 1.
	MinApprovers Count `flow:"minApprovers"`
	// Whether the person who asked for the run counts. Left out: false.
	RequesterCanApprove *bool `flow:"requesterCanApprove"`
	// Whether the person who pushed the source version counts. Left out: true.
	AuthorCanApprove *bool `flow:"authorCanApprove"`
	// Unique names, descriptors or [Project]\Group names of those who may approve. Left out: anybody.
	Approvers []Approver `flow:"approvers"`
	// How old an approval may be: a duration such as 72h or 3d. Left out: any age.
	MaxAge Duration `flow:"maxAge"`
	// What the approver's comment must contain, as an RE2 regular expression.
	CommentPattern CommentPattern `flow:"commentPattern"`
	// The comment must quote the approval code.
	Code bool `flow:"code"`
	// The checks that make an automated approval; all of them must have passed.
	Checks []Check `flow:"checks"`
}

// Check names one automated check.
type Check struct {
	// The check's definition id, as Azure DevOps has it: a number or a GUID.
	Definition CheckID `flow:"definition,required"`
	// What it guards: an environment, or endpoint:NAME. May hold {tag}, the target tag.
	Resource Resource `flow:"resource,required"`
}

// Attached demands artifacts that refer to an image.
type Attached struct {
	// The artifact type, as application/spdx+json.
	ArtifactType ArtifactType `flow:"artifactType,required"`
	// How old the newest may be: a duration such as 72h or 3d. Left out: any age.
	MaxAge Duration `flow:"maxAge"`
	// How many there must be. Left out: 1.
	Count Count `flow:"count"`
	// Where they must be: on the index (or the image itself), or on every child. Left out: index.
	On On `flow:"on"`
}

// Direction is where a copy leads, by trust.
type Direction string

const (
	Up   Direction = "up"
	Down Direction = "down"
	Same Direction = "same"
)

// Direction compares the trust of two registries, by their names in the file.
// Whatever is not named is trusted least as a source and most as a target, so
// that an unknown way leads up.
func (f *File) Direction(from, to string) Direction {
	low, high := -1, len(f.Trust)
	if r := f.Registries[from]; r != nil {
		low = slices.Index(f.Trust, r.Trust)
	}
	if r := f.Registries[to]; r != nil {
		if i := slices.Index(f.Trust, r.Trust); i >= 0 {
			high = i
		}
	}
	switch {
	case low < high:
		return Up
	case low > high:
		return Down
	}
	return Same
}

// ByHost finds the registry that has a host, written in any case and with or
// without the port of HTTPS.
func (f *File) ByHost(host string) (*Registry, bool) {
	if r := f.hosts[host]; r != nil {
		return r, true
	}
	read, err := readHost(host)
	if err != nil {
		return nil, false
	}
	r := f.hosts[read]
	return r, r != nil
}

// Flow finds a flow by name; the error of an unknown one names the nearest.
func (f *File) Flow(name string) (*Flow, error) {
	if flow := f.Flows[name]; flow != nil {
		return flow, nil
	}
	return nil, unknown("flow", name, keys(f.Flows))
}

// keys are the names of a map, sorted.
func keys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// listed writes names for people to choose from, at most ten.
func listed(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
