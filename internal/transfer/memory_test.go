package transfer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBytesReadAgain checks that manifests whose bytes were not kept are read again by
// digest when they are sent, and that a copy is the same.
func TestBytesReadAgain(t *testing.T) {
	for _, full := range []bool{false, true} {
		src, dst := newPeer(t), newPeer(t)
		src.signed("shop/cart", "1.0")
		from, to := src.registry(), dst.registry()
		memory := NewMemory()
		from.ShareMemory(memory)
		to.ShareMemory(memory)
		if full {
			memory.raw.Store(maxKeptBytes)
		}
		tree, err := ReadTree(t.Context(), from, "shop/cart", "1.0", Options{Referrers: true})
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, n := range tree.order {
			if n.Raw != nil {
				kept++
			}
		}
		if want := map[bool]int{false: len(tree.order), true: 0}[full]; kept != want {
			t.Errorf("full %v: the bytes of %d manifests are kept, want %d", full, kept, want)
		}
		src.clear()
		presence, err := to.Inspect(t.Context(), "dev/cart", "1.0", tree, false)
		if err != nil {
			t.Fatal(err)
		}
		Copy(t.Context(), tree, []Destination{{Registry: to, Repository: "dev/cart", Tag: "1.0", Presence: presence}}, nil, func(_ int, _ Outcome, err error) {
			if err != nil {
				t.Errorf("full %v: %v", full, err)
			}
		})
		if n := src.count("GET /v2/shop/cart/manifests/sha256:"); full != (n == len(tree.order)) || !full && n != 0 {
			t.Errorf("full %v: %d manifests were read again, of %d", full, n, len(tree.order))
		}
		if got, want := dst.tag("dev/cart", "1.0"), src.tag("shop/cart", "1.0"); got != want {
			t.Errorf("full %v: the target has %s, want %s", full, got, want)
		}
		if !memory.sending.TryAcquire(maxSending) || !memory.copying.TryAcquire(maxCopying) {
			t.Errorf("full %v: something is still held", full)
		}
	}
}

// TestMemoryIsFull checks the error if no more decoded content may be kept.
func TestMemoryIsFull(t *testing.T) {
	src := newPeer(t)
	src.signed("shop/cart", "1.0")
	r := src.registry()
	r.memory.decoded.Store(maxKeptDecoded)
	_, err := ReadTree(t.Context(), r, "shop/cart", "1.0", Options{Referrers: true})
	if !errors.Is(err, TooLarge) || !strings.Contains(err.Error(), "of this run take more than 48 MiB") {
		t.Errorf("%v", err)
	}
}

// TestSendingWaits checks that a manifest which has to be read again waits for those
// that are being sent, and stops waiting with its context.
func TestSendingWaits(t *testing.T) {
	src := newPeer(t)
	src.signed("shop/cart", "1.0")
	r := src.registry()
	r.memory.raw.Store(maxKeptBytes)
	tree, err := ReadTree(t.Context(), r, "shop/cart", "1.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.memory.acquireSending(t.Context(), maxSending)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := tree.Root().whole(ctx); err == nil {
		t.Error("it did not wait")
	}
	release()
	whole, release, err := tree.Root().whole(t.Context())
	if err != nil || whole.Digest != tree.Digest() || int64(len(whole.Raw)) != tree.Root().Size {
		t.Fatalf("%v, %v", whole, err)
	}
	release()
}
