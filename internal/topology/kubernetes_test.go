package topology

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const sourceHost = "prod.azurecr.io"

// TestKubernetesFiles checks files of the shapes that Helm, Kustomize, kubectl and
// custom resources have. What they run is in the repositories yes/…, and what is to
// be left out in no/…, so that the text itself says what is right.
func TestKubernetesFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/kubernetes/*")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	// These names are in parts in the file.
	apart := map[string][]string{"operators.yaml": {"yes/driver", "yes/toolkit", "yes/release"}}
	parameters := map[string]int{"argo.yaml": 1, "tekton.yaml": 2}
	named := regexp.MustCompile(`(?i)\bprod\.azurecr\.io(?::443)?/((?:yes|no)/[a-z0-9-]+)`)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			images, left := apart[name], []string(nil)
			for _, match := range named.FindAllStringSubmatch(strings.NewReplacer(`\/`, "/", `\n`, "\n").Replace(string(content)), -1) {
				if strings.HasPrefix(match[1], "yes/") {
					images = append(images, match[1])
				} else {
					left = append(left, match[1])
				}
			}
			found, err := ImagesFromManifests(name, content, sourceHost)
			if err != nil {
				t.Fatal(err)
			}
			var gotImages, gotLeft []string
			for _, image := range found.Images {
				gotImages = append(gotImages, image.Repository.String())
			}
			withParameter := 0
			for _, other := range found.Others {
				if strings.Contains(other.Reason, "parameter") {
					withParameter++
				} else if _, rest := splitHost(other.Reference); strings.HasPrefix(other.Reference, sourceHost) {
					rest, _, _ = strings.Cut(rest, "@")
					rest, _, _ = strings.Cut(rest, ":")
					gotLeft = append(gotLeft, rest)
				}
			}
			equalSets(t, "images", gotImages, images)
			equalSets(t, "left out", gotLeft, left)
			if withParameter != parameters[name] {
				t.Errorf("%d references with parameters, want %d", withParameter, parameters[name])
			}
			t.Logf("%d images, %d left out", len(gotImages), len(gotLeft))
		})
	}
}

func equalSets(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if got, want = slices.Compact(got), slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// TestReferencesOfManifests checks what is taken of one value.
func TestReferencesOfManifests(t *testing.T) {
	resource := func(apiVersion, kind, spec string) string {
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nspec: %s\n", apiVersion, kind, spec)
	}
	shop := func(spec string) string { return resource("example.com/v1", "Shop", spec) }
	sum := strings.TrimPrefix(digest, "sha256:")
	for _, c := range []struct{ name, text, want string }{
		{"tag", shop(`{containers: [{image: prod.azurecr.io/a:1}]}`), "a:1"},
		{"digest", shop(`{containers: [{image: prod.azurecr.io/a@` + digest + `}]}`), "a@" + digest},
		{"tag and digest", shop(`{containers: [{image: prod.azurecr.io/a:1@` + digest + `}]}`), "a:1@" + digest},
		{"no tag", shop(`{containers: [{image: prod.azurecr.io/a}]}`), "a:latest (untagged)"},
		{"no tag, with a port", shop(`{containers: [{image: "PROD.azurecr.io:443/b/a"}]}`), "b/a:latest (untagged)"},
		{"mapping", shop(`{image: {registry: prod.azurecr.io, repository: b/a, tag: 1.10}}`), "b/a:1.10"},
		{"mapping with a slash", shop(`{image: {registry: prod.azurecr.io/, repository: a, tag: "1"}}`), "a:1"},
		{"mapping with a digest", shop(`{image: {repository: prod.azurecr.io/a, tag: "1", digest: "` + digest + `"}}`), "a:1@" + digest},
		{"mapping with a digest alone", shop(`{image: {repository: prod.azurecr.io/a, tag: null, digest: "` + digest + `"}}`), "a@" + digest},
		{"mapping with a digest as tag", shop(`{image: {repository: prod.azurecr.io/a, tag: "` + digest + `"}}`), "a@" + digest},
		{"mapping with a tag and digest as tag", shop(`{image: {repository: prod.azurecr.io/a, tag: "1@` + digest + `"}}`), "a:1@" + digest},
		{"mapping with a complete repository", shop(`{image: {repository: "prod.azurecr.io/a:1"}}`), "a:1"},
		{"mapping without a tag", shop(`{image: {repository: prod.azurecr.io/a}}`), "a:latest (untagged)"},
		{"mapping of Docker Hub", shop(`{image: {registry: docker.io, repository: a, tag: "1"}}`) + "---\n" + shop(`{containers: [{image: prod.azurecr.io/b:1}]}`), "b:1; docker.io/a:1: it is on Docker Hub"},
		{"mapping with a name", shop(`{image: {name: prod.azurecr.io/a, tag: "1"}}`), "a:1"},
		{"mapping merged", "base: &base {repository: x, tag: \"1\"}\nspec: {image: {<<: *base, repository: prod.azurecr.io/a}}\n", "a:1"},
		{"Prometheus by sha", resource("monitoring.coreos.com/v1", "Prometheus", `{baseImage: prod.azurecr.io/a, tag: "1", sha: `+sum+`}`), "a@" + digest},
		{"Prometheus by tag", resource("monitoring.coreos.com/v1", "Prometheus", `{baseImage: prod.azurecr.io/a, tag: "1", version: "2"}`), "a:1"},
		{"Prometheus by version", resource("monitoring.coreos.com/v1", "Prometheus", `{baseImage: prod.azurecr.io/a, version: "2"}`), "a:2"},
		{"repository, image and version", resource("nvidia.com/v1", "ClusterPolicy", `{driver: {repository: prod.azurecr.io/n, image: driver, version: "1"}}`), "n/driver:1"},
		{"an alias", "a: &a prod.azurecr.io/a:1\ncontainers: [{image: *a}]\n", "a:1"},
		{"a container that is anchored elsewhere", "x: &c {image: prod.azurecr.io/a:1}\ncontainers: [*c]\n", "a:1"},
		{"a template of an ApplicationSet", resource("argoproj.io/v1alpha1", "ApplicationSet", `{values: {image: {repository: prod.azurecr.io/a, tag: "{{ .tag }}"}}}`) + "---\n" + shop(`{containers: [{image: prod.azurecr.io/b:1}]}`),
			"b:1; prod.azurecr.io/a:{{ .tag }}: it has a parameter, whose value is known only when it runs"},
		{"the same image again", shop(`{containers: [{image: prod.azurecr.io/a:1}], args: ["--x=prod.azurecr.io/a:1"]}`), "a:1"},
		{"latest again", shop(`{containers: [{image: prod.azurecr.io/a}], args: ["--x=prod.azurecr.io/a"]}`), "a:latest (untagged)"},
		{"a longer host", shop(`{containers: [{image: prod.azurecr.io/a:1}], args: [my-prod.azurecr.io/x, prod.azurecr.io.example.com/y, xprod.azurecr.io/z]}`), "a:1"},
		{"a mention with its end", shop(`{containers: [{image: prod.azurecr.io/a:1}], args: ["See prod.azurecr.io/b/c:2."]}`), "a:1; prod.azurecr.io/b/c:2: " + mentioned},
		{"two mentions", shop(`{containers: [{image: prod.azurecr.io/a:1}], args: ["prod.azurecr.io/b:2,prod.azurecr.io/c"]}`), "a:1; prod.azurecr.io/b:2: " + mentioned + "; prod.azurecr.io/c: " + mentioned},
		{"directives", "%YAML 1.1\n---\ncontainers: [{image: prod.azurecr.io/a:1}]\n...\n%YAML 1.1\n---\ncontainers: [{image: prod.azurecr.io/b:1}]\n", "a:1; b:1"},
		{"documents without content", "---\n# nothing\n---\n---\ncontainers: [{image: prod.azurecr.io/a:1}]\n---\n", "a:1"},
		{"JSON documents", `{"containers": [{"image": "prod.azurecr.io/a:1"}]} {"containers": [{"image": "prod.azurecr.io/b:1"}]}`, "a:1; b:1"},
		{"a JSON array", `[{"containers": [{"image": "prod.azurecr.io/a:1"}]}]`, "a:1"},
		{"YAML that begins like JSON", "{containers: [{image: prod.azurecr.io/a:1}]}\n", "a:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := ImagesFromManifests("m", []byte(c.text), sourceHost)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, image := range found.Images {
				text := image.String()
				if slices.ContainsFunc(found.Untagged, func(o Other) bool {
					return strings.HasSuffix(strings.ToLower(o.Reference), "/"+image.Repository.String())
				}) {
					text += " (untagged)"
				}
				got = append(got, text)
			}
			for _, other := range found.Others {
				got = append(got, other.Reference+": "+other.Reason)
			}
			if text := strings.Join(got, "; "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// TestPlacesOfReferences checks lines and paths, of YAML and of JSON.
func TestPlacesOfReferences(t *testing.T) {
	for text, want := range map[string]string{
		"kind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    containers:\n    - image: prod.azurecr.io/a:1\n      args:\n      - prod.azurecr.io/b:1\n":   "10 Pod/a: items[0].spec.containers[0].args[0]",
		"a: {containers: [{image: prod.azurecr.io/a:1}]}\n---\nb:\n  \"x.y\": |\n\n    1\n    prod.azurecr.io/b:1\n":                                                                         "7 b[\"x.y\"]",
		"{\n  \"apiVersion\": \"v1\", \"kind\": \"List\",\n  \"items\": [\n    {\"containers\": [{\"image\": \"prod.azurecr.io/a:1\"}]},\n    {\n\"kind\": \"prod.azurecr.io/b:1\"}\n  ]\n}": "6 items[1].kind",
	} {
		found, err := ImagesFromManifests("m", []byte(text), sourceHost)
		if err != nil || len(found.Others) != 1 {
			t.Errorf("%q: %+v, %v", text, found, err)
			continue
		}
		if o := found.Others[0]; fmt.Sprint(o.Line, " ", o.Path) != want {
			t.Errorf("%q: %d %s, want %s", text, o.Line, o.Path, want)
		}
	}
	for text, want := range map[string]string{
		"a: {containers: [{image: prod.azurecr.io/a:1}]}\n---\nb: [\n":                                                  "m:4:1: invalid YAML: ",
		"a: [\n---\nb:\n- containers:\n  - image: prod.azurecr.io/A:1\n":                                                "m:2:1: invalid YAML: ",
		`{"a": {"containers": [{"image": "prod.azurecr.io/A:1"}]}}`:                                                     `m:1:33: "A" contains "A"`,
		"apiVersion: argoproj.io/v1\nkind: Workflow\nspec: {container: {image: 'prod.azurecr.io/a:{{ .Values.tag }}'}}": `m:3:27: "prod.azurecr.io/a:{{ .Values.tag }}" is not a valid image reference. Render the manifests first.`,
		"{\"a\": \n {\"containers\": [{\"image\": \"\"}]}}":                                                             "m:2:28: empty image",
	} {
		if _, err := ImagesFromManifests("m", []byte(text), sourceHost); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestLargeDocuments checks that a document with more entries than are read at once
// is read by its items, and refused if it has none.
func TestLargeDocuments(t *testing.T) {
	const items, distinct = 7000, 2000
	numbers := strings.Repeat("1, ", 60) + "1"
	var block, indented, object strings.Builder
	block.WriteString("apiVersion: v1\nitems: # of a cluster\n# the first\n")
	indented.WriteString("apiVersion: v1\nitems:\n")
	object.WriteString(`{"apiVersion": "v1", "items": [{}`)
	for i := range items {
		image := fmt.Sprintf("%s/a:%d", sourceHost, i%distinct)
		fmt.Fprintf(&block, "- kind: Pod\n  text: |\n    - a\n    items:\n  # - comment\n  spec: {a: [%s], containers: [{image: %q}]}\n\n", numbers, image)
		fmt.Fprintf(&indented, "  -\n    a: [%s]\n    spec: {containers: [{image: %q}]}\n", numbers, image)
		fmt.Fprintf(&object, `, {"a": [%s], "spec": {"containers": [{"image": %q}]}}`, numbers, image)
	}
	block.WriteString("kind: List\nmore: {containers: [{image: \"prod.azurecr.io/tail:1\"}]}\n")
	indented.WriteString("more: {containers: [{image: \"prod.azurecr.io/tail:1\"}]}\n")
	object.WriteString(`], "more": {"containers": [{"image": "prod.azurecr.io/tail:1"}]}}`)
	for name, text := range map[string]string{"block": block.String(), "indented": indented.String(), "JSON": object.String()} {
		if marks(text) < maxManifestMarks {
			t.Fatalf("%s has only %d marks", name, marks(text))
		}
		found, err := ImagesFromManifests("m", []byte(text), sourceHost)
		if err != nil || len(found.Images) != distinct+1 || len(found.Others) != 0 {
			t.Errorf("%s: %d images, %d others, %v", name, len(found.Images), len(found.Others), err)
		}
	}
	large := `{"a": [` + strings.Repeat("1,", maxManifestMarks) + `1]}`
	for name, text := range map[string]string{"JSON": large, "an item": `{"items": [1, ` + large + `]}`, "YAML items": "items:\n- a\n- [" + strings.Repeat("a,", maxManifestMarks) + "]\n"} {
		if _, err := ImagesFromManifests("m", []byte(text), sourceHost); err == nil || !strings.Contains(err.Error(), "entries, more than 400000") {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300)
	if _, err := ImagesFromManifests("m", []byte(deep), sourceHost); err == nil || !strings.Contains(err.Error(), "nesting is deeper than 100 levels") {
		t.Error(err)
	}
}

// TestManyMentions checks that references in one large text take no time that grows
// with the square of its size.
func TestManyMentions(t *testing.T) {
	text := "containers: [{image: prod.azurecr.io/a:1}]\ndata: |\n" + strings.Repeat("  x/y prod.azurecr.io/b:1\n", 150_000)
	found, err := ImagesFromManifests("m", []byte(text), sourceHost)
	if err != nil || len(found.Others) != 1 || found.Others[0].Again != 149_999 || found.Others[0].Line != 3 {
		t.Fatalf("%+v, %v", found.Others, err)
	}
	if want := sourceHost + "/b:1: " + mentioned + ", in data and 149999 more places"; found.Others[0].String() != want {
		t.Errorf("%s, want %s", found.Others[0], want)
	}
}

// places are where images are, by the path of a value; [] is an index. They are
// written independently of the search, and compared with it.
var places = map[string]*regexp.Regexp{
	"":                      regexp.MustCompile(`(^|\.)((containers|initContainers|ephemeralContainers)(\[\])*\.image|volumes(\[\])*\.image\.reference|image\.(repository|name))$`),
	"argoproj.io":           regexp.MustCompile(`(^|\.)image$`),
	"tekton.dev":            regexp.MustCompile(`(^|\.)(image|bundle)$`),
	"serving.kserve.io":     regexp.MustCompile(`(^|\.)image$`),
	"monitoring.coreos.com": regexp.MustCompile(`(^|\.)(image|baseImage)$`),
	"postgresql.cnpg.io":    regexp.MustCompile(`(^|\.)(image|imageName)$`),
}

// walkIndependently sorts the references in a value into images and others.
func walkIndependently(value any, group, path string, images, others *[]string) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			walkIndependently(item, group, path+"[]", images, others)
		}
	case map[string]any:
		for key, child := range value {
			walkIndependently(child, group, strings.TrimPrefix(path+"."+key, "."), images, others)
		}
	case string:
		inert := strings.HasPrefix(path, "metadata") || strings.HasPrefix(path, "status")
		if !inert && (places[""].MatchString(path) || places[group] != nil && places[group].MatchString(path)) {
			*images = append(*images, value)
		} else {
			*others = append(*others, value)
		}
	}
}

// resources generates random resources of the keys and shapes that matter. Each
// reference has a name of its own.
type resources struct {
	*rand.Rand
	count int
}

func (r *resources) reference() string {
	r.count++
	return fmt.Sprintf("%s/app%d:1", sourceHost, r.count)
}

func (r *resources) value(depth int) any {
	keys := []string{"spec", "template", "containers", "initContainers", "ephemeralContainers", "volumes", "image", "image", "reference", "repository", "env", "args",
		"value", "metadata", "status", "steps", "script", "container", "sidecars", "imageName", "bundle", "baseImage"}
	switch n := r.IntN(10); {
	case depth == 0 || n < 2:
		return r.reference()
	case n < 5:
		var list []any
		for range 1 + r.IntN(3) {
			list = append(list, r.value(depth-1))
		}
		return list
	}
	mapping := map[string]any{}
	for range 1 + r.IntN(4) {
		mapping[keys[r.IntN(len(keys))]] = r.value(depth - 1)
	}
	if isText(mapping["repository"]) && isText(mapping["reference"]) {
		// In an image volume, one of them decides.
		delete(mapping, "repository")
	}
	if isText(mapping["image"]) && isText(mapping["baseImage"]) {
		delete(mapping, "baseImage")
	}
	return mapping
}

func isText(value any) bool {
	_, is := value.(string)
	return is
}

// TestManifestsAgainstIndependentWalk compares what is found in random resources, as
// YAML and as JSON, with what the independent walk finds.
func TestManifestsAgainstIndependentWalk(t *testing.T) {
	groups := []string{"v1", "apps/v1", "example.com/v1", "argoproj.io/v1alpha1", "tekton.dev/v1", "serving.kserve.io/v1beta1", "monitoring.coreos.com/v1", "postgresql.cnpg.io/v1"}
	r := &resources{Rand: rand.New(rand.NewPCG(1, 2))}
	total := 0
	for range 400 {
		var wantImages, wantOthers []string
		var asYAML, asJSON strings.Builder
		for range 1 + r.IntN(3) {
			apiVersion := groups[r.IntN(len(groups))]
			resource := map[string]any{"apiVersion": apiVersion, "kind": "X", "spec": r.value(6), "data": r.value(2), "metadata": map[string]any{"annotations": r.value(3)}, "status": r.value(3)}
			group, _, _ := strings.Cut(apiVersion, "/")
			var images, others []string
			walkIndependently(resource, group, "", &images, &others)
			wantImages = append(wantImages, images...)
			for _, other := range others {
				if strings.HasPrefix(other, sourceHost) {
					wantOthers = append(wantOthers, other)
				}
			}
			text, err := yaml.Marshal(resource)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&asYAML, "---\n%s", text)
			text, err = json.MarshalIndent(resource, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&asJSON, "%s\n", text)
		}
		if len(wantImages) == 0 {
			continue
		}
		total += len(wantImages)
		for _, text := range []string{asYAML.String(), asJSON.String()} {
			found, err := ImagesFromManifests("m", []byte(text), sourceHost)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			var images, others []string
			for _, image := range found.Images {
				images = append(images, sourceHost+"/"+image.String())
			}
			for _, other := range found.Others {
				others = append(others, other.Reference)
			}
			equalSets(t, "images", images, wantImages)
			equalSets(t, "left out", others, wantOthers)
			if t.Failed() {
				t.Fatal(text)
			}
		}
	}
	if total < 1500 {
		t.Errorf("only %d images were generated", total)
	}
	t.Logf("%d images", total)
}
