package sim

import (
	"net/http"
	"time"
)

// Lag makes a geo-replicated registry of it: what one connection wrote is seen
// by it at once, and by every other, which may end at another replica, only
// after so many further requests or so long, whichever comes first. The zero
// value is a registry without replicas.
// https://learn.microsoft.com/azure/container-registry/container-registry-geo-replication
type Lag struct {
	Requests int           // to the registry, since the write
	Time     time.Duration // by real time; 0 is without end
}

// arrival is a write that has not come to every replica yet.
type arrival struct {
	replica string // the connection that wrote
	at      int    // requests that had come until then
	time    time.Time
	before  string // the digest that the tag pointed at
}

// place is what was written: a tag, a manifest or a blob of a repository.
type place struct{ repository, reference string }

// The methods below need r.mu.

// arrives notes a write of the request. A tag that is moved has been another
// digest before; what was there already arrives no more.
func (r *Registry) arrives(req *http.Request, name, reference, before string, there bool) {
	if r.o.Lag != (Lag{}) && !there {
		r.arrivals[place{name, reference}] = arrival{req.RemoteAddr, r.requests, time.Now(), before}
	}
}

// hides reports whether the replica that the request came to has not heard of
// the place yet, and what it knows instead.
func (r *Registry) hides(req *http.Request, name, reference string) (before string, hidden bool) {
	a, ok := r.arrivals[place{name, reference}]
	return a.before, ok && r.late(req, a)
}

// late reports whether the replica that the request came to has not heard of the
// write yet.
func (r *Registry) late(req *http.Request, a arrival) bool {
	switch {
	case a.replica == req.RemoteAddr:
		return false
	case r.o.Lag.Requests == 0:
		return time.Since(a.time) < r.o.Lag.Time
	}
	return r.requests-a.at < r.o.Lag.Requests && (r.o.Lag.Time == 0 || time.Since(a.time) < r.o.Lag.Time)
}

// lateLock is a change of attributes that has not come to every replica yet.
type lateLock struct {
	arrival
	before attributes
}

// locks notes a change of attributes by the request.
func (r *Registry) locks(req *http.Request, name, reference string, before attributes) {
	if r.o.Lag != (Lag{}) {
		r.locksBefore[place{name, reference}] = lateLock{arrival{req.RemoteAddr, r.requests, time.Now(), ""}, before}
	}
}

// seenLock is the attributes of a tag or manifest at the request's replica.
func (r *Registry) seenLock(req *http.Request, name, reference string, now attributes) attributes {
	if late, ok := r.locksBefore[place{name, reference}]; ok && r.late(req, late.arrival) {
		return late.before
	}
	return now
}

// seen is the manifest that the reference resolves to at the request's replica.
func (r *Registry) seen(req *http.Request, name, reference string) (string, *manifest) {
	repo := r.repository(name)
	if before, hidden := r.hides(req, name, reference); hidden {
		reference = before
	}
	digest, m := repo.resolve(reference)
	if _, hidden := r.hides(req, name, digest); hidden {
		return digest, nil
	}
	return digest, m
}

// seenBlob is the blob at the request's replica.
func (r *Registry) seenBlob(req *http.Request, name, digest string) *blob {
	if _, hidden := r.hides(req, name, digest); hidden {
		return nil
	}
	return r.blobIn(name, digest)
}
