package recall

import (
	"maps"
	"slices"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// maxPlaces limits how many repositories are found for one image.
const maxPlaces = 1000

// Places returns the repositories that may have an image because of the flows of a file,
// the source first: where the flows lead it to, and where they may have brought it from.
// Tags and subscriptions do not count, since they may have been others when the image
// was copied. Each flow is followed once on the way to a place.
func Places(f *topology.File, source ref.Reference) []ref.Reference {
	source.Tag, source.Digest = "", ""
	places := []ref.Reference{source}
	taken := [][]string{nil} // the flows on the way to each place
	for i := 0; i < len(places) && len(places) < maxPlaces; i++ {
		at, known := f.ByHost(places[i].Registry)
		if !known {
			continue
		}
		add := func(flow, registry, repository string) {
			place := ref.Reference{Registry: string(f.Registries[registry].Host), Repository: repository}
			if ref.IsRepository(repository) && !slices.Contains(places, place) && len(places) < maxPlaces {
				places, taken = append(places, place), append(taken, append(slices.Clone(taken[i]), flow))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(f.Flows)) {
			flow := f.Flows[name]
			if slices.Contains(taken[i], name) {
				continue
			}
			if flow.From == at.Name && flow.Repositories.Match(places[i].Repository) {
				for _, to := range flow.To {
					add(name, to, named(flow, places[i].Repository))
				}
			}
			if !slices.Contains(flow.To, at.Name) {
				continue
			}
			if origin := origin(flow, places[i].Repository); origin != "" && flow.Repositories.Match(origin) {
				add(name, flow.From, origin)
				for _, to := range flow.To {
					add(name, to, places[i].Repository)
				}
			}
		}
	}
	return places
}

const placeholder = "{repository}"

// named returns the repository at a flow's targets.
func named(flow *topology.Flow, repository string) string {
	if flow.As.Repository == "" {
		return repository
	}
	return strings.ReplaceAll(string(flow.As.Repository), placeholder, repository)
}

// origin returns the repository at the source of a flow that is named as given at its
// targets, or "" if it is unknown.
func origin(flow *topology.Flow, repository string) string {
	if flow.As.Repository == "" {
		return repository
	}
	before, after, _ := strings.Cut(string(flow.As.Repository), placeholder)
	origin, ok := strings.CutPrefix(repository, before)
	if !strings.Contains(after, placeholder) {
		var ends bool
		origin, ends = strings.CutSuffix(origin, after)
		ok = ok && ends
	}
	if !ok || named(flow, origin) != repository || before == string(flow.As.Repository) {
		return ""
	}
	return origin
}
