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
	"time"

	"acrpromote/internal/retryafter"
	"acrpromote/internal/sanitize"
)

const (
	// maxBreaks bounds how often a blob is taken up again without a byte of
	// progress, maxResumes how often at all.
	maxBreaks  = 5
	maxResumes = 100
)

var errBroken = errors.New("the source broke off")

// origin reads a blob of a registry from its first byte to its last. Where the
// body breaks off or goes silent it is asked for the rest, by Range; where the
// registry does not heed that, what is known already is skipped.
type blobReader struct {
	registry *Registry
	repo     string
	blob     Descriptor
	ctx      context.Context
	cancel   context.CancelFunc

	offset       int64 // bytes handed on
	breaks       int   // since the last byte
	resumes      int
	ignoresRange bool // Range is of no use here
	err          error

	mu     sync.Mutex
	body   io.ReadCloser // the answer that is being read
	watch  *watchdog
	closed bool
}

// download opens a blob at this registry. The client follows redirects to
// storage.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs
func (r *Registry) download(repo string, d Descriptor) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		const op = "reading the blob"
		if d.Size == 0 {
			// Known without asking.
			if d.Digest != emptyDigest {
				return nil, r.corruptError(op, repo, d.Digest, "its size is given as 0, but this is not the digest of nothing")
			}
			return http.NoBody, nil
		}
		if err := checkReference(r.host, op, repo, d.Digest); err != nil {
			return nil, err
		}
		if content, ok := r.contents.Peek(d.Digest); ok && int64(len(content)) == d.Size {
			return io.NopCloser(bytes.NewReader(content)), nil
		}
		o := &blobReader{registry: r, repo: repo, blob: d}
		o.ctx, o.cancel = context.WithCancel(ctx)
		if err := o.reopen(nil); err != nil {
			o.Close()
			return nil, err
		}
		return o, nil
	}
}

func (o *blobReader) Read(p []byte) (int, error) {
	for o.err == nil {
		if o.offset == o.blob.Size {
			return 0, io.EOF
		}
		o.watch.arm(o.registry.stallTimeout)
		n, err := o.body.Read(p)
		o.watch.disarm()
		o.offset += int64(n)
		if n > 0 {
			o.breaks = 0
		}
		if err == nil || o.offset >= o.blob.Size {
			return n, nil
		}
		cause := fmt.Errorf("%w after %d of %d bytes", errBroken, o.offset, o.blob.Size)
		switch {
		case errors.Is(context.Cause(o.watch.ctx), errStalled):
			cause = fmt.Errorf("%w: %w", cause, errStalled)
		case err != io.EOF:
			cause = fmt.Errorf("%w: %w", cause, err)
		}
		o.err = o.reopen(cause)
		if n > 0 {
			return n, nil
		}
	}
	return 0, o.err
}

// again asks for what is left, until an answer bears it or there is no hope.
func (o *blobReader) reopen(cause error) error {
	const op = "reading the blob"
	r := o.registry
	var asked time.Duration
	for {
		if cause != nil {
			o.breaks++
			o.resumes++
			if o.breaks == maxBreaks || o.resumes == maxResumes {
				return o.exhausted(cause)
			}
			if err := r.waitToRetry(o.ctx, failure{op, o.repo, o.blob.Digest, cause}, o.breaks, asked); err != nil {
				return r.transportError(o.ctx, op, o.repo, o.blob.Digest, err)
			}
		}
		var err error
		if asked, err = o.open(); err == nil {
			return nil
		}
		var passing *transientError
		if !errors.As(err, &passing) || o.ctx.Err() != nil {
			return err
		}
		cause = passing.err
	}
}

func (o *blobReader) exhausted(cause error) error {
	const op = "reading the blob"
	var e *Error
	if errors.As(cause, &e) {
		return e
	}
	return &Error{Registry: o.registry.host, Repository: o.repo, Reference: o.blob.Digest, Op: op, Kind: Unreachable,
		Reason: fmt.Sprintf("%d attempts failed: %s", o.resumes, sanitize.Line(cause.Error())), Remedy: "run again later", Err: cause}
}

// ask makes one request and skips what came before.
func (o *blobReader) open() (asked time.Duration, err error) {
	const op = "reading the blob"
	r, d := o.registry, o.blob
	ctx, watch := withWatchdog(o.ctx)
	o.replace(nil, watch)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(o.repo, "blobs", d.Digest), nil)
	if err != nil {
		return 0, r.transportError(ctx, op, o.repo, d.Digest, err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	ranged := o.offset > 0 && !o.ignoresRange
	if ranged {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", o.offset))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		e := r.transportError(ctx, op, o.repo, d.Digest, err)
		if isTransient(e) {
			return 0, &transientError{e}
		}
		return 0, e
	}
	if !o.replace(resp.Body, watch) {
		return 0, r.transportError(ctx, op, o.repo, d.Digest, context.Canceled)
	}
	lies := func(reason string) error {
		// May be the way's fault: it is asked again.
		return &transientError{r.corruptError(op, o.repo, d.Digest, reason)}
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && ranged:
		if said := resp.Header.Get("Content-Range"); !isContentRange(said, o.offset, d.Size) {
			o.ignoresRange = true
			return 0, lies(fmt.Sprintf("asked for what follows byte %d of %d, the registry sends %q", o.offset, d.Size, sanitize.Bounded(said, 60)))
		}
		if n := resp.ContentLength; n >= 0 && n != d.Size-o.offset {
			o.ignoresRange = true
			return 0, lies(fmt.Sprintf("%d bytes are left, but the registry sends %d", d.Size-o.offset, n))
		}
		return 0, nil
	case resp.StatusCode == http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != d.Size {
			return 0, lies(fmt.Sprintf("it has %d bytes, but the manifest says %d", n, d.Size))
		}
		o.ignoresRange = o.ignoresRange || ranged
		watch.arm(r.stallTimeout)
		defer watch.disarm()
		if _, err := io.CopyN(activityWriter{watch, r.stallTimeout}, resp.Body, o.offset); err != nil {
			return 0, &transientError{fmt.Errorf("%w before byte %d of %d: %w", errBroken, o.offset, d.Size, err)}
		}
		return 0, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && ranged:
		o.ignoresRange = true
		return 0, lies("the registry has no bytes behind those that it sent")
	}
	asked = retryafter.Parse(resp.Header, time.Now())
	if at := resp.Request.URL.Host; at != r.host {
		return asked, r.storageError(op, o.repo, d, at, resp.StatusCode)
	}
	watch.arm(r.stallTimeout)
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	watch.disarm()
	e := r.statusError(op, o.repo, d.Digest, resp.StatusCode, text)
	if isTransientStatus(resp.StatusCode) || o.offset > 0 && resp.StatusCode == http.StatusUnauthorized {
		return asked, &transientError{e}
	}
	return asked, e
}

// continues checks a Content-Range (RFC 9110, 14.4).
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

// moving takes bytes that nobody needs, and counts them as a sign of life.
type activityWriter struct {
	watch *watchdog
	stall time.Duration
}

func (m activityWriter) Write(p []byte) (int, error) {
	m.watch.arm(m.stall)
	return len(p), nil
}

// replace ends the answer before, and tells whether the next may begin.
func (o *blobReader) replace(body io.ReadCloser, watch *watchdog) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.body != nil {
		o.body.Close()
	}
	if o.watch != nil && o.watch != watch {
		o.watch.stop()
	}
	o.body, o.watch = body, watch
	if o.closed {
		if body != nil {
			body.Close()
		}
		watch.stop()
	}
	return !o.closed
}

func (o *blobReader) Close() error {
	o.cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.body != nil {
		o.body.Close()
	}
	if o.watch != nil {
		o.watch.stop()
	}
	return nil
}

// storageRefused is for an answer of the storage that a registry redirects to.
// What the registry signed may have expired on the way: it is asked again.
func (r *Registry) storageError(op, repo string, d Descriptor, storage string, status int) error {
	e := &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: status,
		Reason: fmt.Sprintf("the registry redirected to its storage at %s, which answered %d", sanitize.Bounded(storage, 100), status),
		Remedy: fmt.Sprintf("check that this machine may read from %s", sanitize.Bounded(storage, 100))}
	if status == http.StatusUnauthorized || status == http.StatusForbidden || isTransientStatus(status) {
		return &transientError{e}
	}
	return e
}
