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
type share struct {
	ctx    context.Context
	cancel context.CancelFunc
	open   opener
	size   int64
	wait   time.Duration
	late   func(*Registry) // told of who was left behind

	mu      sync.Mutex
	moved   sync.Cond
	members map[*Registry]int // that have not ended, by registry
	readers []*reader
	started time.Time
	timer   *time.Timer
	ring    []byte
	filling sync.WaitGroup
	head    int64 // bytes read
	err     error
}

// reader is one target's place in a share.
type reader struct {
	share  *share
	to     *Registry
	source io.ReadCloser // of the only reader: it needs no ring
	pos    int64
	debt   time.Duration // for which others waited for this one
	behind bool
	closed bool
}

func newShare(ctx context.Context, open opener, size int64, wait time.Duration, late func(*Registry)) *share {
	s := &share{open: open, size: size, wait: wait, late: late, members: make(map[*Registry]int)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.moved.L = &s.mu
	return s
}

// expect announces a member. All are announced before the first opens.
func (s *share) expect(to *Registry) { s.members[to]++ }

// opener gives a member's bytes: the shared ones to the first of a registry
// that asks in time, its own to everybody else.
func (s *share) opener(to *Registry) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		s.mu.Lock()
		if !s.started.IsZero() || s.has(to) {
			s.mu.Unlock()
			return s.open(ctx)
		}
		defer s.mu.Unlock()
		r := &reader{share: s, to: to}
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
func (s *share) left(to *Registry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[to]--
	s.startIfReady()
}

func (s *share) has(to *Registry) bool {
	for _, r := range s.readers {
		if r.to == to {
			return true
		}
	}
	return false
}

func (s *share) startIfReady() {
	for to, n := range s.members {
		if n > 0 && !s.has(to) {
			return
		}
	}
	s.start()
}

// start begins to read; s.mu is held.
func (s *share) start() {
	if !s.started.IsZero() {
		return
	}
	s.started = time.Now()
	if s.timer != nil {
		s.timer.Stop()
	}
	for to, n := range s.members {
		if n > 0 && !s.has(to) {
			s.late(to)
		}
	}
	if len(s.readers) > 1 {
		most := int64(ringBytes)
		if s.size <= largeBlob {
			most = smallRingBytes
		}
		s.ring = make([]byte, min(s.size, most))
		s.filling.Go(s.fill)
	}
	s.moved.Broadcast()
}

// over waits until nobody reads any more; some may still read for themselves.
func (s *share) over() {
	s.mu.Lock()
	for s.started.IsZero() || s.active() > 0 {
		s.moved.Wait()
	}
	s.mu.Unlock()
	s.cancel()
	s.filling.Wait()
}

func (s *share) active() (n int) {
	for _, r := range s.readers {
		if !r.behind && !r.closed {
			n++
		}
	}
	return n
}

// fill reads the source into the ring.
func (s *share) fill() {
	source, err := s.open(s.ctx)
	if err != nil {
		s.advance(0, err)
		return
	}
	defer source.Close()
	for {
		room := s.room()
		if room == nil {
			return
		}
		if n, err := source.Read(room); !s.advance(n, err) {
			return
		}
	}
}

func (s *share) advance(n int, err error) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head += int64(n)
	s.err = err
	s.moved.Broadcast()
	return err == nil && s.head < s.size
}

// room waits until the slowest reader leaves some, and leaves behind whom the
// others would wait for too long: half the time that was given to come, and a
// quarter of the time since. nil: nobody reads.
func (s *share) room() []byte {
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
				if r.debt += now.Sub(since); r.debt > s.wait/2+now.Sub(s.started)/4 {
					r.behind = true
					s.late(r.to)
					s.moved.Broadcast()
				}
			}
		}
		since = now
		tick := time.AfterFunc(20*time.Millisecond, s.moved.Broadcast)
		s.moved.Wait()
		tick.Stop()
	}
}

func (r *reader) Read(p []byte) (int, error) {
	s := r.share
	s.mu.Lock()
	for !r.closed && !r.behind && (s.started.IsZero() || s.ring != nil && r.pos == s.head && s.err == nil) {
		s.moved.Wait()
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
	s.moved.Broadcast()
	return n, nil
}

func (r *reader) readAlone(p []byte) (int, error) {
	if r.source == nil {
		source, err := r.share.open(r.share.ctx)
		if err != nil {
			return 0, err
		}
		r.share.mu.Lock()
		r.source = source
		closed := r.closed
		r.share.mu.Unlock()
		if closed {
			source.Close()
			return 0, errClosed
		}
	}
	return r.source.Read(p)
}

func (r *reader) Close() error {
	s := r.share
	s.mu.Lock()
	defer s.mu.Unlock()
	r.closed = true
	if s.active() == 0 && !s.started.IsZero() {
		s.cancel()
	}
	if r.source != nil {
		r.source.Close()
	}
	s.moved.Broadcast()
	return nil
}
