package main_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// cosigned pushes the image of the tests of faults: an index of two platforms,
// sealed, with an SBOM on a child and a cosign tag.
func cosigned(t *testing.T) (env *testEnv, image descriptor, attached []descriptor, signature string) {
	t.Helper()
	env = newTestEnv(t)
	image = pushIndex(env.prod, cart, release, 1)
	attached = []descriptor{env.record(image), testimage.Attach(env.prod, cart, testimage.Of(child(1, 0)), "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))}
	signature = testimage.FallbackTag(image.Digest) + ".sig"
	testimage.Put(env.prod, cart, signature, testimage.Signature(layer(7, 0, 512)))
	env.lock(release)
	env.approve(manager, "released")
	return env, image, attached, signature
}

// whole lists what the target lacks of the image and its company.
func whole(r *sim.Registry, image descriptor, attached []descriptor, signature string) []string {
	missing := lacking(r, cart, release)
	if r.TagDigest(cart, release) != image.Digest {
		missing = append(missing, "the tag")
	}
	for _, a := range attached {
		missing = append(missing, lacking(r, cart, a.Digest)...)
	}
	return append(missing, lacking(r, cart, signature)...)
}

// TestFaultsSurvived checks that the push succeeds and that retries are reported.
func TestFaultsSurvived(t *testing.T) {
	const (
		manifests = "^/v2/.*/manifests/"
		blobs     = "^/v2/.*/blobs/sha256:"
		uploads   = "/blobs/uploads/"
	)
	all := func(do sim.Action) []sim.Fault {
		// The first request of every kind, on either side.
		var faults []sim.Fault
		for _, host := range []string{prodHost, devHost} {
			for _, path := range []string{"^/oauth2/exchange", "^/oauth2/token", "/tags/list", "/referrers/", manifests, blobs, uploads, "^/acr/v1/"} {
				faults = append(faults, sim.Fault{Host: host, Path: path, Do: do})
			}
		}
		return append(faults, sim.Fault{Host: devHost, Method: "PUT", Path: manifests, Do: do}, sim.Fault{Host: devHost, Method: "PUT", Path: uploads, Do: do}, sim.Fault{Host: prodStorage, Do: do})
	}
	one := func(f sim.Fault) []sim.Fault { return []sim.Fault{f} }
	for _, c := range []struct {
		name   string
		faults []sim.Fault
		silent bool // nothing is asked again
	}{
		{"429 with Retry-After on every kind of request", all(sim.Throttle(time.Second)), false},
		{"429 without Retry-After on every kind of request", all(sim.Throttle(-1)), false},
		{"429 with a Retry-After of -1", all(sim.Refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests", "Retry-After", "-1")), false},
		{"429 with a Retry-After in the past", all(sim.Refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests", "Retry-After", "Mon, 01 Jan 2001 00:00:00 GMT")), false},
		{"429 on every fifth request at the target", one(sim.Fault{Host: devHost, Path: "^/v2/", Every: 5, Times: sim.Always, Do: sim.Throttle(-1)}), false},
		{"502 at the source and 504 at the target", append(all(sim.Status(502))[:8], all(sim.Status(504))[8:]...), false},
		{"503 on every kind of request", all(sim.Status(503)), false},
		{"500 on a blob", one(sim.Fault{Host: prodHost, Path: blobs, Do: sim.Status(500)}), false},
		{"500 on an upload", one(sim.Fault{Host: devHost, Method: "POST", Path: uploads, Do: sim.Status(500)}), true},
		{"500 on the last PUT", one(sim.Fault{Host: devHost, Method: "PUT", Path: uploads, Do: sim.Status(500)}), false},
		{"500 on a manifest PUT", one(sim.Fault{Host: devHost, Method: "PUT", Path: manifests, Do: sim.Status(500)}), false},
		{"a body cut once", one(sim.Fault{Host: prodStorage, Do: sim.Cut(100)}), false},
		{"an upload reset", one(sim.Fault{Host: devHost, Method: "PUT", Path: uploads, Do: sim.Reading(10, sim.Reset())}), false},
		{"BLOB_UPLOAD_INVALID on the last PUT", one(sim.Fault{Host: devHost, Method: "PUT", Path: uploads, Do: sim.Reading(-1, sim.Refuse(404, "BLOB_UPLOAD_INVALID", "blob upload invalid"))}), false},
		{"401 in the middle of an upload", one(sim.Fault{Host: devHost, Method: "PUT", Path: uploads, Do: sim.Reading(10, sim.Refuse(401, "UNAUTHORIZED", "authentication required"))}), false},
		{"a storage address that expired", one(sim.Fault{Host: prodStorage, Do: sim.Status(403)}), false},
		{"MANIFEST_BLOB_UNKNOWN once", one(sim.Fault{Host: devHost, Method: "PUT", Path: manifests, Do: sim.Refuse(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")}), false},
		{"a connection reset at the source", one(sim.Fault{Host: prodHost, Path: manifests, Do: sim.Reset()}), true},
		{"a connection reset at the storage", one(sim.Fault{Host: prodStorage, Do: sim.Reset()}), true},
		{"the answer to the last PUT lost", one(sim.Fault{Host: devHost, Method: "PUT", Path: uploads, Do: sim.Lose()}), false},
		{"the answer to the tag's PUT lost", one(sim.Fault{Host: devHost, Method: "PUT", Path: manifests + release + "$", Do: sim.Lose()}), true},
		{"a wrong Content-Length", one(sim.Fault{Host: prodStorage, Do: sim.WrongLength(50)}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, image, attached, signature := cosigned(t)
			script := env.cloud.Script(c.faults...)
			o := env.task(push()).want("done").wantStates("copied")
			if missing := whole(env.dev, image, attached, signature); len(missing) > 0 {
				t.Errorf("DEV lacks %v", missing)
			}
			total, retries := 0, 0
			for _, n := range script.Happened() {
				total += n
			}
			if total == 0 {
				t.Error("nothing went wrong, so this tests nothing")
			}
			for _, traffic := range o.at("traffic").([]any) {
				retries += int(traffic.(map[string]any)["retries"].(float64))
			}
			if retries == 0 && !c.silent {
				t.Errorf("%d faults, but no retry is reported: %v", total, o.at("traffic"))
			}
			if strings.Contains(c.name, "lost") {
				again := env.task(push()).want("done").wantStates("present")
				if again.output["changed"] != "false" {
					t.Error("again: something was changed")
				}
			}
		})
	}
}

// TestAllBodiesCut breaks every download three times.
func TestAllBodiesCut(t *testing.T) {
	env, image := ready(t)
	var faults []sim.Fault
	var cuts []int
	for _, blob := range env.prod.Blobs(cart) {
		// Each cut lets one byte through, which the next Range leaves out.
		content, _ := env.prod.Blob(cart, blob)
		cuts = append(cuts, min(3, len(content)))
		faults = append(faults, sim.Fault{Host: prodStorage, Path: strings.TrimPrefix(blob, "sha256:"), Times: 3, Do: sim.Cut(1)})
	}
	script := env.cloud.Script(faults...)
	env.task(push()).want("done").wantStates("copied")
	if missing := whole(env.dev, image, nil, release); len(missing) > 0 {
		t.Errorf("DEV lacks %v", missing)
	}
	for i, n := range script.Happened() {
		if n != cuts[i] {
			t.Errorf("body %d was cut %d times, want %d", i, n, cuts[i])
		}
	}
}

// TestFaultsRefused checks that permanent faults end with a message that names the
// registry, and leave no tag. Without the fault the same push succeeds.
func TestFaultsRefused(t *testing.T) {
	layer := childLayer()
	other := func(string) string { return "sha256:" + strings.Repeat("0", 64) }
	for _, c := range []struct {
		name  string
		fault sim.Fault
		side  string
		says  []string
	}{
		{"a flipped byte in a blob", sim.Fault{Host: prodStorage, Path: strings.TrimPrefix(layer, "sha256:"), Do: sim.Flip(7)}, "source", []string{prodHost, layer}},
		{"a flipped byte in a manifest", sim.Fault{Host: prodHost, Method: "GET", Path: "/manifests/", Do: sim.Flip(20)}, "source", []string{prodHost, cart, "digest"}},
		{"a flipped byte in a manifest without a digest header", sim.Fault{Host: prodHost, Path: "/manifests/" + release + "$", Do: sim.Both(sim.Flip(17), sim.WithHeader("Docker-Content-Digest", func(string) string { return "" }))}, "source", []string{prodHost, cart}},
		{"a wrong digest header at the source", sim.Fault{Host: prodHost, Path: "/manifests/", Do: sim.WithHeader("Docker-Content-Digest", other)}, "source", []string{prodHost}},
		{"a wrong digest header at the target", sim.Fault{Host: devHost, Method: "PUT", Path: "/manifests/", Do: sim.WithHeader("Docker-Content-Digest", other)}, "target", []string{devHost}},
		{"403 on the existence check", sim.Fault{Host: devHost, Method: "HEAD", Path: "/manifests/", Do: sim.Refuse(403, "DENIED", "requested access to the resource is denied")}, "target", []string{devHost, "403"}},
		{"403 on the referrers", sim.Fault{Host: prodHost, Path: "/referrers/", Do: sim.Refuse(403, "DENIED", "requested access to the resource is denied")}, "source", []string{prodHost}},
		{"500 on a manifest", sim.Fault{Host: prodHost, Path: "/manifests/", Do: sim.Status(500)}, "source", []string{prodHost, cart, "500"}},
		{"a full disk", sim.Fault{Host: devHost, Method: "PUT", Path: "/blobs/uploads/", Do: sim.Refuse(http.StatusInsufficientStorage, "UNKNOWN", "no space left on device")}, "target", []string{devHost, "507"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, image, attached, signature := cosigned(t)
			c.fault.Times = sim.Always
			script := env.cloud.Script(c.fault)
			env.task(push()).failsAt(c.side, c.says...)
			if got := env.dev.TagDigest(cart, release); got != "" {
				t.Errorf("DEV shows the tag, at %s", got)
			}
			if script.Happened()[0] == 0 {
				t.Error("nothing went wrong, so this tests nothing")
			}
			script.Stop()
			env.task(push()).want("done")
			if missing := whole(env.dev, image, attached, signature); len(missing) > 0 {
				t.Errorf("DEV lacks %v", missing)
			}
		})
	}
}

// TestLaggingReplicas simulates replicas that do not show a write at once.
func TestLaggingReplicas(t *testing.T) {
	env, image, attached, signature := cosigned(t)
	lagging := env.cloud.Registry("contosofar.azurecr.io", sim.RegistryOptions{Tokens: env.directory, Lag: sim.Lag{Requests: 12, Time: 300 * time.Millisecond}})
	lagging.Grant(clientID, "**", sim.RepositoryWriter...)
	env.task(push("targets", lagging.Host())).want("done").wantStates("copied")
	if missing := whole(lagging, image, attached, signature); len(missing) > 0 {
		t.Errorf("it lacks %v", missing)
	}
}
