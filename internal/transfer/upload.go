package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/retryafter"
	"acrpromote/internal/sanitize"
)

// upload brings one blob to a repository: an upload session, and one streaming
// PUT. A session that broke is not resumed, ACR cannot do that: each attempt
// starts from the first byte.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
//
// early opens the blob's origin while the session is being opened, where nothing
// speaks for its being there: a round trip less. mounted reports that it was
// there already, or in the repository mounted from.
func (r *Registry) upload(ctx context.Context, repo, from string, d Descriptor, open opener, early bool, progress Progress) (mounted bool, err error) {
	const op = "uploading the blob"
	stopped := func(err error) (bool, error) { return false, r.transportError(ctx, op, repo, d.Digest, err) }
	if from == "" && !r.noMount.Load() {
		// One repository of a registry gets it, the others mount it from there.
		unlock, err := r.uploads.LockUnless(ctx, d.Digest, func() bool { return r.repositoryWithBlob(d.Digest) != "" })
		if err != nil {
			return stopped(err)
		}
		defer unlock()
	}
	byParts := r.usePatch.Load()
	var count attemptCount
	for {
		// A mount that was answered with 5xx twice may be what breaks.
		plain := count.failed >= 2
		mounted, asked, err := r.tryUpload(ctx, repo, from, d, open, early, plain, byParts, progress)
		var again *transientError
		var body *putRefused
		var wrong digestMismatch
		if errors.As(err, &wrong) && wrong.pieced && count.failed+1 < maxAttempts {
			err = &transientError{err}
		}
		switch {
		case err == nil:
			if byParts && !mounted {
				r.usePatch.Store(true)
			}
			r.recordBlob(repo, d.Digest)
			return mounted, nil
		case ctx.Err() != nil:
			return stopped(ctx.Err())
		case errors.Is(err, errBehind):
			continue // there is nothing wrong with this target
		case errors.As(err, &body) && !byParts && (body.sure || count.failed > 0):
			byParts = true
			continue
		case !errors.As(err, &again):
			return false, err
		}
		over, n := count.add(again.err)
		if over {
			return false, again.err
		}
		if err := r.waitToRetry(ctx, failure{op, repo, d.Digest, again.err}, n, asked); err != nil {
			return stopped(err)
		}
	}
}

// passingError marks an error that the next attempt may not meet.
type transientError struct{ err error }

func (p *transientError) Error() string { return p.err.Error() }
func (p *transientError) Unwrap() error { return p.err }

// bodyRefused marks the refusal of a blob that came in one PUT, where PATCH may
// do; sure: no other attempt with PUT would.
type putRefused struct {
	err  error
	sure bool
}

func (b *putRefused) Error() string { return b.err.Error() }
func (b *putRefused) Unwrap() error { return b.err }

func (r *Registry) tryUpload(ctx context.Context, repo, from string, d Descriptor, open opener, early, plain, byParts bool, progress Progress) (mounted bool, asked time.Duration, err error) {
	if _, found := r.blobsFound.Peek(repo); early && from == "" && d.Size > 0 && !found && r.repositoryWithBlob(d.Digest) == "" {
		a := prefetchBlob(ctx, open)
		defer a.close()
		open = a.open
	}
	location, there, asked, err := r.openUpload(ctx, repo, from, d, plain)
	if err != nil {
		return false, asked, err
	}
	if there {
		if from == "" {
			r.blobsFound.Set(repo, true)
		}
		progress.LayerDone()
		progress.Add(d.Size)
		return true, 0, nil
	}
	asked, err = r.putBlob(ctx, repo, location, d, open, byParts, progress)
	return false, asked, err
}

// ahead is a blob that is being opened before it is known to be needed.
type prefetchedBlob struct {
	cancel context.CancelFunc
	ready  chan struct{}
	source io.ReadCloser
	err    error
}

func prefetchBlob(ctx context.Context, open opener) *prefetchedBlob {
	ctx, cancel := context.WithCancel(ctx)
	a := &prefetchedBlob{cancel: cancel, ready: make(chan struct{})}
	go func() {
		defer close(a.ready)
		a.source, a.err = open(ctx)
	}()
	return a
}

// take is the opener that waits for what was begun; it is asked once.
func (a *prefetchedBlob) open(context.Context) (io.ReadCloser, error) {
	<-a.ready // ends with the context that it was opened with
	return a.source, a.err
}

// drop ends it, used or not.
func (a *prefetchedBlob) close() {
	a.cancel()
	<-a.ready
	if a.source != nil {
		a.source.Close()
	}
}

// openUpload opens a session by trying to mount the blob: from the repository
// that has it, else from the target repository itself, which tells in the same
// request whether it is there already. Where a registry does not answer that
// with 201 or 202, a plain POST does it, and is used from then on. plain asks
// for that at once.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository
func (r *Registry) openUpload(ctx context.Context, repo, from string, d Descriptor, plain bool) (location string, there bool, asked time.Duration, err error) {
	const op = "opening an upload of the blob"
	sessions := r.url(repo, "blobs", "uploads/")
	post := func(query string) (*response, error) {
		a, err := r.do(ctx, request{op: op, method: http.MethodPost, url: sessions + query, repo: repo, ref: d.Digest, body: []byte{}})
		if err != nil && isTransient(err) {
			err = &transientError{err}
		}
		return a, err
	}
	var a *response
	holder := from == ""
	if holder {
		from = r.repositoryWithBlob(d.Digest)
	}
	if self := from == "" || from == repo; !plain && (!self || !r.noSelfMount.Load()) {
		if self {
			from = repo
		}
		a, err = post("?" + url.Values{"mount": {d.Digest}, "from": {from}}.Encode())
		if err != nil {
			return "", false, 0, err
		}
		switch a.status {
		case http.StatusCreated:
			if said := a.header.Get("Docker-Content-Digest"); said != "" && said != d.Digest {
				return "", false, 0, r.corruptError(op, repo, d.Digest, "the registry mounted "+sanitize.Bounded(said, 100)+" instead")
			}
			return "", true, 0, nil
		case http.StatusAccepted:
			if holder && !self {
				r.noMount.Store(true)
			}
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			// It says nothing about mounting.
		default:
			if e := r.statusError(op, repo, d.Digest, a.status, a.body); e.Code == "REGISTRY_DISALLOWED_OPERATION" {
				return "", false, 0, e
			}
			if self && (a.status < 500 || a.status == http.StatusNotImplemented) && a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
				r.noSelfMount.Store(true)
			}
			a = nil
		}
	}
	if a == nil {
		if a, err = post(""); err != nil {
			return "", false, 0, err
		}
	}
	if a.status != http.StatusAccepted {
		err = r.statusError(op, repo, d.Digest, a.status, a.body)
		if isTransientStatus(a.status) {
			err = &transientError{err}
		}
		return "", false, retryafter.Parse(a.header, time.Now()), err
	}
	location, err = r.uploadURL(sessions, a.header.Get("Location"))
	if err != nil {
		e := &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: a.status, Reason: err.Error()}
		return "", false, 0, e
	}
	return location, false, 0, nil
}

// session is where a blob is put. It stays at the registry: our token goes
// there, and so does the image.
func (r *Registry) uploadURL(base, location string) (string, error) {
	if location == "" {
		return "", errors.New("the registry opened an upload without saying where")
	}
	b, err := url.Parse(base)
	if err != nil {
		return "", errors.New("the address of the upload cannot be read")
	}
	u, err := b.Parse(location)
	if err != nil {
		return "", errors.New("the address of the upload cannot be read")
	}
	if u.Scheme != b.Scheme || ref.CanonicalHost(u.Host) != ref.CanonicalHost(b.Host) || u.User != nil {
		return "", fmt.Errorf("the registry sends the upload to another host (%s)", sanitize.Bounded(u.Scheme+"://"+u.Host, 100))
	}
	u.Fragment = ""
	return u.String(), nil
}

// closing is where a session is closed with a blob's digest.
func closeURL(location, digest string) string {
	// Appended, not rebuilt: the rest is the registry's, byte for byte.
	switch {
	case !strings.Contains(location, "?"):
		location += "?"
	case !strings.HasSuffix(location, "&") && !strings.HasSuffix(location, "?"):
		location += "&"
	}
	return location + "digest=" + url.QueryEscape(digest)
}

// putBlob streams one blob into an open session: with the PUT that closes it,
// or by one PATCH before that.
func (r *Registry) putBlob(ctx context.Context, repo, location string, d Descriptor, open opener, byParts bool, progress Progress) (asked time.Duration, err error) {
	const op = "uploading the blob"
	source, err := open(ctx)
	if err != nil {
		return 0, &sourceError{err}
	}
	ctx, watch := withWatchdog(ctx)
	defer watch.stop()
	body := &uploadBody{source: source, size: d.Size, progress: progress, watch: watch, stall: r.stallTimeout, commit: r.commitTimeout}
	defer body.end()
	method, address := http.MethodPut, closeURL(location, d.Digest)
	if byParts {
		method, address = http.MethodPatch, location
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return 0, r.transportError(ctx, op, repo, d.Digest, err)
	}
	req.ContentLength = d.Size
	if d.Size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := r.client.Do(req)
	n, told, cause := body.end()
	failed := func(err error) error {
		progress.Add(-told)
		return err
	}
	switch {
	case cause != nil && (ctx.Err() == nil || errors.Is(cause, errBehind)):
		if resp != nil {
			resp.Body.Close()
		}
		return 0, failed(&sourceError{cause})
	case err != nil:
		e := r.transportError(ctx, op, repo, d.Digest, err)
		if isTransient(e) {
			return 0, failed(&transientError{e})
		}
		return 0, failed(e)
	}
	defer resp.Body.Close()
	watch.arm(r.stallTimeout)
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	a := &response{status: resp.StatusCode, header: resp.Header, body: text}
	closed := !byParts
	if byParts && a.status == http.StatusAccepted && n == d.Size {
		// It has all of it, and still has to hear what it is.
		if a, err = r.closeUpload(ctx, repo, location, d, a); err != nil {
			if isTransient(err) {
				err = &transientError{err}
			}
			return 0, failed(err)
		}
		closed = true
	}
	if closed && (a.status == http.StatusCreated || a.status == http.StatusNoContent) {
		if n != d.Size {
			return 0, failed(&transientError{&Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: a.status,
				Reason: fmt.Sprintf("the registry was content with %d of %d bytes", n, d.Size)}})
		}
		if said := a.header.Get("Docker-Content-Digest"); said != "" && said != d.Digest {
			return 0, failed(r.corruptError(op, repo, d.Digest, "the registry stored "+sanitize.Bounded(said, 100)+" instead"))
		}
		progress.LayerDone()
		progress.Add(n - told)
		return 0, nil
	}
	e := r.statusError(op, repo, d.Digest, a.status, a.body)
	err = e
	switch {
	case isTransientStatus(a.status),
		// The token ran out on the way; a body cannot be sent twice, a blob can.
		a.status == http.StatusUnauthorized,
		e.Code == "BLOB_UPLOAD_INVALID", e.Code == "BLOB_UPLOAD_UNKNOWN":
		err = &transientError{e}
	}
	if !byParts && d.Size > 0 {
		err = markPutRefused(e, err)
	}
	return retryafter.Parse(a.header, time.Now()), failed(err)
}

// withPatch marks what may be a refusal of the body in a PUT. A session that is
// unknown or broken may also be one that got lost.
func markPutRefused(e *Error, err error) error {
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusLengthRequired, http.StatusUnsupportedMediaType:
	default:
		return err
	}
	switch e.Code {
	case "", "UNSUPPORTED":
		return &putRefused{err, true}
	case "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN":
		return &putRefused{err, false}
	}
	return err
}

// closeUpload ends a session into which a blob went by PATCH.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
func (r *Registry) closeUpload(ctx context.Context, repo, location string, d Descriptor, patched *response) (*response, error) {
	const op = "uploading the blob"
	if next := patched.header.Get("Location"); next != "" {
		var err error
		if location, err = r.uploadURL(location, next); err != nil {
			return nil, &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: patched.status, Reason: err.Error()}
		}
	}
	return r.do(ctx, request{op: op, method: http.MethodPut, url: closeURL(location, d.Digest), repo: repo, ref: d.Digest, body: []byte{}})
}

// sourceError is an error of the bytes' origin, not of where they go.
type sourceError struct{ err error }

func (s *sourceError) Error() string { return s.err.Error() }
func (s *sourceError) Unwrap() error { return s.err }

// bytesOf opens what is in memory.
func bytesOpener(data []byte) opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}
