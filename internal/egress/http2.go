package egress

import (
	"net/http"

	"golang.org/x/net/http2"
)

// useHTTP2 lets t speak HTTP/2 by golang.org/x/net/http2. The Azure libraries bring
// that implementation with them, so the program is built without the copy of it in
// net/http (build tag nethttpomithttp2), which saves 500 kB.
//
// It must be called on each transport after it was cloned: a clone would otherwise
// share the connections of the transport that it was cloned from, and those may have
// shown a client certificate.
func useHTTP2(t *http.Transport) error {
	t.TLSNextProto = nil
	h2, err := http2.ConfigureTransports(t)
	if err != nil {
		return err
	}
	h2.MaxHeaderListSize = maxHeader
	return nil
}
