package sim_test

import (
	"net/http"
	"testing"

	"acrpromote/internal/sim"
)

// TestUploadQuirks checks that a registry answers as its quirks say.
func TestUploadQuirks(t *testing.T) {
	l := startLab(t, sim.RegistryOptions{Quirks: sim.Quirks{NoHead: &sim.Answer{Status: http.StatusNotFound}, AcceptedPut: true, MovedUploads: http.StatusTemporaryRedirect, Mount: sim.MountsUpload, RedirectedHead: true, SignedForGET: true}})
	digest := l.stock()
	l.want(l.as("HEAD", "/v2/shop/cart/manifests/1.0", nil, ""), http.StatusNotFound, "")
	l.want(l.as("GET", "/v2/shop/cart/manifests/1.0", nil, ""), http.StatusOK, "")
	l.want(l.as("PUT", "/v2/shop/cart/manifests/2.0", header{"Content-Type": ociImage}, image("one", "two")), http.StatusAccepted, "")
	moved := l.as("POST", "/v2/shop/cart/blobs/uploads/", nil, "")
	if moved.Status != http.StatusTemporaryRedirect || moved.Header.Get("Location") == "" {
		t.Errorf("%d %q", moved.Status, moved.Header)
	}
	mounted := l.as("POST", "/v2/shop/other/blobs/uploads/?moved=1&from=shop/cart&mount="+digest, nil, "")
	if mounted.Status != http.StatusCreated || mounted.Header.Get("Docker-Content-Digest") != "" {
		t.Errorf("%d %q", mounted.Status, mounted.Header)
	}
}
