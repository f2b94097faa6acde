package doctor

// Registry is what was read of a registry.
type Registry struct {
	Host string
}

func (j *judge) registry(Registry) {}
