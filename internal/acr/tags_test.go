package acr

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewestTags(t *testing.T) {
	entry := func(name, digest, updated string) string {
		return fmt.Sprintf(`{"name":%q,"digest":%q,"createdTime":"2026-11-01T12:00:00Z","lastUpdateTime":%q,"changeableAttributes":{}}`, name, digest, updated)
	}
	asked, status := "", http.StatusOK
	list := []string{
		entry("1.4.2", digest, "2026-11-23T13:00:00.5Z"), entry("1.4.1", digest, "2026-11-22T13:00:00Z"),
		entry("no-digest", "sha256:1", "2026-11-21T13:00:00Z"), entry(strings.Repeat("x", 129), digest, "2026-11-21T13:00:00Z"),
		`{"name":"no-time","digest":"` + digest + `"}`, `null`, entry("1.4.0", digest, "2026-11-20T13:00:00Z"),
	}
	m, _ := metadata(t, func(rw http.ResponseWriter, req *http.Request) {
		asked = req.Method + " " + req.URL.EscapedPath() + " " + req.URL.Query().Get("orderby") + " " + req.URL.Query().Get("n")
		rw.Header().Set("Link", `</acr/v1/shop/cart/_tags?last=x>; rel="next"`)
		rw.WriteHeader(status)
		if status != http.StatusOK {
			fmt.Fprint(rw, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`)
			return
		}
		fmt.Fprintf(rw, `{"registry":"prod.azurecr.io","imageName":"shop/cart","tags":[%s]}`, strings.Join(list, ","))
	})
	updated := time.Date(2026, 11, 23, 13, 0, 0, 500_000_000, time.UTC)
	want := []Tag{{"1.4.2", digest, updated}, {"1.4.1", digest, time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)}, {"1.4.0", digest, time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC)}}
	got, err := m.NewestTags(t.Context(), "shop/cart", 100)
	if err != nil || !slices.Equal(got, want) || asked != "GET /acr/v1/shop%2Fcart/_tags timedesc 100" {
		t.Errorf("%s: %v, %v, want %v", asked, got, err, want)
	}
	if got, err := m.NewestTags(t.Context(), "shop/cart", 1); err != nil || !slices.Equal(got, want[:1]) {
		t.Errorf("%v, %v, want the first", got, err)
	}
	status = http.StatusNotFound
	if _, err := m.NewestTags(t.Context(), "shop/cart", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("a repository that does not exist: %v", err)
	}
	status = http.StatusForbidden
	if _, err := m.NewestTags(t.Context(), "shop/cart", 1); !errors.Is(err, ErrDenied) {
		t.Errorf("without the right: %v", err)
	}
}
