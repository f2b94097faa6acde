package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"acrpromote/internal/retryafter"
	"acrpromote/internal/sanitize"
)

const (
	// maxBreaks bounds the resumptions of a blob without progress, maxResumes all.
	maxBreaks  = 5
	maxResumes = 100
)

var errBroken = errors.New("the response ended early")

// blobReader reads a blob of a registry. If the response breaks off or stalls, it
// requests the rest with a Range header; if the registry ignores that, it skips
// the bytes that it has.
type blobReader struct {
	registry *Registry
	repo     string
	blob     Descriptor
	ctx      context.Context
	cancel   context.CancelFunc

	offset       int64 // bytes returned
	breaks       int   // since the last byte
	resumes      int
	ignoresRange bool // so does the registry
	guessed      bool // whether to decompress what was sent
	guess        *wrongGuess
	otherSize    *int64 // that the last response had, instead of the blob's
	err          error

	mu     sync.Mutex
	body   io.ReadCloser // of the current response
	watch  *watchdog
	closed bool
}

// download returns an opener of a blob. The HTTP client follows redirects to
// storage.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs
func (r *Registry) download(repo string, d Descriptor) opener {
	guess := &wrongGuess{}
	return func(ctx context.Context) (io.ReadCloser, error) {
		const op = "reading the blob"
		if d.Size == 0 {
			// Known without a request.
			if d.Digest != emptyDigest {
				return nil, r.corruptError(op, repo, d.Digest, "its size is 0, but its digest is not that of empty content")
			}
			return http.NoBody, nil
		}
		if err := checkReference(r.host, op, repo, d.Digest); err != nil {
			return nil, err
		}
		if content, ok := r.layers.Peek(d.Digest); ok && int64(len(content)) == d.Size {
			return io.NopCloser(bytes.NewReader(content)), nil
		}
		b := &blobReader{registry: r, repo: repo, blob: d, guess: guess}
		b.ctx, b.cancel = context.WithCancel(ctx)
		if err := b.reopen(nil); err != nil {
			b.Close()
			return nil, err
		}
		return b, nil
	}
}

// wrongGuess records that a blob was decompressed, or not, wrongly. The attempts to
// read it share it.
type wrongGuess struct{ was atomic.Bool }

// again reports whether another attempt may read other bytes: one of several
// responses was wrong, or the guess that the response was compressed.
func (b *blobReader) again() bool {
	return b.resumes > 0 || b.guessed && b.guess.was.CompareAndSwap(false, true)
}

func (b *blobReader) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.offset == b.blob.Size {
			return 0, io.EOF
		}
		b.watch.arm(b.registry.stallTimeout)
		n, err := b.body.Read(p)
		b.watch.disarm()
		b.offset += int64(n)
		if n > 0 {
			b.breaks = 0
		}
		if err == nil || b.offset >= b.blob.Size {
			return n, nil
		}
		cause := fmt.Errorf("%w after %d of %d bytes", errBroken, b.offset, b.blob.Size)
		switch {
		case errors.Is(context.Cause(b.watch.ctx), errStalled):
			cause = fmt.Errorf("%w: %w", cause, errStalled)
		case err != io.EOF:
			cause = fmt.Errorf("%w: %w", cause, err)
		}
		b.err = b.reopen(cause)
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// reopen requests the rest of the blob, until it succeeds or has no more attempts.
func (b *blobReader) reopen(cause error) error {
	const op = "reading the blob"
	r := b.registry
	var retryAfter time.Duration
	for {
		if cause != nil {
			b.breaks++
			b.resumes++
			if b.breaks == maxBreaks || b.resumes == maxResumes {
				return b.exhausted(cause)
			}
			if err := r.waitToRetry(b.ctx, failure{op, b.repo, b.blob.Digest, cause}, b.breaks, retryAfter); err != nil {
				return r.transportError(b.ctx, op, b.repo, b.blob.Digest, err)
			}
		}
		var err error
		if retryAfter, err = b.open(); err == nil {
			return nil
		}
		var transient *transientError
		if !errors.As(err, &transient) || b.ctx.Err() != nil {
			return err
		}
		cause = transient.err
	}
}

func (b *blobReader) exhausted(cause error) error {
	const op = "reading the blob"
	var e *Error
	if errors.As(cause, &e) {
		return e
	}
	return &Error{Registry: b.registry.host, Repository: b.repo, Reference: b.blob.Digest, Op: op, Kind: Unreachable,
		Reason: fmt.Sprintf("%d attempts failed: %s", b.resumes, sanitize.Line(cause.Error())), Remedy: "Run again later.", Err: cause}
}

// open sends one request, and skips the bytes that were read before.
func (b *blobReader) open() (retryAfter time.Duration, err error) {
	const op = "reading the blob"
	r, d := b.registry, b.blob
	ctx, watch := withWatchdog(b.ctx)
	b.replace(nil, watch)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(b.repo, "blobs", d.Digest), nil)
	if err != nil {
		return 0, r.transportError(ctx, op, b.repo, d.Digest, err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	ranged := b.offset > 0 && !b.ignoresRange
	if ranged {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		e := r.transportError(ctx, op, b.repo, d.Digest, err)
		if isTransient(e) {
			return 0, &transientError{e}
		}
		return 0, e
	}
	if !b.replace(resp.Body, watch) {
		return 0, r.transportError(ctx, op, b.repo, d.Digest, context.Canceled)
	}
	wrong := func(reason string) error {
		// A proxy may have caused it: the next attempt may succeed.
		return &transientError{r.corruptError(op, b.repo, d.Digest, reason)}
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && ranged && isCompressed(resp.Header):
		b.ignoresRange = true
		return 0, wrong("the registry sent a part of it compressed")
	case resp.StatusCode == http.StatusPartialContent && ranged:
		if said := resp.Header.Get("Content-Range"); !isContentRange(said, b.offset, d.Size) {
			b.ignoresRange = true
			return 0, wrong(fmt.Sprintf("requested the bytes from %d of %d, but the registry sent the range %q", b.offset, d.Size, sanitize.Bounded(said, 60)))
		}
		if n := resp.ContentLength; n >= 0 && n != d.Size-b.offset {
			b.ignoresRange = true
			return 0, wrong(fmt.Sprintf("%d bytes are left, but the registry sent %d", d.Size-b.offset, n))
		}
		return 0, nil
	case resp.StatusCode == http.StatusOK:
		n := resp.ContentLength
		compressed := isCompressed(resp.Header) && n != d.Size
		if n >= 0 && n != d.Size && !compressed {
			said := b.otherSize
			b.otherSize = &n
			reason := fmt.Sprintf("it has %d bytes, but the manifest says %d", n, d.Size)
			if said != nil && *said == n {
				return 0, r.corruptError(op, b.repo, d.Digest, reason) // it does not change
			}
			return 0, wrong(reason)
		}
		b.ignoresRange = b.ignoresRange || ranged || compressed
		watch.arm(r.stallTimeout)
		defer watch.disarm()
		if compressed {
			content, guessed, err := decompressed(resp.Body, d, b.guess.was.Load())
			b.guessed = guessed
			if err != nil {
				return 0, wrong("it cannot be decompressed: " + sanitize.Line(err.Error()))
			}
			if !b.replaceBody(content, resp.Body) {
				return 0, r.transportError(ctx, op, b.repo, d.Digest, context.Canceled)
			}
		}
		if _, err := io.CopyN(activityWriter{watch, r.stallTimeout}, b.body, b.offset); err != nil {
			return 0, &transientError{fmt.Errorf("%w before byte %d of %d: %w", errBroken, b.offset, d.Size, err)}
		}
		return 0, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && ranged:
		b.ignoresRange = true
		return 0, wrong("the registry has no more bytes than those that it sent")
	}
	retryAfter = retryafter.Parse(resp.Header, time.Now())
	if at := resp.Request.URL.Host; at != r.host {
		return retryAfter, r.storageError(op, b.repo, d, at, resp.StatusCode)
	}
	watch.arm(r.stallTimeout)
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	watch.disarm()
	e := r.statusError(op, b.repo, d.Digest, resp.StatusCode, text)
	if isTransientStatus(resp.StatusCode) || b.offset > 0 && resp.StatusCode == http.StatusUnauthorized {
		return retryAfter, &transientError{e}
	}
	return retryAfter, e
}

// isContentRange reports whether a Content-Range header (RFC 9110, 14.4) is that of
// the bytes from at to the end.
func isContentRange(header string, at, size int64) bool {
	text, ok := strings.CutPrefix(header, "bytes ")
	place, total, found := strings.Cut(text, "/")
	first, last, both := strings.Cut(place, "-")
	if !ok || !found || !both {
		return false
	}
	is := func(s string, n int64) bool {
		v, err := strconv.ParseInt(s, 10, 64)
		return err == nil && v == n
	}
	return is(first, at) && is(last, size-1) && (total == "*" || is(total, size))
}

// activityWriter discards bytes, and arms the watchdog again for each of them.
type activityWriter struct {
	watch *watchdog
	stall time.Duration
}

func (w activityWriter) Write(p []byte) (int, error) {
	w.watch.arm(w.stall)
	return len(p), nil
}

// replace closes the previous response, and reports whether the reader is open.
func (b *blobReader) replace(body io.ReadCloser, watch *watchdog) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body != nil {
		b.body.Close()
	}
	if b.watch != nil && b.watch != watch {
		b.watch.stop()
	}
	b.body, b.watch = body, watch
	if b.closed {
		if body != nil {
			body.Close()
		}
		watch.stop()
	}
	return !b.closed
}

// replaceBody replaces the body of the current response with its content, and reports
// whether the reader is open.
func (b *blobReader) replaceBody(content io.Reader, body io.Closer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.body = struct {
		io.Reader
		io.Closer
	}{content, body}
	return true
}

func (b *blobReader) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.body != nil {
		b.body.Close()
	}
	if b.watch != nil {
		b.watch.stop()
	}
	return nil
}

// storageError returns the error of a response from the storage that a registry
// redirects to. The signature in the redirect may have expired, so that another
// attempt may succeed.
func (r *Registry) storageError(op, repo string, d Descriptor, storage string, status int) error {
	e := &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: status,
		Reason: fmt.Sprintf("the registry redirected to its storage at %s, which returned %d", sanitize.Bounded(storage, 100), status),
		Remedy: fmt.Sprintf("Check that this machine is allowed to read from %s.", sanitize.Bounded(storage, 100))}
	if status == http.StatusUnauthorized || status == http.StatusForbidden || isTransientStatus(status) {
		return &transientError{e}
	}
	return e
}
