package recall

import (
	"maps"
	"slices"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// maxPlaces limits how many repositories are found for one image.
const maxPlaces = 1000

// Places returns the repositories that may have an image because of the flows of a file,
// the source first: where the flows lead it to, and where they may have brought it from.
// Tags and subscriptions do not count, since they may have been others when the image
// was copied. Each flow is followed once on the way to a place. more reports whether
// there are more places than it returns.
func Places(f *topology.File, source ref.Reference) (places []ref.Reference, more bool) {
	source.Tag, source.Digest = "", ""
	places = []ref.Reference{source}
	taken := [][]string{nil} // the flows on the way to each place
	for i := 0; i < len(places) && !more; i++ {
		at, known := f.ByHost(places[i].Registry)
		if !known {
			continue
		}
		add := func(flow, registry, repository string) {
			place := ref.Reference{Registry: string(f.Registries[registry].Host), Repository: repository}
			switch {
			case !ref.IsRepository(repository) || slices.Contains(places, place):
			case len(places) == maxPlaces:
				more = true
			default:
				places, taken = append(places, place), append(taken, append(slices.Clone(taken[i]), flow))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(f.Flows)) {
			flow := f.Flows[name]
			if slices.Contains(taken[i], name) {
				continue
			}
			if flow.From == at.Name && flow.Repositories.Match(places[i].Repository) {
				if repository, _, err := flow.Names(places[i].Repository, ""); err == nil {
					for _, to := range flow.To {
						add(name, to, repository)
					}
				}
			}
			if origin, ok := flow.SourceRepository(places[i].Repository); ok && slices.Contains(flow.To, at.Name) {
				add(name, flow.From, origin)
				for _, to := range flow.To {
					add(name, to, places[i].Repository)
				}
			}
		}
	}
	return places, more
}
