package transfer

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fanOutTest is one image and the peers that it is copied to.
type fanOutTest struct {
	src   *peer
	from  *Registry
	tree  *Tree
	to    []Destination
	peers []*peer
}

func newFanOutTest(t *testing.T, peers ...*peer) *fanOutTest {
	t.Helper()
	f := &fanOutTest{src: newPeer(t), peers: peers}
	f.src.rich("shop/cart", "1.0")
	f.from = f.src.registry()
	f.from.teeWait = time.Minute
	var err error
	if f.tree, err = ReadTree(t.Context(), f.from, "shop/cart", "1.0", Options{Referrers: true}); err != nil {
		t.Fatal(err)
	}
	f.src.clear()
	return f
}

func (f *fanOutTest) addTarget(t *testing.T, r *Registry, repo string) {
	t.Helper()
	p, err := r.Inspect(t.Context(), repo, "1.0", f.tree, false)
	if err != nil {
		t.Fatal(err)
	}
	f.to = append(f.to, Destination{Registry: r, Repository: repo, Tag: "1.0", Presence: p})
}

// checkReads checks how often each blob was read at the source.
func (f *fanOutTest) checkReads(t *testing.T, want int) {
	t.Helper()
	for _, b := range f.tree.blobs() {
		if n := f.src.count("GET /v2/shop/cart/blobs/" + b.Digest); n != want {
			t.Errorf("%s was read %d times, want %d", b.Digest, n, want)
		}
	}
}

func (f *fanOutTest) checkComplete(t *testing.T, p *peer, repo string) {
	t.Helper()
	copyJob{src: f.src, dst: p, srcRepo: "shop/cart", dstRepo: repo, ref: "1.0"}.checkComplete(t)
	if p.tag(repo, "1.0") != f.tree.Digest() {
		t.Error("the tag is missing")
	}
}

// targetResult is the result of a copy to one target.
type targetResult struct {
	out Outcome
	err error
}

// copyToAll copies to several targets, each of which has to be reported once.
func copyToAll(t *testing.T, tree *Tree, to []Destination) []targetResult {
	t.Helper()
	ends := make([]targetResult, len(to))
	reports := make([]atomic.Int32, len(to))
	Copy(t.Context(), tree, to, nil, func(i int, out Outcome, err error) {
		reports[i].Add(1)
		ends[i] = targetResult{out, err}
	})
	for i := range reports {
		if n := reports[i].Load(); n != 1 {
			t.Errorf("target %d was reported %d times", i, n)
		}
	}
	return ends
}

// copyToOne copies to one target.
func copyToOne(ctx context.Context, tree *Tree, to *Registry, repo, tag string, p Presence, progress Progress) (Outcome, error) {
	var last targetResult
	Copy(ctx, tree, []Destination{{Registry: to, Repository: repo, Tag: tag, Presence: p}}, progress, func(_ int, out Outcome, err error) {
		last = targetResult{out, err}
	})
	return last.out, last.err
}

func TestOneDownloadForAllTargets(t *testing.T) {
	var peers []*peer
	for range 6 {
		peers = append(peers, newPeer(t))
	}
	f := newFanOutTest(t, peers...)
	for _, p := range peers {
		f.addTarget(t, p.registry(), "copy")
	}
	for i, e := range copyToAll(t, f.tree, f.to) {
		if e.err != nil || e.out.State != Copied || e.out.blobs != len(f.tree.blobs()) || len(f.tree.referrers()) != 4 {
			t.Errorf("target %d: %+v", i, e)
		}
		f.checkComplete(t, peers[i], "copy")
	}
	f.checkReads(t, 1)
}

// A target that has some blobs already shares the downloads of the others.
func TestSharedDownloadOfMissingBlobs(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	f := newFanOutTest(t, a, b)
	first := f.tree.blobs()[0]
	b.mu.Lock()
	b.blobs["copy@"+first.Digest] = f.src.blobs["shop/cart@"+first.Digest]
	b.mu.Unlock()
	f.addTarget(t, a.registry(), "copy")
	f.addTarget(t, b.registry(), "copy")
	for i, e := range copyToAll(t, f.tree, f.to) {
		if e.err != nil || e.out.mounts != i {
			t.Errorf("%+v", e)
		}
		f.checkComplete(t, f.peers[i], "copy")
	}
	f.checkReads(t, 1)
}

func TestOneRegistryGetsEachBlobOnce(t *testing.T) {
	p := newPeer(t)
	f := newFanOutTest(t)
	r := p.registry()
	for i := range 4 {
		f.addTarget(t, r, fmt.Sprint("copy/", i))
	}
	sent := 0
	for i, e := range copyToAll(t, f.tree, f.to) {
		if e.err != nil {
			t.Error(e.err)
		}
		sent += e.out.blobs
		f.checkComplete(t, p, fmt.Sprint("copy/", i))
	}
	f.checkReads(t, 1)
	if n := p.count("PUT /v2/copy/0/blobs") + p.count("PUT /v2/copy/1/blobs") + p.count("PUT /v2/copy/2/blobs") + p.count("PUT /v2/copy/3/blobs"); n != len(f.tree.blobs()) || sent != n {
		t.Errorf("%d uploads of %d blobs, %d reported", n, len(f.tree.blobs()), sent)
	}
	// Another image of the run, with layers that are there: mounted as well.
	f.src.image("shop/basket", "1.0", "base", "basket")
	tree, err := ReadTree(t.Context(), f.from, "shop/basket", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	look, err := r.Inspect(t.Context(), "basket", "1.0", tree, false)
	if err != nil {
		t.Fatal(err)
	}
	out, err := copyToOne(t.Context(), tree, r, "basket", "1.0", look, nil)
	if err != nil || out.mounts != 1 || out.blobs != 2 {
		t.Errorf("%+v, %v", out, err)
	}
}

// A target that never responds, one that denies access, and one that stops
// reading do not delay the others.
func TestBadTargetDoesNotDelayOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(over chan struct{}) func(http.ResponseWriter, *http.Request) bool
	}{
		{"never responds", func(over chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return firstTimes(99, "POST", "", func(http.ResponseWriter, *http.Request) { <-over })
		}},
		{"denies access", func(chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return firstTimes(99, "POST", "", status(403, "DENIED"))
		}},
		{"stops reading", func(over chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return firstTimes(99, "PUT", "/blobs/", func(w http.ResponseWriter, r *http.Request) {
				r.Body.Read(make([]byte, 10))
				<-over
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			over := make(chan struct{})
			defer close(over)
			good, bad, fine := newPeer(t), newPeer(t), newPeer(t)
			f := newFanOutTest(t, good, bad, fine)
			// Larger than what sockets take unread.
			big := make([]byte, 32<<20)
			f.src.imageOf("shop/cart", "1.0", f.src.blob("shop/cart", ociLayer, big), f.src.blob("shop/cart", ociLayer, []byte("small")))
			f.from = f.src.registry()
			f.from.teeWait = 200 * time.Millisecond
			var err error
			if f.tree, err = ReadTree(t.Context(), f.from, "shop/cart", "1.0", Options{}); err != nil {
				t.Fatal(err)
			}
			for _, p := range f.peers {
				f.addTarget(t, p.registry(), "copy")
			}
			bad.mu.Lock()
			bad.handler = c.bad(over)
			bad.mu.Unlock()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var healthy sync.WaitGroup
			healthy.Add(2)
			go func() {
				healthy.Wait() // while the bad one has not ended
				cancel()
			}()
			Copy(ctx, f.tree, f.to, nil, func(i int, _ Outcome, err error) {
				if i == 1 {
					if err == nil {
						t.Error("the bad target succeeded")
					}
					return
				}
				if err != nil {
					t.Error(err)
				}
				healthy.Done()
			})
			for _, p := range []*peer{good, fine} {
				if p.tag("copy", "1.0") != f.tree.Digest() {
					t.Error("the tag is missing")
				}
			}
			if bad.tag("copy", "1.0") != "" {
				t.Error("the bad one has the tag")
			}
			// One download for all, and at most one more for each target: which of
			// them is left behind depends on the load of the machine.
			for _, b := range f.tree.blobs() {
				if n := f.src.count(b.Digest); n > 1+len(f.to) {
					t.Errorf("%s was read %d times", b.Digest, n)
				}
			}
		})
	}
}

// A slow target is left behind, reads for itself, and is complete as well.
func TestSlowTargetReadsForItself(t *testing.T) {
	fast, fine, slow := newPeer(t), newPeer(t), newPeer(t)
	f := newFanOutTest(t, fast, fine, slow)
	var mu sync.Mutex
	first := true
	gate := make(chan struct{})
	slow.handler = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		hold := first && r.Method == "PUT" && strings.Contains(r.URL.Path, "/blobs/")
		first = first && !hold
		mu.Unlock()
		if hold {
			<-gate
		}
		return false
	}
	big := make([]byte, 32<<20)
	f.src.imageOf("shop/cart", "1.0", f.src.blob("shop/cart", ociLayer, big))
	f.from = f.src.registry()
	f.from.teeWait = 100 * time.Millisecond
	var err error
	if f.tree, err = ReadTree(t.Context(), f.from, "shop/cart", "1.0", Options{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range f.peers {
		f.addTarget(t, p.registry(), "copy")
	}
	var others sync.WaitGroup
	others.Add(2)
	go func() {
		others.Wait()
		close(gate)
	}()
	Copy(t.Context(), f.tree, f.to, nil, func(i int, _ Outcome, err error) {
		if err != nil {
			t.Error(err)
		}
		if i < 2 {
			others.Done()
		}
	})
	for _, p := range f.peers {
		if p.tag("copy", "1.0") != f.tree.Digest() {
			t.Error("the tag is missing")
		}
	}
}

// One download finds wrong content for all, and no target gets it.
func TestSharedDownloadIsVerified(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	f := newFanOutTest(t, a, b)
	wrong := f.tree.blobs()[0]
	f.src.handler = firstTimes(9, "GET", wrong.Digest, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, wrong.Size))
	})
	f.addTarget(t, a.registry(), "copy")
	f.addTarget(t, b.registry(), "copy")
	for i, e := range copyToAll(t, f.tree, f.to) {
		if e.err == nil || !strings.Contains(e.err.Error(), wrong.Digest) || e.err.(*Error).Side != Source {
			t.Errorf("%v", e.err)
		}
		f.peers[i].mu.Lock()
		if _, ok := f.peers[i].blobs["copy@"+wrong.Digest]; ok || f.peers[i].manifests["copy:1.0"].raw != nil {
			t.Error("a target has wrong content")
		}
		f.peers[i].mu.Unlock()
	}
}
