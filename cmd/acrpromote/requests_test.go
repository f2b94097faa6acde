package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// kind is the purpose of a request.
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

// TestRequests counts the requests of an inverted push of an image of five layers,
// sealed and with nothing else attached, for the first push and a rerun.
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

	// result.json has the same counts for the registries.
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
				t.Errorf("%s: result.json has %d requests to %s, the log %d", name, sum, host, seen)
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

// The minimum for a sealed image of five layers with nothing else attached:
//
// PROD: the exchange and one access token for the whole run (2), because an Entra
// token gives no access to images. The manifests of the image and its seal record
// (2), to be copied. The referrers of both (2), to know whether more is attached, and
// those of the image again after the copy (1), in case it was recalled meanwhile.
// Cosign's tags, which are not in the list of referrers (1). The tag's lock and time
// and the record's time (2), because the registry's data decides what is sealed.
// Seven blobs, six of the image and the record's empty config, each with a redirect
// to the storage and a download (7 + 7); the record itself is in its manifest.
//
// DEV: exchange and token (2). The digest of the tag (1) and the lock of the
// repository (1), in time to refuse. For each blob the start of an upload, which
// also shows whether it exists, and the upload (8 × 2), because Azure does not accept
// a blob in one request. Two manifests (2): the last sets the tag and returns the
// digest to compare.
//
// Azure DevOps: OPTIONS and the resource areas, build, timeline, approvals,
// suite and the check's configuration (7), the checks of the service
// connections and their names (2), the run's own token and the connection's assertion (2).
// Entra: the tenant's configuration, which its library requires, and one token for
// both registries (2).
var coldTable = map[string]int{
	prodHost + " token": 2, prodHost + " manifest GET": 2, prodHost + " referrers": 3, prodHost + " tags": 1, prodHost + " attributes": 2,
	prodHost + " blob GET": 7, prodStorage + " blob GET": 7,
	devHost + " token": 2, devHost + " look": 1, devHost + " attributes": 1, devHost + " upload": 16, devHost + " manifest PUT": 2,
	devOpsHost + " OPTIONS": 1, devOpsHost + " GET": 8, devOpsHost + " token": 2,
	entraHost + " GET": 1, entraHost + " token": 1,
}

// A rerun writes nothing and reads no blob. It reads the seal record, because a list
// that names it is not evidence, and at DEV the digest of the tag and the referrers
// of the image.
var againTable = map[string]int{
	prodHost + " token": 2, prodHost + " manifest GET": 2, prodHost + " referrers": 2, prodHost + " tags": 1, prodHost + " attributes": 2,
	devHost + " token": 2, devHost + " look": 1, devHost + " referrers": 1,
	devOpsHost + " OPTIONS": 1, devOpsHost + " GET": 8, devOpsHost + " token": 2,
	entraHost + " GET": 1, entraHost + " token": 1,
}
