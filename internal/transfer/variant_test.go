package transfer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/ref"
)

// TestSubjectsFirst checks that a manifest of the image comes after its subject, however
// deep either is, at a registry that requires it.
func TestSubjectsFirst(t *testing.T) {
	for _, api := range []bool{true, false} {
		src, dst := newPeer(t), newPeer(t)
		dst.needsSubject, dst.api = true, api
		a, b := src.image("r", "", "a"), src.image("r", "", "b")
		proof := src.attach("r", "application/vnd.in-toto+json", a)
		onProof := src.attach("r", "application/note", proof)
		inner := src.index("r", "", onProof, b)
		onInner := src.attach("r", "application/note", inner)
		list := src.manifest("r", "", ociIndex, document{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []Descriptor{b}, "subject": onInner})
		// Listed before what they refer to.
		root := src.index("r", "1.0", list, onInner, inner, proof, a)
		j := copyJob{src: src, dst: dst, srcRepo: "r", dstRepo: "copy", ref: "1.0", tag: "1.0", referrers: true}
		j.mustRun(t)
		if dst.tag("copy", "1.0") != root.Digest {
			t.Errorf("API %v: the tag is %q", api, dst.tag("copy", "1.0"))
		}
		if first := slices.Index(dst.log, "PUT /v2/copy/manifests/"+root.Digest); first >= 0 {
			t.Errorf("API %v: the root was put by digest: nothing refers to it", api)
		}
		for subject, d := range map[string]Descriptor{a.Digest: proof, proof.Digest: onProof, inner.Digest: onInner} {
			if found, err := dst.registry().Referrers(t.Context(), "copy", subject, ""); err != nil || len(found) != 1 || found[0].Digest != d.Digest {
				t.Errorf("API %v: %v is listed, %v", api, found, err)
			}
		}
		if out := j.mustRun(t); out.Changed {
			t.Errorf("API %v: the second run wrote: %+v", api, out)
		}
	}
}

// TestSparseIndex checks that every manifest that an index lacks is named at once, in an
// index in an index too.
func TestSparseIndex(t *testing.T) {
	p := newPeer(t)
	var absent []Descriptor
	for i := range 150 {
		absent = append(absent, Descriptor{MediaType: ociImage, Digest: fmt.Sprintf("sha256:%064d", i), Size: 100})
	}
	inner := p.index("r", "", absent[0], p.image("r", "", "a"))
	p.index("r", "few", inner, absent[1], p.image("r", "", "b"))
	p.index("r", "many", absent...)
	for tag, want := range map[string][]string{"few": {absent[0].Digest, absent[1].Digest}, "many": {absent[99].Digest, "150 manifests", "and 50 more"}} {
		_, err := ReadTree(t.Context(), p.registry(), "r", tag, Options{Referrers: true})
		for _, w := range want {
			if err == nil || !isNotFound(err) || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not name %s", tag, err, w)
			}
		}
	}
}

func TestArtifactManifests(t *testing.T) {
	const blob = `{"mediaType":"text/plain","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}`
	for _, mediaType := range []string{ociArtifactType, orasArtifactType} {
		for body, want := range map[string]Kind{
			`{"mediaType":%q,"artifactType":"a/b","blobs":[` + blob + `],"subject":` + blob + `}`: "",
			`{"mediaType":%q,"artifactType":"a/b"}`:                                               "",
			`{"mediaType":%q,"blobs":null,"annotations":{"a":"b"}}`:                               "",
			`{"mediaType":%q,"config":` + blob + `}`:                                              Corrupt,
			`{"mediaType":%q,"layers":[]}`:                                                        Corrupt,
			`{"mediaType":%q,"manifests":[]}`:                                                     Corrupt,
			`{"mediaType":%q,"blobs":[{}]}`:                                                       Corrupt,
			`{"mediaType":%q,"blobs":{}}`:                                                         Corrupt,
			`{"mediaType":%q,"blobs":[],"blobs":[]}`:                                              Corrupt,
		} {
			raw := fmt.Sprintf(body, mediaType)
			m, kind, err := parseManifest([]byte(raw), mediaType, mediaType)
			if kind != want || (err == nil) != (want == "") {
				t.Errorf("%s: %q, %v", raw, kind, err)
			}
			if err == nil && strings.Contains(raw, "subject") && (len(m.blobs()) != 1 || m.subject == nil || m.ArtifactType != "a/b" || len(contents(m)) != 1) {
				t.Errorf("%s: %+v", raw, m)
			}
		}
		// What it is must be in its own bytes: engines do not all look at the header.
		if _, kind, err := parseManifest([]byte(`{"blobs":[]}`), mediaType, ""); kind != Corrupt {
			t.Errorf("without a media type: %q, %v", kind, err)
		}
	}
}

func TestDigestTagsOf(t *testing.T) {
	one, two := ref.DigestOf([]byte("one")), ref.DigestOf([]byte("two"))
	d := digestTags{listed: true}
	for _, tag := range []string{"v1", ref.DigestTag(two) + ".sig", ref.DigestTag(one) + ".z", ref.DigestTag(one), "sha256-abc", ref.DigestTag(one) + "-a", ref.DigestTag(one) + ".z", ref.DigestTag(two) + ".a"} {
		d.add(tag)
	}
	d.sort()
	if got, want := d.tagsOf(one), []string{ref.DigestTag(one) + "-a", ref.DigestTag(one) + ".z"}; !slices.Equal(got, want) || !d.mayHaveFallbackList(one) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := d.tagsOf(two), []string{ref.DigestTag(two) + ".a", ref.DigestTag(two) + ".sig"}; !slices.Equal(got, want) || d.mayHaveFallbackList(two) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := d.tagsOf(ref.DigestOf(nil)); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
	if got := (digestTags{}).tagsOf(one); len(got) != 3 {
		t.Errorf("guessed: %q", got)
	}
}

// TestSizeConflictEndsFast checks that a blob which has another size twice is not read
// again, and that one which has it once is.
func TestSizeConflictEndsFast(t *testing.T) {
	for times, want := range map[int32]int{1: 2, 9: 2} {
		p := newPeer(t)
		d := p.blob("r", ociLayer, layerOf("one"))
		p.handler = firstTimes(times, "GET", "/blobs/", status(200, "short"))
		body, err := p.registry().download("r", d)(t.Context())
		if body != nil {
			body.Close()
		}
		if n := p.requests("GET"); n != want || (err == nil) != (times == 1) {
			t.Errorf("%d times: %d requests, %v", times, n, err)
		}
	}
}
