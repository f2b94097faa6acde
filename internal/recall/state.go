package recall

// Answer is how a registry answered a question about a manifest.
type Answer string

const (
	Shown   Answer = "shown"
	Unknown Answer = "unknown" // it says that there is no such manifest
	Refused Answer = "refused" // it says no, whether there is one or not
)

// Sight is what a registry shows of a manifest. A registry may hide one that may not be
// read, and its attributes: as if it did not exist, or as if it were locked.
type Sight struct {
	Manifest   Answer // empty if it was not asked for
	Attributes Answer
	// Known reports whether the attributes include readEnabled, and Enabled its value.
	Known, Enabled bool
}

// State is the state of a manifest in a repository.
type State string

const (
	// Readable: clients can pull it.
	Readable State = "readable"
	// Disabled: reads are disabled.
	Disabled State = "disabled"
	// Absent: there is no sign of it. It may be there and hidden.
	Absent State = "absent"
	// Hidden: it is not shown, and why is not known.
	Hidden State = "hidden"
	// Unsupported: it is there, and the registry cannot disable reads.
	Unsupported State = "unsupported"
)

// State returns the state of the manifest.
func (s Sight) State() State {
	switch {
	case s.Attributes == Shown && s.Known && !s.Enabled:
		return Disabled
	case s.Attributes == Shown && s.Known:
		return Readable
	case s.Attributes == Shown:
		return Unsupported
	case s.Manifest == Shown:
		return Readable
	case s.Manifest == Unknown && s.Attributes == Unknown:
		return Absent
	}
	return Hidden
}

// Set reports whether the attribute of a manifest in this state has to be set, so that
// it is readable or not. What there is no sign of is set only blindly: if nothing else
// shows whether it is there.
func (s State) Set(readable, blind bool) bool {
	switch s {
	case Hidden:
		return true
	case Absent:
		return blind
	case Readable:
		return !readable
	case Disabled:
		return readable
	}
	return false
}

// Confirms reports whether what a registry shows after the attribute was set does not
// contradict it. Clients that are refused cannot pull; what is hidden cannot be shown to
// be readable.
func (s Sight) Confirms(readable bool) bool {
	if s.Attributes == Shown && s.Known {
		return s.Enabled == readable
	}
	return (s.Manifest == Shown) == readable
}

// Shared returns which of the children of an image are part of something else that can
// be read: they have a tag, or another index has them. contents has the children of the
// image's own indexes, by digest, and tagged those with a tag of their own; others are
// the children of other indexes of the repository that can be read.
func Shared(contents map[string][]string, tagged map[string]bool, others []string) map[string]bool {
	shared := map[string]bool{}
	var add func(digest string, depth int)
	add = func(digest string, depth int) {
		if shared[digest] || depth > maxNesting {
			return
		}
		shared[digest] = true
		for _, child := range contents[digest] {
			add(child, depth+1)
		}
	}
	for digest, has := range tagged {
		if has {
			add(digest, 0)
		}
	}
	inside := map[string]bool{}
	for _, children := range contents {
		for _, child := range children {
			inside[child] = true
		}
	}
	for _, other := range others {
		if inside[other] {
			add(other, 0)
		}
	}
	return shared
}

const maxNesting = 16
