package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"acrpromote/internal/ref"
)

// opener opens a blob at its first byte. It is called once an attempt.
type opener func(context.Context) (io.ReadCloser, error)

// verifyingReader hashes a blob while it is read, and returns the last bytes only
// if the digest is right: a blob with another digest is never uploaded whole.
type verifyingReader struct {
	io.ReadCloser
	want Descriptor
	hash hash.Hash
	n    int64
	err  error
}

// verify returns an opener that verifies the blob.
func verify(open opener, want Descriptor) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		source, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return &verifyingReader{ReadCloser: source, want: want, hash: sha256.New()}, nil
	}
}

func (v *verifyingReader) Read(p []byte) (int, error) {
	left := v.want.Size - v.n
	switch {
	case v.err != nil:
		return 0, v.err
	case left == 0:
		return 0, io.EOF
	case int64(len(p)) > left:
		p = p[:left]
	}
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	switch {
	case v.n == v.want.Size:
		err = nil
		if sum := ref.EncodeDigest(v.hash.Sum(nil)); sum != v.want.Digest {
			b, ok := v.ReadCloser.(*blobReader)
			n, err = 0, digestMismatch{fmt.Sprintf("the content has the digest %s", sum), ok && b.again()}
		}
	case err == io.EOF:
		err = fmt.Errorf("%w after %d of %d bytes", errBroken, v.n, v.want.Size)
	}
	v.err = err
	return n, err
}

// digestMismatch is the error of content that does not match its digest.
type digestMismatch struct {
	reason string
	again  bool // another attempt may read other bytes
}

func (d digestMismatch) Error() string { return d.reason }

var errClosed = errors.New("the upload has ended")

// uploadBody is the request body of an upload. It counts the bytes, and arms the
// target's watchdog only while the target is waited for. net/http may read for a
// moment longer than the request lasts; end stops that, and waits for it.
type uploadBody struct {
	source        io.ReadCloser
	size          int64
	progress      Progress
	watch         *watchdog
	stall, commit time.Duration

	mu         sync.Mutex
	n          int64 // bytes read
	unreported int64 // the last of them: reported when the upload is complete
	err        error // of the source
	closed     bool
	reads      sync.WaitGroup
}

func (b *uploadBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	n, err, closed := b.n, b.err, b.closed
	if !closed {
		b.reads.Add(1)
		defer b.reads.Done()
	}
	b.mu.Unlock()
	switch {
	case closed:
		return 0, errClosed
	case err != nil:
		return 0, err
	case n == b.size:
		return 0, io.EOF
	}
	b.watch.disarm()
	got, err := b.source.Read(p)
	return b.advance(got, err)
}

func (b *uploadBody) advance(got int, err error) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errClosed
	}
	b.n += int64(got)
	b.err = err
	if b.n == b.size {
		b.unreported = int64(got)
		b.watch.arm(b.commit)
		return got, err
	}
	b.progress.Add(int64(got))
	b.watch.arm(b.stall)
	return got, err
}

// Close is called by net/http when it needs no more. An error of the source after
// that does not count.
func (b *uploadBody) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.source.Close()
}

// end closes the body. It returns how many bytes were read, how many of them were
// reported as progress, and the error of the source.
func (b *uploadBody) end() (n, reported int64, err error) {
	b.mu.Lock()
	b.closed = true
	n, reported, err = b.n, b.n-b.unreported, b.err
	b.mu.Unlock()
	b.source.Close()
	b.reads.Wait()
	return n, reported, err
}
