package transfer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/ref"
)

// TestDeepChecks checks that a blob counts as present only if a byte of it can be read
// where HEAD does not show it, and that the error names the host that refused.
func TestDeepChecks(t *testing.T) {
	content := layerOf("a")
	for name, c := range map[string]struct {
		storage http.HandlerFunc
		missing bool
		says    string // "storage" is the storage's host
	}{
		"there": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }, false, ""},
		"a range": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
		}, false, ""},
		"gone":  {http.NotFound, true, ""},
		"empty": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) }, true, ""},
		"another size": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content[1:])))
		}, false, "it has 102399 bytes, but the manifest says 102400"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, false, "storage"},
	} {
		t.Run(name, func(t *testing.T) {
			storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					t.Error("HEAD was redirected to the storage")
				}
				c.storage(w, r)
			}))
			t.Cleanup(storage.Close)
			p := newPeer(t)
			p.handler = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, storage.URL+"/data", http.StatusTemporaryRedirect)
					return true
				}
				return false
			}
			r := p.registry()
			r.client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
				if req.Method == http.MethodHead {
					return http.ErrUseLastResponse
				}
				return nil
			}
			there, err := r.hasBlob(t.Context(), "shop/cart", Descriptor{Digest: ref.DigestOf(content), Size: int64(len(content))})
			want := strings.Replace(c.says, "storage", strings.TrimPrefix(storage.URL, "http://"), 1)
			switch {
			case want == "" && (err != nil || there == c.missing):
				t.Errorf("%v, %v", there, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}
