package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// maxRequests bounds the small requests to one registry at a time; the HTTP client
// may allow fewer.
const maxRequests = 64

// Registry is the client of one registry during one run. It caches what the
// registry has answered, so that nothing is requested twice, and remembers what
// the registry supports. Its methods are safe for concurrent use.
type Registry struct {
	host   string // host[:port]
	scheme string
	client *http.Client

	requests       *semaphore.Weighted // small requests
	uploads        keyed.Mutex[string] // of blobs to this registry, by digest
	downloads      keyed.Mutex[string] // of blobs from this registry, by digest
	largeDownloads *semaphore.Weighted // for all images of the run
	smallDownloads *semaphore.Weighted
	fallbackWrites keyed.Mutex[string] // one writer of a fallback tag at a time

	manifests        *cache[*Manifest]    // by repository@digest
	tags             *cache[Descriptor]   // by repository:tag or repository@digest
	referrerLists    *cache[referrerList] // by repository@digest of the subject
	fallbackLists    *cache[referrerList] // the same, of fallback tags
	digestTagLists   *cache[digestTags]   // by repository
	blobRepositories *cache[string]       // a repository that has a blob, by digest
	layers           *cache[[]byte]       // small blobs, by digest
	listings         *cache[*Listing]     // by repository
	memory           *Memory

	// What the registry has shown to support; see upload and referrers.
	noSelfMount    atomic.Bool
	noMount        atomic.Bool
	noReferrersAPI atomic.Bool
	referrersAPI   atomic.Bool
	apiProbe       *semaphore.Weighted // of the one request that finds out about the referrers API
	noHead         atomic.Bool         // HEAD of manifests is not answered: they are read
	headWorks      atomic.Bool         // a HEAD request has found a manifest
	doubtHead      atomic.Bool         // a GET request has found one, where HEAD may not work
	// manifestsShowReferrers: the list of a repository's manifests has those that refer
	// to others.
	manifestsShowReferrers atomic.Bool
	usePatch               atomic.Bool       // blobs are sent with PATCH: PUT takes no body
	blobsFound             *cache[bool]      // repositories that had a blob which was to be sent
	absentSince            *cache[time.Time] // when a tag was not found
	untaggedSince          *cache[time.Time] // when a manifest was put by digest, by repository@digest

	retryPause     time.Duration // before the first retry
	stallTimeout   time.Duration // without a byte, until a stream is given up
	commitTimeout  time.Duration // for the registry to commit a whole blob
	teeWait        time.Duration // for other targets that want the same blob
	replicaTimeout time.Duration // for all requests to a replica
	absenceTTL     time.Duration // for which a tag that was not found is assumed not to exist
	untaggedTTL    time.Duration // for which what no tag protects is assumed not to be deleted by a retention policy

	// listsReferrers says that the registry is known to list what it says that it
	// lists (OCI-Subject).
	listsReferrers bool
	warnings       warnings

	onRetry func(Retry)
	grant   func() string
	secrets *sanitize.Secrets // nil: none are known
}

// cache keeps responses of the registry. It keeps NotFound as well; other errors
// may be gone at the next attempt.
type cache[V any] = keyed.Cache[string, V]

// cacheLimit bounds the entries of one cache.
const cacheLimit = 50_000

func newCache[V any]() *cache[V] { return keyed.NewCache[string, V](cacheLimit, isNotFound) }

// NewRegistry returns the client of host (host[:port]). The HTTP client signs in,
// retries reads on 429 and 5xx, and follows redirects of downloads. plain means
// HTTP instead of HTTPS.
func NewRegistry(host string, client *http.Client, plain bool) *Registry {
	r := &Registry{
		host:           host,
		scheme:         "https",
		client:         client,
		requests:       semaphore.NewWeighted(maxRequests),
		largeDownloads: semaphore.NewWeighted(largeWidth),
		smallDownloads: semaphore.NewWeighted(2 * smallWidth),
		apiProbe:       semaphore.NewWeighted(1),

		manifests:        newCache[*Manifest](),
		tags:             newCache[Descriptor](),
		referrerLists:    newCache[referrerList](),
		fallbackLists:    newCache[referrerList](),
		digestTagLists:   newCache[digestTags](),
		blobRepositories: newCache[string](),
		layers:           keyed.NewCache[string, []byte](maxLayers, nil),
		listings:         newCache[*Listing](),
		blobsFound:       newCache[bool](),
		absentSince:      newCache[time.Time](),
		untaggedSince:    newCache[time.Time](),
		memory:           NewMemory(),

		retryPause:     500 * time.Millisecond,
		stallTimeout:   time.Minute,
		commitTimeout:  10 * time.Minute,
		teeWait:        2 * time.Second,
		replicaTimeout: 5 * time.Second,
		absenceTTL:     10 * time.Second,
		untaggedTTL:    3 * time.Second,
	}
	if plain {
		r.scheme = "http"
	}
	return r
}

// Redact makes the client remove secrets from what responses repeat. It must be
// called before the first request.
func (r *Registry) Redact(secrets *sanitize.Secrets) { r.secrets = secrets }

// ShareMemory makes the client keep within the limits of a run, together with the
// other clients. It must be called before the first request.
func (r *Registry) ShareMemory(m *Memory) { r.memory = m }

// ExplainDenials sets a function that returns what to grant to the identity, a
// sentence without its full stop or "". It must be called before the first request.
func (r *Registry) ExplainDenials(grant func() string) { r.grant = grant }

// TrustSubject makes the client believe the registry that it lists a referrer, without
// reading the list. It must be called before the first request.
func (r *Registry) TrustSubject() { r.listsReferrers = true }

// recordBlob records that a repository has a blob, which can be mounted from it.
func (r *Registry) recordBlob(repo, digest string) {
	if _, known := r.blobRepositories.Peek(digest); !known {
		r.blobRepositories.Set(digest, repo)
	}
}

// repositoryWithBlob returns a repository that has the blob, "" if none is known.
func (r *Registry) repositoryWithBlob(digest string) string {
	repo, _ := r.blobRepositories.Peek(digest)
	return repo
}

// same reports whether r and other are clients of the same registry.
func (r *Registry) same(other *Registry) bool {
	return r == other || r.scheme == other.scheme && ref.CanonicalHost(r.host) == ref.CanonicalHost(other.host)
}

func (r *Registry) url(repo, what, ref string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s/%s", r.scheme, r.host, repo, what, ref)
}

// repositoryURL returns the prefix of every URL in a repository.
func (r *Registry) repositoryURL(repo string) string {
	return fmt.Sprintf("%s://%s/v2/%s/", r.scheme, r.host, repo)
}

// request is a small request: any but those that stream blobs.
type request struct {
	op, method, url string
	repo, ref       string
	accept          string
	contentType     string
	byteRange       string // "bytes=0-0"
	body            []byte
	limit           int64 // of the body of a 2xx response, in bytes; 0 if the body is not used

	// parse, if not nil, parses a response of status 200, which has no body any more
	// afterwards. Its error ends the request.
	parse func(*response) error
}

const (
	// smallBody is the size of responses that are read without waiting, in bytes.
	// Manifests and lists of most images are smaller.
	smallBody = 64 << 10
	// maxLargeBodies bounds what larger responses, of all registries, take while they
	// are read and parsed: twice their bytes.
	maxLargeBodies = 16 << 20
)

var largeBodies = semaphore.NewWeighted(maxLargeBodies)

// readBody reads the body of a response, of at most limit bytes. It must be called
// with a running watchdog, and the caller must call release when it has parsed the
// body, whether there is an error or not.
func readBody(ctx context.Context, resp *http.Response, limit int64, watch *watchdog, stallTimeout time.Duration) (data []byte, release func(), err error) {
	release = func() {}
	weight := resp.ContentLength
	if weight > limit {
		return nil, release, &longBodyError{limit}
	}
	if weight < 0 {
		weight = limit
		data, err = io.ReadAll(io.LimitReader(resp.Body, min(smallBody, limit+1)))
		switch {
		case int64(len(data)) > limit:
			return nil, release, &longBodyError{limit}
		case err != nil || len(data) < smallBody:
			return data, release, err
		}
	}
	if weight > smallBody {
		weight = min(2*weight, maxLargeBodies)
		watch.disarm()
		if err := largeBodies.Acquire(ctx, weight); err != nil {
			return nil, release, err
		}
		watch.arm(stallTimeout)
		release = func() { largeBodies.Release(weight) }
	}
	if resp.ContentLength >= 0 {
		data = make([]byte, resp.ContentLength)
		_, err = io.ReadFull(resp.Body, data)
		return data, release, err
	}
	rest, err := io.ReadAll(io.LimitReader(resp.Body, limit+1-int64(len(data))))
	data = append(data, rest...)
	if err == nil && int64(len(data)) > limit {
		err = &longBodyError{limit}
	}
	return data, release, err
}

// longBodyError is the error of a body that is longer than the limit.
type longBodyError struct{ limit int64 }

func (e *longBodyError) Error() string {
	if e.limit%(1<<20) == 0 {
		return fmt.Sprintf("the response is longer than %d MiB", e.limit>>20)
	}
	return fmt.Sprintf("the response is longer than %d bytes", e.limit)
}

// longBody returns the error of a response that is longer than what is read.
func (r *Registry) longBody(req request, status int, long *longBodyError) *Error {
	e := &Error{Registry: r.host, Repository: req.repo, Reference: req.ref, Op: req.op, Kind: TooLarge, Status: status, Reason: long.Error(),
		Remedy: "Check what is in front of the registry. Running the step again does not help."}
	if req.accept == acceptManifests {
		e.Reason = fmt.Sprintf("the manifest is longer than %d MiB, the limit of registries", long.limit>>20)
		e.Remedy = "Rebuild the image with fewer layers, platforms or annotations. Running the step again does not help."
	}
	return e
}

// response is the response to a request, with its whole body.
type response struct {
	host   string // that sent it, perhaps after a redirect
	status int
	header http.Header
	body   []byte
}

// do sends a small request and reads the response, whatever its status.
func (r *Registry) do(ctx context.Context, req request) (*response, error) {
	if err := checkReference(r.host, req.op, req.repo, req.ref); err != nil {
		return nil, err
	}
	if err := r.requests.Acquire(ctx, 1); err != nil {
		return nil, r.transportError(ctx, req.op, req.repo, req.ref, err)
	}
	defer r.requests.Release(1)

	ctx, watch := withWatchdog(ctx)
	defer watch.stop()
	var body io.Reader
	if req.body != nil {
		body = bytes.NewReader(req.body)
	}
	httpReq, err := http.NewRequestWithContext(ctx, req.method, req.url, body)
	if err != nil {
		return nil, r.transportError(ctx, req.op, req.repo, req.ref, err)
	}
	if req.accept != "" {
		httpReq.Header.Set("Accept", req.accept)
	}
	if req.contentType != "" {
		httpReq.Header.Set("Content-Type", req.contentType)
	}
	if req.byteRange != "" {
		httpReq.Header.Set("Range", req.byteRange)
	}
	// Otherwise net/http requests gzip and hides Content-Length.
	httpReq.Header.Set("Accept-Encoding", "identity")
	httpResp, err := r.client.Do(httpReq)
	if err != nil {
		return nil, r.transportError(ctx, req.op, req.repo, req.ref, err)
	}
	defer httpResp.Body.Close()
	// Not earlier: the client may have waited for a Retry-After.
	watch.arm(r.stallTimeout)
	resp := &response{host: httpResp.Request.URL.Host, status: httpResp.StatusCode, header: httpResp.Header}
	if resp.status/100 != 2 || req.limit == 0 {
		// An error response counts even if its body is incomplete.
		resp.body, _ = io.ReadAll(io.LimitReader(httpResp.Body, maxErrorBody))
		return resp, nil
	}
	content, release, err := readBody(ctx, httpResp, req.limit, watch, r.stallTimeout)
	defer func() { release() }()
	if long, ok := errors.AsType[*longBodyError](err); ok {
		return nil, r.longBody(req, resp.status, long)
	}
	if err != nil {
		return nil, r.transportError(ctx, req.op, req.repo, req.ref, fmt.Errorf("%w: %w", errBroken, err))
	}
	if isCompressed(httpResp.Header) && !(ref.NamesDigest(req.ref) && ref.DigestOf(content) == req.ref) {
		// What it becomes does not show in its length.
		release()
		watch.disarm()
		weight := min(2*req.limit, maxLargeBodies)
		if err := largeBodies.Acquire(ctx, weight); err != nil {
			release = func() {}
			return nil, r.transportError(ctx, req.op, req.repo, req.ref, err)
		}
		release = func() { largeBodies.Release(weight) }
		if plain, err := gunzip(content, req.limit); err == nil {
			content = plain
		} else if long, ok := errors.AsType[*longBodyError](err); ok {
			return nil, r.longBody(req, resp.status, long)
		}
	}
	resp.body = content
	if req.parse != nil && resp.status == http.StatusOK {
		if err := req.parse(resp); err != nil {
			return nil, err
		}
		resp.body = nil
	}
	return resp, nil
}

// get sends a GET request, and repeats it if the body breaks off, which the HTTP
// client does not see.
func (r *Registry) get(ctx context.Context, req request) (*response, error) {
	req.method = http.MethodGet
	for n := 1; ; n++ {
		resp, err := r.do(ctx, req)
		if err == nil || n == maxAttempts || !errors.Is(err, errBroken) && !errors.Is(err, errStalled) {
			return resp, err
		}
		if err := r.waitToRetry(ctx, failure{req.op, req.repo, req.ref, err}, n, 0); err != nil {
			return nil, r.transportError(ctx, req.op, req.repo, req.ref, err)
		}
	}
}

// Resolve returns the descriptor that a tag or digest points to. The result is
// cached for the run, NotFound as well. It takes one HEAD request; if the
// response has no digest, the manifest is read and hashed.
//
// Calling it for the target's tag while ReadTree reads the source saves Inspect
// a round trip.
func (r *Registry) Resolve(ctx context.Context, repo, reference string) (Descriptor, error) {
	return r.resolve(ctx, repo, reference, r.head)
}

func (r *Registry) resolve(ctx context.Context, repo, reference string, head func(ctx context.Context, repo, reference string) (Descriptor, error)) (Descriptor, error) {
	if ref.NamesDigest(reference) {
		if m, ok := r.manifests.Peek(key(repo, reference)); ok {
			return m.Descriptor, nil
		}
	}
	if d, ok := r.listedDescriptor(repo, reference); ok {
		return d, nil
	}
	d, err := r.tags.Get(ctx, key(repo, reference), func(ctx context.Context) (Descriptor, error) {
		started := time.Now()
		d, err := head(ctx, repo, reference)
		if isNotFound(err) {
			r.absentSince.Set(key(repo, reference), started)
		}
		return d, err
	})
	return d, r.wrap(ctx, "existence check", repo, reference, err)
}

// recheckTag resolves a tag again that did not exist, if that was some time ago:
// another client may have put it since, and it must not be overwritten. It reports
// whether the tag points to digest already. The time between this request and the
// one that puts the tag remains: no registry can put a tag only if it is absent.
func (r *Registry) recheckTag(ctx context.Context, repo, tag, digest string) (there bool, err error) {
	since, absent := r.absentSince.Peek(key(repo, tag))
	if !absent || time.Since(since) < r.absenceTTL {
		return false, nil
	}
	d, err := r.head(ctx, repo, tag)
	switch {
	case isNotFound(err):
		return false, nil
	case err != nil:
		return false, r.wrap(ctx, "existence check", repo, tag, err)
	case d.Digest == digest:
		return true, nil
	}
	return false, r.tagAppeared(repo, tag, d.Digest)
}

// tagAppeared returns the error of a tag that exists now, and points to another
// manifest than the copy's.
func (r *Registry) tagAppeared(repo, tag, digest string) error {
	return &Error{Side: Target, Registry: r.host, Repository: repo, Reference: tag, Op: "setting the tag", Kind: Conflict,
		Reason: fmt.Sprintf("the tag did not exist when the target was read, and points to %s now", digest),
		Remedy: "Find out what else writes to this registry."}
}

// forgetReferrers deletes the cached referrers of a manifest.
func (r *Registry) forgetReferrers(repo, digest string) {
	for _, lists := range []*cache[referrerList]{r.referrerLists, r.fallbackLists} {
		if list, ok := lists.Take(key(repo, digest)); ok {
			r.memory.decoded.Add(-list.weight)
		}
	}
}

func (r *Registry) corruptError(op, repo, ref, reason string) *Error {
	return &Error{Registry: r.host, Repository: repo, Reference: ref, Op: op, Kind: Corrupt, Reason: reason,
		Remedy: "Do not use it. Find out who or what changed it, and push it again."}
}

// wrap returns err as an *Error. It may be the context's, of a caller that waited
// for another's request.
func (r *Registry) wrap(ctx context.Context, op, repo, ref string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return r.transportError(ctx, op, repo, ref, err)
}

func isNotFound(err error) bool { return errors.Is(err, NotFound) }
