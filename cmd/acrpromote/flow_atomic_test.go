package main_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestAtomicSet checks that no tag of the set appears at a registry before the whole
// set has arrived there, and that a failing registry does not delay another.
func TestAtomicSet(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "shop/cart", "1.0", 1, 2, 1000)
	pushImage(env.prod, "shop/pay", "1.0", 2, 2, 1000)
	env.seal("shop/cart:1.0", "shop/pay:1.0")
	env.stage.Begin()
	if err := env.stage.Approve(manager, ""); err != nil {
		t.Fatal(err)
	}
	file := env.flowFile(strings.Replace(sandbox, "    onPartial: warn\n", "    onPartial: warn\n    atomic: true\n", 1))
	push := inputs{"action": "invertedPush", "flowFile": file, "flow": "released", "images": "shop/cart:1.0\nshop/pay:1.0"}

	// The web registry rejects manifests of shop/pay.
	lift := env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != dev2Host || r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/v2/shop/pay/manifests/") {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		return true
	})
	half := env.task(push)
	if half.result["outcome"] != "partial" || half.task != "SucceededWithIssues" {
		t.Fatalf("outcome %v, task %s\n%s", half.result["outcome"], half.task, half.stdout)
	}
	for _, repository := range []string{"shop/cart", "shop/pay"} {
		if env.dev.TagDigest(repository, "1.0") == "" {
			t.Errorf("the whole registry lacks %s", repository)
		}
		if env.dev2.TagDigest(repository, "1.0") != "" {
			t.Errorf("the broken registry shows %s before the set is whole", repository)
		}
	}
	lift()
	mark := env.cloud.Mark()
	env.task(push).want("done")
	for _, r := range env.cloud.Since(mark) {
		if r.Host == devHost && (r.Method == http.MethodPut || r.Method == http.MethodPost && strings.Contains(r.Path, "/blobs/")) {
			t.Errorf("the rerun wrote where all was done: %s %s", r.Method, r.Path)
		}
	}
	for _, repository := range []string{"shop/cart", "shop/pay"} {
		if got, want := env.dev2.TagDigest(repository, "1.0"), env.prod.TagDigest(repository, "1.0"); got != want {
			t.Errorf("%s is %s, want %s", repository, got, want)
		}
	}
}
