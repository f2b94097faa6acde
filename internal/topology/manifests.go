package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/ref"
)

// Found is what a list or manifests name: the images of the source registry,
// and every other one with the reason why it is left out.
type Found struct {
	Images []Image
	Others []Other
}

// Other is an image that is named and not taken.
type Other struct {
	Line      int
	Reference string
	Reason    string
}

// ImagesFromManifests reads images from a list, or from rendered Kubernetes
// manifests: those of containers, initContainers and ephemeralContainers,
// however deep. An image of the source registry is taken as it is written; by
// digest where it has one. Those of other registries, and images of the source
// that stand elsewhere in the manifests, are told. A list may name the
// registry before the repository. The error is an *Invalid.
func ImagesFromManifests(name string, content []byte, sourceHost string) (Found, error) {
	p := &problems{}
	host, err := readHost(sourceHost)
	if err != nil {
		return Found{}, err
	}
	text, ok := clean(p, content, mostManifestBytes)
	if !ok {
		return Found{}, p.err(name)
	}
	s := search{problems: p, host: host}
	if isYAML(text) {
		if countable(p, text, mostManifestMarks) {
			documents(p, text, func(document *yaml.Node) bool {
				s.seen = map[visit]bool{}
				return s.walk(document, false, 0)
			})
		}
	} else {
		lines(text, func(line, column int, entry string) { s.take(line, column, entry, false) })
	}
	found := Found{Images: s.images.sorted(), Others: s.others}
	if len(found.Images) == 0 && len(p.found) == 0 {
		p.add(1, 1, fmt.Sprintf("No image of %s is named.", host), othersRemedy(found.Others))
	}
	if err := p.err(name); err != nil {
		return Found{}, err
	}
	slices.SortFunc(found.Others, func(a, b Other) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Reference, b.Reference))
	})
	return found, nil
}

func othersRemedy(others []Other) string {
	if len(others) == 0 {
		return "Give a list of repository:tag lines, or rendered manifests."
	}
	return fmt.Sprintf("There are %d others, such as %s (line %d).", len(others), quote(others[0].Reference), others[0].Line)
}

// isYAML tells manifests from a list by the first line that says something:
// no entry of a list has a colon with nothing or a space behind it.
func isYAML(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		return strings.ContainsAny(line[:1], "{[%\"'-") || strings.HasSuffix(line, ":") || strings.Contains(line, ": ")
	}
	return false
}

// search collects images. Aliases are followed once for each place that they
// can mean something in, so a bomb of them costs nothing.
type search struct {
	*problems
	host   string
	images entries
	others []Other
	seen   map[visit]bool
}

// visit is a node as the item of a list of containers, or as anything else.
type visit struct {
	node      *yaml.Node
	container bool
}

var containers = []string{"containers", "initContainers", "ephemeralContainers"}

// walk looks at a node; in says that it stands under a key for containers.
// False: stop.
func (s *search) walk(n *yaml.Node, in bool, depth int) bool {
	if depth > mostManifestDepth {
		s.add(n.Line, n.Column, fmt.Sprintf("The nesting is deeper than %d.", mostManifestDepth), "No manifest needs such depth.")
		return false
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || s.seen[visit{n, in}] {
		return true
	}
	s.seen[visit{n, in}] = true
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind == yaml.ScalarNode && key.Value == "image" && s.image(value, in) {
				continue
			}
			below := slices.Contains(containers, key.Value) || key.Value == "<<" && in
			if !s.walk(value, below, depth+1) {
				return false
			}
		}
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, child := range n.Content {
			if !s.walk(child, in, depth+1) {
				return false
			}
		}
	}
	return true
}

// image takes the value of a key image. It is false if there is no text.
func (s *search) image(n *yaml.Node, container bool) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return false
	}
	if !container {
		if host, _ := splitHost(n.Value); host == s.host {
			s.other(n.Line, n.Value, "it stands outside containers, initContainers and ephemeralContainers")
		}
		return true
	}
	s.take(n.Line, n.Column, n.Value, true)
	return true
}

// take sorts a reference in: an image of the source, or another.
func (s *search) take(line, column int, reference string, rendered bool) {
	host, rest := splitHost(reference)
	switch {
	case rendered && reference == "":
		s.add(line, column, "The image is empty.", "Render the manifests with all their values.")
		return
	case host == "" && rendered:
		s.other(line, reference, "it is of Docker Hub")
		return
	case host != "" && host != s.host:
		s.other(line, reference, "it is of "+strings.Trim(quote(host), `"`))
		return
	}
	if tagged, digest, found := strings.Cut(rest, "@"); found {
		// As a container runtime does: the digest says which image it is.
		repository, _, _ := strings.Cut(tagged, ":")
		rest = repository + "@" + digest
	}
	image, err := readImage(rest)
	switch {
	case err != nil:
		tell(s.problems, line, column, err)
	case rendered && !image.Literal():
		s.add(line, column, quote(reference)+" is no image's reference.", "Render the manifests first.")
	default:
		s.images.put(s.problems, line, column, image)
	}
}

func (s *search) other(line int, reference, reason string) {
	if len(s.others) < mostImages {
		s.others = append(s.others, Other{line, reference, reason})
	}
}

// splitHost parts a reference as container runtimes do: what stands before the
// first slash is a host if it has a dot or a port, or is localhost. The host
// is in lower case and without the port of HTTPS.
func splitHost(reference string) (host, rest string) {
	first, rest, nested := strings.Cut(reference, "/")
	if !nested || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "", reference
	}
	host, err := readHost(first)
	if err != nil {
		return ref.CanonicalHost(first), rest
	}
	return host, rest
}
