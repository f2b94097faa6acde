package transfer

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/ref"
)

// held is a whole image at two peers, and how its tree is read then.
type held struct {
	src, dst *peer
	options  Options
	near     *Registry
}

func newHeld(t *testing.T, api bool) *held {
	t.Helper()
	h := &held{src: newPeer(t), dst: newPeer(t)}
	h.src.api, h.dst.api = api, api
	h.src.signed("shop/cart", "1.0")
	job{src: h.src, dst: h.dst, srcRepo: "shop/cart", dstRepo: "dev/cart", ref: "1.0", tag: "1.0", referrers: true}.must(t)
	h.near = h.dst.registry()
	h.options = Options{Referrers: true, Replica: NewReplica()}
	h.options.Replica.Set(h.near, "dev/cart", h.src.tag("shop/cart", "1.0"))
	h.src.clear()
	h.dst.clear()
	return h
}

// What a target has is not read at the source: of the image the root, of what
// is attached nothing.
func TestHeldImageIsHardlyRead(t *testing.T) {
	for _, api := range []bool{true, false} {
		h := newHeld(t, api)
		whole, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", Options{Referrers: true})
		if err != nil {
			t.Fatal(err)
		}
		h.src.clear()
		thin, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", h.options)
		if err != nil {
			t.Fatal(err)
		}
		lists := 0
		if !api {
			lists = 3 // of the manifests that have referrers, by tag
		}
		if n := h.src.count("GET /v2/shop/cart/manifests/"); n != 1+lists {
			t.Errorf("API %v: %d manifests were read at the source, want %d: %q", api, n, 1+lists, h.src.log)
		}
		if thin.Bytes() != whole.Bytes() {
			t.Errorf("API %v: %d bytes, want %d", api, thin.Bytes(), whole.Bytes())
		}
		p, err := h.near.Inspect(t.Context(), "dev/cart", "1.0", thin, false)
		if err != nil || !p.Complete() {
			t.Errorf("API %v: complete %v, %v", api, p.Complete(), err)
		}
		seen := map[string]bool{}
		for _, l := range append(h.src.log, h.dst.log...) {
			if seen[l] {
				t.Errorf("API %v: asked twice: %s", api, l)
			}
			seen[l] = true
		}
		if err := thin.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		sameTree(t, thin, whole)
	}
}

func sameTree(t *testing.T, got, want *Tree) {
	t.Helper()
	if len(got.order) != len(want.order) {
		t.Fatalf("%d manifests, want %d", len(got.order), len(want.order))
	}
	for i, n := range got.order {
		w := want.order[i]
		if n.Digest != w.Digest || string(n.Raw) != string(w.Raw) || n.ArtifactType != w.ArtifactType || n.referrerDepth != w.referrerDepth || !reflect.DeepEqual(n.tags, w.tags) {
			t.Errorf("manifest %d is %+v, want %+v", i, n.Descriptor, w.Descriptor)
		}
	}
	if !reflect.DeepEqual(got.blobs, want.blobs) || got.bytes != want.bytes {
		t.Errorf("blobs are %v, want %v", got.blobs, want.blobs)
	}
}

// The next target has nothing of it: what was not read is read then.
func TestHeldImageForAnotherTarget(t *testing.T) {
	h := newHeld(t, true)
	third := newPeer(t)
	from, to := h.src.registry(), third.registry()
	tree, err := ReadTree(t.Context(), from, "shop/cart", "1.0", h.options)
	if err != nil {
		t.Fatal(err)
	}
	var deliveries []Destination
	for _, r := range []*Registry{h.near, to} {
		p, err := r.Inspect(t.Context(), "dev/cart", "1.0", tree, false)
		if err != nil {
			t.Fatal(err)
		}
		deliveries = append(deliveries, Destination{Registry: r, Repository: "dev/cart", Tag: "1.0", Presence: p})
	}
	ends := deliverAll(t, tree, deliveries)
	if ends[0].out.State != Present || ends[1].out.State != Copied || ends[1].err != nil {
		t.Errorf("they ended with %+v", ends)
	}
	job{src: h.src, dst: third, srcRepo: "shop/cart", dstRepo: "dev/cart", ref: "1.0"}.whole(t)
	if n := h.dst.requests("PUT") + h.dst.requests("POST"); n != 0 {
		t.Errorf("%d writes where all was there", n)
	}
}

// A place that lies about what it has is not believed: the source is read.
func TestHeldByALiar(t *testing.T) {
	h := newHeld(t, true)
	h.dst.script = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/sha256:") {
			return false
		}
		_, _ = w.Write([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`))
		return true
	}
	whole, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", Options{Referrers: true})
	if err != nil {
		t.Fatal(err)
	}
	thin, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", h.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := thin.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameTree(t, thin, whole)
}

// What a list claims to be attached, and is not, is refused before it is sent.
func TestHeldImageWithAFalseList(t *testing.T) {
	h := newHeld(t, true)
	stranger := h.src.attach("shop/cart", "application/example.signature", h.src.image("shop/cart", "", "stranger"))
	stranger.ArtifactType = "application/example.signature"
	root := h.src.tag("shop/cart", "1.0")
	h.src.script = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/referrers/"+root) {
			return false
		}
		_ = json.NewEncoder(w).Encode(document{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []Descriptor{stranger}})
		return true
	}
	tree, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", h.options)
	if err == nil {
		err = tree.Complete(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "does not say so itself") {
		t.Errorf("the error is %v", err)
	}
}

// Who has the image is waited for, but not for long.
func TestSlowPlaceIsNotWaitedFor(t *testing.T) {
	h := newHeld(t, true)
	h.options.Replica = NewReplica()
	ctx, cancel := context.WithTimeout(t.Context(), 10*maxReplicaWait)
	defer cancel()
	tree, err := ReadTree(ctx, h.src.registry(), "shop/cart", "1.0", h.options)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range tree.order {
		if n.unread {
			t.Errorf("%s was not read", n.Digest)
		}
	}
}

// A place that says it has the image and then falls silent holds nobody up.
func TestPlaceThatFallsSilent(t *testing.T) {
	for _, api := range []bool{true, false} {
		h := newHeld(t, api)
		over := make(chan struct{})
		defer close(over)
		h.dst.script = func(http.ResponseWriter, *http.Request) bool { <-over; return true }
		from := h.src.registry()
		from.replicaTimeout = 100 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		tree, err := ReadTree(ctx, from, "shop/cart", "1.0", h.options)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Manifests() {
			if m := tree.nodes[d.Digest]; m.unread || len(m.Raw) == 0 {
				t.Errorf("API %v: %s was not read", api, d.Digest)
			}
		}
	}
}

// A manifest does not wait for blobs that are not its own.
func TestManifestGoesWithItsBlobs(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	a, b := src.image("shop/cart", "", "small"), src.image("shop/cart", "", "slow")
	src.index("shop/cart", "1.0", a, b)
	slow := ref.DigestOf(layerOf("slow"))
	put := make(chan struct{})
	var once sync.Once
	src.script = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/blobs/"+slow) {
			select {
			case <-put:
			case <-time.After(10 * time.Second):
				t.Error("the other manifest was not put meanwhile")
			}
		}
		return false
	}
	dst.script = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/"+a.Digest) {
			once.Do(func() { close(put) })
		}
		return false
	}
	j := job{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}
	j.must(t)
	j.whole(t)
}
