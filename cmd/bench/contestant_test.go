package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var farAway = time.Now().Add(time.Hour)

func TestOnlyOverPlainHTTPIsAnybodyToldSo(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, c := range contestants(programs{"bench", "acrpromote", "crane", "regctl", "oras", "skopeo"}) {
			home := t.TempDir()
			calls, err := c.commands(task{from: "127.0.0.1:1", to: "127.0.0.1:2", pairs: []pair{{"a:1", "b/a:1"}}, tls: secure, home: home})
			if err != nil || len(calls) != 1 {
				t.Fatalf("%s: %v, %v", c.name, calls, err)
			}
			said := strings.Join(calls[0].args, " ")
			settings, _ := os.ReadFile(filepath.Join(home, "regctl.json"))
			said += string(settings)
			plain := false
			for _, word := range []string{"plain-http", "tls-verify=false", `"tls":"disabled"`, "-tls=false"} {
				plain = plain || strings.Contains(said, word)
			}
			if want := !secure && !strings.HasPrefix(c.name, "crane"); plain != want {
				t.Errorf("%s, TLS %t: %s", c.name, secure, said)
			}
		}
	}
}

func TestManyImagesAreOneCallOfOurs(t *testing.T) {
	home := t.TempDir()
	calls, err := programs{ours: "acrpromote"}.push(task{from: "127.0.0.1:1", to: "127.0.0.1:2", home: home,
		pairs: []pair{{"fleet/a:1.0", "r7/fleet/a:1.0"}, {"fleet/b:1.0", "r7/fleet/b:1.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"acrpromote", "invertedPush", "--referrers=false", "--plain-http", "127.0.0.1:1", "--plain-http", "127.0.0.1:2",
		"--flowFile", "flows.yml", "--flow", "all", "--imagesFrom", "images.txt"}
	if len(calls) != 1 || !slices.Equal(calls[0].args, want) {
		t.Errorf("%q, want one call %q", calls, want)
	}
	for name, want := range map[string]string{
		"images.txt": "fleet/a:1.0\nfleet/b:1.0\n",
		"flows.yml": `version: 1
trust: [dev, production]
registries:
  prod: {host: "127.0.0.1:1", trust: production}
  dev: {host: "127.0.0.1:2", trust: dev}
flows:
  all:
    from: prod
    to: [dev]
    repositories: ["**"]
    as: {repository: "r7/{repository}"}
    require: {approval: {kind: none}, sealed: false}
`} {
		if got, err := os.ReadFile(filepath.Join(home, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if _, err := (programs{}).push(task{home: home, pairs: []pair{{"a:1", "r1/a:1"}, {"b:1", "r2/b:1"}}}); err == nil {
		t.Error("one flow was to bring images to two folders")
	}
}

func TestTLSIsMeasuredWhereItIsAskedFor(t *testing.T) {
	for _, test := range []struct {
		names string
		full  bool
		want  bool
	}{{"", false, false}, {"", true, true}, {"tls", false, true}, {"loopback", true, false}} {
		ways, err := chooseNetworks(test.names, test.full)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(ways, func(n network) bool { return n.TLS }); got != test.want {
			t.Errorf("-networks %q -full=%t: TLS %t", test.names, test.full, got)
		}
	}
	if _, err := chooseNetworks("dial-up", false); err == nil {
		t.Error("an unknown network was taken")
	}
}

func TestLeftOutPeersAreNamed(t *testing.T) {
	if got := (programs{crane: "crane", oras: "oras"}).leftOut(); !slices.Equal(got, []string{"regctl: not installed", "skopeo: not installed"}) {
		t.Errorf("left out are %q", got)
	}
	if got := (programs{crane: "crane", regctl: "regctl", oras: "oras", skopeo: "skopeo"}).leftOut(); len(got) > 0 {
		t.Errorf("with all of them %q are left out", got)
	}
}

// TestSkopeoKeepsDigests checks the flags without which a copy is not the same image.
func TestSkopeoKeepsDigests(t *testing.T) {
	for _, c := range contestants(programs{skopeo: "skopeo"}) {
		if c.name != "skopeo" {
			continue
		}
		calls, err := c.commands(task{pairs: []pair{{"a:1", "b/a:1"}}})
		if err != nil || len(calls) != 1 || !slices.Contains(calls[0].args, "--all") || !slices.Contains(calls[0].args, "--preserve-digests") {
			t.Errorf("%v, %v", calls, err)
		}
		return
	}
	t.Error("skopeo does not take part")
}

// TestPageIsThatOfItsFigures checks that docs/bench.md was made from docs/bench.json.
func TestPageIsThatOfItsFigures(t *testing.T) {
	var m measurement
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "bench.json"))
	if err == nil {
		err = json.Unmarshal(content, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "bench.md"))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.markdown(); got != string(page) {
		t.Errorf("docs/bench.json gives another page:\n%s", got)
	}
}
