package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// kind is what a request is for.
func kind(method, path string) string {
	switch {
	case strings.HasPrefix(path, "/oauth2/"), strings.HasSuffix(path, "/oauth2/v2.0/token"), strings.Contains(path, "/oidctoken"):
		return "token"
	case strings.Contains(path, "/referrers/"):
		return "referrers"
	case strings.HasPrefix(path, "/acr/v1/"):
		return "attributes"
	case strings.HasSuffix(path, "/tags/list"):
		return "tags"
	case method == "HEAD":
		return "look"
	case strings.Contains(path, "/blobs/uploads/"):
		return "upload"
	case method == "PUT":
		return "manifest PUT"
	case strings.Contains(path, "/manifests/"):
		return "manifest GET"
	case strings.Contains(path, "/blobs/"):
		return "blob GET"
	}
	return method
}

// table counts requests by host and kind.
func table(o outcome) map[string]int {
	counted := map[string]int{}
	for _, r := range o.requests {
		counted[r.Host+" "+kind(r.Method, r.Path)]++
	}
	return counted
}

func show(counted map[string]int) string {
	var rows []string
	total := 0
	for k, n := range counted {
		rows = append(rows, fmt.Sprintf("  %-55s %3d", k, n))
		total += n
	}
	slices.Sort(rows)
	return strings.Join(append(rows, fmt.Sprintf("  %-55s %3d", "all", total)), "\n")
}

// TestRequests counts what one inverted push of an image of five layers costs,
// sealed and with nothing else attached, cold and again.
func TestRequests(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 5, 4096)
	env.stage.Begin()
	env.task(sealing).want("done")
	env.approve(manager, "released")

	cold := env.task(push()).want("done").wantStates("copied")
	t.Logf("cold:\n%s", show(table(cold)))
	again := env.task(push()).want("done").wantStates("present")
	t.Logf("again:\n%s", show(table(again)))
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Fatalf("tag %q", got)
	}
	holdTable(t, "cold", table(cold), coldTable)
	holdTable(t, "again", table(again), againTable)

	// result.json tells the same of the registries.
	for name, o := range map[string]outcome{"cold": cold, "again": again} {
		for _, traffic := range o.at("traffic").([]any) {
			told := traffic.(map[string]any)
			host := told["registry"].(string)
			if strings.Contains(host, ":") || !strings.HasSuffix(host, ".azurecr.io") {
				continue
			}
			sum := 0
			for _, n := range told["requests"].(map[string]any) {
				sum += int(n.(float64))
			}
			seen := len(o.asked(host))
			if host == prodHost {
				seen += len(o.asked(prodStorage)) // where its downloads are redirected to
			}
			if sum != seen {
				t.Errorf("%s: result.json tells %d requests to %s, its log %d", name, sum, host, seen)
			}
		}
	}
}

func holdTable(t *testing.T, name string, got, want map[string]int) {
	t.Helper()
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%s: %s %d, want %d", name, k, got[k], n)
		}
	}
	for k, n := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s %d, want none", name, k, n)
		}
	}
}

// Of an image of five layers, sealed, with nothing else attached. The least
// possible, and why:
//
// At PROD: the exchange and one access token for all of the run (2), since an
// Entra token opens no image. The image's manifest and its seal record's (2):
// each has to be read to be copied. What refers to each of them (2): whether
// more is attached is known only when asked. Cosign's tags, which no list of
// referrers has (1). The tag's lock and time, and the record's time (2): what
// is sealed is the registry's word. Seven blobs, of which the image has six and the record
// one, its empty config, each of them a redirect to the storage and a download
// (7 + 7): the record itself lies in its manifest as well.
//
// At DEV: exchange and token (2); where the tag points (1) and whether the
// repository is locked (1), while there is time to refuse; for each blob the
// session that tells also whether it is there, and the upload (8 × 2): Azure
// takes no blob in one request; two manifests (2), of which the last sets the
// tag and returns the digest that is compared.
//
// Azure DevOps: OPTIONS and the resource areas, build, timeline, approvals,
// suite and the check's configuration (7), the checks of the service
// connections (1), the run's own token and the connection's assertion (2).
// Entra: the tenant's configuration, which its library insists on, and one
// token for both registries (2).
var coldTable = map[string]int{
	prodHost + " token": 2, prodHost + " manifest GET": 2, prodHost + " referrers": 2, prodHost + " tags": 1, prodHost + " attributes": 2,
	prodHost + " blob GET": 7, prodStorage + " blob GET": 7,
	devHost + " token": 2, devHost + " look": 1, devHost + " attributes": 1, devHost + " upload": 16, devHost + " manifest PUT": 2,
	devOpsHost + " OPTIONS": 1, devOpsHost + " GET": 7, devOpsHost + " token": 2,
	entraHost + " GET": 1, entraHost + " token": 1,
}

// Again: nothing is written, and no blob is read. The seal record is: a list
// that names it is not evidence. DEV is asked where the tag points, and for what
// refers to the image there.
var againTable = map[string]int{
	prodHost + " token": 2, prodHost + " manifest GET": 2, prodHost + " referrers": 2, prodHost + " tags": 1, prodHost + " attributes": 2,
	devHost + " token": 2, devHost + " look": 1, devHost + " referrers": 1,
	devOpsHost + " OPTIONS": 1, devOpsHost + " GET": 7, devOpsHost + " token": 2,
	entraHost + " GET": 1, entraHost + " token": 1,
}
