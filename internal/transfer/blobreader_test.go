package transfer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// brokenBodies serves blobs whose bodies break off. ranges is how the source
// responds to a Range header: "" if it ignores it, else what is wrong.
type brokenBodies struct {
	mu        sync.Mutex
	breaks    int // of each blob
	seen      map[string]int
	ranges    string
	requested []string
}

func (b *brokenBodies) serve(p *peer) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		at := strings.LastIndex(r.URL.Path, "/blobs/")
		if r.Method != "GET" || at < 0 {
			return false
		}
		p.mu.Lock()
		data := p.blobs["shop/cart@"+r.URL.Path[at+len("/blobs/"):]]
		p.mu.Unlock()
		b.mu.Lock()
		b.seen[r.URL.Path]++
		n := b.seen[r.URL.Path]
		from, total := 0, len(data)
		if said := r.Header.Get("Range"); said != "" && b.ranges != "" {
			fmt.Sscanf(said, "bytes=%d-", &from)
		}
		b.requested = append(b.requested, r.Header.Get("Range"))
		b.mu.Unlock()
		code := http.StatusOK
		part := data[from:]
		if from > 0 {
			code = http.StatusPartialContent
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, total-1, total))
			switch b.ranges {
			case "shifted":
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from-1, total-1, total))
			case "shorter":
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, total-2, total))
			case "none":
				w.Header().Del("Content-Range")
			case "beyond":
				w.Header().Del("Content-Range")
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(part)))
		w.WriteHeader(code)
		if n <= b.breaks {
			w.Write(part[:len(part)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Write(part)
		return true
	}
}

func TestBrokenBodiesAreResumed(t *testing.T) {
	for _, ranges := range []string{"honoured", "", "shifted", "shorter", "none", "beyond"} {
		t.Run("Range "+ranges, func(t *testing.T) {
			src, dst := newPeer(t), newPeer(t)
			root := src.image("shop/cart", "1.0", "one", "two", "three")
			b := &brokenBodies{breaks: 3, seen: map[string]int{}, ranges: ranges}
			src.handler = b.serve(src)
			j := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "to", ref: "1.0", tag: "1.0"}
			out := j.mustRun(t)
			j.checkComplete(t)
			if dst.tag("to", "1.0") != root.Digest || out.blobs != 4 {
				t.Errorf("%+v", out)
			}
			// Each blob was uploaded once: the source's trouble is not the target's.
			if n := dst.requests("PUT"); n != 4+1 {
				t.Errorf("%d PUTs", n)
			}
			if ranges == "honoured" && src.requests("GET") != 1+4*4 {
				t.Errorf("the requested ranges are %q", b.requested)
			}
		})
	}
}

func TestStalledBodiesAreResumed(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.image("shop/cart", "1.0", "one")
	over := make(chan struct{})
	defer close(over)
	var mu sync.Mutex
	hung := map[string]bool{}
	src.handler = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		hang := strings.Contains(r.URL.Path, "/blobs/") && !hung[r.URL.Path]
		hung[r.URL.Path] = true
		mu.Unlock()
		if hang {
			_, digest, _ := strings.Cut(r.URL.Path, "/blobs/")
			data := src.blobs["shop/cart@"+digest]
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:len(data)/2])
			w.(http.Flusher).Flush()
			<-over
		}
		return hang
	}
	a, b := src.registry(), dst.registry()
	a.stallTimeout = time.Second
	var mutex sync.Mutex
	var retries []Retry
	a.OnRetry(func(r Retry) {
		mutex.Lock()
		defer mutex.Unlock()
		retries = append(retries, r)
	})
	tree, err := ReadTree(t.Context(), a, "shop/cart", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Inspect(t.Context(), "to", "1.0", tree, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copyToOne(t.Context(), tree, b, "to", "1.0", p, nil); err != nil {
		t.Fatal(err)
	}
	if len(retries) != 2 || !strings.Contains(retries[0].Reason, "stalled") || !strings.Contains(retries[0].What, "reading the blob, "+src.host()+"/shop/cart@sha256:") || retries[0].Wait <= 0 || retries[0].Attempt != 1 {
		t.Errorf("retries %+v", retries)
	}
}

// A source that never gets further is given up after a bounded number of tries.
func TestResumptionsAreBounded(t *testing.T) {
	src, dst := newPeer(t), newPeer(t)
	src.image("shop/cart", "1.0", "one")
	b := &brokenBodies{breaks: 1 << 20, seen: map[string]int{}}
	src.handler = b.serve(src)
	_, err := copyJob{src: src, dst: dst, srcRepo: "shop/cart", dstRepo: "to", ref: "1.0", tag: "1.0"}.run(t)
	if !errors.Is(err, Unreachable) || !strings.Contains(err.Error(), "ended early") {
		t.Errorf("error is %v", err)
	}
	for path, n := range b.seen {
		if n > 2*maxBreaks {
			t.Errorf("%s was requested %d times", path, n)
		}
	}
}

func TestContentRange(t *testing.T) {
	for header, want := range map[string]bool{
		"bytes 5-9/10": true, "bytes 5-9/*": true,
		"": false, "bytes 5-9": false, "bytes 4-9/10": false, "bytes 5-8/10": false, "bytes 5-9/11": false, "items 5-9/10": false, "bytes */10": false,
	} {
		if got := isContentRange(header, 5, 10); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}
