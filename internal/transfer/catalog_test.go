package transfer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestRepositories(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/_catalog?last=b>; rel="next"`)
			fmt.Fprint(w, `{"repositories":["shop/pay","a..b","Shop/Cart","shop/cart"]}`)
			return
		}
		fmt.Fprint(w, `{"repositories":["a/../b","base","shop/pay",""]}`)
	}))
	t.Cleanup(s.Close)
	r := newTestRegistry(strings.TrimPrefix(s.URL, "http://"))
	if got, err := r.Repositories(t.Context(), 10); err != nil || !slices.Equal(got, []string{"base", "shop/cart", "shop/pay"}) {
		t.Errorf("%q, %v", got, err)
	}
}
