// Package topology implements the flow file: the registries, how far each is
// trusted, and the flows between them. It parses the file, reports everything
// that is wrong with it, and answers which flow covers an image and which rules
// apply. It does no I/O: files are read, registries listed and rules evaluated
// elsewhere.
package topology

import (
	"slices"
	"strings"
)

// File is a valid flow file.
type File struct {
	// The version of the format: 1.
	Version Version `flow:"version,required"`
	// The trust levels, from least to most trusted.
	Trust []string `flow:"trust,required"`
	// The registries, by the names that flows use for them.
	Registries map[string]*Registry `flow:"registries,required"`
	// The flows, by name: which images may go from where to where.
	Flows map[string]*Flow `flow:"flows,required"`
	// How images are recalled.
	Recall Recall `flow:"recall"`

	// Notes are remarks that do not make the file invalid, such as unused
	// entries.
	Notes []Problem `flow:"-"`

	hosts map[string]*Registry `flow:"-"`
}

// Registry is one registry of the flow file.
type Registry struct {
	// Name is the registry's key in the file.
	Name string `flow:"-"`
	// The host name, with a port if it is not the default HTTPS port.
	Host Host `flow:"host,required"`
	// Other names of this registry, such as a regional endpoint. Images there are images here.
	Hosts []Host `flow:"hosts"`
	// The host that issues the registry's tokens, if it is another. It gets the registry's password.
	TokenHost Host `flow:"tokenHost"`
	// The trust level of this registry: one of the levels in trust.
	Trust string `flow:"trust,required"`
	// No tag here moves, except those in a flow's movingTags.
	Immutable bool `flow:"immutable"`
	// The identities that are meant to have rights on this registry, for doctor. Default: none is.
	Expect Expect `flow:"expect"`
}

// Expect has the identities that are meant to have rights on a registry, by their
// object IDs in Microsoft Entra ID: users, groups, service principals and managed
// identities.
type Expect struct {
	// Object IDs of identities that may write, and that may read too. Default: none.
	Writers []ObjectID `flow:"writers"`
	// Object IDs of identities that may read. Default: none.
	Readers []ObjectID `flow:"readers"`
}

// Names returns all host names of the registry, the main one first.
func (r *Registry) Names() []string {
	names := []string{string(r.Host)}
	for _, host := range r.Hosts {
		names = append(names, string(host))
	}
	return names
}

// Flow allows images to go from one registry to others, under rules.
type Flow struct {
	// Name is the flow's key in the file.
	Name string `flow:"-"`
	// The source registry.
	From string `flow:"from,required"`
	// The target registries.
	To []string `flow:"to,required"`
	// Patterns of the source repositories that are covered. Default: all.
	Repositories Repositories `flow:"repositories"`
	// Patterns or semantic version ranges of the source tags that are covered. Default: all.
	Tags Tags `flow:"tags"`
	// Patterns of the target tags that may move. No other tag of an immutable registry moves.
	MovingTags []TagGlob `flow:"movingTags"`
	// The names at the target. Default: as at the source.
	As As `flow:"as"`
	// Which target subscribes to which repositories. If given, it must name every target. Default: each gets all.
	Teams map[string]Repositories `flow:"teams"`
	// Whether the tags of a set appear only after the whole set has arrived. Default: false.
	Atomic bool `flow:"atomic"`
	// How to treat the artifacts that refer to an image.
	Referrers Referrers `flow:"referrers"`
	// How the step ends if some targets are done and others are not. Default: fail.
	OnPartial OnPartial `flow:"onPartial"`
	// What to lock at the targets. Default: none.
	Lock Lock `flow:"lock"`
	// Whether a tag that is older than the run may be sealed, for base images. Default: false.
	SealExisting bool `flow:"sealExisting"`
	// The receipts of what this flow promotes. Default: the step's input receiptKey decides.
	Receipt Receipt `flow:"receipt"`
	// The rules that an image must meet. Default: one manual approval.
	Require Require `flow:"require"`
}

// As maps names at the source to names at the target.
type As struct {
	// The repository at the target; {repository} is the one at the source.
	Repository RepositoryTemplate `flow:"repository"`
	// The tag at the target; {tag} is the one at the source.
	Tag TagTemplate `flow:"tag"`
}

// Referrers defines which of the attached artifacts are copied with an image.
type Referrers struct {
	// Artifact types that are copied; no other type is. Default: all.
	Include []ArtifactType `flow:"include"`
	// Artifact types that are not copied, even if they are included.
	Exclude []ArtifactType `flow:"exclude"`
	// What to do with artifacts that were attached after the first approval that counts. Default: leave.
	AfterApproval AfterApproval `flow:"afterApproval"`
}

// Receipt defines the receipts of a flow: signed statements of who approved an
// image, attached to it.
type Receipt struct {
	// The key that signs receipts: the URL of a key in Key Vault, or the path of a PEM file with a private key. Default: that of the input receiptKey.
	Key ReceiptKey `flow:"key"`
	// Whether no tag appears without its receipt. Default: false.
	Required bool `flow:"required"`
	// What is left out of receipts; an empty list leaves out nothing. Default: comments and uniqueNames at targets of less trust than the source, otherwise nothing.
	Redact *Redactions `flow:"redact"`
}

// Recall says how images are withdrawn.
type Recall struct {
	// Who must approve a recall; never none. Default: those who approve by the flow.
	Approval *Approval `flow:"approval"`
	// Whether a recalled image may still be read at its source. Default: keep.
	Source RecallSource `flow:"source"`
	// What to do in registries that cannot disable the reading of an image: leave it there, or delete its tags. Default: leave.
	Elsewhere RecallElsewhere `flow:"elsewhere"`
}

// Require has the rules of a flow.
type Require struct {
	// Who must approve.
	Approval Approval `flow:"approval"`
	// Patterns of the full refs that the run may be of, according to the server's record, and the run that sealed the image. Default: any.
	Branches []BranchPattern `flow:"branches"`
	// Which runs may have sealed the image. Default, with branches: runs of those branches, of the pipeline and project of the run that releases it.
	SealedBy *SealedBy `flow:"sealedBy"`
	// Whether the image must have been sealed before it was approved. Default: true for invertedPush, otherwise false.
	Sealed *bool `flow:"sealed"`
	// Artifacts that must refer to the image.
	Attached []Attached `flow:"attached"`
}

// SealedBy selects the runs that may have sealed an image.
type SealedBy struct {
	// Names or IDs of projects. Default: the project of the run that releases the image.
	Projects []Project `flow:"projects"`
	// IDs of pipeline definitions. Default: the pipeline of the run that releases the image.
	Pipelines []PipelineID `flow:"pipelines"`
	// Patterns of full refs. Default: branches.
	Branches []BranchPattern `flow:"branches"`
}

// Approval is the approval that a flow requires.
type Approval struct {
	// manual: people; automated: the named checks; any: either; none: no approval. Default: manual.
	Kind Kind `flow:"kind"`
	// The protected resource whose approval counts: an environment, or endpoint:NAME; by its id: #7, endpoint:#GUID. May contain {tag}, the tag at the target.
	Environment Resource `flow:"environment"`
	// How many different people must approve. Default: 1.
	MinApprovers Count `flow:"minApprovers"`
	// Whether the requester of the run counts. Default: false.
	RequesterCanApprove *bool `flow:"requesterCanApprove"`
	// Whether the person who pushed the source version counts. Default: true.
	AuthorCanApprove *bool `flow:"authorCanApprove"`
	// Unique names, descriptors or [Project]\Group names of those who may approve. Default: anyone.
	Approvers []Approver `flow:"approvers"`
	// The maximum age of an approval: a duration such as 72h or 3d. Default: any age.
	MaxAge Duration `flow:"maxAge"`
	// An RE2 regular expression that must match somewhere in the approver's comment.
	CommentPattern CommentPattern `flow:"commentPattern"`
	// The approval code that the comment must quote: image, or true, for the code of the image or the set; plan for that of the plan. Default: false.
	Code Code `flow:"code"`
	// The checks of an automated approval; all of them must have passed.
	Checks []Check `flow:"checks"`
}

// Check names one automated check.
type Check struct {
	// The ID of the check's configuration, or the GUID of its type or of its task's definition.
	Definition CheckID `flow:"definition,required"`
	// The resource that the check is on: an environment, or endpoint:NAME; by its id: #7, endpoint:#GUID. May contain {tag}, the tag at the target.
	Resource Resource `flow:"resource,required"`
}

// Attached requires artifacts that are attached to an image.
type Attached struct {
	// The artifact type, such as application/spdx+json.
	ArtifactType ArtifactType `flow:"artifactType,required"`
	// The maximum age of the newest: a duration such as 72h or 3d. Default: any age.
	MaxAge Duration `flow:"maxAge"`
	// How many there must be. Default: 1.
	Count Count `flow:"count"`
	// index: on the image itself; children: on the manifest of every platform. Default: index.
	On On `flow:"on"`
}

// Direction is the direction of a copy in terms of trust.
type Direction string

const (
	Up   Direction = "up"
	Down Direction = "down"
	Same Direction = "same"
	// Mixed is the direction of a flow whose targets differ in it.
	Mixed Direction = "mixed"
)

// FlowDirection returns the direction of a flow: that of all its targets, or
// Mixed.
func (f *File) FlowDirection(flow *Flow) Direction {
	var direction Direction
	for _, to := range flow.To {
		d := f.Direction(flow.From, to)
		if direction != "" && d != direction {
			return Mixed
		}
		direction = d
	}
	return direction
}

// Direction compares the trust of two registries, given by their names in the
// file. An unknown registry is trusted least as a source and most as a target,
// so that the direction is up.
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

// Redaction returns what a flow leaves out of the receipts in a registry, given by
// its name in the file.
func (f *File) Redaction(flow *Flow, registry string) []Redaction {
	switch {
	case flow.Receipt.Redact != nil:
		return *flow.Receipt.Redact
	case f.Direction(flow.From, registry) == Down:
		return []Redaction{"comments", "uniqueNames"}
	}
	return nil
}

// MainHost returns the host of the registry that has a name, so that all names of
// one registry count as one. It returns the name itself if no registry has it.
func (f *File) MainHost(host string) string {
	if r, known := f.ByHost(host); known {
		return string(r.Host)
	}
	return host
}

// ByHost returns the registry with a host, by any of its names, in any case and
// with or without the default HTTPS port.
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

// Flow returns a flow by name. The error for an unknown name suggests the
// nearest.
func (f *File) Flow(name string) (*Flow, error) {
	if flow := f.Flows[name]; flow != nil {
		return flow, nil
	}
	return nil, unknown("flow", name, keys(f.Flows))
}

// keys returns the keys of a map, sorted.
func keys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// listed returns names for a message, at most ten.
func listed(names []string) string {
	const limit = 10
	if len(names) > limit {
		return strings.Join(names[:limit], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
