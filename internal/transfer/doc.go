// Package transfer copies images from one registry to another, or within one,
// byte for byte: whatever arrives has the digest that left. It speaks the OCI
// distribution protocol (github.com/opencontainers/distribution-spec, v1.1;
// "spec" in the comments here) and nothing else: signing in, locks and the way
// through proxies are the business of the *http.Client that it is given, and
// whether an image may be copied at all was decided before.
//
// A copy has three steps, one function each. ReadTree reads everything that an
// image is made of at the source: the root, what it contains, what is attached
// to any of these, by its own word or by the name of a tag. Inspect looks at
// the target once and says what is missing. Deliver sends just that to one
// target or to many, in an order that is safe to stop anywhere: blobs,
// contained manifests, attached manifests, and the root last, put once by its
// tag. A tag never points at something incomplete, and a manifest that is
// present is never written again.
//
// For M manifests and B distinct blobs a cold copy by tag, without referrers,
// takes M+B requests at the source and 1+2B+M at the target: one HEAD, a POST
// and a PUT a blob, a PUT a manifest. Looking for referrers costs one request
// more at the source for each manifest and one for the repository's tags, and
// one HEAD more at the target for each tag that belongs to the image. Where a
// registry keeps no lists of referrers, one request learns that for all, and the
// repository's tags tell which lists there are. Where it takes no blob in a PUT,
// each costs one PATCH more. With more targets the source is asked no more
// often, and a blob that one repository of a registry has costs the others a
// POST.
//
// Where a target's tag points to the root already, the root and the lists of
// what is attached are all that is read at the source; what the root contains
// is read at that target, and what is attached is looked for there. Only if
// something is missing is the rest read (Tree.Complete).
//
// Files, in reading order: registry (one request), answer (what a refusal
// says), fault (errors as sentences), descriptor, manifest, fetch, referrers,
// company, tree, ahead (what is asked before its turn, and what need not be
// read), replica, presence, origin (a blob's bytes, whatever breaks), stream
// (checked on their way), upload, put, listing, copy (one target), share and
// deliver (many), artifact; known, parallel, retry and stall are their tools.
package transfer
