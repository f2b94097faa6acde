package topology

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/ref"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func texts(images []Image) []string {
	var all []string
	for _, i := range images {
		all = append(all, i.String())
	}
	return all
}

func TestParseImages(t *testing.T) {
	images, err := ParseImages("images", []byte("\ufeff# what goes out\r\n\r\n  shop/cart:1.4.2  \r\nweb@"+digest+"\r\nshop/**:>=1.2 <2\r\nbase/*:*\r\nshop/cart:1.4.2\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"base/*:*", "shop/**:>=1.2 <2", "shop/cart:1.4.2", "web@" + digest}
	if !slices.Equal(texts(images), want) {
		t.Errorf("%q", texts(images))
	}
	literal := []bool{false, false, true, true}
	for i, image := range images {
		if image.Literal() != literal[i] {
			t.Errorf("%s: literal %v", image, !literal[i])
		}
	}
	if images[2].Line != 3 || !images[1].Match("shop/a/b", "1.3.0") || images[1].Match("shop/a", "2.0.0") || images[3].Match("web", "x") {
		t.Error("an entry matches something else")
	}
	for text, want := range map[string]string{
		"":                               "1:1: the list has no images",
		"# nothing\n":                    "1:1: the list has no images",
		"a:1\n shop/cart\n":              `2:2: "shop/cart" has neither tag nor digest. Write shop/cart:TAG, or shop/cart:* for all tags.`,
		"shop/cart:":                     `1:1: "shop/cart:" has an empty tag. Is a variable empty?`,
		":1":                             `1:1: ":1" has no repository`,
		"@" + digest:                     `1:1: "@sha256`,
		"shop/cart:1@" + digest:          `1:1: "shop/cart:1@sha256`,
		"shop/*@" + digest:               `1:1: "shop/*@sha256`,
		"shop/cart@sha256:AB":            `1:1: "sha256:AB" is not a valid digest`,
		"Shop/cart:1":                    `1:1: "Shop/cart" contains "S", which is not allowed in a repository`,
		"shop/cart:a b":                  `1:1: "a b" is not a range of semantic versions`,
		"prod.azurecr.io/shop/cart:1":    `1:1: "prod.azurecr.io/shop/cart:1" includes a registry`,
		"localhost:5000/shop/cart:1":     `1:1: "localhost:5000/shop/cart:1" includes a registry`,
		"web@":                           `1:1: "web@" has an empty digest. Is a variable empty?`,
		"shop/../cart:1":                 `1:1: "shop/../cart" has the segment ..`,
		"a:1\xff":                        "1:4: byte 0xFF is not valid UTF-8",
		strings.Repeat("a:1\n", 300_000): "1:1: the file has 1200000 bytes, more than 1048576",
	} {
		_, err := ParseImages("images", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "images:"+want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	var many strings.Builder
	for i := range maxImages + 5 {
		fmt.Fprintf(&many, "a:%d\n", i)
	}
	if _, err := ParseImages("images", []byte(many.String())); err == nil || err.Error() != "images:10001:1: more than 10000 images. Use patterns, or several steps." {
		t.Error(err)
	}
	var invalid *Invalid
	if _, err := ParseImages("images", []byte(strings.Repeat("A:1\n", 100))); !errors.As(err, &invalid) || len(invalid.Problems) != 20 || invalid.More != 80 {
		t.Error(err)
	}
}

func TestImagesFromManifests(t *testing.T) {
	content, err := os.ReadFile("testdata/manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found, err := ImagesFromManifests("manifests.yaml", content, "PROD.azurecr.io:443")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, i := range found.Images {
		fmt.Fprintf(&b, "%d %s\n", i.Line, i)
	}
	for _, o := range found.Others {
		fmt.Fprintf(&b, "%d %s: %s\n", o.Line, o.Reference, o.Reason)
	}
	golden(t, "testdata/manifests.golden", b.String())
}

func TestImagesFromList(t *testing.T) {
	found, err := ImagesFromManifests("list", []byte("# set\nprod.azurecr.io/shop/cart:1.4.2\nshop/web:*\nother.azurecr.io/x:1\n"), "prod.azurecr.io")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(texts(found.Images), []string{"shop/cart:1.4.2", "shop/web:*"}) || len(found.Others) != 1 || found.Others[0] != (Other{Line: 4, Reference: "other.azurecr.io/x:1", Reason: "it is on other.azurecr.io"}) {
		t.Errorf("%+v", found)
	}
}

func TestInvalidManifests(t *testing.T) {
	pod := func(image string) string {
		return "kind: Pod\nspec:\n  containers:\n  - image: " + image + "\n"
	}
	for text, want := range map[string]string{
		"":                                  "1:1: no image of registry prod.azurecr.io found. Pass a list",
		pod("nginx:1"):                      `1:1: no image of registry prod.azurecr.io found. Only images of the flow's source count. 1 other image was found: "nginx:1" in line 4 (it is on Docker Hub).`,
		pod("prd.azurecr.io/shop/cart:1"):   `1:1: no image of registry prod.azurecr.io found. Only images of the flow's source count. 1 other image was found: "prd.azurecr.io/shop/cart:1" in line 4 (it is on prd.azurecr.io). Did you mean prod.azurecr.io instead of prd.azurecr.io?`,
		pod("prod.azurecr.io/cart:$(tag)"):  "4:12: Azure Pipelines does not replace the variable $(tag) in the file. Render the manifests first.",
		"prod.azurecr.io/cart:$(tag)\n":     "1:1: Azure Pipelines does not replace the variable $(tag) in the file. Write the value itself.",
		pod(`"prod.azurecr.io/shop/cart:"`): `4:12: "shop/cart:" has an empty tag`,
		pod("prod.azurecr.io/shop/cart:*"):  `4:12: "prod.azurecr.io/shop/cart:*" is not a valid image reference`,
		pod("prod.azurecr.io/shop/*:1"):     `4:12: "prod.azurecr.io/shop/*:1" is not a valid image reference`,
		pod("prod.azurecr.io/Shop:1"):       `4:12: "Shop" contains "S", which is not allowed in a repository`,
		pod(`""`):                           `4:12: empty image`,
		"kind: Pod\nspec: [\n":              "3:1: invalid YAML",
		"a: " + strings.Repeat("[", 300) + strings.Repeat("]", 300): "1:103: nesting is deeper than 100 levels",
		strings.Repeat("a: b\n", 1<<22):                             "1:1: the file has 20971520 bytes, more than 16777216",
		"a: [" + strings.Repeat("a,", 500_000) + "]":                "1:1: the file has about 500002 entries, more than 400000",
	} {
		_, err := ImagesFromManifests("m", []byte(text), "prod.azurecr.io")
		if err == nil || !strings.HasPrefix(err.Error(), "m:"+want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	if _, err := ImagesFromManifests("m", nil, "prod"); err == nil {
		t.Error("an invalid host is accepted")
	}
}

// TestAliasesAreFollowedOnce has many aliases of a long list: visiting the list
// for each of them would take too long.
func TestAliasesAreFollowedOnce(t *testing.T) {
	var b strings.Builder
	b.WriteString("list: &l\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "- {image: nginx:%d}\n", i)
	}
	for i := range 20_000 {
		fmt.Fprintf(&b, "k%d: *l\n", i)
	}
	b.WriteString("containers: [{image: \"prod.azurecr.io/a:1\"}]\nmore: {containers: *l}\n")
	found, err := ImagesFromManifests("m", []byte(b.String()), "prod.azurecr.io")
	if err != nil || len(found.Images) != 1 || len(found.Others) != maxOthers || found.More != 20_000-maxOthers {
		t.Fatal(len(found.Images), len(found.Others), err)
	}
}

// TestSeveralNames: every name of a registry is the registry.
func TestSeveralNames(t *testing.T) {
	text := strings.Replace(validFile, "host: prod.azurecr.io", "host: prod.azurecr.io, hosts: [prod.westeurope.geo.azurecr.io, prod-abc.azurecr.io]", 1)
	file, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prod.azurecr.io", "PROD-abc.azurecr.io:443", "prod.westeurope.geo.azurecr.io"} {
		if r, known := file.ByHost(name); !known || r.Name != "prod" || file.MainHost(name) != "prod.azurecr.io" {
			t.Errorf("%s: %v, %s", name, known, file.MainHost(name))
		}
	}
	if got := file.MainHost("other.azurecr.io"); got != "other.azurecr.io" {
		t.Errorf("an unknown host: %s", got)
	}
	prod := file.Registries["prod"]
	if want := []string{"prod.azurecr.io", "prod-abc.azurecr.io", "prod.westeurope.geo.azurecr.io"}; !slices.Equal(prod.Names(), want) {
		t.Errorf("%q", prod.Names())
	}
	found, err := ImagesFromManifests("list", []byte("prod.azurecr.io/shop/cart:1\nprod-abc.azurecr.io/shop/cart:1\nprod.westeurope.geo.azurecr.io/shop/web:2\nprod-xyz.azurecr.io/shop/api:3\n"), prod.Names()...)
	if err != nil || len(found.Images) != 2 || len(found.Others) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestImagesOfDockerHub checks that images are read as container runtimes read them if
// the source is Docker Hub.
func TestImagesOfDockerHub(t *testing.T) {
	pods := "kind: Pod\nspec:\n  containers:\n"
	for _, image := range []string{"alpine:3", "docker.io/alpine:3", "index.docker.io/library/alpine:3", "contoso/cart:1", "docker.io/contoso/web:1", "prod.azurecr.io/x:1"} {
		pods += "  - image: " + image + "\n"
	}
	for _, host := range []string{"docker.io", "index.docker.io", ref.DockerHub} {
		found, err := ImagesFromManifests("m", []byte(pods), host)
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(found.Images); !slices.Equal(got, []string{"contoso/cart:1", "contoso/web:1", "library/alpine:3"}) || len(found.Others) != 1 {
			t.Errorf("%s: %q, others %+v", host, got, found.Others)
		}
		list, err := ImagesFromManifests("l", []byte("docker.io/alpine:3\ncontoso/cart:1\n"), host)
		if err != nil || !slices.Equal(texts(list.Images), []string{"contoso/cart:1", "library/alpine:3"}) {
			t.Errorf("%s: %q, %v", host, texts(list.Images), err)
		}
	}
}
