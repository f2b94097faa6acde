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
)

// sent tells how a blob came to be at the target.
type sent struct {
	bytes   int64 // over the wire, of the attempt that succeeded
	mounted bool  // it was there already, here or in the repository mounted from
}

// opener gives a blob's bytes from the start, once an attempt.
type opener func(context.Context) (io.ReadCloser, error)

// upload brings one blob to a repository: an upload session, and one streaming
// PUT. A session that broke is not resumed, ACR cannot do that: each attempt
// starts from the first byte.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
func (r *Registry) upload(ctx context.Context, repo, from string, d Descriptor, open opener, progress Progress) (sent, error) {
	const op = "uploading the blob"
	if err := r.uploads.take(ctx); err != nil {
		return sent{}, r.failed(ctx, op, repo, d.Digest, err)
	}
	defer r.uploads.give()
	for n := 1; ; n++ {
		s, asked, err := r.tryUpload(ctx, repo, from, d, open, progress)
		var again *passingError
		if err == nil || !errors.As(err, &again) {
			return s, err
		}
		if ctx.Err() != nil {
			return sent{}, r.failed(ctx, op, repo, d.Digest, ctx.Err())
		}
		if n == attempts {
			return sent{}, again.err
		}
		if err := r.waitFor(ctx, n, asked); err != nil {
			return sent{}, r.failed(ctx, op, repo, d.Digest, err)
		}
	}
}

// passingError marks an error that the next attempt may not meet.
type passingError struct{ err error }

func (p *passingError) Error() string { return p.err.Error() }
func (p *passingError) Unwrap() error { return p.err }

func (r *Registry) tryUpload(ctx context.Context, repo, from string, d Descriptor, open opener, progress Progress) (sent, time.Duration, error) {
	location, there, asked, err := r.openUpload(ctx, repo, from, d)
	if err != nil {
		return sent{}, asked, err
	}
	if there {
		progress.Add(d.Size)
		return sent{mounted: true}, 0, nil
	}
	asked, err = r.putBlob(ctx, repo, location, d, open, progress)
	return sent{bytes: d.Size}, asked, err
}

// openUpload opens a session by trying to mount the blob: from the repository
// that has it, else from the target repository itself, which tells in the same
// request whether it is there already. Where a registry does not answer that
// with 201 or 202, a plain POST does it, and is used from then on.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository
func (r *Registry) openUpload(ctx context.Context, repo, from string, d Descriptor) (location string, there bool, asked time.Duration, err error) {
	const op = "opening an upload of the blob"
	sessions := r.url(repo, "blobs", "uploads/")
	post := func(query string) (*answer, error) {
		a, err := r.do(ctx, call{op: op, method: http.MethodPost, url: sessions + query, repo: repo, ref: d.Digest, body: []byte{}})
		if err != nil && repeatable(err) {
			err = &passingError{err}
		}
		return a, err
	}
	var a *answer
	if self := from == "" || from == repo; !self || !r.noSelfMount.Load() {
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
				return "", false, 0, r.corrupt(op, repo, d.Digest, "the registry mounted "+harmless(said, 100)+" instead")
			}
			return "", true, 0, nil
		case http.StatusAccepted, http.StatusTooManyRequests:
		default:
			if e := r.refused(op, repo, d.Digest, a.status, a.body); e.Code == "REGISTRY_DISALLOWED_OPERATION" {
				return "", false, 0, e
			}
			if self && a.status < 500 && a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
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
		err = r.refused(op, repo, d.Digest, a.status, a.body)
		if passing(a.status) {
			err = &passingError{err}
		}
		return "", false, retryAfter(a.header, time.Now()), err
	}
	location, err = r.session(sessions, a.header.Get("Location"), d.Digest)
	if err != nil {
		e := &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: a.status, Reason: err.Error()}
		return "", false, 0, e
	}
	return location, false, 0, nil
}

// session is where a blob is put. It stays at the registry: our token goes
// there, and so does the image.
func (r *Registry) session(base, location, digest string) (string, error) {
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
	if u.Scheme != b.Scheme || canonicalHost(u.Host) != canonicalHost(b.Host) || u.User != nil {
		return "", fmt.Errorf("the registry sends the upload to another host (%s)", harmless(u.Scheme+"://"+u.Host, 100))
	}
	u.Fragment = ""
	// Appended, not rebuilt: the rest is the registry's, byte for byte.
	if u.RawQuery != "" && !strings.HasSuffix(u.RawQuery, "&") {
		u.RawQuery += "&"
	}
	u.RawQuery += "digest=" + url.QueryEscape(digest)
	return u.String(), nil
}

// putBlob streams one blob into an open session.
func (r *Registry) putBlob(ctx context.Context, repo, location string, d Descriptor, open opener, progress Progress) (asked time.Duration, err error) {
	const op = "uploading the blob"
	ctx, watch := watchFor(ctx)
	defer watch.stop()

	source, err := open(ctx)
	if err != nil {
		if repeatable(err) {
			err = &passingError{err}
		}
		return 0, err
	}
	watch.within(r.stall)
	body := newStream(source, d, progress, func(done bool) {
		if done {
			watch.within(r.commit)
		} else {
			watch.within(r.stall)
		}
	})
	defer body.end()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, location, body)
	if err != nil {
		return 0, r.failed(ctx, op, repo, d.Digest, err)
	}
	req.ContentLength = d.Size
	if d.Size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := r.client.Do(req)
	n, waiting, cause := body.end()
	if errors.Is(context.Cause(ctx), errStalled) && (waiting || cause != nil) {
		cause = errStalled
	}
	failed := func(err error) error {
		progress.Add(-n)
		return err
	}
	var wrong wrongBytes
	switch {
	case errors.As(cause, &wrong):
		if resp != nil {
			resp.Body.Close()
		}
		return 0, failed(&sourceError{wrong})
	case cause != nil && (ctx.Err() == nil || cause == errStalled):
		if resp != nil {
			resp.Body.Close()
		}
		return 0, failed(&passingError{&sourceError{cause}})
	case err != nil:
		e := r.failed(ctx, op, repo, d.Digest, err)
		if repeatable(e) {
			return 0, failed(&passingError{e})
		}
		return 0, failed(e)
	}
	defer resp.Body.Close()
	watch.within(r.stall)
	if resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusNoContent {
		if n != d.Size {
			return 0, failed(&passingError{&Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: resp.StatusCode,
				Reason: fmt.Sprintf("the registry was content with %d of %d bytes", n, d.Size)}})
		}
		if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != d.Digest {
			return 0, failed(r.corrupt(op, repo, d.Digest, "the registry stored "+harmless(said, 100)+" instead"))
		}
		return 0, nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, refusalBytes))
	e := r.refused(op, repo, d.Digest, resp.StatusCode, text)
	switch {
	case passing(resp.StatusCode),
		// The token ran out on the way; a body cannot be sent twice, a blob can.
		resp.StatusCode == http.StatusUnauthorized,
		e.Code == "BLOB_UPLOAD_INVALID", e.Code == "BLOB_UPLOAD_UNKNOWN":
		return retryAfter(resp.Header, time.Now()), failed(&passingError{e})
	}
	return 0, failed(e)
}

// sourceError is an error of the bytes' origin, which their opener names.
type sourceError struct{ err error }

func (s *sourceError) Error() string { return s.err.Error() }
func (s *sourceError) Unwrap() error { return s.err }

// download opens a blob at this registry. The client follows redirects to
// storage.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs
func (r *Registry) download(repo string, d Descriptor) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		const op = "reading the blob"
		if d.Size == 0 {
			// Known without asking.
			if d.Digest != emptyDigest {
				return nil, r.corrupt(op, repo, d.Digest, "its size is given as 0, but this is not the digest of nothing")
			}
			return http.NoBody, nil
		}
		if err := checkNames(r.host, op, repo, d.Digest); err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(repo, "blobs", d.Digest), nil)
		if err != nil {
			return nil, r.failed(ctx, op, repo, d.Digest, err)
		}
		req.Header.Set("Accept-Encoding", "identity")
		resp, err := r.client.Do(req)
		if err != nil {
			return nil, r.failed(ctx, op, repo, d.Digest, err)
		}
		if resp.StatusCode != http.StatusOK {
			defer resp.Body.Close()
			if at := resp.Request.URL.Host; at != r.host {
				return nil, r.storageRefused(op, repo, d, at, resp.StatusCode)
			}
			text, _ := io.ReadAll(io.LimitReader(resp.Body, refusalBytes))
			return nil, r.refused(op, repo, d.Digest, resp.StatusCode, text)
		}
		if resp.ContentLength >= 0 && resp.ContentLength != d.Size {
			resp.Body.Close()
			e := r.corrupt(op, repo, d.Digest, fmt.Sprintf("it has %d bytes, but the manifest says %d", resp.ContentLength, d.Size))
			return nil, &passingError{e} // a length that lies may be the way's fault
		}
		return resp.Body, nil
	}
}

// storageRefused is for an answer of the storage that a registry redirects to.
// What the registry signed may have expired on the way: it is asked again.
func (r *Registry) storageRefused(op, repo string, d Descriptor, storage string, status int) error {
	e := &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: Unexpected, Status: status,
		Reason: fmt.Sprintf("the registry redirected to its storage at %s, which answered %d", harmless(storage, 100), status),
		Remedy: fmt.Sprintf("check that this machine may read from %s", harmless(storage, 100))}
	if status == http.StatusUnauthorized || status == http.StatusForbidden || passing(status) {
		return &passingError{e}
	}
	return e
}

// bytesOf opens what is in memory.
func bytesOf(data []byte) opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}
