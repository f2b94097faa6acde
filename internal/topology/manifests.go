package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/expression"
	"acrpromote/internal/levenshtein"
	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// Found has the images in a list or in manifests: those of the source registry,
// those of them that have no tag, and the references that were left out.
type Found struct {
	Images   []Image
	Untagged []Other
	Others   []Other
	// More is the number of references that were left out and are not in Others.
	More int
}

// Other is a reference that was left out, or an image without a tag: where it
// was found first, and in how many further places it is. Path is empty in a list.
type Other struct {
	Line      int
	Path      string
	Reference string
	Reason    string
	Again     int
}

// String returns the reference with the reason and the place, without the line.
func (o Other) String() string {
	s := o.Reference + ": " + o.Reason
	if o.Path != "" {
		s += ", in " + o.Path
	}
	switch {
	case o.Again == 1:
		s += " and 1 more place"
	case o.Again > 1:
		s += fmt.Sprintf(" and %d more places", o.Again)
	}
	return s
}

// ImagesFromManifests returns the images in a list, or in rendered Kubernetes
// manifests. From manifests it takes the images of containers, initContainers and
// ephemeralContainers at any depth, image volumes, image: mappings of repository
// and tag, and what custom resources of known groups run. Images of the source
// registry are taken as written: by tag, by digest, or by a tag that must have the
// digest. One without a tag is latest. References to other registries, and
// references to the source elsewhere in the manifests, are returned as others. In
// a list, the repository may be preceded by the registry. sourceHosts are the
// registry's names. The error is an *Invalid.
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
	text, ok := clean(p, content, MaxManifestBytes)
	if !ok {
		return Found{}, p.err(name)
	}
	s := &search{problems: p, hosts: hosts}
	if isYAML(text) {
		if json, valid := s.json(text); valid {
			s = json
		} else {
			s.yaml(text)
		}
	} else {
		lines(text, func(line, column int, entry string) { s.take(location{line: line, column: column}, entry) })
	}
	found := Found{Images: s.images.sorted(), Untagged: s.untagged.list, Others: s.leftOut(), More: s.others.lost}
	if len(found.Images) == 0 && len(s.found) == 0 {
		s.add(1, 1, fmt.Sprintf("no image of registry %s found", strings.Join(hosts, ", ")), ignoredRemedy(hosts, found.Others))
	}
	if err := s.err(name); err != nil {
		return Found{}, err
	}
	return found, nil
}

// ignoredRemedy returns what to do about a file without an image of the given hosts.
func ignoredRemedy(hosts []string, others []Other) string {
	if len(others) == 0 {
		return "Pass a list with one repository:tag per line, or rendered manifests."
	}
	count, first := "1 other image was found", others[0]
	if n := len(others); n > 1 {
		count = fmt.Sprintf("%d other images were found, such as", n)
	}
	remedy := fmt.Sprintf("Only images of the flow's source count. %s: %s in line %d (%s).", count, quote(first.Reference), first.Line, first.Reason)
	for _, other := range others {
		host, _ := splitHost(other.Reference)
		if near, ok := levenshtein.NearestHost(host, hosts); ok {
			return remedy + fmt.Sprintf(" Did you mean %s instead of %s?", near, host)
		}
	}
	return remedy
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

// search collects images from the documents of a file.
type search struct {
	*problems
	hosts    []string // of the source registry
	images   entries
	untagged others
	others   others

	// Of the document, or the part of one, that is being searched:
	base     int            // the number of lines before it
	seen     map[visit]bool // the anchored nodes that were visited
	path     []step
	resource string // kind and name of the innermost resource
}

// step is one step of a path: a key of a mapping, or an index of a sequence.
type step struct {
	key   string
	index int
}

// visit is a node with its context. Each anchored node is visited once in each
// context, so that nested aliases cannot multiply the work.
type visit struct {
	node *yaml.Node
	context
}

// context is what the nodes around a node say about it.
type context struct {
	group *group // of the resource, if it is a known one
	list  list
	// inert is set in what is not run: metadata, status, policies, schemas.
	inert bool
}

// list is the kind of the list that a node is in.
type list uint8

const (
	noList list = iota
	containerList
	volumeList
	imageVolume // the key image of an item of volumes
)

var lists = map[string]list{
	"containers": containerList, "initContainers": containerList, "ephemeralContainers": containerList, "volumes": volumeList,
}

// location is where a reference was found.
type location struct {
	line, column int
	path         string
	group        *group
	// rendered is set in manifests, which have no patterns.
	rendered bool
}

// walk visits a node. It reports whether to go on.
func (s *search) walk(n *yaml.Node, c context) bool {
	if len(s.path) >= maxManifestDepth {
		s.add(s.base+n.Line, n.Column, tooDeep, "Check brackets and indentation.")
		return false
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil {
		return true
	}
	if n.Anchor != "" {
		if s.seen[visit{n, c}] {
			return true
		}
		s.seen[visit{n, c}] = true
	}
	switch n.Kind {
	case yaml.MappingNode:
		return s.mapping(n, c)
	case yaml.DocumentNode:
		return s.walk(n.Content[0], c)
	case yaml.SequenceNode:
		for i, child := range n.Content {
			if !s.step(step{index: i}, child, c) {
				return false
			}
		}
	case yaml.ScalarNode:
		s.mentions(n)
	}
	return true
}

// step visits a child of the current node.
func (s *search) step(next step, n *yaml.Node, c context) bool {
	s.path = append(s.path, next)
	more := s.walk(n, c)
	s.path = s.path[:len(s.path)-1]
	return more
}

func (s *search) mapping(n *yaml.Node, c context) bool {
	apiVersion, kind := value(n, "apiVersion"), value(n, "kind")
	isResource := apiVersion != "" && kind != ""
	if isResource {
		defer func(outer string) { s.resource = outer }(s.resource)
		s.resource = kind
		if name := value(child(n, "metadata"), "name"); name != "" {
			s.resource += "/" + name
		}
		c.group = groupOf(apiVersion, kind)
		c.list, c.inert = noList, c.inert || c.group.inert
	}
	taken := s.pairs(n, c)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, content := n.Content[i], n.Content[i+1]
		if taken[key.Value] || !c.inert && s.image(key, content, c) {
			continue
		}
		below := context{group: c.group, list: lists[key.Value], inert: c.inert || isResource && (key.Value == "metadata" || key.Value == "status")}
		switch {
		case key.Value == "<<":
			below.list = c.list
		case key.Value == "image" && c.list == volumeList:
			below.list = imageVolume
		}
		if !s.step(step{key: key.Value}, content, below) {
			return false
		}
	}
	return true
}

// image takes the image that a key has as text. It reports whether there is one.
func (s *search) image(key, content *yaml.Node, c context) bool {
	content = resolved(content)
	if content == nil || content.Kind != yaml.ScalarNode {
		return false
	}
	text := content.Value
	switch {
	case key.Value == "image" && c.list == containerList:
	case slices.Contains(c.group.keys, key.Value) && text != "" && content.Tag != "!!null":
	case slices.Contains(c.group.urls, key.Value) && strings.HasPrefix(text, ociScheme):
		text = strings.TrimPrefix(text, ociScheme)
	default:
		return false
	}
	if content.Tag == "!!null" {
		text = ""
	}
	s.path = append(s.path, step{key: key.Value})
	s.take(s.locate(content, c), text)
	s.path = s.path[:len(s.path)-1]
	return true
}

// locate returns the location of a node in the manifests.
func (s *search) locate(n *yaml.Node, c context) location {
	return location{line: s.base + n.Line, column: n.Column, path: s.where(), group: c.group, rendered: true}
}

// where returns the current path, as in "Deployment/cart: spec.replicas".
func (s *search) where() string {
	var b strings.Builder
	if s.resource != "" {
		b.WriteString(shown(s.resource) + ": ")
	}
	for i, next := range s.path {
		switch {
		case next.key == "":
			fmt.Fprintf(&b, "[%d]", next.index)
		case strings.ContainsFunc(next.key, isUnusualInKey):
			fmt.Fprintf(&b, "[%s]", quote(next.key))
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(next.key)
		}
	}
	return b.String()
}

// isUnusualInKey reports whether a character is in few of the keys that Kubernetes
// has.
func isUnusualInKey(r rune) bool {
	return r != '-' && r != '_' && r != '$' && r != '<' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// maxShown is the length of text that is shown as it is. The longest reference is
// shorter.
const maxShown = 600

// shown returns text of a file for a message: as it is, or quoted and shortened.
func shown(text string) string {
	if len(text) > maxShown || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return quote(text)
	}
	return text
}

var tooDeep = fmt.Sprintf("nesting is deeper than %d levels", maxManifestDepth)

// maxOthers limits how many references are reported as left out.
const maxOthers = 1000

const dockerHub = "it is on Docker Hub"

// take adds a reference to the images or, if it is of another registry, to the
// others.
func (s *search) take(at location, reference string) {
	if at.rendered && reference == "" {
		s.add(at.line, at.column, "empty image", "Render the manifests with all values.")
		return
	}
	host, rest := splitHost(reference)
	hub := slices.Contains(s.hosts, ref.DockerHub)
	switch {
	case at.rendered && at.group.isParameter(reference):
		s.others.put(at, reference, "it has a parameter, whose value is known only when it runs")
		return
	case host == "" && at.rendered && !hub, host == ref.DockerHub && !hub:
		s.others.put(at, reference, dockerHub)
		return
	case host != "" && !slices.Contains(s.hosts, host):
		s.others.put(at, reference, "it is on "+strings.Trim(quote(host), `"`))
		return
	}
	if hub && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	rest, digest, _ := strings.Cut(rest, "@")
	if at.rendered && !strings.Contains(rest, ":") && !strings.Contains(reference, "@") {
		if at.group.chart {
			s.others.put(at, reference, "it has no tag, and the chart decides which it is")
			return
		}
		s.untagged.put(at, reference, "it has no tag, which is latest in Kubernetes")
		rest += ":latest"
	}
	image, err := readPinned(rest, digest)
	if found := expression.Find(rest); len(found) > 0 {
		reason, remedy := found[0].NotAllowed("the file")
		if at.rendered {
			remedy = "Render the manifests first."
		}
		s.add(at.line, at.column, reason, remedy)
		return
	}
	switch {
	case err != nil && !(at.rendered && strings.ContainsAny(rest, "{}$ ")):
		addError(s.problems, at.line, at.column, err)
	case at.rendered && (err != nil || !image.Literal()):
		s.add(at.line, at.column, quote(reference)+" is not a valid image reference", "Render the manifests first.")
	default:
		s.images.put(s.problems, at.line, at.column, image)
	}
}

// readPinned parses an entry with a digest. If it has a tag too, the source's tag
// must have the digest.
func readPinned(entry, digest string) (Image, error) {
	tagged := strings.Contains(entry, ":")
	if digest == "" {
		return readImage(entry)
	}
	if !tagged {
		return readImage(entry + "@" + digest)
	}
	image, err := readImage(entry)
	switch {
	case err != nil:
		return Image{}, err
	case !ref.IsDigest(digest):
		return Image{}, notDigest(digest)
	case !image.Literal():
		return Image{}, mistake{quote(entry+"@"+digest) + " combines a pattern with a digest", "Name the repository and the tag that have the digest."}
	}
	image.Digest = digest
	return image, nil
}

// leftOut returns the others in the order of lines. A mention of an image that is
// in the set is not left out.
func (s *search) leftOut() []Other {
	have := map[string]bool{}
	for _, image := range s.images.list {
		have[image.String()] = true
		if image.Digest != "" {
			have[image.Repository.String()+"@"+image.Digest] = true
			have[image.Repository.String()+":"+image.Tag.String()] = true
		}
	}
	for _, untagged := range s.untagged.list {
		_, rest := splitHost(untagged.Reference)
		have[rest] = true
	}
	left := slices.DeleteFunc(s.others.list, func(o Other) bool {
		_, rest := splitHost(o.Reference)
		return o.Reason == mentioned && have[rest]
	})
	sorting.StableBy(left, func(a, b Other) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Reference, b.Reference))
	})
	return left
}

// others is a set of references with the reason why each was left out.
type others struct {
	list []Other
	at   map[Other]int
	lost int
}

func (o *others) put(at location, reference, reason string) {
	reference = shown(reference)
	key := Other{Reference: reference, Reason: reason}
	if i, have := o.at[key]; have {
		o.list[i].Again++
		return
	}
	if len(o.list) >= maxOthers {
		o.lost++
		return
	}
	if o.at == nil {
		o.at = map[Other]int{}
	}
	o.at[key] = len(o.list)
	o.list = append(o.list, Other{Line: at.line, Path: at.path, Reference: reference, Reason: reason})
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
