package transfer

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// How far the fastest reader of a shared blob may be ahead of the slowest.
const (
	ringBytes      = 512 << 10
	smallRingBytes = 128 << 10 // of a blob that goes through the lane of small ones
)

// errBehind is told to a target that was left behind: it reads for itself.
var errBehind = errors.New("the others went ahead")

// share lets several targets have one reading of a blob. It waits, for a while,
// until each of the registries that want the blob is ready for it or turns out
// not to need it; then the source is read once, through a ring, at the pace of
// the slowest. Who keeps others waiting for too long is left behind.
type tee struct {
	ctx    context.Context
	cancel context.CancelFunc
	open   opener
	size   int64
	wait   time.Duration
	onSlow func(*Registry) // told of who was left behind

	mu      sync.Mutex
	changed sync.Cond
	members map[*Registry]int // that have not ended, by registry
	readers []*teeReader
	started time.Time
	timer   *time.Timer
	ring    []byte
	filler  sync.WaitGroup
	head    int64 // bytes read
	err     error
}

// reader is one target's place in a share.
type teeReader struct {
	tee    *tee
	to     *Registry
	direct io.ReadCloser // of the only reader: it needs no ring
	pos    int64
	delay  time.Duration // for which others waited for this one
	behind bool
	closed bool
}

func newTee(ctx context.Context, open opener, size int64, wait time.Duration, late func(*Registry)) *tee {
	s := &tee{open: open, size: size, wait: wait, onSlow: late, members: make(map[*Registry]int)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.changed.L = &s.mu
	return s
}

// expect announces a member. All are announced before the first opens.
func (s *tee) expect(to *Registry) { s.members[to]++ }

// opener gives a member's bytes: the shared ones to the first of a registry
// that asks in time, its own to everybody else.
func (s *tee) opener(to *Registry) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		s.mu.Lock()
		if !s.started.IsZero() || s.has(to) {
			s.mu.Unlock()
			return s.open(ctx)
		}
		defer s.mu.Unlock()
		r := &teeReader{tee: s, to: to}
		s.readers = append(s.readers, r)
		if s.timer == nil {
			s.timer = time.AfterFunc(s.wait, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.start()
			})
		}
		s.startIfReady()
		return r, nil
	}
}

// left says that a member has ended, with the blob or without it.
func (s *tee) leave(to *Registry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[to]--
	s.startIfReady()
}

func (s *tee) has(to *Registry) bool {
	for _, r := range s.readers {
		if r.to == to {
			return true
		}
	}
	return false
}

func (s *tee) startIfReady() {
	for to, n := range s.members {
		if n > 0 && !s.has(to) {
			return
		}
	}
	s.start()
}

// start begins to read; s.mu is held.
func (s *tee) start() {
	if !s.started.IsZero() {
		return
	}
	s.started = time.Now()
	if s.timer != nil {
		s.timer.Stop()
	}
	for to, n := range s.members {
		if n > 0 && !s.has(to) {
			s.onSlow(to)
		}
	}
	if len(s.readers) > 1 {
		most := int64(ringBytes)
		if s.size <= largeBlob {
			most = smallRingBytes
		}
		s.ring = make([]byte, min(s.size, most))
		s.filler.Go(s.fill)
	}
	s.changed.Broadcast()
}

// over waits until nobody reads any more; some may still read for themselves.
func (s *tee) awaitEnd() {
	s.mu.Lock()
	for s.started.IsZero() || s.active() > 0 {
		s.changed.Wait()
	}
	s.mu.Unlock()
	s.cancel()
	s.filler.Wait()
}

func (s *tee) active() (n int) {
	for _, r := range s.readers {
		if !r.behind && !r.closed {
			n++
		}
	}
	return n
}

// fill reads the source into the ring.
func (s *tee) fill() {
	source, err := s.open(s.ctx)
	if err != nil {
		s.advance(0, err)
		return
	}
	defer source.Close()
	for {
		room := s.nextBuffer()
		if room == nil {
			return
		}
		if n, err := source.Read(room); !s.advance(n, err) {
			return
		}
	}
}

func (s *tee) advance(n int, err error) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head += int64(n)
	s.err = err
	s.changed.Broadcast()
	return err == nil && s.head < s.size
}

// room waits until the slowest reader leaves some, and leaves behind whom the
// others would wait for too long: half the time that was given to come, and a
// quarter of the time since. nil: nobody reads.
func (s *tee) nextBuffer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var since time.Time
	for {
		if s.active() == 0 {
			return nil
		}
		slowest, fastest := s.head, int64(-1)
		for _, r := range s.readers {
			if !r.behind && !r.closed {
				slowest, fastest = min(slowest, r.pos), max(fastest, r.pos)
			}
		}
		size := int64(len(s.ring))
		if free := size - (s.head - slowest); free > 0 {
			from := s.head % size
			return s.ring[from:min(from+free, size)]
		}
		now := time.Now()
		if fastest == s.head && !since.IsZero() {
			for _, r := range s.readers {
				if r.behind || r.closed || r.pos != slowest {
					continue
				}
				if r.delay += now.Sub(since); r.delay > s.wait/2+now.Sub(s.started)/4 {
					r.behind = true
					s.onSlow(r.to)
					s.changed.Broadcast()
				}
			}
		}
		since = now
		tick := time.AfterFunc(20*time.Millisecond, s.changed.Broadcast)
		s.changed.Wait()
		tick.Stop()
	}
}

func (r *teeReader) Read(p []byte) (int, error) {
	s := r.tee
	s.mu.Lock()
	for !r.closed && !r.behind && (s.started.IsZero() || s.ring != nil && r.pos == s.head && s.err == nil) {
		s.changed.Wait()
	}
	switch {
	case r.closed:
		s.mu.Unlock()
		return 0, errClosed
	case r.behind:
		s.mu.Unlock()
		return 0, errBehind
	case s.ring == nil:
		s.mu.Unlock()
		return r.readAlone(p)
	case r.pos == s.head:
		s.mu.Unlock()
		return 0, s.err
	}
	size := int64(len(s.ring))
	from := r.pos % size
	part := s.ring[from:min(from+s.head-r.pos, size)]
	s.mu.Unlock()
	n := copy(p, part)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.behind {
		return 0, errBehind // and what was copied may be overwritten
	}
	r.pos += int64(n)
	s.changed.Broadcast()
	return n, nil
}

func (r *teeReader) readAlone(p []byte) (int, error) {
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
	s := r.tee
	s.mu.Lock()
	defer s.mu.Unlock()
	r.closed = true
	if s.active() == 0 && !s.started.IsZero() {
		s.cancel()
	}
	if r.direct != nil {
		r.direct.Close()
	}
	s.changed.Broadcast()
	return nil
}
