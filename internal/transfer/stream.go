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

// opener gives a blob's bytes from the start, once an attempt.
type opener func(context.Context) (io.ReadCloser, error)

// checked hashes a blob as it passes, and holds the last bytes back until the
// digest is known to be right: a wrong blob never becomes a whole upload.
type verifyingReader struct {
	io.ReadCloser
	want Descriptor
	hash hash.Hash
	n    int64
	err  error
}

// verify lets only the right bytes out of an opener.
func verify(open opener, want Descriptor) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		source, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return &verifyingReader{ReadCloser: source, want: want, hash: sha256.New()}, nil
	}
}

func (c *verifyingReader) Read(p []byte) (int, error) {
	left := c.want.Size - c.n
	switch {
	case c.err != nil:
		return 0, c.err
	case left == 0:
		return 0, io.EOF
	case int64(len(p)) > left:
		p = p[:left]
	}
	n, err := c.ReadCloser.Read(p)
	c.hash.Write(p[:n])
	c.n += int64(n)
	switch {
	case c.n == c.want.Size:
		err = nil
		if sum := ref.EncodeDigest(c.hash.Sum(nil)); sum != c.want.Digest {
			o, ok := c.ReadCloser.(*blobReader)
			n, err = 0, digestMismatch{fmt.Sprintf("what came has the digest %s", sum), ok && o.resumes > 0}
		}
	case err == io.EOF:
		err = fmt.Errorf("%w after %d of %d bytes", errBroken, c.n, c.want.Size)
	}
	c.err = err
	return n, err
}

// wrongBytes is content that is not what its digest says. Where it was pieced
// together, one of the pieces may be no piece of it.
type digestMismatch struct {
	reason string
	pieced bool
}

func (w digestMismatch) Error() string { return w.reason }

var errClosed = errors.New("the upload is over")

// cargo is the body of an upload: what net/http reads. It counts, and tells the
// watchdog of the target whose turn it is. net/http may read for a moment
// longer than the request lasts; end cuts that off, and waits for it.
type uploadBody struct {
	source        io.ReadCloser
	size          int64
	progress      Progress
	watch         *watchdog
	stall, commit time.Duration

	mu         sync.Mutex
	n          int64 // bytes handed on
	unreported int64 // of them, the last ones: told once they have arrived
	err        error // of the source
	closed     bool
	reads      sync.WaitGroup // reading
}

func (c *uploadBody) Read(p []byte) (int, error) {
	c.mu.Lock()
	n, err, over := c.n, c.err, c.closed
	if !over {
		c.reads.Add(1)
		defer c.reads.Done()
	}
	c.mu.Unlock()
	switch {
	case over:
		return 0, errClosed
	case err != nil:
		return 0, err
	case n == c.size:
		return 0, io.EOF
	}
	c.watch.disarm()
	got, err := c.source.Read(p)
	return c.advance(got, err)
}

func (c *uploadBody) advance(got int, err error) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, errClosed
	}
	c.n += int64(got)
	c.err = err
	if c.n == c.size {
		c.unreported = int64(got)
		c.watch.arm(c.commit)
		return got, err
	}
	c.progress.Add(int64(got))
	c.watch.arm(c.stall)
	return got, err
}

// Close is called by net/http when it wants no more; that the source cannot be
// read any further is not the source's fault then.
func (c *uploadBody) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.source.Close()
}

// end stops the cargo and tells how many bytes went through, how many of them
// were told, and what was wrong with the source, if anything.
func (c *uploadBody) end() (n, told int64, err error) {
	c.mu.Lock()
	c.closed = true
	n, told, err = c.n, c.n-c.unreported, c.err
	c.mu.Unlock()
	c.source.Close()
	c.reads.Wait()
	return n, told, err
}
