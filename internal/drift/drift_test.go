package drift

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

var (
	ours   = "sha256:" + strings.Repeat("a", 64)
	theirs = "sha256:" + strings.Repeat("b", 64)
	child  = "sha256:" + strings.Repeat("c", 64)
)

func target() Target {
	return Target{At: ref.Reference{Registry: "dev.azurecr.io", Repository: "shop/cart", Tag: "1.0"}, Digest: ours, TagDigest: ours, There: true}
}

func verdict(name rule.Name, reason string) *receipt.Verdict {
	return &receipt.Verdict{Refusals: []rule.Refusal{{Rule: name, Reason: reason}}}
}

// TestJudge seeds each kind of drift of an image, next to its clean twin.
func TestJudge(t *testing.T) {
	locked, open := Attributes{Read: true}, Attributes{Read: true, Write: true, Delete: true}
	deletable, writable := Attributes{Read: true, Delete: true}, Attributes{Read: true, Write: true}
	manifests := func(a Attributes) []Manifest { return []Manifest{{ours, locked}, {child, a}} }
	for _, c := range []struct {
		name   string
		change func(*Target)
		want   string
	}{
		{"everything is there", func(*Target) {}, ""},
		{"by digest", func(s *Target) { s.At.Tag, s.TagDigest = "", "" }, ""},
		{"no tag", func(s *Target) { s.TagDigest, s.There = "", false }, "missing dev.azurecr.io/shop/cart:1.0: the tag does not exist; it should point at " + ours},
		{"no tag, and a receipt that is not valid", func(s *Target) {
			s.TagDigest, s.Receipt = "", verdict(rule.ReceiptInvalid, "no")
		}, "missing dev.azurecr.io/shop/cart:1.0: the tag does not exist; it should point at " + ours},
		{"another image", func(s *Target) { s.TagDigest, s.There = theirs, false }, "differs dev.azurecr.io/shop/cart:1.0: the tag points at " + theirs + " instead of " + ours},
		{"a moved tag", func(s *Target) { s.TagDigest = theirs }, "tag-moved dev.azurecr.io/shop/cart:1.0: the tag points at " + theirs + " instead of " + ours},
		{"a part", func(s *Target) { s.Missing = []Part{{child, "the layer " + child, false}} }, "missing dev.azurecr.io/shop/cart@" + child + ": the layer " + child + " is missing"},
		{"an SBOM", func(s *Target) { s.Missing = []Part{{child, "attached spdx " + child, true}} }, "attached-missing dev.azurecr.io/shop/cart@" + child + ": attached spdx " + child + " is missing"},

		{"unlocked, and the flow locks nothing", func(s *Target) { s.Lock, s.Tag, s.Manifests = topology.LockNone, &open, manifests(open) }, ""},
		{"locked", func(s *Target) { s.Lock, s.Tag, s.Manifests = topology.LockTag, &locked, manifests(writable) }, ""},
		{"an unlocked tag", func(s *Target) { s.Lock, s.Tag, s.Manifests = topology.LockTag, &open, manifests(locked) },
			"unlocked dev.azurecr.io/shop/cart:1.0: the tag can be written and deleted, but the flow locks it"},
		{"a tag that can be written", func(s *Target) { s.Lock, s.Tag = topology.LockTag, &writable },
			"unlocked dev.azurecr.io/shop/cart:1.0: the tag can be written, but the flow locks it"},
		{"a tag that can be deleted", func(s *Target) { s.Lock, s.Tag = topology.LockImage, &deletable },
			"unlocked dev.azurecr.io/shop/cart:1.0: the tag can be deleted, but the flow locks it"},
		{"a manifest that can be deleted", func(s *Target) { s.Lock, s.Tag, s.Manifests = topology.LockTag, &locked, manifests(open) },
			"unlocked dev.azurecr.io/shop/cart@" + child + ": the manifest can be deleted, but the flow locks it"},
		{"an image that can be written", func(s *Target) { s.Lock, s.Tag, s.Manifests = topology.LockImage, &locked, manifests(writable) },
			"unlocked dev.azurecr.io/shop/cart@" + child + ": the manifest can be written, but the flow locks it"},
		{"a locked image", func(s *Target) { s.Lock, s.Tag, s.Manifests = topology.LockImage, &locked, manifests(locked) }, ""},

		{"a receipt", func(s *Target) { s.Receipt = &receipt.Verdict{Met: true} }, ""},
		{"no receipt", func(s *Target) { s.Receipt = verdict(rule.ReceiptMissing, "the image has no receipt") }, "receipt-missing dev.azurecr.io/shop/cart@" + ours + ": the image has no receipt"},
		{"an invalid receipt", func(s *Target) { s.Receipt = verdict(rule.ReceiptInvalid, "not signed") }, "receipt-invalid dev.azurecr.io/shop/cart@" + ours + ": not signed"},
		{"a receipt for another place", func(s *Target) { s.Receipt = verdict(rule.ReceiptPolicy, "it is for x") }, "receipt-invalid dev.azurecr.io/shop/cart@" + ours + ": it is for x"},
		{"a receipt of another digest", func(s *Target) {
			s.Receipt, s.OtherDigest = verdict(rule.ReceiptInvalid, "about another image"), true
		}, "receipt-other dev.azurecr.io/shop/cart@" + ours + ": about another image"},

		{"recalled and unreadable", func(s *Target) { s.Recalled, s.TagDigest = true, "" }, ""},
		{"recalled and readable", func(s *Target) { s.Recalled, s.Readable, s.TagDigest = true, true, "" },
			"recalled-readable dev.azurecr.io/shop/cart@" + ours + ": the image was recalled, and can be pulled here"},
	} {
		s := target()
		c.change(&s)
		var got []string
		for _, f := range s.Judge() {
			got = append(got, fmt.Sprintf("%s %s: %s", f.Kind, f.Subject(), f.Reason))
			if f.Remedy() == "" || !strings.HasSuffix(f.Remedy(), ".") {
				t.Errorf("%s: the remedy is %q", c.name, f.Remedy())
			}
		}
		if text := strings.Join(got, "\n"); text != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, text, c.want)
		}
	}
}

const file = `version: 1
trust: [sandbox, production]
registries:
  prod: {host: prod.azurecr.io, trust: production}
  other: {host: other.azurecr.io, trust: production}
  dev: {host: dev.azurecr.io, trust: sandbox}
  web: {host: web.azurecr.io, trust: sandbox}
flows:
  released:
    from: prod
    to: [dev, web]
    repositories: ["shop/**"]
    tags: [">=1.0"]
    movingTags: ["9.*"]
    as: {repository: "released/{repository}", tag: "{tag}-ok"}
    teams: {dev: ["shop/**"], web: ["shop/web"]}
    require: {approval: {kind: none}, sealed: false}
  tools:
    from: other
    to: [dev]
    repositories: ["released/shop/tool"]
    require: {approval: {kind: none}, sealed: false}
  all:
    from: prod
    to: [web]
    repositories: ["shop/shared"]
    as: {repository: "released/{repository}", tag: "{tag}-ok"}
    require: {approval: {kind: none}, sealed: false}
  local:
    from: dev
    to: [dev]
    repositories: ["released/shop/moving"]
    movingTags: ["3.0-ok"]
    require: {approval: {kind: none}, sealed: false}
`

// TestJudgeTags checks which tags of a target are extra, and which repositories the flow
// does not bring there.
func TestJudgeTags(t *testing.T) {
	f, err := topology.Parse("flows.yml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	home := Home{{Repository: "shop/cart", Tag: "1.0"}: true, {Repository: "shop/web", Tag: "1.0"}: true}
	for _, c := range []struct {
		name, registry, repository, tags, extra, strange string
	}{
		{"as at the source", "dev.azurecr.io", "released/shop/cart", "1.0-ok", "", ""},
		{"an extra tag", "dev.azurecr.io", "released/shop/cart", "1.0-ok 1.1-ok", "1.1-ok=prod.azurecr.io/shop/cart:1.1", ""},
		{"a repository that the source does not have", "dev.azurecr.io", "released/shop/gone", "1.0-ok", "1.0-ok=prod.azurecr.io/shop/gone:1.0", ""},
		{"tags that the flow does not bring", "dev.azurecr.io", "released/shop/cart", "1.1 0.9-ok latest-ok feature-ok", "", ""},
		{"a repository that the flow does not bring", "dev.azurecr.io", "shop/cart", "1.1-ok", "", ""},
		{"moving tags", "dev.azurecr.io", "released/shop/cart", "9.0-ok", "", ""},
		{"a digest tag", "dev.azurecr.io", "released/shop/cart", ref.DigestTag(ours) + ".sig", "", ""},
		{"from another registry", "dev.azurecr.io", "released/shop/tool", "1.0-ok", "", ""},
		{"moved within the registry", "dev.azurecr.io", "released/shop/moving", "3.0-ok 3.1-ok", "3.1-ok=prod.azurecr.io/shop/moving:3.1", ""},
		{"subscribed", "web.azurecr.io", "released/shop/web", "1.0-ok", "", ""},
		{"not subscribed", "web.azurecr.io", "released/shop/cart", "1.0-ok 1.1-ok", "", "1.0-ok, 1.1-ok"},
		{"many tags", "web.azurecr.io", "released/shop/cart", "1.0-ok 1.1-ok 1.2-ok 1.3-ok 1.4-ok 1.5-ok 1.6-ok", "", "1.0-ok, 1.1-ok, 1.2-ok, 1.3-ok, 1.4-ok and 2 more"},
		{"not subscribed, and nothing of the flow", "web.azurecr.io", "released/shop/cart", "mine", "", ""},
		{"subscribed by another flow", "web.azurecr.io", "released/shop/shared", "1.0-ok", "", ""},
		{"a registry that the file does not have", "x.azurecr.io", "released/shop/cart", "1.1-ok", "", ""},
	} {
		extra, found := JudgeTags(f, f.Flows["released"], home, ref.Reference{Registry: c.registry, Repository: c.repository}, strings.Fields(c.tags))
		var got []string
		for _, e := range extra {
			got = append(got, e.At.Tag+"="+e.Source.String())
			if one := e.Finding(); one.Kind != ExtraTag || one.Subject() != c.registry+"/"+c.repository+":"+e.At.Tag {
				t.Errorf("%s: %v", c.name, one)
			}
		}
		if text := strings.Join(got, " "); text != c.extra {
			t.Errorf("%s: extra %q, want %q", c.name, text, c.extra)
		}
		strange := ""
		for _, one := range found {
			_, strange, _ = strings.Cut(one.Reason, "with the tags ")
			if one.Kind != NotSubscribed || one.Subject() != c.registry+"/"+c.repository {
				t.Errorf("%s: %v", c.name, one)
			}
		}
		if len(found) > 1 || strange != c.strange {
			t.Errorf("%s: not subscribed %q, want %q", c.name, strange, c.strange)
		}
	}
}

func TestMerge(t *testing.T) {
	unread := func(registry, repository, reason string) Finding {
		return Finding{Kind: Unread, Registry: registry, Repository: repository, Reason: reason}
	}
	extra := Finding{Kind: ExtraTag, Registry: "web", Repository: "b", Tag: "2"}
	got := Merge([]Finding{
		unread("dev", "a", "a is denied"), unread("web", "", "not listed"), unread("web", "a", "a is denied"), unread("web", "b", "b is denied"), extra, extra, unread("web", "c", "c is slow"),
	})
	want := []Finding{
		unread("dev", "a", "a is denied"), unread("web", "", "not listed"), unread("web", "a", "a is denied (and 1 more for the same reason)"), extra, extra, unread("web", "c", "c is slow"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
	if s := unread("web", "", "x").Subject(); s != "web" {
		t.Errorf("the subject of a registry is %q", s)
	}
}
