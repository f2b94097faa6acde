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

	"acrpromote/internal/defect"
	"acrpromote/internal/ref"
	"acrpromote/internal/retryafter"
	"acrpromote/internal/sanitize"
)

// maxUploadRedirects bounds the redirects of a request that opens an upload.
const maxUploadRedirects = 3

// upload uploads one blob to a repository: it opens an upload session, and streams
// the blob with one PUT. It does not resume broken sessions, which ACR does not
// support: each attempt starts at the first byte.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
//
// early opens the blob at the source while the session is being opened, unless it
// is likely to exist: a round trip less. mounted reports whether it existed, or
// was mounted from another repository.
func (r *Registry) upload(ctx context.Context, repo, from string, d Descriptor, open opener, early bool, progress Progress) (mounted bool, err error) {
	const op = "uploading the blob"
	stopped := func(err error) (bool, error) { return false, r.transportError(ctx, op, repo, d.Digest, err) }
	if from == "" && !r.noMount.Load() {
		// One repository of a registry gets it, the others mount it.
		unlock, err := r.uploads.LockUnless(ctx, d.Digest, func() bool { return r.repositoryWithBlob(d.Digest) != "" })
		if err != nil {
			return stopped(err)
		}
		defer unlock()
	}
	usePatch := r.usePatch.Load()
	var count attemptCount
	for {
		// After two responses with 5xx it may be the mount that fails.
		plain := count.failed >= 2
		mounted, retryAfter, err := r.tryUpload(ctx, repo, from, d, open, early, plain, usePatch, progress)
		var transient *transientError
		var refused *putRefused
		var mismatch digestMismatch
		if errors.As(err, &mismatch) && mismatch.again && count.failed+1 < maxAttempts {
			err = &transientError{err}
		}
		switch {
		case err == nil:
			if usePatch && !mounted {
				r.usePatch.Store(true)
			}
			r.recordBlob(repo, d.Digest)
			return mounted, nil
		case ctx.Err() != nil:
			return stopped(ctx.Err())
		case errors.Is(err, errBehind):
			continue // this is no failed attempt
		case errors.As(err, &refused) && !usePatch && (refused.sure || count.failed > 0):
			usePatch = true
			continue
		case !errors.As(err, &transient):
			return false, err
		}
		last, n := count.add(transient.err)
		if last {
			return false, transient.err
		}
		if err := r.waitToRetry(ctx, failure{op, repo, d.Digest, transient.err}, n, retryAfter); err != nil {
			return stopped(err)
		}
	}
}

// transientError marks an error that the next attempt may not meet.
type transientError struct{ err error }

func (t *transientError) Error() string { return t.err.Error() }
func (t *transientError) Unwrap() error { return t.err }

// putRefused marks the refusal of a blob in a PUT where PATCH may succeed; sure
// means that no other PUT would.
type putRefused struct {
	err  error
	sure bool
}

func (p *putRefused) Error() string { return p.err.Error() }
func (p *putRefused) Unwrap() error { return p.err }

func (r *Registry) tryUpload(ctx context.Context, repo, from string, d Descriptor, open opener, early, plain, usePatch bool, progress Progress) (mounted bool, retryAfter time.Duration, err error) {
	if _, found := r.blobsFound.Peek(repo); early && from == "" && d.Size > 0 && !found && r.repositoryWithBlob(d.Digest) == "" {
		p := prefetchBlob(ctx, open)
		defer p.close()
		open = p.open
	}
	location, there, retryAfter, err := r.openUpload(ctx, repo, from, d, plain)
	if err != nil {
		return false, retryAfter, err
	}
	if there {
		if from == "" {
			r.blobsFound.Set(repo, true)
		}
		progress.LayerDone()
		progress.Add(d.Size)
		return true, 0, nil
	}
	retryAfter, err = r.putBlob(ctx, repo, location, d, open, usePatch, progress)
	return false, retryAfter, err
}

// prefetchedBlob is a blob that is opened before it is known to be needed.
type prefetchedBlob struct {
	cancel context.CancelFunc
	ready  chan struct{}
	source io.ReadCloser
	err    error
}

func prefetchBlob(ctx context.Context, open opener) *prefetchedBlob {
	ctx, cancel := context.WithCancel(ctx)
	p := &prefetchedBlob{cancel: cancel, ready: make(chan struct{})}
	go func() {
		defer defect.Catch(ctx)
		defer close(p.ready)
		p.source, p.err = open(ctx)
	}()
	return p
}

// open is the blob's opener. It is called once.
func (p *prefetchedBlob) open(context.Context) (io.ReadCloser, error) {
	<-p.ready // the context of prefetchBlob ends the wait
	return p.source, p.err
}

// close closes the blob, whether it was used or not.
func (p *prefetchedBlob) close() {
	p.cancel()
	<-p.ready
	if p.source != nil {
		p.source.Close()
	}
}

// openUpload opens an upload session by trying to mount the blob: from the
// repository that has it, else from the target repository itself, which shows in
// the same request whether the blob exists. If the registry does not respond with
// 202, or with 201 and the blob, it uses a POST without mount, also for later blobs.
// plain does so at once. A redirect is followed within the registry.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository
func (r *Registry) openUpload(ctx context.Context, repo, from string, d Descriptor, plain bool) (location string, there bool, retryAfter time.Duration, err error) {
	const op = "starting the upload of the blob"
	var address string // of the last request
	post := func(query string) (*response, error) {
		address = r.url(repo, "blobs", "uploads/") + query
		for hops := 0; ; hops++ {
			resp, err := r.do(ctx, request{op: op, method: http.MethodPost, url: address, repo: repo, ref: d.Digest, body: []byte{}})
			switch {
			case err != nil && isTransient(err):
				return nil, &transientError{err}
			case err != nil:
				return nil, err
			case resp.status != http.StatusTemporaryRedirect && resp.status != http.StatusPermanentRedirect,
				resp.header.Get("Location") == "", hops == maxUploadRedirects:
				return resp, nil
			}
			if address, err = r.uploadURL(address, resp.header.Get("Location")); err != nil {
				return nil, r.uploadURLError(op, repo, d, resp.status, err)
			}
		}
	}
	var resp *response
	search := from == ""
	if search {
		from = r.repositoryWithBlob(d.Digest)
	}
	if self := from == "" || from == repo; !plain && (!self || !r.noSelfMount.Load()) {
		if self {
			from = repo
		}
		resp, err = post("?" + url.Values{"mount": {d.Digest}, "from": {from}}.Encode())
		if err != nil {
			return "", false, 0, err
		}
		switch resp.status {
		case http.StatusCreated:
			if said := resp.header.Get("Docker-Content-Digest"); said != "" && said != d.Digest {
				return "", false, 0, r.corruptError(op, repo, d.Digest, "the registry mounted "+sanitize.Bounded(said, 100)+" instead")
			}
			if r.isMounted(ctx, repo, d, resp) {
				return "", true, 0, nil
			}
			switch {
			case self:
				r.noSelfMount.Store(true)
			case search:
				r.noMount.Store(true)
			}
			resp = nil
		case http.StatusAccepted:
			if search && !self {
				r.noMount.Store(true)
			}
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			// This says nothing about mounting.
		default:
			if e := r.statusError(op, repo, d.Digest, resp.status, resp.body); e.Code == "REGISTRY_DISALLOWED_OPERATION" {
				return "", false, 0, e
			}
			if self && (resp.status < 500 || resp.status == http.StatusNotImplemented) && resp.status != http.StatusUnauthorized && resp.status != http.StatusForbidden {
				r.noSelfMount.Store(true)
			}
			resp = nil
		}
	}
	if resp == nil {
		if resp, err = post(""); err != nil {
			return "", false, 0, err
		}
	}
	if resp.status != http.StatusAccepted {
		err = r.statusError(op, repo, d.Digest, resp.status, resp.body)
		if isTransientStatus(resp.status) {
			err = &transientError{err}
		}
		return "", false, retryafter.Parse(resp.header, time.Now()), err
	}
	location, err = r.uploadURL(address, resp.header.Get("Location"))
	if err != nil {
		return "", false, 0, r.uploadURLError(op, repo, d, resp.status, err)
	}
	return location, false, 0, nil
}

// isMounted reports whether a blob is there after a mount that was answered with 201.
// Registries exist that open an upload and answer so. If the response does not
// name the digest, the registry is asked for the blob; if that fails, the blob is
// uploaded.
func (r *Registry) isMounted(ctx context.Context, repo string, d Descriptor, mounted *response) bool {
	isUpload := strings.Contains(mounted.header.Get("Location"), "/blobs/uploads/")
	if mounted.header.Get("Docker-Content-Digest") == d.Digest && !isUpload {
		return true
	}
	there, err := r.hasBlob(ctx, repo, d)
	return err == nil && there
}

// uploadURLError returns the error of uploadURL with what it is about.
func (r *Registry) uploadURLError(op, repo string, d Descriptor, status int, err error) error {
	return &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: status, Reason: err.Error(),
		Remedy: fmt.Sprintf("Check the configuration of %s, and what is in front of it.", r.host)}
}

// uploadURL returns the URL of an upload session. It has to be at the registry,
// since the token and the image are sent there.
func (r *Registry) uploadURL(base, location string) (string, error) {
	if location == "" {
		return "", errors.New("the registry started an upload without a Location header")
	}
	b, err := url.Parse(base)
	if err != nil {
		return "", errors.New("the URL of the upload is not valid")
	}
	u, err := b.Parse(location)
	if err != nil {
		return "", errors.New("the URL of the upload is not valid")
	}
	if u.Scheme != b.Scheme || ref.CanonicalHost(u.Host) != ref.CanonicalHost(b.Host) || u.User != nil {
		return "", fmt.Errorf("%s redirects the upload to another host (%s), to which nothing is sent", r.host, sanitize.Bounded(u.Scheme+"://"+u.Host, 100))
	}
	u.Fragment = ""
	return u.String(), nil
}

// closeURL returns the URL that closes a session with a blob's digest.
func closeURL(location, digest string) string {
	// Appended, so that the rest is as the registry has sent it.
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
func (r *Registry) putBlob(ctx context.Context, repo, location string, d Descriptor, open opener, usePatch bool, progress Progress) (retryAfter time.Duration, err error) {
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
	if usePatch {
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
	httpResp, err := r.client.Do(req)
	n, reported, cause := body.end()
	failed := func(err error) error {
		progress.Add(-reported)
		return err
	}
	switch {
	case cause != nil && (ctx.Err() == nil || errors.Is(cause, errBehind)):
		if httpResp != nil {
			httpResp.Body.Close()
		}
		return 0, failed(&sourceError{cause})
	case err != nil:
		e := r.transportError(ctx, op, repo, d.Digest, err)
		if isTransient(e) {
			return 0, failed(&transientError{e})
		}
		return 0, failed(e)
	}
	defer httpResp.Body.Close()
	watch.arm(r.stallTimeout)
	text, _ := io.ReadAll(io.LimitReader(httpResp.Body, maxErrorBody))
	resp := &response{status: httpResp.StatusCode, header: httpResp.Header, body: text}
	closed := !usePatch
	if usePatch && resp.status == http.StatusAccepted && n == d.Size {
		// All bytes are there, but the digest is not.
		if resp, err = r.closeUpload(ctx, repo, location, d, resp); err != nil {
			if isTransient(err) {
				err = &transientError{err}
			}
			return 0, failed(err)
		}
		closed = true
	}
	if closed && (resp.status == http.StatusCreated || resp.status == http.StatusNoContent) {
		if n != d.Size {
			return 0, failed(&transientError{&Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: resp.status,
				Reason: fmt.Sprintf("the registry accepted %d of %d bytes as the blob", n, d.Size)}})
		}
		if said := resp.header.Get("Docker-Content-Digest"); said != "" && said != d.Digest {
			return 0, failed(r.corruptError(op, repo, d.Digest, "the registry stored "+sanitize.Bounded(said, 100)+" instead"))
		}
		progress.LayerDone()
		progress.Add(n - reported)
		return 0, nil
	}
	e := r.statusError(op, repo, d.Digest, resp.status, resp.body)
	err = e
	switch {
	case isTransientStatus(resp.status),
		// The token has expired meanwhile. The client cannot repeat a body.
		resp.status == http.StatusUnauthorized,
		e.Code == "BLOB_UPLOAD_INVALID", e.Code == "BLOB_UPLOAD_UNKNOWN":
		err = &transientError{e}
	}
	if !usePatch && d.Size > 0 {
		err = markPutRefused(e, err)
	}
	return retryafter.Parse(resp.header, time.Now()), failed(err)
}

// markPutRefused marks an error that may be the refusal of a body in a PUT. An
// unknown or invalid session may also be a lost one.
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

// closeUpload closes a session after a PATCH.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
func (r *Registry) closeUpload(ctx context.Context, repo, location string, d Descriptor, patched *response) (*response, error) {
	const op = "uploading the blob"
	if next := patched.header.Get("Location"); next != "" {
		var err error
		if location, err = r.uploadURL(location, next); err != nil {
			return nil, r.uploadURLError(op, repo, d, patched.status, err)
		}
	}
	return r.do(ctx, request{op: op, method: http.MethodPut, url: closeURL(location, d.Digest), repo: repo, ref: d.Digest, body: []byte{}})
}

// sourceError is an error of the source of a blob, not of the target.
type sourceError struct{ err error }

func (s *sourceError) Error() string { return s.err.Error() }
func (s *sourceError) Unwrap() error { return s.err }

// bytesOpener returns an opener of a blob in memory.
func bytesOpener(data []byte) opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}
