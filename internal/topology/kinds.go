package topology

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"acrpromote/internal/ref"
)

// group describes where the resources of an API group have images, other than in
// containers, image volumes and image: mappings, which all may have.
type group struct {
	keys []string // keys whose text is an image
	urls []string // keys whose text is an oci:// URL of an image
	// parameters is set if values may be filled in when a resource runs, and
	// templates if these may look like those of Helm.
	parameters, templates bool
	// chart is set if the values are those of a chart, which has its own tags.
	chart bool
	// base is set if baseImage, tag, version and sha name an image together.
	base bool
	// inert is set if the resources run nothing: their images are patterns or
	// parts of a schema.
	inert bool
}

const ociScheme = "oci://"

var (
	unknownGroup = &group{}
	operator     = &group{keys: []string{"image"}}
	inertGroup   = &group{inert: true}
	chartValues  = &group{keys: []string{"image"}, chart: true}
	// An ApplicationSet has templates that Argo CD renders.
	applicationSet = &group{keys: []string{"image"}, chart: true, parameters: true, templates: true}
)

// groups are the known API groups. An entry covers the groups that end in a dot
// and its name.
var groups = map[string]*group{
	// Workflows and pipelines.
	"argoproj.io": {keys: []string{"image"}, parameters: true},
	"tekton.dev":  {keys: []string{"image", "bundle"}, parameters: true},
	// Serving. A model can be an image, too.
	"serving.kserve.io": {keys: []string{"image"}, urls: []string{"storageUri", "uri"}},
	// Prometheus operators.
	"monitoring.coreos.com": {keys: []string{"image"}, base: true},
	"monitoring.rhobs":      {keys: []string{"image"}, base: true},
	// Operators with other keys.
	"postgresql.cnpg.io":           {keys: []string{"image", "imageName"}},
	"acid.zalan.do":                {keys: []string{"image", "dockerImage"}},
	"pkg.crossplane.io":            {keys: []string{"image", "package"}},
	"cassandra.datastax.com":       {keys: []string{"image", "serverImage", "configBuilderImage"}},
	"actions.summerwind.dev":       {keys: []string{"image", "dockerdContainerImage"}},
	"helm.toolkit.fluxcd.io":       chartValues,
	"apiextensions.k8s.io":         inertGroup,
	"kyverno.io":                   inertGroup,
	"policy.sigstore.dev":          inertGroup,
	"gatekeeper.sh":                inertGroup,
	"admissionregistration.k8s.io": inertGroup,
	// Operators whose resources have the key image.
	"actions.github.com":      operator,
	"camel.apache.org":        operator,
	"ceph.rook.io":            operator,
	"clickhouse.altinity.com": operator,
	"crunchydata.com":         operator,
	"databases.spotahome.com": operator,
	"dragonflydb.io":          operator,
	"flink.apache.org":        operator,
	"fluent.io":               operator,
	"integreatly.org":         operator,
	"jaegertracing.io":        operator,
	"k6.io":                   operator,
	"k8s.elastic.co":          operator,
	"k8s.keycloak.org":        operator,
	"k8s.mariadb.com":         operator,
	"kubeflow.org":            operator,
	"kubevirt.io":             operator,
	"min.io":                  operator,
	"nvidia.com":              operator,
	"opentelemetry.io":        operator,
	"operators.coreos.com":    operator,
	"opstreelabs.in":          operator,
	"percona.com":             operator,
	"rabbitmq.com":            operator,
	"sparkoperator.k8s.io":    operator,
	"strimzi.io":              operator,
	"vault.banzaicloud.com":   operator,
	"victoriametrics.com":     operator,
	"yugabyte.com":            operator,
}

// groupOf returns the group of a resource.
func groupOf(apiVersion, kind string) *group {
	name, _, named := strings.Cut(apiVersion, "/")
	if !named {
		return unknownGroup
	}
	if name == "argoproj.io" {
		switch kind {
		case "Application":
			return chartValues
		case "ApplicationSet":
			return applicationSet
		}
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if g, known := groups[name]; known {
			return g
		}
	}
	return unknownGroup
}

// isParameter reports whether a reference has a parameter that is filled in when a
// resource of the group runs. A template of Helm, whose names begin with a dot, was
// not rendered.
func (g *group) isParameter(reference string) bool {
	if !g.parameters {
		return false
	}
	_, name, found := strings.Cut(reference, "{{")
	name = strings.TrimLeft(name, "- ")
	ofHelm := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "include ") || strings.HasPrefix(name, "template ")
	return strings.Contains(reference, "$(") || found && (g.templates || !ofHelm)
}

// pairs takes the images that several keys of a mapping name together, and
// returns these keys.
func (s *search) pairs(n *yaml.Node, c context) map[string]bool {
	if c.inert {
		return nil
	}
	get := func(key string) string { return value(n, key) }
	hasImageKey := slices.Contains(c.group.keys, "image")
	switch {
	case c.group.base && get("image") == "" && get("baseImage") != "":
		// The order of the Prometheus operator: sha, tag, version.
		tag, digest := cmp.Or(get("tag"), get("version")), ""
		if sha := get("sha"); sha != "" {
			tag, digest = "", sha
			if sum, err := hex.DecodeString(sha); err == nil {
				digest = ref.EncodeDigest(sum)
			}
		}
		return s.joined(n, c, []string{"baseImage", "tag", "version", "sha"}, join("", get("baseImage"), tag, digest))
	case get("name") == "bundle" && get("value") != "" && slices.Contains(c.group.keys, "bundle") && (s.below("taskRef") || s.below("pipelineRef")):
		return s.joined(n, c, []string{"value"}, get("value"))
	case hasImageKey && get("repository") != "" && get("image") != "" && get("version") != "" && !strings.Contains(get("image"), "/"):
		return s.joined(n, c, []string{"image", "repository", "version"}, join(get("repository"), get("image"), get("version"), ""))
	case s.key() != "image":
		return nil
	case c.list == imageVolume && get("reference") != "":
		return s.joined(n, c, []string{"reference"}, get("reference"))
	case get("repository") != "":
		return s.joined(n, c, []string{"repository", "registry", "tag", "digest"}, join(get("registry"), get("repository"), get("tag"), get("digest")))
	case get("name") != "" && (get("tag") != "" || get("digest") != "" || s.ofSource(get("name"))):
		return s.joined(n, c, []string{"name", "registry", "tag", "digest"}, join(get("registry"), get("name"), get("tag"), get("digest")))
	}
	return nil
}

// joined takes the reference that the values of some keys name together, and
// returns the keys. Its place is that of the first one.
func (s *search) joined(n *yaml.Node, c context, keys []string, reference string) map[string]bool {
	s.path = append(s.path, step{key: keys[0]})
	s.take(s.locate(child(n, keys[0]), c), reference)
	s.path = s.path[:len(s.path)-1]
	taken := map[string]bool{}
	for _, key := range keys {
		taken[key] = true
	}
	return taken
}

// join returns the reference of the parts of an image. A tag may be a digest.
func join(registry, repository, tag, digest string) string {
	reference := repository
	if registry != "" {
		reference = strings.TrimRight(registry, "/") + "/" + repository
	}
	switch {
	case ref.NamesDigest(tag) && !strings.Contains(tag, "@"):
		reference += "@" + tag
	case tag != "":
		reference += ":" + tag
	}
	if digest != "" {
		reference += "@" + digest
	}
	return reference
}

// key returns the last key of the current path, or "" if it ends in an index.
func (s *search) key() string {
	if len(s.path) == 0 {
		return ""
	}
	return s.path[len(s.path)-1].key
}

// below reports whether the current path has a key among its last three steps.
func (s *search) below(key string) bool {
	return slices.ContainsFunc(s.path[max(0, len(s.path)-3):], func(at step) bool { return at.key == key })
}

func (s *search) ofSource(reference string) bool {
	host, _ := splitHost(reference)
	return slices.Contains(s.hosts, host)
}

// resolved returns the node that an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// What is searched for a key: so many merged mappings, and so many keys of each.
// More would take too long if many nodes refer to one large mapping.
const (
	maxMerges = 10
	maxKeys   = 200
)

// child returns the value of a key, also of a merged mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node { return merged(n, key, maxMerges) }

func merged(n *yaml.Node, key string, depth int) *yaml.Node {
	if n = resolved(n); n == nil || n.Kind != yaml.MappingNode || depth == 0 {
		return nil
	}
	var base *yaml.Node
	for i := 0; i+1 < min(len(n.Content), 2*maxKeys); i += 2 {
		switch n.Content[i].Value {
		case key:
			return resolved(n.Content[i+1])
		case "<<":
			base = n.Content[i+1]
		}
	}
	return merged(base, key, depth-1)
}

// value returns the text that a key has, or "".
func value(n *yaml.Node, key string) string {
	if v := child(n, key); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}
