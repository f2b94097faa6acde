package transfer

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/ref"
)

func TestReferrersAPIIsProbedOnce(t *testing.T) {
	for _, api := range []bool{false, true} {
		src, dst := newPeer(t), newPeer(t)
		src.api, dst.api = api, api
		src.rich("shop/cart", "1.0")
		j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0", referrers: true}
		j.mustRun(t)
		src.clear()
		dst.clear()
		j.mustRun(t)
		want := [2]int{1, 0} // the root's, and all know that there is no API; the target's tags list it all
		if api {
			want = [2]int{7, 3} // of each manifest; of each that has referrers
		}
		if got := [2]int{src.count("/referrers/"), dst.count("/referrers/")}; got != want {
			t.Errorf("API %v: lists were asked for %v times, want %v", api, got, want)
		}
		// Of 7 manifests 3 have a fallback tag, as the list of tags shows.
		if got := src.count("GET /v2/shop/cart/manifests/sha256-"); !api && got != 3 {
			t.Errorf("%d fallback tags were read at the source, want 3", got)
		}
	}
}

// A blob is requested at the source while the upload is being opened.
func TestSourceAndTargetAreOpenedTogether(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.image("shop/cart", "1.0", "one")
	requested := make(chan struct{}, 10)
	src.handler = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			requested <- struct{}{}
		}
		return false
	}
	dst.handler = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			select {
			case <-requested:
			case <-time.After(10 * time.Second):
				t.Error("the blob was not requested while its upload was opened")
			}
		}
		return false
	}
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}
	j.mustRun(t)
	j.checkComplete(t)
	if got := src.count("/blobs/"); got != 2 {
		t.Errorf("%d blobs were read, want 2", got)
	}
}

// acceptOnlyPatch makes a peer refuse blobs in a PUT, and accept them in a PATCH.
func acceptOnlyPatch(p *peer, refusal http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	bodies := map[string][]byte{}
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/uploads/") {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodPatch:
			bodies[r.URL.Path+"/more"], _ = io.ReadAll(r.Body)
			w.Header().Set("Location", r.URL.Path+"/more?_state=c%2Fd")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut && r.ContentLength > 0:
			_, _ = io.Copy(io.Discard, r.Body)
			refusal(w, r)
		case r.Method == http.MethodPut:
			data, digest := bodies[r.URL.Path], r.URL.Query().Get("digest")
			if r.URL.Query().Get("_state") != "c/d" || ref.DigestOf(data) != digest {
				refuse(w, 400, "DIGEST_INVALID", "wrong")
				return true
			}
			repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
			p.mu.Lock()
			p.blobs[repo+"@"+digest] = data
			p.mu.Unlock()
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	}
}

func TestPatchIfPutTakesNoBody(t *testing.T) {
	for _, c := range []struct {
		name    string
		refusal http.HandlerFunc
		wasted  int // PUTs, of the first blob
	}{
		{"405", status(405, ""), 1},
		{"415", status(415, "UNSUPPORTED"), 1},
		{"411", status(411, ""), 1},
		{"400", status(400, "BLOB_UPLOAD_INVALID"), 2},
		{"404", status(404, "BLOB_UPLOAD_UNKNOWN"), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			src.image("shop/cart", "1.0", "one", "two", "three")
			src.image("shop/cart", "2.0", "four")
			dst.handler = acceptOnlyPatch(dst, c.refusal)
			from, to := src.registry(), dst.registry()
			for _, tag := range []string{"1.0", "2.0"} {
				tree, err := ReadTree(t.Context(), from, "shop/cart", tag, Options{})
				if err != nil {
					t.Fatal(err)
				}
				p, err := to.Inspect(t.Context(), "shop/cart", tag, tree, false)
				if err != nil {
					t.Fatal(err)
				}
				dst.clear()
				var progress countingProgress
				out, err := copyToOne(t.Context(), tree, to, "shop/cart", tag, p, &progress)
				if err != nil || out.State != Copied {
					t.Fatalf("%s: %+v, %v", tag, out, err)
				}
				progress.check(t)
			}
			// The second image finds it known: POST, PATCH, PUT for each blob.
			fresh := dst.requests("POST")
			if got, want := dst.requests("PUT"), dst.requests("PATCH")+1; fresh == 0 || dst.requests("PATCH") != fresh || got != want {
				t.Errorf("%d POST, %d PATCH, %d PUT; want no PUT that is refused", fresh, dst.requests("PATCH"), got)
			}
			copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0"}.checkComplete(t)
		})
	}
	// What is refused for another reason is not sent by other means.
	src, dst := newPeer(t), newPeer(t)
	src.image("shop/cart", "1.0", "one")
	dst.handler = acceptOnlyPatch(dst, status(405, "REGISTRY_DISALLOWED_OPERATION"))
	if _, err := (copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}).run(t); err == nil || dst.requests("PATCH") != 0 {
		t.Errorf("%v, %d PATCH", err, dst.requests("PATCH"))
	}
}

// orderedProgress checks that all blobs are reported with the last byte.
type orderedProgress struct {
	countingProgress
	early bool
}

func (o *orderedProgress) Add(n int64) {
	o.countingProgress.Add(n)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.early = o.early || o.added == o.total && o.done < o.layers
}

func TestProgressEndsWithTheLastByte(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	blobs := []Descriptor{src.blob("shop/cart", "application/vnd.oci.image.layer.v1.tar", nil), src.blob("shop/cart", "application/vnd.oci.image.layer.v1.tar", layerOf("one"))}
	src.imageOf("shop/cart", "1.0", blobs...)
	dst.handler = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && strings.Contains(r.URL.RawQuery, strings.TrimPrefix(emptyDigest, "sha256:")) {
			time.Sleep(50 * time.Millisecond)
		}
		return false
	}
	from, to := src.registry(), dst.registry()
	tree, err := ReadTree(t.Context(), from, "shop/cart", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := to.Inspect(t.Context(), "shop/cart", "1.0", tree, false)
	if err != nil {
		t.Fatal(err)
	}
	var progress orderedProgress
	if _, err := copyToOne(t.Context(), tree, to, "shop/cart", "1.0", p, &progress); err != nil {
		t.Fatal(err)
	}
	progress.check(t)
	if progress.early {
		t.Errorf("all %d bytes were reported before all %d blobs", progress.total, progress.layers)
	}
	if !slices.ContainsFunc(dst.log, func(l string) bool { return strings.HasPrefix(l, "PUT") }) {
		t.Error("nothing was sent")
	}
}
