package sim

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// downloadAddress is where a blob is downloaded from: the storage, by a signed
// address that expires.
func (r *Registry) downloadAddress(digest string) string {
	hexadecimal := strings.TrimPrefix(digest, "sha256:")
	path := "/registry/docker/registry/v2/blobs/sha256/" + hexadecimal[:2] + "/" + hexadecimal + "/data"
	expires := time.Now().Add(r.o.DownloadLifetime).UTC().Format(time.RFC3339)
	query := url.Values{
		"se": {expires}, "sp": {"r"}, "spr": {"https"}, "sr": {"b"}, "sv": {"2018-03-28"},
		"sig": {r.downloadSignature(path, expires)},
	}
	return "https://" + r.storage + path + "?" + query.Encode()
}

func (r *Registry) downloadSignature(path, expires string) string {
	r.mu.Lock()
	generation := r.downloads
	r.mu.Unlock()
	return r.sign(fmt.Sprintf("download %s until %s in %d", path, expires, generation))
}

// serveStorage is the storage behind the registry. It knows nobody: the
// signature in the query is all, and an Authorization header is an error.
func (r *Registry) serveStorage(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
	w.Header().Set("X-Ms-Request-Id", identifier())
	if req.Header.Get("Authorization") != "" {
		storageError(w, http.StatusBadRequest, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format. Check the value of Authorization header.")
		return
	}
	query := req.URL.Query()
	expires, err := time.Parse(time.RFC3339, query.Get("se"))
	if err != nil || !time.Now().Before(expires) || query.Get("sig") != r.downloadSignature(req.URL.Path, query.Get("se")) {
		storageError(w, http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.")
		return
	}
	if req.Method == http.MethodHead && r.o.Quirks.SignedForGET {
		storageError(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		storageError(w, http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
		return
	}
	parts := strings.Split(req.URL.Path, "/")
	digest := "sha256:" + parts[len(parts)-2]
	r.mu.Lock()
	b, corrupt := r.blobs[digest], r.corrupted[digest]
	r.mu.Unlock()
	if b == nil {
		storageError(w, http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.")
		return
	}
	reader, err := b.open()
	if err != nil {
		storageError(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	defer reader.Close()
	var served io.ReadSeeker = reader
	if corrupt != nil {
		stored, err := io.ReadAll(reader)
		if err != nil {
			storageError(w, http.StatusInternalServerError, "InternalError", err.Error())
			return
		}
		served = bytes.NewReader(corrupt(stored))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+parts[len(parts)-2][:16]+`"`)
	w.Header().Set("X-Ms-Blob-Type", "BlockBlob")
	if r.o.Quirks.GzipBlobs {
		answer, end := compressed(w)
		defer end()
		w = answer
	}
	http.ServeContent(w, req, "", time.Time{}, served)
}

func storageError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Ms-Error-Code", code)
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}
