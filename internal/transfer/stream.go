package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

var (
	errCut    = errors.New("the source broke off")
	errClosed = errors.New("the upload is over")
)

// stream is a blob on its way: it hashes what passes and holds the last bytes
// back until the digest is known to be right, so that a wrong blob never
// becomes a whole upload. net/http may read it for a moment longer than the
// request lasts; end cuts that off.
type stream struct {
	source   io.ReadCloser
	want     Descriptor
	hash     hash.Hash
	progress Progress
	moved    func(done bool) // after each read

	mu      sync.Mutex
	n       int64 // bytes handed on
	err     error // why it ended early
	reading bool  // waiting for the source
	over    bool
}

func newStream(source io.ReadCloser, want Descriptor, progress Progress, moved func(bool)) *stream {
	return &stream{source: source, want: want, hash: sha256.New(), progress: progress, moved: moved}
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	n, err, over := s.n, s.err, s.over
	s.reading = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.reading = false
		s.mu.Unlock()
	}()
	switch {
	case over:
		return 0, errClosed
	case err != nil:
		return 0, err
	case n == s.want.Size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if left := s.want.Size - n; int64(len(p)) > left {
		p = p[:left]
	}
	got, err := s.source.Read(p)
	s.hash.Write(p[:got])
	if n+int64(got) == s.want.Size {
		err = nil
		if sum := "sha256:" + hex.EncodeToString(s.hash.Sum(nil)); sum != s.want.Digest {
			err = wrongBytes{fmt.Sprintf("what came has the digest %s", sum)}
			got = 0
		}
	} else if err == io.EOF {
		err = fmt.Errorf("%w after %d of %d bytes", errCut, n+int64(got), s.want.Size)
	} else if err != nil {
		err = fmt.Errorf("%w after %d of %d bytes: %w", errCut, n+int64(got), s.want.Size, err)
	}

	return s.count(got, err)
}

func (s *stream) count(got int, err error) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, errClosed
	}
	s.n += int64(got)
	s.err = err
	s.progress.Add(int64(got))
	s.moved(s.n == s.want.Size)
	return got, err
}

// Close is called by net/http when it wants no more; that the source cannot be
// read any further is not the source's fault then.
func (s *stream) Close() error {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	return s.source.Close()
}

// end stops the stream and tells how many bytes went through, whether the
// source was being waited for, and what was wrong with it, if anything.
func (s *stream) end() (n int64, waiting bool, err error) {
	s.mu.Lock()
	s.over = true
	n, waiting, err = s.n, s.reading, s.err
	s.mu.Unlock()
	s.source.Close()
	return n, waiting, err
}

// wrongBytes is content that is not what its digest says.
type wrongBytes struct{ reason string }

func (w wrongBytes) Error() string { return w.reason }
