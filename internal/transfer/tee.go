package transfer

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"acrpromote/internal/defect"
)

// How far the fastest reader of a blob may be ahead of the slowest.
const (
	ringBytes      = 512 << 10
	smallRingBytes = 128 << 10 // of a small blob
)

// errBehind is returned to a reader that was left behind: it reads for itself.
var errBehind = errors.New("the other targets went ahead")

// tee lets several targets share one download of a blob. It waits, for a while,
// until each target is ready for the blob or turns out not to need it. Then it
// reads the source once, through a ring buffer, at the speed of the slowest
// target. A target that delays the others for too long is left behind.
type tee struct {
	ctx    context.Context
	cancel context.CancelFunc
	open   opener
	size   int64
	wait   time.Duration
	onSlow func(*Registry) // called for each target that is left behind

	mu      sync.Mutex
	changed sync.Cond
	members map[*Registry]int // number that have not ended, by registry
	readers []*teeReader
	started time.Time
	timer   *time.Timer
	ring    []byte
	filler  sync.WaitGroup
	head    int64 // bytes read from the source
	err     error
}

// teeReader is one target's reader of a tee.
type teeReader struct {
	tee    *tee
	to     *Registry
	direct io.ReadCloser // the source, if this is the only reader
	pos    int64
	delay  time.Duration // that it has caused the others
	behind bool
	closed bool
}

func newTee(ctx context.Context, open opener, size int64, wait time.Duration, onSlow func(*Registry)) *tee {
	t := &tee{open: open, size: size, wait: wait, onSlow: onSlow, members: make(map[*Registry]int)}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.changed.L = &t.mu
	return t
}

// expect adds a member. All members are added before the first opens.
func (t *tee) expect(to *Registry) { t.members[to]++ }

// opener returns the opener of a member. The first of each registry that opens in
// time gets a reader of the tee, the others a download of their own.
func (t *tee) opener(to *Registry) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		t.mu.Lock()
		if !t.started.IsZero() || t.has(to) {
			t.mu.Unlock()
			return t.open(ctx)
		}
		defer t.mu.Unlock()
		r := &teeReader{tee: t, to: to}
		t.readers = append(t.readers, r)
		if t.timer == nil {
			t.timer = time.AfterFunc(t.wait, func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.start()
			})
		}
		t.startIfReady()
		return r, nil
	}
}

// leave removes a member that has ended, with or without the blob.
func (t *tee) leave(to *Registry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members[to]--
	t.startIfReady()
}

func (t *tee) has(to *Registry) bool {
	for _, r := range t.readers {
		if r.to == to {
			return true
		}
	}
	return false
}

func (t *tee) startIfReady() {
	for to, n := range t.members {
		if n > 0 && !t.has(to) {
			return
		}
	}
	t.start()
}

// start begins to read the source; t.mu is held.
func (t *tee) start() {
	if !t.started.IsZero() {
		return
	}
	t.started = time.Now()
	if t.timer != nil {
		t.timer.Stop()
	}
	for to, n := range t.members {
		if n > 0 && !t.has(to) {
			t.onSlow(to)
		}
	}
	if len(t.readers) > 1 {
		most := int64(ringBytes)
		if t.size <= largeBlob {
			most = smallRingBytes
		}
		t.ring = make([]byte, min(t.size, most))
		t.filler.Go(func() {
			defer defect.Catch(t.ctx)
			t.fill()
		})
	}
	t.changed.Broadcast()
}

// awaitEnd waits until no reader is active. Those that were left behind may still
// have downloads of their own.
func (t *tee) awaitEnd() {
	t.mu.Lock()
	for t.started.IsZero() || t.active() > 0 {
		t.changed.Wait()
	}
	t.mu.Unlock()
	t.cancel()
	t.filler.Wait()
}

func (t *tee) active() (n int) {
	for _, r := range t.readers {
		if !r.behind && !r.closed {
			n++
		}
	}
	return n
}

// fill reads the source into the ring.
func (t *tee) fill() {
	source, err := t.open(t.ctx)
	if err != nil {
		t.advance(0, err)
		return
	}
	defer source.Close()
	for {
		buffer := t.nextBuffer()
		if buffer == nil {
			return
		}
		if n, err := source.Read(buffer); !t.advance(n, err) {
			return
		}
	}
}

func (t *tee) advance(n int, err error) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head += int64(n)
	t.err = err
	t.changed.Broadcast()
	return err == nil && t.head < t.size
}

// nextBuffer waits until the slowest reader has freed part of the ring, and returns
// that part; nil if no reader is active. It leaves a reader behind that has
// delayed the others for longer than half the time that members had to open, and
// a quarter of the time since.
func (t *tee) nextBuffer() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var since time.Time
	for {
		if t.active() == 0 {
			return nil
		}
		slowest, fastest := t.head, int64(-1)
		for _, r := range t.readers {
			if !r.behind && !r.closed {
				slowest, fastest = min(slowest, r.pos), max(fastest, r.pos)
			}
		}
		size := int64(len(t.ring))
		if free := size - (t.head - slowest); free > 0 {
			from := t.head % size
			return t.ring[from:min(from+free, size)]
		}
		now := time.Now()
		if fastest == t.head && !since.IsZero() {
			for _, r := range t.readers {
				if r.behind || r.closed || r.pos != slowest {
					continue
				}
				if r.delay += now.Sub(since); r.delay > t.wait/2+now.Sub(t.started)/4 {
					r.behind = true
					t.onSlow(r.to)
					t.changed.Broadcast()
				}
			}
		}
		since = now
		tick := time.AfterFunc(20*time.Millisecond, t.changed.Broadcast)
		t.changed.Wait()
		tick.Stop()
	}
}

func (r *teeReader) Read(p []byte) (int, error) {
	t := r.tee
	t.mu.Lock()
	for !r.closed && !r.behind && (t.started.IsZero() || t.ring != nil && r.pos == t.head && t.err == nil) {
		t.changed.Wait()
	}
	switch {
	case r.closed:
		t.mu.Unlock()
		return 0, errClosed
	case r.behind:
		t.mu.Unlock()
		return 0, errBehind
	case t.ring == nil:
		t.mu.Unlock()
		return r.readDirect(p)
	case r.pos == t.head:
		t.mu.Unlock()
		return 0, t.err
	}
	size := int64(len(t.ring))
	from := r.pos % size
	part := t.ring[from:min(from+t.head-r.pos, size)]
	t.mu.Unlock()
	n := copy(p, part)
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.behind {
		return 0, errBehind // part may have been overwritten
	}
	r.pos += int64(n)
	t.changed.Broadcast()
	return n, nil
}

func (r *teeReader) readDirect(p []byte) (int, error) {
	if r.direct == nil {
		source, err := r.tee.open(r.tee.ctx)
		if err != nil {
			return 0, err
		}
		r.tee.mu.Lock()
		r.direct = source
		closed := r.closed
		r.tee.mu.Unlock()
		if closed {
			source.Close()
			return 0, errClosed
		}
	}
	return r.direct.Read(p)
}

func (r *teeReader) Close() error {
	t := r.tee
	t.mu.Lock()
	defer t.mu.Unlock()
	r.closed = true
	if t.active() == 0 && !t.started.IsZero() {
		t.cancel()
	}
	if r.direct != nil {
		r.direct.Close()
	}
	t.changed.Broadcast()
	return nil
}
