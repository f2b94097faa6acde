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

// replicaTest is an image that two peers have, and the options to read it with.
type replicaTest struct {
	src, dst *peer
	options  Options
	replica  *Registry
}

func newReplicaTest(t *testing.T, api bool) *replicaTest {
	t.Helper()
	h := &replicaTest{src: newPeer(t), dst: newPeer(t)}
	h.src.api, h.dst.api = api, api
	h.src.signed("shop/cart", "1.0")
	copyJob{src: h.src, dst: h.dst, srcRepo: "shop/cart", dstRepo: "dev/cart", ref: "1.0", tag: "1.0", referrers: true}.mustRun(t)
	h.replica = h.dst.registry()
	h.options = Options{Referrers: true, Replica: NewReplica()}
	h.options.Replica.Set(h.replica, "dev/cart", h.src.tag("shop/cart", "1.0"))
	h.src.clear()
	h.dst.clear()
	return h
}

// If a target has the image, only the root is read at the source, and no
// referrers.
func TestReplicaSparesReads(t *testing.T) {
	for _, api := range []bool{true, false} {
		h := newReplicaTest(t, api)
		whole, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", Options{Referrers: true})
		if err != nil {
			t.Fatal(err)
		}
		h.src.clear()
		partial, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", h.options)
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
		if partial.Bytes() != whole.Bytes() {
			t.Errorf("API %v: %d bytes, want %d", api, partial.Bytes(), whole.Bytes())
		}
		p, err := h.replica.Inspect(t.Context(), "dev/cart", "1.0", partial, false)
		if err != nil || !p.Complete() {
			t.Errorf("API %v: complete %v, %v", api, p.Complete(), err)
		}
		seen := map[string]bool{}
		for _, l := range append(h.src.log, h.dst.log...) {
			if seen[l] {
				t.Errorf("API %v: requested twice: %s", api, l)
			}
			seen[l] = true
		}
		if err := partial.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkSameTree(t, partial, whole)
	}
}

func checkSameTree(t *testing.T, got, want *Tree) {
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
	if !reflect.DeepEqual(got.blobs(), want.blobs()) || got.bytes != want.bytes {
		t.Errorf("blobs are %v, want %v", got.blobs(), want.blobs())
	}
}

// If another target has nothing, the rest is read before the copy.
func TestReplicaAndEmptyTarget(t *testing.T) {
	h := newReplicaTest(t, true)
	third := newPeer(t)
	from, to := h.src.registry(), third.registry()
	tree, err := ReadTree(t.Context(), from, "shop/cart", "1.0", h.options)
	if err != nil {
		t.Fatal(err)
	}
	var deliveries []Destination
	for _, r := range []*Registry{h.replica, to} {
		p, err := r.Inspect(t.Context(), "dev/cart", "1.0", tree, false)
		if err != nil {
			t.Fatal(err)
		}
		deliveries = append(deliveries, Destination{Registry: r, Repository: "dev/cart", Tag: "1.0", Presence: p})
	}
	ends := copyToAll(t, tree, deliveries)
	if ends[0].out.State != Present || ends[1].out.State != Copied || ends[1].err != nil {
		t.Errorf("they ended with %+v", ends)
	}
	copyJob{src: h.src, dst: third, srcRepo: "shop/cart", dstRepo: "dev/cart", ref: "1.0"}.checkComplete(t)
	if n := h.dst.requests("PUT") + h.dst.requests("POST"); n != 0 {
		t.Errorf("%d writes where all was there", n)
	}
}

// If the replica has wrong content, the source is read.
func TestReplicaWithWrongContent(t *testing.T) {
	h := newReplicaTest(t, true)
	h.dst.handler = func(w http.ResponseWriter, r *http.Request) bool {
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
	partial, err := ReadTree(t.Context(), h.src.registry(), "shop/cart", "1.0", h.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := partial.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSameTree(t, partial, whole)
}

// A listed referrer that does not refer to the image is an error.
func TestReplicaAndWrongReferrerList(t *testing.T) {
	h := newReplicaTest(t, true)
	stranger := h.src.attach("shop/cart", "application/example.signature", h.src.image("shop/cart", "", "stranger"))
	stranger.ArtifactType = "application/example.signature"
	root := h.src.tag("shop/cart", "1.0")
	h.src.handler = func(w http.ResponseWriter, r *http.Request) bool {
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
	if err == nil || !strings.Contains(err.Error(), "but has another subject") {
		t.Errorf("the error is %v", err)
	}
}

// A replica that is never set is waited for only a short time.
func TestReplicaThatIsNeverSet(t *testing.T) {
	h := newReplicaTest(t, true)
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

// A replica that stops responding delays nothing.
func TestReplicaThatStalls(t *testing.T) {
	for _, api := range []bool{true, false} {
		h := newReplicaTest(t, api)
		over := make(chan struct{})
		defer close(over)
		h.dst.handler = func(http.ResponseWriter, *http.Request) bool { <-over; return true }
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

// A manifest waits for its own blobs only.
func TestManifestWaitsOnlyForItsBlobs(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	a, b := src.image("shop/cart", "", "small"), src.image("shop/cart", "", "slow")
	src.index("shop/cart", "1.0", a, b)
	slow := ref.DigestOf(layerOf("slow"))
	put := make(chan struct{})
	var once sync.Once
	src.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/blobs/"+slow) {
			select {
			case <-put:
			case <-time.After(10 * time.Second):
				t.Error("the other manifest was not put meanwhile")
			}
		}
		return false
	}
	dst.handler = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/"+a.Digest) {
			once.Do(func() { close(put) })
		}
		return false
	}
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}
	j.mustRun(t)
	j.checkComplete(t)
}
