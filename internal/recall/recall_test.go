package recall

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/referrer"
	"acrpromote/internal/rule"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
)

const (
	place = "contosoprod.azurecr.io/shop/cart"
	flows = `version: 1
trust: [dev, test, production]
registries:
  prod: {host: contosoprod.azurecr.io, hosts: [contosoprod.westeurope.geo.azurecr.io], trust: production}
  test: {host: contosotest.azurecr.io, trust: test}
  dev: {host: contosodev.azurecr.io, trust: dev}
  team: {host: contosoteam.azurecr.io, trust: dev}
flows:
  up:
    from: test
    to: [prod]
    repositories: ["shop/**"]
    tags: [">=1"]
    require: {approval: {kind: manual, environment: Production}}
  down:
    from: prod
    to: [dev, team]
    repositories: ["shop/**"]
    as: {repository: "released/{repository}"}
    teams: {dev: ["shop/**"], team: ["shop/other"]}
  base:
    from: prod
    to: [dev]
    repositories: ["base/**"]
  around:
    from: prod
    to: [prod]
    repositories: ["shop/**"]
    as: {repository: "kept/{repository}"}
`
)

var digest = ref.DigestOf([]byte("image"))

func TestPlaces(t *testing.T) {
	file, err := topology.Parse("flows.yml", []byte(flows))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ source, want string }{
		{"contosoprod.azurecr.io/shop/cart", "contosoprod.azurecr.io/shop/cart contosoprod.azurecr.io/kept/shop/cart contosodev.azurecr.io/released/shop/cart contosoteam.azurecr.io/released/shop/cart contosotest.azurecr.io/shop/cart"},
		{"contosodev.azurecr.io/released/shop/cart", "contosodev.azurecr.io/released/shop/cart contosoprod.azurecr.io/shop/cart contosoteam.azurecr.io/released/shop/cart contosoprod.azurecr.io/kept/shop/cart contosotest.azurecr.io/shop/cart"},
		{"contosoprod.azurecr.io/base/jre", "contosoprod.azurecr.io/base/jre contosodev.azurecr.io/base/jre"},
		{"contosodev.azurecr.io/own/tool", "contosodev.azurecr.io/own/tool"},
		{"elsewhere.azurecr.io/shop/cart", "elsewhere.azurecr.io/shop/cart"},
	} {
		host, repository, _ := strings.Cut(c.source, "/")
		var got []string
		places, more := Places(file, ref.Reference{Registry: host, Repository: repository, Tag: "1.4.2"})
		for _, p := range places {
			got = append(got, p.String())
		}
		if more || strings.Join(got, " ") != c.want {
			t.Errorf("%s may be in\n%s, want\n%s", c.source, strings.Join(got, " "), c.want)
		}
	}
}

// TestTooManyPlaces: that there are more places than are looked at is not kept quiet.
func TestTooManyPlaces(t *testing.T) {
	text := "version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: contosoprod.azurecr.io, trust: production}\n"
	var to []string
	for i := range maxPlaces - 1 {
		text += fmt.Sprintf("  dev%d: {host: contosodev%d.azurecr.io, trust: dev}\n", i, i)
		to = append(to, fmt.Sprintf("dev%d", i))
	}
	text += "flows:\n  down: {from: prod, to: [" + strings.Join(to, ", ") + "], require: {approval: {kind: manual, environment: Production}}}\n"
	again := "  again: {from: dev0, to: [dev1], as: {repository: \"kept/{repository}\"}, require: {approval: {kind: none}, sealed: false}}\n"
	for _, c := range []struct {
		flows string
		more  bool
	}{{text, false}, {text + again, true}} {
		file, err := topology.Parse("flows.yml", []byte(c.flows))
		if err != nil {
			t.Fatal(err)
		}
		places, more := Places(file, ref.Reference{Registry: "contosoprod.azurecr.io", Repository: "shop/cart"})
		if len(places) != maxPlaces || more != c.more {
			t.Errorf("%d places, more %v, want %v", len(places), more, c.more)
		}
	}
}

func newSigner(t *testing.T) (receipt.Signer, receipt.Key) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := receipt.LocalSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := receipt.NewKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

// record returns an artifact with a record, signed unless by is nil, and the digest of
// its statement.
func record(t *testing.T, r Record, name string, by receipt.Signer) (Found, string) {
	t.Helper()
	if r.Time.IsZero() {
		r.Time = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	}
	payload, err := r.Statement(name, digest)
	if err != nil {
		t.Fatal(err)
	}
	f := Found{Manifest: ref.DigestOf([]byte(r.Reason + name)), MediaType: ArtifactType, Content: payload.Content}
	if by != nil {
		signed, err := payload.Sign(context.Background(), by, receipt.DSSE)
		if err != nil {
			t.Fatal(err)
		}
		f.MediaType, f.Content = SignedType, signed.Content
	}
	return f, ref.DigestOf(payload.Content)
}

func TestJudge(t *testing.T) {
	own, key := newSigner(t)
	other, _ := newSigner(t)
	signed, signedDigest := record(t, Record{Reason: "signed"}, place, own)
	unsigned, unsignedDigest := record(t, Record{Reason: "unsigned"}, place, nil)
	foreign, foreignDigest := record(t, Record{Reason: "by another key"}, place, other)
	elsewhere, _ := record(t, Record{Reason: "copied"}, "contosoprod.azurecr.io/shop/other", own)
	regional, _ := record(t, Record{Reason: "regional"}, "contosoprod.westeurope.geo.azurecr.io/shop/cart", own)
	all := []string{signedDigest, unsignedDigest, foreignDigest}
	lift, _ := record(t, Record{Reason: "lift", Lifts: all}, place, own)
	unsignedLift, _ := record(t, Record{Reason: "unsigned lift", Lifts: all}, place, nil)
	later, _ := record(t, Record{Reason: "again", Time: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}, place, own)
	resigned, _ := record(t, Record{Reason: "signed"}, place, own) // the same statement, signed once more
	for _, c := range []struct {
		name             string
		found            []Found
		signed, unsigned string
		invalid          int
	}{
		{"none", nil, "", "", 0},
		{"signed", []Found{signed}, "signed", "", 0},
		{"signed twice", []Found{signed, resigned}, "signed", "", 0},
		{"unsigned", []Found{unsigned}, "", "unsigned", 0},
		{"by another key", []Found{foreign}, "", "by another key", 0},
		{"copied from elsewhere", []Found{elsewhere}, "", "", 1},
		{"by another name of the registry", []Found{regional}, "regional", "", 0},
		{"lifted", []Found{lift, signed, unsigned, foreign}, "", "", 0},
		{"lifted, and the record attached once more", []Found{signed, lift, resigned}, "", "", 0},
		{"lifted without a signature", []Found{signed, unsigned, unsignedLift}, "signed", "", 0},
		{"recalled again", []Found{signed, lift, later}, "again", "", 0},
		{"unreadable", []Found{{Problem: "it is gone"}, {MediaType: "text/plain"}, {MediaType: ArtifactType, Content: []byte("{}")}, {MediaType: SignedType, Content: signed.Content[1:]}}, "", "", 4},
	} {
		var kept []Kept
		invalid := 0
		for _, f := range c.found {
			k, err := Open(f, place, digest, []receipt.Key{key})
			if err != nil {
				invalid++
				continue
			}
			kept = append(kept, k)
		}
		v := Judge(kept)
		reasons := func(list []Kept) string {
			var all []string
			for _, k := range list {
				all = append(all, k.Reason)
			}
			return strings.Join(all, ", ")
		}
		if reasons(v.Signed) != c.signed || reasons(v.Unsigned) != c.unsigned || invalid != c.invalid || v.Recalled() != (c.signed != "") {
			t.Errorf("%s: signed %q, unsigned %q, %d invalid; want %q, %q, %d", c.name, reasons(v.Signed), reasons(v.Unsigned), invalid, c.signed, c.unsigned, c.invalid)
		}
		if no := Refuse(place, v, false); len(no) > 0 != v.Recalled() || len(no) > 0 && (no[0].Rule != rule.Recalled || !strings.Contains(no[0].Reason, c.signed)) {
			t.Errorf("%s: refusals %+v", c.name, no)
		}
	}
	part := Verdict{Signed: []Kept{{Record: Record{Reason: "bad"}}}}.OfPart(digest)
	for _, v := range []Verdict{part, Verdict{}.And(part)} {
		if no := Refuse(place, v, false); len(no) != 1 || !strings.HasPrefix(no[0].Reason, "its part "+digest+" was recalled at ") {
			t.Errorf("a part is recalled: %+v", no)
		}
	}
	if _, err := Open(signed, place, ref.DigestOf([]byte("another")), []receipt.Key{key}); err == nil {
		t.Error("a record of another image counts")
	}
	if no := Refuse(place, Verdict{}, true); len(no) != 1 || no[0].Rule != rule.Recalled {
		t.Errorf("reads are disabled: %+v", no)
	}
}

func TestSentence(t *testing.T) {
	k := Kept{Record: Record{Time: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), Reason: "CVE-2026-1234",
		Approvers: []receipt.Person{{Name: "Asha"}}, Requesters: []receipt.Person{{Name: "Asha"}, {Name: "Ben"}}, Run: receipt.Run{ID: 4711, Project: "shop"}}}
	if got, want := k.Sentence(), "recalled at 2026-11-27 12:00 UTC by Asha, Ben in run 4711 of shop: CVE-2026-1234"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestReason: a reason is compared as the record has it, so that a rerun finds its record.
func TestReason(t *testing.T) {
	for _, c := range []struct{ reason, want string }{
		{"CVE-2026-1234", "CVE-2026-1234"},
		{"a\xffb", "a\uFFFDb"},
		{strings.Repeat("x", maxReason), strings.Repeat("x", maxReason)},
		{strings.Repeat("x", 1<<20), strings.Repeat("x", maxReason-3) + "…"},
		{strings.Repeat("ä", maxReason), strings.Repeat("ä", maxReason/2-2) + "…"},
	} {
		got := Reason(c.reason)
		f, _ := record(t, Record{Reason: c.reason}, place, nil)
		k, err := Open(f, place, digest, nil)
		if got != c.want || Reason(got) != got || err != nil || k.Reason != got {
			t.Errorf("%.20q: %.20q (%d bytes), in the record %.20q, %v", c.reason, got, len(got), k.Reason, err)
		}
	}
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		sight               Sight
		state               State
		recall, lift        bool // whether the attribute has to be set
		withdrawn, restored bool // whether the sight confirms it
	}{
		{Sight{Attributes: Shown, Known: true, Enabled: true}, Readable, true, false, false, true},
		{Sight{Attributes: Shown, Known: true}, Disabled, false, true, true, false},
		{Sight{Attributes: Shown, Manifest: Shown}, Unsupported, false, false, false, true},
		{Sight{Attributes: Unknown, Manifest: Unknown}, Absent, false, false, true, false},
		{Sight{Attributes: Unknown, Manifest: Shown}, Readable, true, false, false, true},
		{Sight{Attributes: Refused, Manifest: Shown}, Readable, true, false, false, true},
		{Sight{Attributes: Unknown, Manifest: Refused}, Hidden, true, true, true, false},
		{Sight{Attributes: Refused, Manifest: Unknown}, Hidden, true, true, true, false},
		{Sight{Attributes: Refused, Manifest: Refused}, Hidden, true, true, true, false},
		{Sight{}, Hidden, true, true, true, false},
	} {
		state := c.sight.State()
		if state != c.state || state.Set(false, false) != c.recall || state.Set(true, false) != c.lift {
			t.Errorf("%+v: %s, set by a recall %v, by a lift %v", c.sight, state, state.Set(false, false), state.Set(true, false))
		}
		if got := [2]bool{c.sight.Confirms(false), c.sight.Confirms(true)}; got != [2]bool{c.withdrawn, c.restored} {
			t.Errorf("%+v confirms %v", c.sight, got)
		}
	}
	if !Absent.Set(true, true) || !Absent.Set(false, true) {
		t.Error("what there is no sign of is not set blindly")
	}
}

func TestShared(t *testing.T) {
	contents := map[string][]string{"root": {"amd64", "arm64", "inner"}, "inner": {"windows", "amd64"}}
	for _, c := range []struct {
		name   string
		tagged []string
		others []string
		want   []string
	}{
		{"nothing", nil, []string{"elsewhere"}, nil},
		{"a tag", []string{"arm64"}, nil, []string{"arm64"}},
		{"another index", nil, []string{"amd64", "elsewhere"}, []string{"amd64"}},
		{"an index in the image", []string{"inner"}, nil, []string{"amd64", "inner", "windows"}},
		{"an index in the image that another has", nil, []string{"inner"}, []string{"amd64", "inner", "windows"}},
	} {
		tagged := map[string]bool{}
		for _, d := range c.tagged {
			tagged[d] = true
		}
		var got []string
		for d := range Shared(contents, tagged, c.others) {
			got = append(got, d)
		}
		if slices.Sort(got); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q is shared, want %q", c.name, got, c.want)
		}
	}
}

// TestTypes: the packages that must not import this one know the type by themselves.
func TestTypes(t *testing.T) {
	if referrer.RecallType != ArtifactType || !slices.Contains(seal.LaterTypes, ArtifactType) {
		t.Errorf("the type %s differs", ArtifactType)
	}
	travels := referrer.Rules{}.Select([]string{digest}, []referrer.Referrer{{Digest: "a", Subject: digest, Type: ArtifactType, Unread: true}, {Digest: "b", Subject: digest, Type: "application/spdx+json", Unread: true}})
	if travels[0] == "" || travels[1] != "" {
		t.Errorf("reasons to stay: %q", travels)
	}
}
