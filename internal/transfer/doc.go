// Package transfer copies images between registries, or within one, byte for byte:
// a digest never changes on the way. It speaks the OCI distribution protocol
// (github.com/opencontainers/distribution-spec, v1.1; "spec" in the comments here)
// and nothing else. Signing in and proxies are the business of the *http.Client
// that it is given, and whether an image may be copied has been decided before.
//
// A copy has three steps, one function each. ReadTree reads all manifests of an
// image at the source: the root, what it contains, and the referrers of these, by
// subject or by digest tag. Inspect finds out, with as few requests as possible,
// what a target lacks. Copy sends just that to one target or to many, in an order
// that is safe to interrupt: blobs, children, referrers, and the root last, put
// once by its tag. A tag never points to something incomplete, and a manifest that
// exists is never put again.
//
// For M manifests and B distinct blobs, a copy by tag to an empty target, without
// referrers, takes M+B requests at the source and 1+2B+M at the target: one HEAD,
// a POST and a PUT for each blob, and a PUT for each manifest. Looking for
// referrers takes one more request at the source for each manifest and one for
// the repository's tags, and one more HEAD at the target for each digest tag of
// the image. If a registry has no referrers API, one request finds that out for
// all, and the repository's tags show which fallback lists there are. If it does
// not accept blobs in a PUT, each takes one more PATCH. With more targets there
// are no more requests at the source, and a blob that one repository of a registry
// has takes one POST for each of the others.
//
// If a target's tag points to the root already, only the root and the lists of
// referrers are read at the source. The manifests that the root contains are read
// at that target, and its referrers are looked for there. The rest is read only if
// something is missing (Tree.Complete).
//
// Files, in reading order: registry (small requests), response (errors of
// responses), error, descriptor, manifest, fetch, referrers, digesttags, tree,
// prefetch, replica (what is not read at the source), attached, presence, restrict
// (what may be written), blobreader (downloads with resumption), stream
// (verification, request bodies), upload, put, fallbacklist, copy (to one target),
// fanout and tee (to many), artifact, readartifact, catalog; parallel, retry,
// watchdog and progress are tools.
package transfer
