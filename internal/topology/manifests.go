package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/ref"
)

// Found has the images in a list or in manifests: those of the source registry,
// and the others with the reason why each was ignored.
type Found struct {
	Images []Image
	Others []Other
}

// Other is an image that was ignored.
type Other struct {
	Line      int
	Reference string
	Reason    string
}

// ImagesFromManifests returns the images in a list, or in rendered Kubernetes
// manifests: those of containers, initContainers and ephemeralContainers at any
// depth. Images of the source registry are taken as written, by digest if they
// have one. Images of other registries, and images of the source elsewhere in
// the manifests, are returned as others. In a list, the repository may be
// preceded by the registry. sourceHosts are the registry's names. The error is an *Invalid.
func ImagesFromManifests(name string, content []byte, sourceHosts ...string) (Found, error) {
	p := &problems{}
	var hosts []string
	for _, name := range sourceHosts {
		host, err := readHost(name)
		if err != nil {
			return Found{}, err
		}
		hosts = append(hosts, host)
	}
	text, ok := clean(p, content, maxManifestBytes)
	if !ok {
		return Found{}, p.err(name)
	}
	s := search{problems: p, hosts: hosts}
	if isYAML(text) {
		if checkMarks(p, text, maxManifestMarks) {
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
		p.add(1, 1, fmt.Sprintf("no image of registry %s found", strings.Join(hosts, ", ")), ignoredRemedy(found.Others))
	}
	if err := p.err(name); err != nil {
		return Found{}, err
	}
	slices.SortFunc(found.Others, func(a, b Other) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Reference, b.Reference))
	})
	return found, nil
}

func ignoredRemedy(others []Other) string {
	if len(others) == 0 {
		return "Pass a list with one repository:tag per line, or rendered manifests."
	}
	count, first := "1 other image was ignored", others[0]
	if n := len(others); n > 1 {
		count = fmt.Sprintf("%d other images were ignored, for example", n)
	}
	return fmt.Sprintf("%s: %s in line %d (%s).", count, quote(first.Reference), first.Line, first.Reason)
}

// isYAML reports whether a text is manifests and not a list, by its first line
// that is neither empty nor a comment: in an entry of a list, a colon is
// followed by something other than a space.
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

// search collects images. It visits each node at most once as a container and
// once as anything else, so that nested aliases cannot multiply the work.
type search struct {
	*problems
	hosts  []string // of the source registry
	images entries
	others []Other
	seen   map[visit]bool
}

// visit is a node, visited as an item of a list of containers or as anything
// else.
type visit struct {
	node      *yaml.Node
	container bool
}

var containers = []string{"containers", "initContainers", "ephemeralContainers"}

// walk visits a node; in is set if it is in a list of containers. It reports
// whether to go on.
func (s *search) walk(n *yaml.Node, in bool, depth int) bool {
	if depth > maxManifestDepth {
		s.add(n.Line, n.Column, fmt.Sprintf("nesting is deeper than %d levels", maxManifestDepth), "Check brackets and indentation.")
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

// image adds the value of a key named image. It reports whether that is text.
func (s *search) image(n *yaml.Node, container bool) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return false
	}
	if !container {
		if host, _ := splitHost(n.Value); slices.Contains(s.hosts, host) {
			s.other(n.Line, n.Value, "it is outside containers, initContainers and ephemeralContainers")
		}
		return true
	}
	s.take(n.Line, n.Column, n.Value, true)
	return true
}

// take adds a reference to the images or, if it is of another registry, to the
// others.
func (s *search) take(line, column int, reference string, rendered bool) {
	host, rest := splitHost(reference)
	switch {
	case rendered && reference == "":
		s.add(line, column, "empty image", "Render the manifests with all values.")
		return
	case host == "" && rendered:
		s.other(line, reference, "it is on Docker Hub")
		return
	case host != "" && !slices.Contains(s.hosts, host):
		s.other(line, reference, "it is on "+strings.Trim(quote(host), `"`))
		return
	}
	if tagged, digest, found := strings.Cut(rest, "@"); found {
		// As in a container runtime, the digest decides.
		repository, _, _ := strings.Cut(tagged, ":")
		rest = repository + "@" + digest
	}
	image, err := readImage(rest)
	switch {
	case err != nil:
		addError(s.problems, line, column, err)
	case rendered && !image.Literal():
		s.add(line, column, quote(reference)+" is not a valid image reference", "Render the manifests first.")
	default:
		s.images.put(s.problems, line, column, image)
	}
}

func (s *search) other(line int, reference, reason string) {
	if len(s.others) < maxImages {
		s.others = append(s.others, Other{line, reference, reason})
	}
}

// splitHost splits a reference as container runtimes do: the text before the
// first slash is a host if it has a dot or a port, or is localhost. The host is
// returned in lower case, without the default HTTPS port.
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
