package referrer

import (
	"strings"
	"testing"
	"time"
)

var approved = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// sbom is an SBOM attached to root, in time, that a target lacks.
func sbom(change ...func(*Referrer)) Referrer {
	r := Referrer{Digest: "sbom", Subject: "root", Type: "application/spdx+json", Missing: true, At: approved.Add(-time.Second),
		Manifest: Manifest{MediaType: image, Config: empty, Layers: []string{"application/spdx+json"}}}
	for _, c := range change {
		c(&r)
	}
	return r
}

// signature is cosign's, by a digest tag.
func signature(change ...func(*Referrer)) Referrer {
	return sbom(append([]func(*Referrer){func(r *Referrer) {
		r.Digest, r.Type, r.Tag = "sig", ociConfig, "sha256-root.sig"
		r.Manifest = Manifest{MediaType: image, Config: ociConfig, Layers: []string{signing}}
	}}, change...)...)
}

func program(r *Referrer) {
	r.Digest, r.Type = "program", ociConfig
	r.Manifest = Manifest{MediaType: image, Config: ociConfig, Layers: []string{tar}}
}

func to(subject string) func(*Referrer) { return func(r *Referrer) { r.Subject = subject } }
func named(digest string) func(*Referrer) {
	return func(r *Referrer) { r.Digest = digest }
}
func at(moment time.Time) func(*Referrer) {
	return func(r *Referrer) { r.At = moment }
}

func TestSelect(t *testing.T) {
	untimed := func(r *Referrer) { r.At, r.Untimed = time.Time{}, "403 DENIED" }
	present := func(r *Referrer) { r.Missing, r.At = false, time.Time{} }
	unread := func(r *Referrer) { r.Unread, r.Manifest = true, Manifest{} }
	late := at(approved.Add(time.Second))
	for _, c := range []struct {
		name  string
		rules Rules
		list  []Referrer
		want  []string // a part of each reason; "" travels
	}{
		{"in time", Rules{Event: Approval, Until: approved}, []Referrer{sbom(), signature()}, []string{"", ""}},
		{"at the same moment", Rules{Event: Approval, Until: approved}, []Referrer{sbom(at(approved))}, []string{"attached at 2026-11-20T12:00:00Z, after"}},
		{"late", Rules{Event: Approval, Until: approved}, []Referrer{sbom(late), signature(late)}, []string{"after the first approval that counts was given at 2026-11-20T12:00:00Z", "after the first approval that counts was given at 2026-11-20T12:00:00Z"}},
		{"late, and brought", Rules{}, []Referrer{sbom(late)}, []string{""}},
		{"late, and there", Rules{Event: Approval, Until: approved}, []Referrer{sbom(present)}, []string{""}},
		{"no time", Rules{Event: Approval, Until: approved}, []Referrer{sbom(untimed)}, []string{"does not say when it was attached: 403 DENIED"}},
		{"no time, no approval", Rules{}, []Referrer{sbom(untimed)}, []string{""}},
		{"runnable", Rules{}, []Referrer{sbom(program)}, []string{"would run it"}},
		{"runnable and included", Rules{Include: [][]string{{ociConfig}}}, []Referrer{sbom(program)}, []string{"would run it"}},
		{"runnable and excluded", Rules{Exclude: []string{ociConfig}}, []Referrer{sbom(program)}, []string{"would run it"}},
		{"runnable under cosign's tag", Rules{}, []Referrer{signature(program)}, []string{"would run it"}},
		{"index", Rules{}, []Referrer{sbom(func(r *Referrer) { r.Manifest = Manifest{MediaType: index} })}, []string{"would run it"}},
		{"excluded", Rules{Exclude: []string{"application/spdx+json"}}, []Referrer{sbom(), signature()}, []string{"excludes", ""}},
		{"excluded in another case", Rules{Exclude: []string{"Application/SPDX+json"}}, []Referrer{sbom()}, []string{"excludes"}},
		{"excluded and unread", Rules{Exclude: []string{"application/spdx+json"}}, []Referrer{sbom(unread)}, []string{"excludes"}},
		{"excluded by its layer", Rules{Exclude: []string{signing}}, []Referrer{sbom(), signature()}, []string{"", "excludes"}},
		{"included", Rules{Include: [][]string{{"application/spdx+json", "a/b"}}}, []Referrer{sbom(), signature()}, []string{"", "does not include"}},
		{"included by its layer", Rules{Include: [][]string{{signing}}}, []Referrer{sbom(), signature()}, []string{"does not include", ""}},
		{"included by one way only", Rules{Include: [][]string{{"application/spdx+json"}, {"a/b"}}}, []Referrer{sbom()}, []string{"does not include"}},
		{"included by a list of nothing", Rules{Include: [][]string{{}}}, []Referrer{sbom()}, []string{"does not include"}},
		{"included and excluded", Rules{Include: [][]string{{"application/spdx+json"}}, Exclude: []string{"application/spdx+json"}}, []Referrer{sbom()}, []string{"excludes"}},
		{"a type of a layer does not stand for a manifest's own", Rules{Include: [][]string{{tar}}}, []Referrer{sbom(func(r *Referrer) { r.Layers = []string{tar} })}, []string{"does not include"}},
		{"unread", Rules{Event: Approval, Until: approved}, []Referrer{sbom(unread, present)}, []string{""}},
		{"attached to a child", Rules{Event: Approval, Until: approved}, []Referrer{sbom(to("child"))}, []string{""}},
		{"attached to something attached", Rules{Event: Approval, Until: approved}, []Referrer{sbom(), signature(to("sbom"))}, []string{"", ""}},
		{"listed before its subject", Rules{Event: Approval, Until: approved}, []Referrer{signature(to("sbom")), sbom()}, []string{"", ""}},
		{"attached to what is late", Rules{Event: Approval, Until: approved}, []Referrer{sbom(late), signature(to("sbom"))}, []string{"after the first approval that counts was given at 2026-11-20T12:00:00Z", "attached to sbom, which stays behind"}},
		{"attached to what is attached to what would run", Rules{}, []Referrer{sbom(program), sbom(to("program")), signature(to("sbom"))},
			[]string{"would run it", "attached to program", "attached to sbom"}},
		{"attached to what is not there", Rules{}, []Referrer{sbom(to("elsewhere"))}, []string{"attached to elsewhere"}},
		{"runnable, attached to what stays behind", Rules{Exclude: []string{"application/spdx+json"}}, []Referrer{sbom(), sbom(program, to("sbom"))}, []string{"excludes", "would run it"}},
		{"in a circle of digest tags", Rules{}, []Referrer{signature(named("a"), to("b")), signature(named("b"), to("a"))}, []string{"attached to b", "attached to a"}},
		{"in a circle that the image leads to", Rules{}, []Referrer{signature(named("a"), to("b")), signature(named("b"), to("a")), signature(named("a"))}, []string{"", "", ""}},
		{"by two tags, one of them late", Rules{Event: Approval, Until: approved}, []Referrer{signature(), signature(to("child"), late)}, []string{"", "after the first approval that counts was given at 2026-11-20T12:00:00Z"}},
		{"a digest tag on the image itself", Rules{}, []Referrer{signature(program, named("root"))}, []string{"would run it"}},
		{"nothing", Rules{}, nil, nil},
	} {
		got := c.rules.Select([]string{"root", "child"}, c.list)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d reasons, want %d", c.name, len(got), len(c.want))
			continue
		}
		for i, reason := range got {
			if (reason == "") != (c.want[i] == "") || !strings.Contains(reason, c.want[i]) {
				t.Errorf("%s: reason %d is %q, want %q", c.name, i, reason, c.want[i])
			}
		}
	}
}

// TestTimed: a time is asked for only of what would travel and is not there.
func TestTimed(t *testing.T) {
	rules := Rules{Event: Approval, Until: approved, Exclude: []string{"a/b"}}
	for name, c := range map[string]struct {
		one  Referrer
		want bool
	}{
		"missing":  {sbom(), true},
		"untimed":  {sbom(at(time.Time{})), true},
		"present":  {sbom(func(r *Referrer) { r.Missing = false }), false},
		"runnable": {sbom(program), false},
		"excluded": {sbom(func(r *Referrer) { r.Type = "a/b" }), false},
	} {
		if got := rules.Timed(c.one); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
