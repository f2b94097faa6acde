package topology

import (
	"fmt"
	"strings"
	"testing"
)

// TestPullRequests: only a pattern that begins like the ref of a pull request
// matches one.
func TestPullRequests(t *testing.T) {
	for _, c := range []struct {
		pattern, ref string
		want         bool
	}{
		{"refs/heads/main", "refs/heads/main", true},
		{"refs/**", "refs/heads/feature/x", true},
		{"refs/**", "refs/pull/7/merge", false},
		{"refs/*/7/merge", "refs/pull/7/merge", false},
		{"refs/p*/**", "refs/pull/7/merge", false},
		{"refs/pull*/**", "refs/pull/7/merge", false},
		{"refs/p?ll/**", "refs/pull/7/merge", false},
		{"refs/**", "refs/Pull/7/merge", false},
		{"refs/pull/**", "refs/pull/7/merge", true},
		{"refs/pull/7/merge", "refs/pull/7/merge", true},
		{"refs/pull/8/*", "refs/pull/7/merge", false},
		{"refs/**", "refs/pulls/7", true},
	} {
		var p BranchPattern
		if err := p.read(c.pattern); err != nil {
			t.Fatal(err)
		}
		if got := p.Match(c.ref); got != c.want {
			t.Errorf("%s matches %s: %v, want %v", c.pattern, c.ref, got, c.want)
		}
	}
}

// TestSealer: which run must have sealed an image, by the flow and the inputs.
func TestSealer(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name    string
		require string
		input   *bool
		want    string // "" if nothing is said of that run
		sealed  bool
	}{
		{"nothing", "{}", nil, "", false},
		{"sealed alone", "{sealed: true}", nil, "", true},
		{"branches", "{branches: [refs/heads/main]}", nil, "[] [] [refs/heads/main]", false},
		{"branches and sealed", "{branches: [refs/heads/main], sealed: true}", nil, "[] [] [refs/heads/main]", true},
		{"branches and not sealed", "{branches: [refs/heads/main], sealed: false}", nil, "", false},
		{"branches and not sealed, but for an input", "{branches: [refs/heads/main], sealed: false}", &yes, "[] [] [refs/heads/main]", true},
		{"an input that would relax", "{branches: [refs/heads/main], sealed: true}", &no, "[] [] [refs/heads/main]", true},
		{"sealed by a run of this pipeline", "{sealedBy: {}}", nil, "[] [] []", true},
		{"sealed by other pipelines", "{sealedBy: {pipelines: [12, 7]}}", nil, "[] [7 12] []", true},
		{"sealed by other pipelines, released from main", "{branches: [refs/heads/main], sealedBy: {pipelines: [7], projects: [shop]}}", nil, "[shop] [7] [refs/heads/main]", true},
		{"sealed from other branches", "{branches: [refs/heads/main], sealedBy: {branches: [refs/heads/dev, refs/heads/a]}}", nil, "[] [] [refs/heads/a refs/heads/dev]", true},
	} {
		file, err := Parse("flows.yml", []byte("version: 1\ntrust: [dev, prod]\nregistries:\n  prod: {host: p.example, trust: prod}\n  dev: {host: d.example, trust: dev}\nflows:\n  down: {from: prod, to: [dev], require: "+c.require+"}\n"))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		terms, err := file.Flows["down"].Tighten("1", Inputs{Sealed: c.input}, Defaults{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := ""
		if s := terms.Sealer; s != nil {
			got = fmt.Sprint(s.Projects, s.Pipelines, s.Branches)
		}
		if got != c.want || terms.Sealed != c.sealed {
			t.Errorf("%s: %q, sealed %v; want %q, %v", c.name, got, terms.Sealed, c.want, c.sealed)
		}
	}
	if _, err := Parse("flows.yml", []byte(strings.Replace(validFile, "      branches:", "      sealedBy: {projects: [\"Shop Floor\", 00000000-0000-4000-8000-000000000001], pipelines: [12], branches: [refs/heads/main]}\n      branches:", 1))); err != nil {
		t.Error(err)
	}
}
