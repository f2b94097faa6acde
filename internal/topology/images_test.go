package topology

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
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
		t.Error("an entry means something else")
	}
	for text, want := range map[string]string{
		"":                               "1:1: The list names no image.",
		"# nothing\n":                    "1:1: The list names no image.",
		"a:1\n shop/cart\n":              `2:2: "shop/cart" names neither tag nor digest. Write shop/cart:TAG, or shop/cart:* for every tag.`,
		"shop/cart:":                     `1:1: "shop/cart:" names neither tag nor digest.`,
		":1":                             `1:1: ":1" names no repository.`,
		"@" + digest:                     `1:1: "@sha256`,
		"shop/cart:1@" + digest:          `1:1: "shop/cart:1@sha256`,
		"shop/*@" + digest:               `1:1: "shop/*@sha256`,
		"shop/cart@sha256:AB":            `1:1: "sha256:AB" is no digest.`,
		"Shop/cart:1":                    `1:1: "Shop/cart" has "S", which no repository has.`,
		"shop/cart:a b":                  `1:1: "a b" is no range of semantic versions.`,
		"prod.azurecr.io/shop/cart:1":    `1:1: "prod.azurecr.io/shop/cart:1" names a registry.`,
		"localhost:5000/shop/cart:1":     `1:1: "localhost:5000/shop/cart:1" names a registry.`,
		"shop/../cart:1":                 `1:1: "shop/../cart" has the segment ..`,
		"a:1\xff":                        "1:4: The byte 0xFF is no UTF-8.",
		strings.Repeat("a:1\n", 300_000): "1:1: The text is 1200000 bytes long; at most 1048576 are read.",
	} {
		_, err := ParseImages("images", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "images:"+want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	var many strings.Builder
	for i := range mostImages + 5 {
		fmt.Fprintf(&many, "a:%d\n", i)
	}
	if _, err := ParseImages("images", []byte(many.String())); err == nil || err.Error() != "images:10001:1: There are more than 10000 images. Use patterns, or several steps." {
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

func TestImagesFromALists(t *testing.T) {
	found, err := ImagesFromManifests("list", []byte("# set\nprod.azurecr.io/shop/cart:1.4.2\nshop/web:*\nother.azurecr.io/x:1\n"), "prod.azurecr.io")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(texts(found.Images), []string{"shop/cart:1.4.2", "shop/web:*"}) || len(found.Others) != 1 || found.Others[0] != (Other{4, "other.azurecr.io/x:1", "it is of other.azurecr.io"}) {
		t.Errorf("%+v", found)
	}
}

func TestManifestsThatCannotBeRead(t *testing.T) {
	pod := func(image string) string {
		return "kind: Pod\nspec:\n  containers:\n  - image: " + image + "\n"
	}
	for text, want := range map[string]string{
		"":                                 "1:1: No image of prod.azurecr.io is named. Give a list",
		pod("nginx:1"):                     `1:1: No image of prod.azurecr.io is named. There are 1 others, such as "nginx:1" (line 4).`,
		pod("prod.azurecr.io/shop/cart"):   `4:12: "shop/cart" names neither tag nor digest.`,
		pod("prod.azurecr.io/shop/cart:*"): `4:12: "prod.azurecr.io/shop/cart:*" is no image's reference.`,
		pod("prod.azurecr.io/shop/*:1"):    `4:12: "prod.azurecr.io/shop/*:1" is no image's reference.`,
		pod("prod.azurecr.io/Shop:1"):      `4:12: "Shop" has "S", which no repository has.`,
		pod(`""`):                          `4:12: The image is empty.`,
		"kind: Pod\nspec: [\n":             "3:1: This is no YAML",
		"a: " + strings.Repeat("[", 300) + strings.Repeat("]", 300): "1:103: The nesting is deeper than 100.",
		strings.Repeat("a: b\n", 1<<20):                             "1:1: The text is 5242880 bytes long; at most 4194304 are read.",
		"a: [" + strings.Repeat("a,", 500_000) + "]":                "1:1: The text has 500002 entries or more; at most 400000 are read.",
	} {
		_, err := ImagesFromManifests("m", []byte(text), "prod.azurecr.io")
		if err == nil || !strings.HasPrefix(err.Error(), "m:"+want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	if _, err := ImagesFromManifests("m", nil, "prod"); err == nil {
		t.Error("a host that is none")
	}
}

// TestManyAliasesAreFollowedOnce: each of many keys leads to a long list; the
// walk would otherwise take their product.
func TestManyAliasesAreFollowedOnce(t *testing.T) {
	var b strings.Builder
	b.WriteString("list: &l\n")
	for range 20_000 {
		b.WriteString("- {image: nginx}\n")
	}
	for i := range 20_000 {
		fmt.Fprintf(&b, "k%d: *l\n", i)
	}
	b.WriteString("containers: [{image: \"prod.azurecr.io/a:1\"}]\nmore: {containers: *l}\n")
	found, err := ImagesFromManifests("m", []byte(b.String()), "prod.azurecr.io")
	if err != nil || len(found.Images) != 1 || len(found.Others) != mostImages {
		t.Fatal(len(found.Images), len(found.Others), err)
	}
}
