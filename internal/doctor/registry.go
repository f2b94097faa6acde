package doctor

// Registry is what was read of a registry.
type Registry struct {
	Name  string // in the flow file, or empty
	Host  string
	Trust int // a higher number is trusted more
	// Writers and Readers are the object IDs that the flow file expects.
	Writers, Readers []string
	// Unread is what could not be read.
	Unread []Unread
}

// Unread is something that could not be read: what, why, and the command or the
// sentence that makes it readable.
type Unread struct{ What, Reason, Grant string }

// registryKinds are the findings about registries.
var registryKinds = []Kind{
	{"unread", Unknown, "{what} could not be read, so nothing is known about it: {reason}.", "{grant=}"},
}

// where names the registry in a finding.
func (r *Registry) where() string {
	if r.Name == "" {
		return "registry " + r.Host
	}
	return "registry " + r.Name + " (" + r.Host + ")"
}

func (j *judge) registry(r Registry) {
	for _, u := range r.Unread {
		j.find(registryKinds, "unread", r.where(), "what", u.What, "reason", u.Reason, "grant", u.Grant)
	}
}
