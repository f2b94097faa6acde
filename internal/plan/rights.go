package plan

import (
	"slices"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// Rights are the actions of a token's scope (pull, push, metadata_read,
// metadata_write) on repositories, by registry and repository.
type Rights map[string]map[string][]string

// add adds actions on the repository of a reference.
func (r Rights) add(on ref.Reference, actions ...string) {
	if r[on.Registry] == nil {
		r[on.Registry] = map[string][]string{}
	}
	wanted := r[on.Registry][on.Repository]
	for _, a := range actions {
		if !slices.Contains(wanted, a) {
			wanted = append(wanted, a)
		}
	}
	r[on.Registry][on.Repository] = wanted
}

// Usage is how a step uses its registries, besides the images.
type Usage struct {
	Writes    bool                   // anything is written
	Referrers bool                   // what is attached to the images is read
	Planned   bool                   // the plan's code is needed: the others are read as the images are
	Lists     bool                   // the repositories of targets and others are listed
	Azure     func(host string) bool // the registry has locks, and lists tags by a right of its own
	// Required leaves out the rights that the step can do without: to see locks that it
	// does not set, and to list tags.
	Required bool
	// Deletes is set if tags are deleted.
	Deletes bool
}

// RequiredRights returns the rights that a step needs, so that it can use one token per
// registry: for the images, and for others, which are only read.
func RequiredRights(images []Wanted, others []ref.Reference, use Usage) Rights {
	rights := Rights{}
	for _, w := range images {
		w.addRights(rights, use)
	}
	for _, other := range others {
		rights.add(other, "pull")
		if (use.Planned && use.Referrers || use.Lists) && use.Azure(other.Registry) {
			rights.add(other, "metadata_read")
		}
	}
	return rights
}

func (w Wanted) addRights(rights Rights, use Usage) {
	rights.add(w.Source, "pull")
	if w.signsSource() && use.Writes {
		rights.add(w.Source, "push")
	}
	if w.Action == Recall {
		w.addRecallRights(rights, use)
		return
	}
	if w.Action == Seal {
		rights.add(w.Source, "metadata_read")
		if use.Writes {
			rights.add(w.Source, "push", "metadata_write")
		}
		return
	}
	required := w.RequiredArtifacts()
	aged := slices.ContainsFunc(required, func(a topology.Attached) bool { return a.MaxAge > 0 })
	azure := use.Azure(w.Source.Registry)
	timed := w.TimesReferrers() && azure && (w.leaves() || len(required) > 0)
	// Digest tags are found in the list of tags, or else by their names.
	lists := use.Referrers && azure && !use.Required
	if w.NeedsSeal() || w.NeedsRecords() || aged || timed || lists {
		rights.add(w.Source, "metadata_read")
	}
	for i, t := range w.Targets {
		locks := w.Routes[i].Rules.Lock != topology.LockNone
		rights.add(t, "pull")
		if use.Lists && use.Azure(t.Registry) {
			rights.add(t, "metadata_read")
		}
		if w.Action == Audit {
			continue
		}
		// Read the locks that could prevent a write.
		if use.Azure(t.Registry) && !use.Required || locks {
			rights.add(t, "metadata_read")
		}
		if use.Writes {
			rights.add(t, "push")
		}
		if use.Writes && locks {
			rights.add(t, "metadata_write")
		}
	}
}

// addRecallRights adds the rights to attach a record at the source, and to disable reads
// everywhere. Registries other than Azure's have no such right; there, tags are deleted.
func (w Wanted) addRecallRights(rights Rights, use Usage) {
	if use.Writes {
		rights.add(w.Source, "push")
	}
	for _, at := range append([]ref.Reference{w.Source}, w.Targets...) {
		rights.add(at, "pull")
		switch azure := use.Azure(at.Registry); {
		case azure:
			rights.add(at, "metadata_read")
			if use.Writes {
				rights.add(at, "metadata_write")
			}
		case use.Deletes && use.Writes:
			rights.add(at, "delete")
		}
	}
}

// ListTags returns the rights that listing the tags of a repository needs, so that
// its images can be read too.
func ListTags(azure bool) []string {
	if azure {
		return []string{"pull", "metadata_read"}
	}
	return []string{"pull"}
}

// leaves reports whether the image goes to another repository, to which what is
// attached to it has to be copied too.
func (w Wanted) leaves() bool {
	return slices.ContainsFunc(w.Targets, func(t ref.Reference) bool {
		return t.Registry != w.Source.Registry || t.Repository != w.Source.Repository
	})
}

// Registries returns the hosts of a step's registries, that of the first source
// first.
func Registries(images []Wanted, others []ref.Reference) []string {
	var hosts []string
	add := func(r ref.Reference) {
		if !slices.Contains(hosts, r.Registry) {
			hosts = append(hosts, r.Registry)
		}
	}
	for _, w := range images {
		add(w.Source)
		for _, t := range w.Targets {
			add(t)
		}
	}
	for _, other := range others {
		add(other)
	}
	return hosts
}

// Writes reports whether the action of any image writes to a registry: it is a
// target, or the source of a seal or of a receipt.
func Writes(images []Wanted, host string) bool {
	return IsTarget(images, host) && slices.ContainsFunc(images, func(w Wanted) bool { return w.Action != Audit }) ||
		slices.ContainsFunc(images, func(w Wanted) bool {
			return (w.Action == Seal || w.Action == Recall || w.signsSource()) && w.Source.Registry == host
		})
}

// IsTarget reports whether a registry is a target of any image.
func IsTarget(images []Wanted, host string) bool {
	return slices.ContainsFunc(images, func(w Wanted) bool {
		return slices.ContainsFunc(w.Targets, func(t ref.Reference) bool { return t.Registry == host })
	})
}
