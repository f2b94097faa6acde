package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"acrpromote/internal/ref"
)

// countingProgress counts progress.
type countingProgress struct {
	mu           sync.Mutex
	total, added int64
	layers, done int
}

func (c *countingProgress) Start(total int64, layers int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total, c.layers = total, layers
}

func (c *countingProgress) Add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added += n
}

func (c *countingProgress) LayerDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
}

func (c *countingProgress) check(t *testing.T) {
	t.Helper()
	if c.total == 0 || c.added != c.total || c.done != c.layers {
		t.Errorf("progress ends at %d of %d bytes, %d of %d layers", c.added, c.total, c.done, c.layers)
	}
}

type copyJob struct {
	src, dst         *peer
	srcRepo, dstRepo string
	ref, tag         string
	referrers, deep  bool
}

// copyResult is the result of copying a whole image.
type copyResult struct {
	Outcome
	tree *Tree
}

// run copies a whole image, with empty caches.
func (j copyJob) run(t *testing.T) (copyResult, error) {
	t.Helper()
	src, dst := j.src.registry(), j.dst.registry()
	if j.src == j.dst {
		dst = src
	}
	options := Options{Referrers: j.referrers}
	if !j.deep && j.tag != "" {
		options.Replica = NewReplica()
		options.Resolved = func(string) {
			d, _ := dst.Resolve(t.Context(), j.dstRepo, j.tag)
			options.Replica.Set(dst, j.dstRepo, d.Digest)
		}
	}
	tree, err := ReadTree(t.Context(), src, j.srcRepo, j.ref, options)
	if err != nil {
		return copyResult{}, err
	}
	p, err := dst.Inspect(t.Context(), j.dstRepo, j.tag, tree, j.deep)
	if err != nil {
		return copyResult{}, err
	}
	var progress countingProgress
	out, err := copyToOne(t.Context(), tree, dst, j.dstRepo, j.tag, p, &progress)
	if err == nil {
		progress.check(t)
	}
	return copyResult{out, tree}, err
}

func (j copyJob) mustRun(t *testing.T) copyResult {
	t.Helper()
	out, err := j.run(t)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkComplete checks that all manifests of the source repository, and their blobs,
// are at the target, byte for byte.
func (j copyJob) checkComplete(t *testing.T) {
	t.Helper()
	missing := 0
	root := j.src.tag(j.srcRepo, j.ref)
	for k, s := range j.src.manifests {
		repo, digest, _ := strings.Cut(k, "@")
		if s.mediaType == ociIndex && digest != root {
			continue // a list of referrers is each registry's own
		}
		if repo == j.srcRepo && !j.dst.has(j.dstRepo, digest) {
			missing++
		}
	}
	for k := range j.src.blobs {
		repo, digest, _ := strings.Cut(k, "@")
		if _, ok := j.dst.blobs[j.dstRepo+"@"+digest]; repo == j.srcRepo && !ok {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d manifests and blobs are missing at the target", missing)
	}
}

func TestCopyToEmptyTargetMakesFewestRequests(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	a, b := src.image("shop/cart", "", "base", "a"), src.image("shop/cart", "", "base", "b")
	root := src.index("shop/cart", "1.0", a, b)
	out := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}.mustRun(t)

	if out.State != Copied || out.tree.Digest() != root.Digest || out.manifests != 3 || out.blobs != 5 || !out.Changed {
		t.Errorf("outcome is %+v", out)
	}
	if dst.tag("shop/cart", "1.0") != root.Digest {
		t.Error("the tag does not point at the image")
	}
	// M = 3 manifests, B = 5 distinct blobs.
	for _, c := range []struct {
		peer   *peer
		method string
		want   int
	}{{src, "GET", 3 + 5}, {src, "HEAD", 0}, {dst, "HEAD", 1}, {dst, "GET", 0}, {dst, "POST", 5}, {dst, "PUT", 5 + 3}} {
		if got := c.peer.requests(c.method); got != c.want {
			t.Errorf("%d %s requests, want %d: %q", got, c.method, c.want, c.peer.log)
		}
	}
	if last := dst.log[len(dst.log)-1]; last != "PUT /v2/shop/cart/manifests/1.0" {
		t.Errorf("the last request is %s", last)
	}
}

func TestCopyWithReferrers(t *testing.T) {
	for _, c := range []struct {
		name               string
		srcAPI, dstAPI     bool
		needsSubject       bool
		noDigest, selfless bool
	}{
		{name: "API on both sides", srcAPI: true, dstAPI: true},
		{name: "fallback tag at the source", dstAPI: true},
		{name: "fallback tag at the target", srcAPI: true},
		{name: "fallback tags on both sides"},
		{name: "subjects come first", srcAPI: true, dstAPI: true, needsSubject: true},
		{name: "subjects come first, fallback tags", needsSubject: true},
		{name: "no digest headers", srcAPI: true, dstAPI: true, noDigest: true},
		{name: "no mount from itself", srcAPI: true, dstAPI: true, selfless: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			src.api, dst.api, dst.needsSubject, dst.noDigest, dst.noSelfMount = c.srcAPI, c.dstAPI, c.needsSubject, c.noDigest, c.selfless
			src.noDigest = c.noDigest
			src.page = 1
			root := src.rich("shop/cart", "1.0")
			j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "copy", ref: "1.0", tag: "2.0", referrers: true}
			out := j.mustRun(t)
			j.checkComplete(t)
			if len(out.tree.referrers()) != 4 || out.State != Copied {
				t.Errorf("outcome is %+v", out)
			}
			// The tag is the last thing to appear, also after fallback tags.
			if n := len(dst.visible); dst.visible[n-1] != "2.0" || dst.tag("copy", "2.0") != root.Digest {
				t.Errorf("tags appeared as %q", dst.visible)
			}
			// Readers at the target find the same.
			again, err := ReadTree(t.Context(), dst.registry(), "copy", "2.0", Options{Referrers: true})
			if err != nil || len(again.referrers()) != 4 {
				t.Errorf("at the target: %v, %v", again.referrers(), err)
			}
			// And again: nothing is written.
			dst.clear()
			if out := j.mustRun(t); out.State != Present || out.Changed {
				t.Errorf("again: %+v", out)
			}
			if n := dst.requests("PUT") + dst.requests("POST"); n != 0 {
				t.Errorf("again writes %d times: %q", n, dst.log)
			}
		})
	}
}

func TestRerunRequestsEverythingOnce(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.rich("shop/cart", "1.0")
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0", referrers: true}
	j.mustRun(t)
	if n := src.count("/referrers/"); n != 7 {
		t.Errorf("%d lists of referrers were asked for, want one for each of 7 manifests", n)
	}
	src.clear()
	dst.clear()
	j.mustRun(t)
	seen := map[string]bool{}
	for _, l := range append(src.log, dst.log...) {
		if strings.HasPrefix(l, "GET") && seen[l] && !strings.Contains(l, "referrers") {
			t.Errorf("requested twice: %s", l)
		}
		seen[l] = true
	}
	// The tag, two children, and a list for each of three subjects.
	if len(dst.log) != 1+2+3 {
		t.Errorf("requests to the target: %q", dst.log)
	}
}

func TestCopyWithoutReferrers(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.rich("shop/cart", "1.0")
	out := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0"}.mustRun(t)
	if len(out.tree.referrers()) != 0 || src.count("referrers") != 0 || out.manifests != 3 {
		t.Errorf("outcome is %+v, requests to the source: %q", out, src.log)
	}
}

// The registries of go-containerregistry differ from ours: no OCI-Subject, no
// mounts, and one store for all repositories.
func TestCopyBetweenForeignRegistries(t *testing.T) {
	quiet := ggcr.Logger(log.New(io.Discard, "", 0))
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprint("referrers API ", api), func(t *testing.T) {
			from := newPeer(t)
			from.rich("shop/cart", "1.0")
			src := httptest.NewServer(ggcr.New(quiet, ggcr.WithReferrersSupport(api)))
			defer src.Close()
			dst := httptest.NewServer(ggcr.New(quiet, ggcr.WithReferrersSupport(api)))
			defer dst.Close()
			hop := func(a, b *Registry) copyResult {
				t.Helper()
				tree, err := ReadTree(t.Context(), a, "shop/cart", "1.0", Options{Referrers: true})
				if err != nil {
					t.Fatal(err)
				}
				p, err := b.Inspect(t.Context(), "shop/cart", "1.0", tree, true)
				if err != nil {
					t.Fatal(err)
				}
				out, err := copyToOne(t.Context(), tree, b, "shop/cart", "1.0", p, nil)
				if err != nil {
					t.Fatal(err)
				}
				return copyResult{out, tree}
			}
			a, b := strings.TrimPrefix(src.URL, "http://"), strings.TrimPrefix(dst.URL, "http://")
			hop(from.registry(), newTestRegistry(a))
			if out := hop(newTestRegistry(a), newTestRegistry(b)); out.State != Copied || len(out.tree.referrers()) != 4 {
				t.Errorf("outcome is %+v", out)
			}
			if out := hop(newTestRegistry(a), newTestRegistry(b)); out.State != Present {
				t.Errorf("again: %+v", out)
			}
		})
	}
}

func TestWithinOneRegistry(t *testing.T) {
	p := newPeer(t)
	root := p.image("shop/cart", "rc", "one", "two")
	t.Run("another repository is mounted", func(t *testing.T) {
		p.clear()
		out := copyJob{src: p, dst: p, srcRepo: "shop/cart", dstRepo: "released/cart", ref: "rc", tag: "1.0"}.mustRun(t)
		if out.State != Mounted || out.blobs != 0 || out.mounts != 3 || p.count("GET /v2/shop/cart/blobs") != 0 {
			t.Errorf("outcome is %+v, log %q", out, p.log)
		}
	})
	t.Run("the same repository takes one PUT", func(t *testing.T) {
		p.clear()
		out := copyJob{src: p, dst: p, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "rc", tag: "1.0"}.mustRun(t)
		if out.State != Retagged || p.requests("PUT") != 1 || p.requests("POST") != 0 || p.tag("shop/cart", "1.0") != root.Digest {
			t.Errorf("outcome is %+v, log %q", out, p.log)
		}
	})
	t.Run("a tag moves", func(t *testing.T) {
		next := p.image("shop/cart", "next", "three")
		out := copyJob{src: p, dst: p, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "next", tag: "1.0"}.mustRun(t)
		if out.State != Retagged || p.tag("shop/cart", "1.0") != next.Digest {
			t.Errorf("outcome is %+v", out)
		}
	})
}

func TestCopyByDigestPutsNoTag(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	root := src.rich("shop/cart", "1.0")
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: root.Digest, referrers: true}
	j.mustRun(t)
	j.checkComplete(t)
	if len(dst.visible) != 0 {
		t.Errorf("tags appeared: %q", dst.visible)
	}
	if out := j.mustRun(t); out.State != Present {
		t.Errorf("again: %+v", out)
	}
}

func TestRerunCompletes(t *testing.T) {
	for _, api := range []bool{true, false} {
		for _, what := range []string{"child", "referrer", "layer", "list"} {
			t.Run(fmt.Sprint(what, " API ", api), func(t *testing.T) {
				src, dst := newPeer(t), newPeer(t)
				src.api, dst.api = api, api
				src.rich("shop/cart", "1.0")
				j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0", referrers: true, deep: what == "layer"}
				j.mustRun(t)
				tree, err := ReadTree(t.Context(), src.registry(), "shop/cart", "1.0", Options{Referrers: true})
				if err != nil {
					t.Fatal(err)
				}
				switch what {
				case "child":
					dst.drop("shop/cart@" + tree.Manifests()[1].Digest)
				case "referrer":
					dst.drop("shop/cart@" + tree.referrers()[0].Digest)
				case "layer":
					dst.drop("shop/cart@" + tree.blobs()[0].Digest)
				case "list":
					dst.drop("shop/cart:" + ref.DigestTag(tree.Digest()))
				}
				p, err := dst.registry().Inspect(t.Context(), "shop/cart", "1.0", tree, j.deep)
				if err != nil {
					t.Fatal(err)
				}
				intact := what == "list" && api // there is no such list
				if p.Complete() != intact || (len(p.Missing()) == 0) != intact {
					t.Errorf("complete %v, missing %v", p.Complete(), p.Missing())
				}
				dst.clear()
				out := j.mustRun(t)
				j.checkComplete(t)
				if want := Copied; intact == (out.State == want) || !intact && !out.Changed {
					t.Errorf("outcome is %+v", out)
				}
				if dst.count("PUT /v2/shop/cart/manifests/1.0") != 0 {
					t.Error("the tag was put again")
				}
				again, err := ReadTree(t.Context(), dst.registry(), "shop/cart", "1.0", Options{Referrers: true})
				if err != nil || len(again.referrers()) != 4 {
					t.Errorf("at the target: %v", err)
				}
			})
		}
	}
}

// A lock refuses an equal manifest too, which is fine if it exists.
func TestLockedManifestThatExistsIsNoError(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	root := src.image("shop/cart", "1.0", "one")
	j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: ""}
	j.mustRun(t)
	dst.locked = true
	r := dst.registry()
	m, err := src.registry().manifest(t.Context(), "shop/cart", root.Digest, Descriptor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.putManifest(t.Context(), "shop/cart", root.Digest, m, false); err != nil {
		t.Error(err)
	}
	_, err = r.putManifest(t.Context(), "shop/cart", "1.0", m, false)
	if !errors.Is(err, Locked) || !strings.Contains(err.Error(), "locked, quarantined or out of storage") {
		t.Errorf("error is %v", err)
	}
}

// Whichever request a copy is interrupted at, the tag does not exist or is
// complete, and a rerun completes the copy.
func TestInterruptedAnywhere(t *testing.T) {
	count := func(api, needs bool, stop int, before bool) (requests int, done bool) {
		src, dst := newPeer(t), newPeer(t)
		defer src.server.Close() // hundreds of them would use up the sockets
		defer dst.server.Close()
		dst.api, dst.needsSubject = api, needs
		root := src.signed("shop/cart", "1.0")
		j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "shop/cart", ref: "1.0", tag: "1.0", referrers: true}
		var n int
		var mu sync.Mutex
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dst.handler = func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			n++
			hit := n == stop
			mu.Unlock()
			if hit {
				if !before {
					dst.mu.Lock()
					dst.handler = nil
					dst.mu.Unlock()
					dst.ServeHTTP(httptest.NewRecorder(), r)
				}
				cancel()
				panic(http.ErrAbortHandler)
			}
			return false
		}
		a, b := src.registry(), dst.registry()
		tree, err := ReadTree(ctx, a, "shop/cart", "1.0", Options{Referrers: true})
		if err != nil {
			t.Fatal(err)
		}
		p, err := b.Inspect(ctx, "shop/cart", "1.0", tree, false)
		if err == nil {
			_, err = copyToOne(ctx, tree, b, "shop/cart", "1.0", p, nil)
		}
		dst.server.CloseClientConnections()
		mu.Lock()
		requests = n
		mu.Unlock()
		dst.mu.Lock()
		dst.handler = nil
		dst.mu.Unlock()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at %d: %v", stop, err)
		}
		if got := dst.tag("shop/cart", "1.0"); got != "" {
			if got != root.Digest {
				t.Errorf("stopped at %d: the tag points to %s", stop, got)
			}
			j.checkComplete(t)
			dst.mu.Lock()
			for k := range src.manifests {
				if strings.HasSuffix(k, ".sig") || strings.HasSuffix(k, ".att") || strings.HasSuffix(k, ".sbom") {
					if _, ok := dst.manifests[k]; !ok {
						t.Errorf("stopped at %d: the image is visible before %s", stop, k)
					}
				}
			}
			dst.mu.Unlock()
		}
		if out := j.mustRun(t); dst.tag("shop/cart", "1.0") != root.Digest {
			t.Errorf("rerun after %d: %+v", stop, out)
		}
		j.checkComplete(t)
		again, err2 := ReadTree(t.Context(), dst.registry(), "shop/cart", "1.0", Options{Referrers: true})
		if err2 != nil || len(again.referrers()) != 8 {
			t.Errorf("rerun after %d: %v", stop, err2)
		}
		return requests, err == nil
	}
	for _, c := range []struct{ api, needs bool }{{true, false}, {false, false}, {true, true}} {
		total, done := count(c.api, c.needs, 0, false)
		if !done || total < 20 {
			t.Fatalf("the copy made %d requests", total)
		}
		step := 1
		if !c.api || c.needs {
			step = 2 // most of it is the same
		}
		for stop := 1; stop <= total; stop += step {
			count(c.api, c.needs, stop, stop/step%2 == 1)
		}
	}
}

// A tag that did not exist when the target was read is looked for again right
// before it is put, unless that was a moment ago.
func TestTagThatAppearsMeanwhile(t *testing.T) {
	for _, c := range []struct {
		name    string
		trusted time.Duration
		appears string // the image that another client puts meanwhile, "" for none
		looks   int    // HEAD requests of the tag
		failed  bool
		final   string
	}{
		{"another image, long after", 0, "theirs", 2, true, "theirs"},
		{"the same image, long after", 0, "ours", 2, false, "ours"},
		{"nothing, long after", 0, "", 2, false, "ours"},
		{"another image, a moment after", time.Hour, "theirs", 1, false, "ours"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			images := map[string]Descriptor{"ours": src.image("shop/cart", "1.0", "ours"), "theirs": dst.image("shop/cart", "", "theirs")}
			from, to := src.registry(), dst.registry()
			to.absenceTTL = c.trusted
			tree, err := ReadTree(t.Context(), from, "shop/cart", "1.0", Options{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := to.Inspect(t.Context(), "shop/cart", "1.0", tree, false)
			if err != nil {
				t.Fatal(err)
			}
			switch c.appears {
			case "ours":
				dst.image("shop/cart", "1.0", "ours")
			case "theirs":
				dst.image("shop/cart", "1.0", "theirs")
			}
			_, err = copyToOne(t.Context(), tree, to, "shop/cart", "1.0", p, &countingProgress{})
			if (err != nil) != c.failed || err != nil && !errors.Is(err, Conflict) {
				t.Errorf("the copy ended with %v", err)
			}
			if got := dst.tag("shop/cart", "1.0"); got != images[c.final].Digest {
				t.Errorf("the tag points at %s, want %s", got, images[c.final].Digest)
			}
			if got := dst.count("HEAD /v2/shop/cart/manifests/1.0"); got != c.looks {
				t.Errorf("the tag was looked for %d times, want %d", got, c.looks)
			}
		})
	}
}
