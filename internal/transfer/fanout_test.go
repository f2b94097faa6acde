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

// fan is one image and the places that it goes to.
type fan struct {
	src    *peer
	from   *Registry
	tree   *Tree
	to     []Destination
	places []*peer
}

func newFan(t *testing.T, places ...*peer) *fan {
	t.Helper()
	f := &fan{src: newPeer(t), places: places}
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

func (f *fan) place(t *testing.T, r *Registry, repo string) {
	t.Helper()
	p, err := r.Inspect(t.Context(), repo, "1.0", f.tree, false)
	if err != nil {
		t.Fatal(err)
	}
	f.to = append(f.to, Destination{Registry: r, Repository: repo, Tag: "1.0", Presence: p})
}

// reads checks how often each blob was read at the source.
func (f *fan) reads(t *testing.T, want int) {
	t.Helper()
	for _, b := range f.tree.blobs {
		if n := f.src.count("GET /v2/shop/cart/blobs/" + b.Digest); n != want {
			t.Errorf("%s was read %d times, want %d", b.Digest, n, want)
		}
	}
}

func (f *fan) whole(t *testing.T, p *peer, repo string) {
	t.Helper()
	job{src: f.src, dst: p, srcRepo: "shop/cart", dstRepo: repo, ref: "1.0"}.whole(t)
	if p.tag(repo, "1.0") != f.tree.Digest() {
		t.Error("the tag is missing")
	}
}

// end is how one delivery ended.
type end struct {
	out Outcome
	err error
}

// deliverAll delivers and returns the ends, each of which has to be reported once.
func deliverAll(t *testing.T, tree *Tree, to []Destination) []end {
	t.Helper()
	ends := make([]end, len(to))
	told := make([]atomic.Int32, len(to))
	Copy(t.Context(), tree, to, nil, func(i int, out Outcome, err error) {
		told[i].Add(1)
		ends[i] = end{out, err}
	})
	for i := range told {
		if n := told[i].Load(); n != 1 {
			t.Errorf("the end of delivery %d was reported %d times", i, n)
		}
	}
	return ends
}

// deliverOne delivers to one place.
func deliverOne(ctx context.Context, tree *Tree, to *Registry, repo, tag string, p Presence, progress Progress) (Outcome, error) {
	var last end
	Copy(ctx, tree, []Destination{{Registry: to, Repository: repo, Tag: tag, Presence: p}}, progress, func(_ int, out Outcome, err error) {
		last = end{out, err}
	})
	return last.out, last.err
}

func TestOneReadingServesAllTargets(t *testing.T) {
	var places []*peer
	for range 6 {
		places = append(places, newPeer(t))
	}
	f := newFan(t, places...)
	for _, p := range places {
		f.place(t, p.registry(), "copy")
	}
	for i, e := range deliverAll(t, f.tree, f.to) {
		if e.err != nil || e.out.State != Copied || e.out.blobs != len(f.tree.blobs) || len(f.tree.Referrers()) != 4 {
			t.Errorf("target %d: %+v", i, e)
		}
		f.whole(t, places[i], "copy")
	}
	f.reads(t, 1)
}

// Who has a part already does not keep the others from sharing the rest.
func TestSharedReadingOfWhatIsMissing(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	f := newFan(t, a, b)
	first := f.tree.blobs[0]
	b.mu.Lock()
	b.blobs["copy@"+first.Digest] = f.src.blobs["shop/cart@"+first.Digest]
	b.mu.Unlock()
	f.place(t, a.registry(), "copy")
	f.place(t, b.registry(), "copy")
	for i, e := range deliverAll(t, f.tree, f.to) {
		if e.err != nil || e.out.mounts != i {
			t.Errorf("%+v", e)
		}
		f.whole(t, f.places[i], "copy")
	}
	f.reads(t, 1)
}

func TestOneRegistryGetsEachBlobOnce(t *testing.T) {
	p := newPeer(t)
	f := newFan(t)
	r := p.registry()
	for i := range 4 {
		f.place(t, r, fmt.Sprint("copy/", i))
	}
	sent := 0
	for i, e := range deliverAll(t, f.tree, f.to) {
		if e.err != nil {
			t.Error(e.err)
		}
		sent += e.out.blobs
		f.whole(t, p, fmt.Sprint("copy/", i))
	}
	f.reads(t, 1)
	if n := p.count("PUT /v2/copy/0/blobs") + p.count("PUT /v2/copy/1/blobs") + p.count("PUT /v2/copy/2/blobs") + p.count("PUT /v2/copy/3/blobs"); n != len(f.tree.blobs) || sent != n {
		t.Errorf("%d uploads of %d blobs, %d told", n, len(f.tree.blobs), sent)
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
	out, err := deliverOne(t.Context(), tree, r, "basket", "1.0", look, nil)
	if err != nil || out.mounts != 1 || out.blobs != 2 {
		t.Errorf("%+v, %v", out, err)
	}
}

// A target that never answers, one that refuses, and one that stops taking
// bytes: the others do not wait for any of them.
func TestOneTargetDoesNotHoldTheOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(over chan struct{}) func(http.ResponseWriter, *http.Request) bool
	}{
		{"silent from the start", func(over chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return times(99, "POST", "", func(http.ResponseWriter, *http.Request) { <-over })
		}},
		{"refuses", func(chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return times(99, "POST", "", status(403, "DENIED"))
		}},
		{"takes no bytes", func(over chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return times(99, "PUT", "/blobs/", func(w http.ResponseWriter, r *http.Request) {
				r.Body.Read(make([]byte, 10))
				<-over
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			over := make(chan struct{})
			defer close(over)
			good, bad, fine := newPeer(t), newPeer(t), newPeer(t)
			f := newFan(t, good, bad, fine)
			// Larger than what sockets take unread.
			big := make([]byte, 32<<20)
			f.src.imageOf("shop/cart", "1.0", f.src.blob("shop/cart", ociLayer, big), f.src.blob("shop/cart", ociLayer, []byte("small")))
			f.from = f.src.registry()
			f.from.teeWait = 200 * time.Millisecond
			var err error
			if f.tree, err = ReadTree(t.Context(), f.from, "shop/cart", "1.0", Options{}); err != nil {
				t.Fatal(err)
			}
			for _, p := range f.places {
				f.place(t, p.registry(), "copy")
			}
			bad.mu.Lock()
			bad.script = c.bad(over)
			bad.mu.Unlock()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var healthy sync.WaitGroup
			healthy.Add(2)
			go func() {
				healthy.Wait() // they end while the bad one is still at it
				cancel()
			}()
			Copy(ctx, f.tree, f.to, nil, func(i int, _ Outcome, err error) {
				if i == 1 {
					if err == nil {
						t.Error("the bad target is content")
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
			// One reading for all, and at most one more of each for itself: who is
			// left behind is a matter of the machine's load.
			for _, b := range f.tree.blobs {
				if n := f.src.count(b.Digest); n > 1+len(f.to) {
					t.Errorf("%s was read %d times", b.Digest, n)
				}
			}
		})
	}
}

// A slow target leaves, and reads for itself; it gets everything all the same.
func TestSlowTargetEndsWellByItself(t *testing.T) {
	fast, fine, slow := newPeer(t), newPeer(t), newPeer(t)
	f := newFan(t, fast, fine, slow)
	var mu sync.Mutex
	first := true
	gate := make(chan struct{})
	slow.script = func(w http.ResponseWriter, r *http.Request) bool {
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
	for _, p := range f.places {
		f.place(t, p.registry(), "copy")
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
	for _, p := range f.places {
		if p.tag("copy", "1.0") != f.tree.Digest() {
			t.Error("the tag is missing")
		}
	}
}

// A wrong byte is found for all, by one reading, and nobody gets it.
func TestSharedReadingIsVerified(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	f := newFan(t, a, b)
	wrong := f.tree.blobs[0]
	f.src.script = times(9, "GET", wrong.Digest, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, wrong.Size))
	})
	f.place(t, a.registry(), "copy")
	f.place(t, b.registry(), "copy")
	for i, e := range deliverAll(t, f.tree, f.to) {
		if e.err == nil || !strings.Contains(e.err.Error(), wrong.Digest) || e.err.(*Error).Side != Source {
			t.Errorf("%v", e.err)
		}
		f.places[i].mu.Lock()
		if _, ok := f.places[i].blobs["copy@"+wrong.Digest]; ok || f.places[i].manifests["copy:1.0"].raw != nil {
			t.Error("something wrong arrived")
		}
		f.places[i].mu.Unlock()
	}
}
