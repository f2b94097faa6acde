package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"acrpromote/internal/keyed"
	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// window is how many small requests one registry gets at once, at most: the
// client that is given to us may know better.
const maxRequests = 64

// Registry is one registry for one run: it remembers what it was told, so that
// nothing is asked twice, and what the registry can and cannot do. Its methods
// are safe for concurrent use.
type Registry struct {
	host   string // host[:port]
	scheme string
	client *http.Client

	requests       *semaphore.Weighted // small requests
	uploads        keyed.Mutex[string] // of blobs on their way here, by digest
	downloads      keyed.Mutex[string] // of blobs on their way from here, by digest
	largeDownloads *semaphore.Weighted // blobs on their way from here, for all images of the run
	smallDownloads *semaphore.Weighted
	fallbackWrites keyed.Mutex[string] // one writer of a fallback tag at a time

	manifests        *cache[*Manifest]    // by repository@digest
	tags             *cache[Descriptor]   // by repository:tag or repository@digest
	referrerLists    *cache[referrerList] // by repository@digest of the subject
	fallbackLists    *cache[referrerList] // likewise, what a fallback tag lists
	digestTagLists   *cache[digestTags]   // by repository
	blobRepositories *cache[string]       // a repository that has a blob, by its digest
	contents         *cache[[]byte]       // small blobs that were read, by digest
	manifestBytes    atomic.Int64         // bytes in manifests

	// What the registry showed that it cannot do; see upload and referrers.
	noSelfMount    atomic.Bool
	noMount        atomic.Bool
	noReferrersAPI atomic.Bool
	referrersAPI   atomic.Bool
	apiProbe       *semaphore.Weighted // one asks whether there is a referrers API
	usePatch       atomic.Bool         // a blob goes by PATCH: its PUT takes no body
	blobsFound     *cache[bool]        // repositories in which a blob was found that was about to be sent

	retryPause     time.Duration // before the first repetition
	stallTimeout   time.Duration // without a byte, after which a stream is given up
	commitTimeout  time.Duration // that a registry may take to commit a whole blob
	teeWait        time.Duration // for others who want the same blob from here
	replicaTimeout time.Duration // for a place that has an image of ours, all in all

	onRetry func(Retry)
}

// cache keeps what the registry has answered. That something is not there is an
// answer too; other errors may be gone at the next try.
type cache[V any] = keyed.Cache[string, V]

// cacheLimit bounds the entries of one cache.
const cacheLimit = 50_000

func newCache[V any]() *cache[V] { return keyed.NewCache[string, V](cacheLimit, isNotFound) }

// NewRegistry speaks to host (host[:port]) through client, which authorises
// requests, repeats reads that met 429 or 5xx, and follows redirects of
// downloads. plain means HTTP.
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
		contents:         keyed.NewCache[string, []byte](maxContents, nil),
		blobsFound:       newCache[bool](),

		retryPause:     500 * time.Millisecond,
		stallTimeout:   time.Minute,
		commitTimeout:  10 * time.Minute,
		teeWait:        2 * time.Second,
		replicaTimeout: 5 * time.Second,
	}
	if plain {
		r.scheme = "http"
	}
	return r
}

// hold notes that a repository has a blob: others can mount it from there.
func (r *Registry) recordBlob(repo, digest string) {
	if _, known := r.blobRepositories.Peek(digest); !known {
		r.blobRepositories.Set(digest, repo)
	}
}

// holder is a repository that has the blob, "" if none is known.
func (r *Registry) repositoryWithBlob(digest string) string {
	repo, _ := r.blobRepositories.Peek(digest)
	return repo
}

// same tells whether two values speak of one registry.
func (r *Registry) same(other *Registry) bool {
	return r == other || r.scheme == other.scheme && ref.CanonicalHost(r.host) == ref.CanonicalHost(other.host)
}

func (r *Registry) url(repo, what, ref string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s/%s", r.scheme, r.host, repo, what, ref)
}

// within is what the address of everything in a repository begins with.
func (r *Registry) repositoryURL(repo string) string {
	return fmt.Sprintf("%s://%s/v2/%s/", r.scheme, r.host, repo)
}

// call is one small request: everything but the streams of blobs.
type request struct {
	op, method, url string
	repo, ref       string
	accept          string
	contentType     string
	body            []byte
	limit           int64 // of a good answer's body, in bytes; 0 if it does not matter
}

// answer is what came back of a call, read whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

// do makes one small request and reads the answer, whatever its status.
func (r *Registry) do(ctx context.Context, c request) (*response, error) {
	if err := checkReference(r.host, c.op, c.repo, c.ref); err != nil {
		return nil, err
	}
	if err := r.requests.Acquire(ctx, 1); err != nil {
		return nil, r.transportError(ctx, c.op, c.repo, c.ref, err)
	}
	defer r.requests.Release(1)

	ctx, watch := withWatchdog(ctx)
	defer watch.stop()
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, body)
	if err != nil {
		return nil, r.transportError(ctx, c.op, c.repo, c.ref, err)
	}
	if c.accept != "" {
		req.Header.Set("Accept", c.accept)
	}
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	// Otherwise net/http asks for gzip and hides Content-Length.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.transportError(ctx, c.op, c.repo, c.ref, err)
	}
	defer resp.Body.Close()
	// Only now: until here the client may have been waiting for a Retry-After.
	watch.arm(r.stallTimeout)
	good := resp.StatusCode/100 == 2 && c.limit > 0
	limit := c.limit
	if !good {
		limit = maxErrorBody
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case !good:
		// A refusal is one, even if its text does not arrive whole.
		data = data[:min(int64(len(data)), limit)]
	case err != nil:
		return nil, r.transportError(ctx, c.op, c.repo, c.ref, fmt.Errorf("%w: %w", errBroken, err))
	case int64(len(data)) > limit:
		return nil, &Error{Registry: r.host, Repository: c.repo, Reference: c.ref, Op: c.op, Kind: TooLarge, Status: resp.StatusCode,
			Reason: fmt.Sprintf("the answer is longer than the %d bytes that are taken", limit)}
	}
	return &response{status: resp.StatusCode, header: resp.Header, body: data}, nil
}

// get reads something small. A body that breaks off is read again: whoever
// repeats requests below us does not see it.
func (r *Registry) get(ctx context.Context, c request) (*response, error) {
	c.method = http.MethodGet
	for n := 1; ; n++ {
		a, err := r.do(ctx, c)
		if err == nil || n == maxAttempts || !errors.Is(err, errBroken) && !errors.Is(err, errStalled) {
			return a, err
		}
		if err := r.waitToRetry(ctx, failure{c.op, c.repo, c.ref, err}, n, 0); err != nil {
			return nil, r.transportError(ctx, c.op, c.repo, c.ref, err)
		}
	}
}

// Resolve asks what a tag or digest points to, once a run: whoever asks again
// gets the same answer, NotFound too. It is one HEAD; where the answer has no
// digest, the manifest is read and hashed.
//
// Called for the target's tag while ReadTree is busy at the source, it saves
// Inspect a round trip.
func (r *Registry) Resolve(ctx context.Context, repo, ref string) (Descriptor, error) {
	d, err := r.tags.Get(ctx, key(repo, ref), func(ctx context.Context) (Descriptor, error) {
		return r.head(ctx, repo, ref)
	})
	return d, r.wrap(ctx, "looking for", repo, ref, err)
}

// unlist drops what is known to be attached to a manifest.
func (r *Registry) forgetReferrers(repo, digest string) {
	r.referrerLists.Delete(key(repo, digest))
	r.fallbackLists.Delete(key(repo, digest))
}

// head asks for a manifest's digest, size and type.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#checking-if-content-exists-in-the-registry
func (r *Registry) head(ctx context.Context, repo, reference string) (Descriptor, error) {
	const op = "looking for"
	c := request{op: op, method: http.MethodHead, url: r.url(repo, "manifests", reference), repo: repo, ref: reference, accept: acceptManifests}
	a, err := r.do(ctx, c)
	if err != nil {
		return Descriptor{}, err
	}
	switch {
	case a.status == http.StatusOK:
	case a.status == http.StatusNotFound:
		return Descriptor{}, r.statusError(op, repo, reference, a.status, nil)
	default:
		return Descriptor{}, r.headError(ctx, c, a.status)
	}
	digest := a.header.Get("Docker-Content-Digest")
	if digest == "" {
		m, err := r.fetch(ctx, repo, reference, Descriptor{})
		if err != nil {
			return Descriptor{}, err
		}
		return m.Descriptor, nil
	}
	if err := ref.CheckDigest(digest); err != nil {
		return Descriptor{}, r.corruptError(op, repo, reference, fmt.Sprintf("the digest header says %q: %v", sanitize.Bounded(digest, 100), err))
	}
	if ref.NamesDigest(reference) && digest != reference {
		return Descriptor{}, r.corruptError(op, repo, reference, "the registry answers with another digest, "+digest)
	}
	size := int64(-1)
	if n := a.header.Get("Content-Length"); n != "" {
		if v, err := strconv.ParseInt(n, 10, 64); err == nil && v >= 0 {
			size = v
		}
	}
	return Descriptor{MediaType: mediaType(a.header.Get("Content-Type")), Digest: digest, Size: size}, nil
}

// explain finds out why a HEAD was refused: its answer has no body, and the
// firewall tells only in the body what it did not like.
func (r *Registry) headError(ctx context.Context, c request, status int) error {
	plain := r.statusError(c.op, c.repo, c.ref, status, nil)
	if status != http.StatusForbidden && status != http.StatusUnauthorized && status != http.StatusMethodNotAllowed {
		return plain
	}
	c.method, c.limit = http.MethodGet, maxErrorBody
	a, err := r.do(ctx, c)
	if err != nil || a.status != status {
		return plain
	}
	return r.statusError(c.op, c.repo, c.ref, status, a.body)
}

func (r *Registry) corruptError(op, repo, ref, reason string) *Error {
	return &Error{Registry: r.host, Repository: repo, Reference: ref, Op: op, Kind: Corrupt, Reason: reason,
		Remedy: "do not use it: find out who or what changed it, and push it again"}
}

// own makes sure that an error is one of this package; waiting for somebody
// else's answer ends in the context's.
func (r *Registry) wrap(ctx context.Context, op, repo, ref string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return r.transportError(ctx, op, repo, ref, err)
}

func isNotFound(err error) bool { return errors.Is(err, NotFound) }
