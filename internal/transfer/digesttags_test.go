package transfer

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/ref"
)

func TestDigestTagsAreCopied(t *testing.T) {
	for _, c := range []struct {
		name  string
		shape func(src, dst *peer)
		lists int
	}{
		{"in one list", func(src, dst *peer) {}, 1},
		// Sorted before, among and behind what is looked for: six tags, and the list ends there.
		{"in pages", func(src, dst *peer) { src.page = 2 }, 3},
		{"in an unsorted list", func(src, dst *peer) { src.unsorted, src.page = true, 3 }, 3},
		{"without a list", func(src, dst *peer) { src.noTags = true }, 1},
		{"where lists are denied", func(src, dst *peer) {
			src.handler = firstTimes(99, "GET", "/tags/list", status(403, "DENIED"))
		}, 1},
		{"without the API", func(src, dst *peer) { src.api, dst.api = false, false }, 1},
		{"to where subjects come first", func(src, dst *peer) { dst.needsSubject = true }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			c.shape(src, dst)
			root := src.signed("shop/cart", "1.0")
			src.image("shop/cart", "another", "another")
			src.image("shop/cart", "v2", "two")
			src.image("shop/cart", "v3", "three")
			src.image("shop/cart", "v4", "three")
			j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "copy", ref: "1.0", tag: "2.0", referrers: true}
			out := j.mustRun(t)
			if len(out.tree.referrers()) != 8 {
				t.Errorf("outcome is %+v", out)
			}
			if n := src.count("/tags/list"); n != c.lists {
				t.Errorf("the tags were listed %d times", n)
			}
			// Four digest tags and three fallback lists: the list of tags has no more.
			if n := src.count("manifests/sha256-"); !src.api && n != 7 {
				t.Errorf("%d tags were requested one by one", n)
			}
			for k, s := range src.manifests {
				tag, ok := strings.CutPrefix(k, "shop/cart:sha256-")
				if ok && strings.Contains(tag, ".") && dst.tag("copy", "sha256-"+tag) != ref.DigestOf(s.raw) {
					t.Errorf("%s is missing", tag)
				}
			}
			// Nothing of it appears after the image.
			if n := len(dst.visible); dst.visible[n-1] != "2.0" || dst.tag("copy", "2.0") != root.Digest || n < 5 {
				t.Errorf("tags appeared as %q", dst.visible)
			}
			dst.clear()
			if out := j.mustRun(t); out.State != Present || dst.requests("PUT")+dst.requests("POST") != 0 {
				t.Errorf("again: %+v, %q", out, dst.log)
			}
			// One is lost, and comes back; the image's tag is not touched.
			dst.drop("copy:" + ref.DigestTag(root.Digest) + ".sig")
			dst.clear()
			if out := j.mustRun(t); !out.Changed || !slices.Equal(dst.visible, []string{ref.DigestTag(root.Digest) + ".sig"}) {
				t.Errorf("after the repair: %+v, %q", out, dst.visible)
			}
		})
	}
}

// Without referrers no tags are listed.
func TestDigestTagsAreExcluded(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.signed("shop/cart", "1.0")
	out := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "copy", ref: "1.0", tag: "2.0"}.mustRun(t)
	if len(out.tree.referrers()) != 0 || src.count("/tags/list") != 0 || len(dst.visible) != 1 {
		t.Errorf("outcome is %+v, tags %q", out, dst.visible)
	}
}

// Signatures that were made at the target are not overwritten.
func TestDigestTagsAtTheTarget(t *testing.T) {
	for _, c := range []struct {
		name         string
		mine, theirs []string
		moved        bool
		conflict     bool
	}{
		{"the source has more", []string{"a", "b"}, []string{"a"}, true, false},
		{"the target has more", []string{"a"}, []string{"a", "b"}, false, false},
		{"each has its own", []string{"a"}, []string{"b"}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			root := src.image("r", "1.0", "one")
			sig := ref.DigestTag(root.Digest) + ".sig"
			mine := src.image("r", sig, c.mine...)
			theirs := dst.image("r", sig, c.theirs...)
			for _, tag := range []string{"1.0", "2.0"} { // the root is absent; then it is there
				_, err := copyJob{src: src, dst: dst, srcRepo: "r", dstRepo: "r", ref: "1.0", tag: tag, referrers: true}.run(t)
				if errors.Is(err, Conflict) != c.conflict || err != nil && !c.conflict {
					t.Fatalf("error is %v", err)
				}
				if c.conflict && (dst.tag("r", tag) != "" || !strings.Contains(err.Error(), sig)) {
					t.Errorf("the tag is visible, or %v", err)
				}
				if want := map[bool]string{true: mine.Digest, false: theirs.Digest}[c.moved]; dst.tag("r", sig) != want {
					t.Errorf("the signature is %s", dst.tag("r", sig))
				}
			}
		})
	}
}

// Referrers may be listed by a fallback tag only, which is older than the API.
func TestFallbackTagAndAPI(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.api = false
	src.rich("shop/cart", "1.0")
	src.api = true
	// The API does not know of them.
	src.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/referrers/") {
			fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ociIndex)
			return true
		}
		return false
	}
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "copy", ref: "1.0", tag: "2.0", referrers: true}
	if out := j.mustRun(t); len(out.tree.referrers()) != 4 {
		t.Errorf("outcome is %+v", out)
	}
	j.checkComplete(t)
}

func TestEndlessTagList(t *testing.T) {
	src := newPeer(t)
	src.image("r", "1.0", "one")
	n := 0
	src.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/tags/") {
			return false
		}
		n++
		w.Header().Set("Link", fmt.Sprintf(`<?page=%d>; rel="next"`, n))
		fmt.Fprint(w, `{"tags":["a"]}`)
		return true
	}
	if _, err := ReadTree(t.Context(), src.registry(), "r", "1.0", Options{Referrers: true}); !errors.Is(err, TooLarge) || n != maxTagPages {
		t.Errorf("%d pages, %v", n, err)
	}
	src.handler = firstTimes(9, "GET", "/tags/", status(418, "TEAPOT"))
	if _, err := ReadTree(t.Context(), src.registry(), "r", "1.0", Options{Referrers: true}); !errors.Is(err, Unexpected) {
		t.Error(err)
	}
}
