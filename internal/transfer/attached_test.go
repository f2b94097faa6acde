package transfer

import (
	"slices"
	"testing"

	"acrpromote/internal/ref"
)

// everything lists the keys of what is attached to a tree.
func everything(t *Tree) map[string]bool {
	bring := map[string]bool{}
	for _, a := range t.Attached() {
		if a.Tag != "" {
			bring[a.Tag] = true
		} else {
			bring[a.Digest] = true
		}
	}
	return bring
}

// bring reads an image, restricts it at the target, and copies it twice: the
// second time nothing may be left to do.
func bring(t *testing.T, src, dst *peer, tag string, keep bool, choose func(tree *Tree) map[string]bool) *Tree {
	t.Helper()
	from, to := src.registry(), dst.registry()
	tree, err := ReadTree(t.Context(), from, "r", "1.0", Options{Referrers: true})
	if err != nil {
		t.Fatal(err)
	}
	for again := range 2 {
		look := dst.registry().Inspect
		if keep {
			look = dst.registry().InspectImmutable
		}
		p, err := look(t.Context(), "copy", tag, tree, again == 1)
		if err != nil {
			t.Fatal(err)
		}
		p = p.Restrict(choose(tree))
		if again == 1 && (!p.Complete() || len(p.Missing()) > 0) {
			t.Errorf("something is still missing: %v", p.Missing())
		}
		end := copyToAll(t, tree, []Destination{{Registry: to, Repository: "copy", Tag: tag, Presence: p}})[0]
		if end.err != nil || again == 1 && end.out.Changed {
			t.Fatalf("again %d: %+v", again, end)
		}
	}
	return tree
}

// stays holds a target to have nothing of a manifest of the source, and the source
// to have sent no blob of it.
func stays(t *testing.T, src, dst *peer, d Descriptor) {
	t.Helper()
	m, _, err := parseManifest(src.manifests["r@"+d.Digest].raw, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := dst.manifests["copy@"+d.Digest]; ok {
		t.Errorf("the target has %s", d.Digest)
	}
	for _, b := range m.blobs() {
		if b.Digest == ref.DigestOf(emptyConfig) {
			continue // others need it too
		}
		if _, ok := dst.blobs["copy@"+b.Digest]; ok || src.count("/blobs/"+b.Digest) > 0 {
			t.Errorf("the blob %s of %s was sent", b.Digest, d.Digest)
		}
	}
}

func TestRestrict(t *testing.T) {
	for _, api := range []bool{true, false} {
		for _, warm := range []bool{false, true} {
			src, dst := newPeer(t), newPeer(t)
			src.api, dst.api = api, api
			root := src.image("r", "1.0", "one")
			if warm {
				dst.image("copy", "1.0", "one")
			}
			wanted := src.attach("r", "application/wanted", root)
			unwanted := src.attach("r", "application/unwanted", root)
			signature := src.image("r", ref.DigestTag(root.Digest)+".sig", "signature")
			other := src.image("r", ref.DigestTag(root.Digest)+".att", "other")
			bring(t, src, dst, "1.0", false, func(tree *Tree) map[string]bool {
				keys := everything(tree)
				if len(keys) != 4 {
					t.Errorf("%d are attached", len(keys))
				}
				delete(keys, unwanted.Digest)
				delete(keys, ref.DigestTag(root.Digest)+".att")
				return keys
			})
			stays(t, src, dst, unwanted)
			stays(t, src, dst, other)
			for _, d := range []Descriptor{wanted, signature} {
				if _, ok := dst.manifests["copy@"+d.Digest]; !ok {
					t.Errorf("API %v, warm %v: the target lacks %s", api, warm, d.Digest)
				}
			}
			if dst.tag("copy", ref.DigestTag(root.Digest)+".att") != "" || dst.tag("copy", "1.0") != root.Digest {
				t.Errorf("API %v, warm %v: the tags are %q", api, warm, dst.visible)
			}
			if list, err := dst.registry().Referrers(t.Context(), "copy", root.Digest, ""); err != nil || len(list) != 1 {
				t.Errorf("API %v, warm %v: %v are listed, %v", api, warm, list, err)
			}
		}
	}
}

// TestRestrictToNothing: without a list nothing of what is attached is written.
func TestRestrictToNothing(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	root := src.image("r", "1.0", "one")
	attached := []Descriptor{src.attach("r", "application/spdx+json", root), src.image("r", ref.DigestTag(root.Digest)+".sig", "signature")}
	bring(t, src, dst, "2.0", false, func(*Tree) map[string]bool { return nil })
	for _, d := range attached {
		stays(t, src, dst, d)
	}
	if !slices.Equal(dst.visible, []string{"2.0"}) {
		t.Errorf("tags %q", dst.visible)
	}
}

// TestTagOfWhatIsAttachedAnyway: a digest tag that is not brought points to
// something that is a referrer too, and travels as that.
func TestTagOfWhatIsAttachedAnyway(t *testing.T) {
	for _, late := range []string{".sig", ""} {
		src, dst := newPeer(t), newPeer(t)
		root := src.image("r", "1.0", "one")
		sbom := src.attach("r", "application/spdx+json", root)
		tag := ref.DigestTag(root.Digest) + ".sig"
		src.manifest("r", tag, ociImage, src.manifests["r@"+sbom.Digest].raw)
		bring(t, src, dst, "1.0", false, func(tree *Tree) map[string]bool {
			keys := everything(tree)
			if len(keys) != 2 {
				t.Errorf("it is attached in %d ways", len(keys))
			}
			if late == "" {
				delete(keys, sbom.Digest)
			} else {
				delete(keys, tag)
			}
			return keys
		})
		if _, ok := dst.manifests["copy@"+sbom.Digest]; !ok {
			t.Error("it was not brought")
		}
		if got := dst.tag("copy", tag); (got == "") != (late != "") {
			t.Errorf("the tag points to %q", got)
		}
	}
}

// TestAttachedIndex: what is attached as an index is neither read nor written.
func TestAttachedIndex(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	root := src.image("r", "1.0", "one")
	inside := src.image("r", "", "inside")
	for name, doc := range map[string]document{
		"":     {"schemaVersion": 2, "mediaType": ociIndex, "artifactType": "application/spdx+json", "manifests": []Descriptor{inside}, "subject": root},
		".sig": {"schemaVersion": 2, "mediaType": ociIndex, "manifests": []Descriptor{inside}},
	} {
		tag := ""
		if name != "" {
			tag = ref.DigestTag(root.Digest) + name
		}
		src.manifest("r", tag, ociIndex, doc)
	}
	src.clear()
	tree := bring(t, src, dst, "1.0", false, everything)
	stays(t, src, dst, inside)
	if src.count("manifests/"+inside.Digest) > 0 {
		t.Error("what the index contains was read")
	}
	if len(dst.visible) != 1 || len(tree.Attached()) != 2 {
		t.Errorf("tags %q, attached %+v", dst.visible, tree.Attached())
	}
	for _, a := range tree.Attached() {
		if a.MediaType != ociIndex || a.Subject != root.Digest || a.Config != "" {
			t.Errorf("it is %+v", a)
		}
	}
}

// TestPartThatIsAttached: what the image contains is part of it, though it is also
// attached to something, and found as that first.
func TestPartThatIsAttached(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	a := src.image("r", "", "a")
	part := src.attach("r", "application/spdx+json", a)
	leaf := src.image("r", "", "leaf")
	indexPart := src.manifest("r", "", ociIndex, document{"schemaVersion": 2, "mediaType": ociIndex, "artifactType": "application/x", "manifests": []Descriptor{leaf}, "subject": a})
	// Deeper than the list of what refers to a.
	deep := src.index("r", "", src.index("r", "", src.index("r", "", part, indexPart)))
	root := src.index("r", "1.0", a, deep)
	tree := bring(t, src, dst, "1.0", false, func(*Tree) map[string]bool { return nil })
	if len(tree.Attached()) != 0 || len(tree.Manifests()) != 8 {
		t.Errorf("%d manifests, attached %+v", len(tree.Manifests()), tree.Attached())
	}
	for _, d := range []Descriptor{root, part, indexPart, leaf} {
		if _, ok := dst.manifests["copy@"+d.Digest]; !ok {
			t.Errorf("the target lacks %s", d.Digest)
		}
	}
}

// TestDigestTagOfTheImage: it is one way of being attached, and brings nothing.
func TestDigestTagOfTheImage(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	root := src.image("r", "1.0", "one")
	tag := ref.DigestTag(root.Digest) + ".sig"
	src.image("r", tag, "one")
	tree := bring(t, src, dst, "1.0", false, func(*Tree) map[string]bool { return nil })
	if a := tree.Attached(); len(a) != 1 || a[0].Digest != root.Digest || a[0].Tag != tag || a[0].Config != "application/vnd.oci.image.config.v1+json" {
		t.Errorf("attached is %+v", a)
	}
	if !slices.Equal(dst.visible, []string{"1.0"}) {
		t.Errorf("tags %q", dst.visible)
	}
}

// TestImmutableTarget: a digest tag that differs stays; others are set.
func TestImmutableTarget(t *testing.T) {
	for _, warm := range []bool{false, true} {
		src, dst := newPeer(t), newPeer(t)
		root := src.image("r", "1.0", "one")
		differs, equal, absent := ref.DigestTag(root.Digest)+".sig", ref.DigestTag(root.Digest)+".att", ref.DigestTag(root.Digest)+".sbom"
		mine := src.image("r", differs, "a", "b")
		theirs := dst.image("copy", differs, "a")
		same := src.image("r", equal, "c")
		dst.image("copy", equal, "c")
		bill := src.image("r", absent, "d")
		if warm {
			dst.image("copy", "1.0", "one")
		}
		var p Presence
		bring(t, src, dst, "1.0", true, func(tree *Tree) map[string]bool {
			var err error
			if p, err = dst.registry().InspectImmutable(t.Context(), "copy", "1.0", tree, false); err != nil {
				t.Fatal(err)
			}
			return everything(tree)
		})
		if dst.tag("copy", differs) != theirs.Digest || dst.tag("copy", equal) != same.Digest || dst.tag("copy", absent) != bill.Digest || dst.tag("copy", "1.0") != root.Digest {
			t.Errorf("warm %v: the tags differ", warm)
		}
		if p.Kept(differs) != theirs.Digest || p.Kept(equal) != "" || p.Kept(absent) != "" {
			t.Errorf("warm %v: kept %q, %q, %q", warm, p.Kept(differs), p.Kept(equal), p.Kept(absent))
		}
		if _, ok := dst.manifests["copy@"+mine.Digest]; ok || src.count("/blobs/"+ref.DigestOf(layerOf("b"))) > 0 {
			t.Errorf("warm %v: what cannot get its tag was sent", warm)
		}
	}
}

// TestSkippedIsListed: what is left unread is listed with its type.
func TestSkippedIsListed(t *testing.T) {
	for _, api := range []bool{true, false} {
		src := newPeer(t)
		src.api = api
		root := src.image("r", "1.0", "one")
		skipped := src.attach("r", "application/skipped", root)
		src.attach("r", "application/read", root)
		tree, err := ReadTree(t.Context(), src.registry(), "r", "1.0", Options{Referrers: true, Skip: func(t string) bool { return t == "application/skipped" }})
		if err != nil {
			t.Fatal(err)
		}
		list := tree.Attached()
		if len(list) != 2 || list[1].Digest != skipped.Digest || !list[1].Unread || list[1].ArtifactType != "application/skipped" || list[1].Subject != root.Digest || list[0].Unread || !slices.Equal(list[0].Layers, []string{"application/read"}) {
			t.Errorf("API %v: %+v", api, list)
		}
		if src.count("manifests/"+skipped.Digest) > 0 {
			t.Errorf("API %v: it was read", api)
		}
	}
}
