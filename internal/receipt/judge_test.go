package receipt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/rule"
)

// glob is a branch pattern.
type glob string

func (g glob) Match(ref string) bool { ok, _ := path.Match(string(g), ref); return ok }

func TestExpectations(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	all, _ := signed(t, example(), nil, "Ed25519", DSSE)
	plain := func(change func(*Promotion), redact ...Redaction) []Found {
		p := example()
		if change != nil {
			change(&p)
		}
		found, _ := signed(t, p, redact, "Ed25519", DSSE)
		return found
	}
	elsewhere := Image{Digest: ours, Resources: []string{"other.example.com/shop/cart@" + ours}}
	for _, c := range []struct {
		name   string
		expect Expectations
		found  []Found // nil: the example
		after  time.Duration
		image  *Image
		why    string // "" is met
	}{
		{name: "nothing"},
		{name: "another place", image: &elsewhere, why: "it is for \"dev.example.com/shop/cart@" + ours},
		{name: "another name of the registry", image: &Image{ours, []string{"other.example.com/shop/cart@" + ours, target.Resource(ours)}}},
		{name: "no place", image: &Image{Digest: ours}, why: "it is for"},
		{name: "five minutes ahead", after: -5 * time.Minute},
		{name: "more than five minutes ahead", after: -5*time.Minute - time.Second, why: "in the future"},
		{name: "project", expect: Expectations{Project: "SHOP"}},
		{name: "another project", expect: Expectations{Project: "payments"}, why: "project: it is from \"shop\""},
		{name: "a project that only folds alike", expect: Expectations{Project: "\u017fhop"}, why: "project:"},
		{name: "rules", expect: Expectations{Rules: true}},
		{name: "unverified rules", expect: Expectations{Rules: true}, found: plain(func(p *Promotion) { p.RulesVerified = false }), why: "rules: they were not verified"},
		{name: "environment", expect: Expectations{Environment: "production", MinApprovers: 2}},
		{name: "environment by id", expect: Expectations{Environment: "#7"}},
		{name: "another environment", expect: Expectations{Environment: "Staging"}, why: "environment: it was not approved there"},
		{name: "too few there", expect: Expectations{Environment: "endpoint:prod-writer", MinApprovers: 2}, why: "minApprovers: 1 approved"},
		{name: "enough", expect: Expectations{MinApprovers: 2}},
		{name: "too few", expect: Expectations{MinApprovers: 3}, why: "minApprovers: 2 approved"},
		{name: "one person twice", expect: Expectations{MinApprovers: 2}, found: plain(func(p *Promotion) { p.Approval.Given = p.Approval.Given[1:] }), why: "minApprovers: 1 approved"},
		{name: "redacted persons are counted", expect: Expectations{MinApprovers: 2, Environment: "Production"}, found: plain(nil, DefaultRedaction()...)},
		{name: "redacted approvers are counted", expect: Expectations{MinApprovers: 2}, found: plain(nil, RedactApprovers)},
		{name: "redacted approvers of one of several resources", expect: Expectations{MinApprovers: 1, Environment: "Production"}, found: plain(nil, RedactApprovers), why: "the approvers are left out"},
		{name: "redacted approvers of the only resource", expect: Expectations{MinApprovers: 2, Environment: "Production"}, found: plain(func(p *Promotion) { p.Approval.Given = p.Approval.Given[:2] }, RedactApprovers)},
		{name: "checks are not persons", expect: Expectations{MinApprovers: 1}, found: plain(func(p *Promotion) { p.Approval.Kind, p.Approval.Given = Automated, nil }), why: "minApprovers: 0 approved"},
		{name: "a check on the environment", expect: Expectations{Environment: "Production"}, found: plain(func(p *Promotion) { p.Approval.Kind, p.Approval.Given = Automated, nil })},
		{name: "young", expect: Expectations{MaxAge: time.Hour}, after: time.Hour},
		{name: "old", expect: Expectations{MaxAge: time.Hour}, after: time.Hour + time.Second, why: "receiptMaxAge: it is older than 1h0m0s"},
		{name: "from", expect: Expectations{From: Place{Registry: "prod.example.com", Repository: "shop/cart"}}},
		{name: "from a registry", expect: Expectations{From: Place{Registry: "prod.example.com"}}},
		{name: "from another registry", expect: Expectations{From: Place{Registry: "stage.example.com"}}, why: "from: the source was prod.example.com/shop/cart"},
		{name: "from another repository", expect: Expectations{From: Place{Registry: "prod.example.com", Repository: "shop"}}, why: "from: "},
		{name: "flow", expect: Expectations{FlowHashes: []string{strings.Repeat("0", 64), strings.Repeat("f", 64)}}},
		{name: "another flow", expect: Expectations{FlowHashes: []string{strings.Repeat("0", 64)}}, why: "flowHashes: the flow file was ffff"},
		{name: "no flow", expect: Expectations{FlowHashes: []string{""}}, found: plain(func(p *Promotion) { p.Flow = nil }), why: "flowHashes: there was no flow file"},
		{name: "branch", expect: Expectations{Branches: []Branch{glob("refs/heads/x"), glob("refs/heads/ma*")}}},
		{name: "another branch", expect: Expectations{Branches: []Branch{glob("refs/heads/x")}}, why: "branches: the run was of \"refs/heads/main\""},
		{name: "no branch", expect: Expectations{Branches: []Branch{glob("*")}}, found: plain(func(p *Promotion) { p.Run.Branch = "" }), why: "branches:"},
	} {
		found, image := c.found, here()
		if found == nil {
			found = all
		}
		if c.image != nil {
			image = *c.image
		}
		v := Judge(image, found, []Key{key}, c.expect, clock.Add(c.after))
		switch {
		case v.Receipt == nil || len(v.Valid) != 1 || len(v.Notes) > 0:
			t.Errorf("%s: %+v", c.name, v)
		case v.Met != (c.why == "") || v.Met != (len(v.Refusals) == 0):
			t.Errorf("%s: met %t, %+v", c.name, v.Met, v.Refusals)
		case !v.Met && v.Refusals[0].Subject != append(image.Resources, ours)[0]:
			t.Errorf("%s: the refusal is about %q", c.name, v.Refusals[0].Subject)
		case !v.Met && (len(v.Refusals) != 1 || v.Refusals[0].Rule != rule.ReceiptPolicy || !strings.Contains(v.Refusals[0].Reason, c.why)):
			t.Errorf("%s: %+v, want %q", c.name, v.Refusals, c.why)
		}
	}
}

// resigned signs a document as it is.
func resigned(t *testing.T, key, payload string) Found {
	t.Helper()
	signer, _ := signerOf(t, key)
	a, err := Payload{Type: "any", Content: []byte(payload)}.Sign(context.Background(), signer, DSSE)
	if err != nil {
		t.Fatal(err)
	}
	return Found{Manifest: theirs, MediaType: MediaType, Content: a.Content}
}

// TestInvalidStatements has statements with a valid signature that are not taken.
func TestInvalidStatements(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	_, payloads := signed(t, example(), nil, "Ed25519", DSSE)
	promotion := string(payloads[0].Content)
	change := func(old, with string) string {
		t.Helper()
		if !strings.Contains(promotion, old) {
			t.Fatalf("%s lacks %s", promotion, old)
		}
		return strings.Replace(promotion, old, with, 1)
	}
	hex := strings.Repeat("a", 64)
	for _, c := range []struct{ name, payload, why string }{
		{"as it was", promotion, ""},
		{"with space", " " + promotion + "\n", ""},
		{"a field of a later version", change(`"predicate":{`, `"predicate":{"later":{"a":[1]},`), ""},
		{"a predicate twice", change(`"predicate":{`, `"predicate":{},"predicate":{`), `"predicate" twice`},
		{"a predicate twice, in other case", change(`"predicate":{`, `"Predicate":{},"predicate":{`), `"predicate" twice`},
		{"a field twice", change(`"tool":`, `"tool":"0","tool":`), `"tool" twice`},
		{"a field deep below twice", change(`"uniqueName":`, `"uniqueName":"x","uniqueName":`), `"uniquename" twice`},
		{"a second document", promotion + "{}", "one valid JSON object"},
		{"not UTF-8", change("Asha", "\xff"), "one valid JSON object"},
		{"too deep", change(`"predicate":{`, `"predicate":{"later":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+","), "one valid JSON object"},
		{"nothing", "", "one valid JSON object"},
		{"null", "null", "one valid JSON object"},
		{"another type", change("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"), "of the type"},
		{"another predicate", change(PromotionType, "urn:acrpromote:promotion:v2"), "the predicate type"},
		{"another subject", change(`{"sha256":"`+hex, `{"sha256":"`+strings.Repeat("b", 64)), "another image, " + theirs},
		{"another algorithm", change(`{"sha256":"`+hex, `{"sha512":"`+hex), "another image, sha512:" + hex},
		{"two digests", change(`{"sha256":"`+hex+`"`, `{"sha256":"`+hex+`","sha512":"x"`), "one subject with one digest"},
		{"two subjects", change(`"subject":[`, `"subject":[{"name":"x","digest":{"sha256":"`+hex+`"}},`), "one subject with one digest"},
		{"no subject", change(`"subject":[`, `"subject":[],"other":[`), "one subject with one digest"},
		{"a subject of another kind", change(`"subject":[`, `"subject":"x","other":[`), "not a valid in-toto statement"},
		{"another digest inside", change(`"digest":"sha256:a`, `"digest":"sha256:b`), "predicate is about another image"},
		{"a predicate of another kind", change(`"tool":"1.1.0"`, `"tool":1`), "not as its type requires"},
		{"a time that is none", change(`"time":"2026-11-27T12:00:00Z"`, `"time":"yesterday"`), "not as its type requires"},
		{"more approvers than approvals", change(`"approvers":2`, `"approvers":3`), "the number of approvers"},
		{"no approval", change(`"kind":"manual"`, `"kind":"none"`), "of kind \"none\""},
		{"an unmet rule", change(`"met":true`, `"met":false`), "is not met"},
		{"an unknown redaction", change(`"redacted":[]`, `"redacted":["names"]`), "left out"},
	} {
		f := resigned(t, "Ed25519", c.payload)
		o, err := Open(f.MediaType, f.Content, ours, []Key{key})
		if c.why == "" && (err != nil || o.Promotion == nil) || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
		}
	}
}

// TestPairsCannotBeMixed joins summaries and promotions that do not belong together.
func TestPairsCannotBeMixed(t *testing.T) {
	_, ed := signerOf(t, "Ed25519")
	_, p256 := signerOf(t, "P-256")
	keys := []Key{ed, p256}
	found, payloads := signed(t, example(), nil, "Ed25519", DSSE)
	other := example()
	other.Approval.Given = other.Approval.Given[:1]
	weaker, _ := signed(t, other, nil, "Ed25519", DSSE)
	redacted, _ := signed(t, example(), DefaultRedaction(), "Ed25519", DSSE)
	byOther, _ := signed(t, example(), nil, "P-256", DSSE)
	summary := string(payloads[1].Content)
	change := func(old, with string) []Found {
		t.Helper()
		if !strings.Contains(summary, old) {
			t.Fatalf("%s lacks %s", summary, old)
		}
		return []Found{found[0], resigned(t, "Ed25519", strings.ReplaceAll(summary, old, with))}
	}
	for _, c := range []struct {
		name  string
		found []Found
		why   string
	}{
		{"a summary alone", found[1:], "is not attached"},
		{"a promotion alone", found[:1], "no summary that is attached"},
		{"the summary of a stricter approval", []Found{weaker[0], found[1]}, "is not attached"},
		{"the promotion with other redaction", []Found{redacted[0], found[1]}, "is not attached"},
		{"a promotion by another key", []Found{byOther[0], found[1]}, "not signed by the same key"},
		{"another time", change("2026-11-27T12:00:00Z", "2026-11-27T12:00:01Z"), "different times"},
		{"another target", change("dev.example.com/shop/cart", "dev.example.com/shop/other"), "neither source nor target"},
		{"another name", change(`"name":"dev.example.com/shop/cart"`, `"name":"dev.example.com/shop/other"`), "has the subject"},
		{"other levels", change(RulesVerified, RulesUnverified), "different levels"},
		{"another hash of the rules", change(`"policy":{"uri":"urn:acrpromote:rules:v1","digest":{"sha256":"`, `"policy":{"uri":"urn:acrpromote:rules:v1","digest":{"sha512":"`), "different rules"},
		{"another policy", change("urn:acrpromote:rules:v1", "urn:acrpromote:rules:v2"), "different rules"},
		{"another verifier", change(VerifierID, "urn:example:verifier"), "its verifier is"},
		{"another kind of input", change(PromotionType, SealType), "is not attached"},
		{"no input", change(`"inputAttestations":[`, `"inputAttestations":[],"other":[`), "is not attached"},
	} {
		v := Judge(here(), c.found, keys, Expectations{}, clock)
		if v.Met || v.Receipt != nil || len(v.Refusals) != 1 || v.Refusals[0].Rule != rule.ReceiptInvalid || !strings.Contains(v.Refusals[0].Reason, c.why) {
			t.Errorf("%s: %+v, want %q", c.name, v.Refusals, c.why)
		}
	}
	failed := change(`"PASSED"`, `"FAILED"`)
	if v := Judge(here(), append(failed, found[1]), keys, Expectations{}, clock); !v.Met || len(v.Valid) != 2 || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "verificationResult differs") {
		t.Errorf("passed and failed: %+v", v)
	}
	if v := Judge(here(), failed, keys, Expectations{}, clock); v.Met || v.Refusals[0].Rule != rule.ReceiptPolicy || !strings.Contains(v.Refusals[0].Reason, `its result is "FAILED"`) {
		t.Errorf("%+v", v.Refusals)
	}
}

func TestWhatIsMissingOrInvalid(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	_, other := signerOf(t, "P-384")
	found, _ := signed(t, example(), nil, "Ed25519", DSSE)
	statement, err := sealing().Statement()
	if err != nil {
		t.Fatal(err)
	}
	seal := resigned(t, "Ed25519", string(statement.Content))
	large := Found{MediaType: MediaType, Content: bytes.Repeat([]byte(" "), 4<<20)}
	var many []Found
	for i := range 100 {
		many = append(many, Found{Manifest: fmt.Sprintf("sha256:%064x", i), Problem: "its blob cannot be read"})
	}
	for _, c := range []struct {
		name   string
		digest string
		found  []Found
		keys   []Key
		rule   rule.Name
		why    string
	}{
		{"nothing", ours, nil, []Key{key}, rule.ReceiptMissing, "the image has no receipt"},
		{"a signed seal", ours, []Found{seal}, []Key{key}, rule.ReceiptMissing, "a signed seal, but no receipt"},
		{"another key", ours, found, []Key{other}, rule.ReceiptInvalid, "not signed by one of the keys"},
		{"no key", ours, found, nil, rule.ReceiptInvalid, "not signed by one of the keys"},
		{"another image", theirs, found, []Key{key}, rule.ReceiptInvalid, "about another image, " + ours},
		{"4 MiB", ours, []Found{large}, []Key{key}, rule.ReceiptInvalid, "4194304 bytes, and 524288 are allowed"},
		{"another type of layer", ours, []Found{{MediaType: "text/plain", Content: found[0].Content}}, []Key{key}, rule.ReceiptInvalid, `"text/plain"`},
		{"a hundred", ours, many, []Key{key}, rule.ReceiptInvalid, "and 90 more"},
	} {
		v := Judge(Image{c.digest, []string{target.Resource(c.digest)}}, c.found, c.keys, Expectations{}, clock)
		if v.Met || v.Receipt != nil || len(v.Refusals) != 1 || v.Refusals[0].Rule != c.rule || !strings.Contains(v.Refusals[0].Reason, c.why) {
			t.Errorf("%s: %+v, want %s, %q", c.name, v.Refusals, c.rule, c.why)
		}
	}
	v := Judge(here(), append(many, append(found, seal)...), []Key{other, key}, Expectations{}, clock)
	if !v.Met || len(v.Seals) != 1 || v.Seals[0].Record != record || len(v.Notes) != maxListed+1 || !strings.Contains(v.Notes[0], "its blob cannot be read") {
		t.Errorf("a valid one among many that are not: %+v", v)
	}
}

// TestSeveralReceipts has receipts of several runs, and of one run that contradict
// each other.
func TestSeveralReceipts(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	at := func(after time.Duration, change func(*Promotion)) []Found {
		p := example()
		p.Time = clock.Add(after)
		if change != nil {
			change(&p)
		}
		found, _ := signed(t, p, nil, "Ed25519", DSSE)
		return found
	}
	nightly := func(p *Promotion) { p.Run.ID, p.RulesVerified = 4712, false }
	judged := func(e Expectations, found ...[]Found) Verdict {
		var list []Found
		for _, f := range found {
			list = append(list, f...)
		}
		forward := Judge(here(), list, []Key{key}, e, clock.Add(time.Hour))
		slices.Reverse(list)
		if back := Judge(here(), list, []Key{key}, e, clock.Add(time.Hour)); back.Met != forward.Met || len(back.Valid) != len(forward.Valid) || len(back.Notes) != len(forward.Notes) ||
			back.Receipt.Promotion.Run != forward.Receipt.Promotion.Run || len(back.Refusals) != len(forward.Refusals) {
			t.Errorf("the order matters: %+v\n%+v", forward, back)
		}
		return forward
	}
	v := judged(Expectations{}, at(time.Minute, nil), at(0, nightly))
	if !v.Met || v.Receipt.Promotion.Run.ID != 4712 || len(v.Valid) != 2 || len(v.Notes) != 0 {
		t.Errorf("not the oldest: %+v", v)
	}
	v = judged(Expectations{Rules: true}, at(time.Minute, nil), at(0, nightly))
	if !v.Met || v.Receipt.Promotion.Run.ID != 4711 || len(v.Valid) != 2 {
		t.Errorf("not the one that meets the expectations: %+v", v)
	}
	v = judged(Expectations{Rules: true, MinApprovers: 3}, at(time.Minute, nil), at(0, nightly))
	if v.Met || len(v.Refusals) != 2 || !strings.Contains(v.Refusals[0].Reason, "rules: they were not verified; minApprovers: 2 approved") || v.Receipt.Promotion.Run.ID != 4712 {
		t.Errorf("%+v", v)
	}
	v = judged(Expectations{}, at(0, nil), at(time.Minute, func(p *Promotion) { p.Approval.Given = p.Approval.Given[:1] }))
	if !v.Met || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "run 4711 contradict each other: approval differs") {
		t.Errorf("%+v", v.Notes)
	}
	v = judged(Expectations{}, at(0, nil), at(time.Minute, func(p *Promotion) { p.Run.Attempt, p.Approval.Given = 3, p.Approval.Given[:1] }))
	if len(v.Notes) != 0 {
		t.Errorf("two attempts: %+v", v.Notes)
	}
	for field, change := range map[string]func(*Promotion){
		"from":          func(p *Promotion) { p.From.Repository = "shop/other" },
		"rulesVerified": func(p *Promotion) { p.RulesVerified = false },
		"flow":          func(p *Promotion) { p.Flow = nil },
	} {
		if v := judged(Expectations{}, at(0, nil), at(time.Minute, change)); len(v.Notes) != 1 || !strings.Contains(v.Notes[0], field+" differs") {
			t.Errorf("%s: %+v", field, v.Notes)
		}
	}
	// Signed twice, as after a run that was killed.
	if v := judged(Expectations{}, at(0, nil), at(0, nil)); !v.Met || len(v.Valid) != 1 {
		t.Errorf("the same statements twice: %+v", v)
	}
	var lists [][]Found
	for i := range 12 {
		lists = append(lists, at(time.Duration(i)*time.Second, nightly))
	}
	if v := judged(Expectations{Rules: true}, lists...); len(v.Refusals) != maxListed || len(v.Notes) != 1 || !strings.HasPrefix(v.Notes[0], "2 more valid receipts") {
		t.Errorf("%d refusals, %q", len(v.Refusals), v.Notes)
	}
}

// TestSame shows when a rerun finds its receipt.
func TestSame(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	found, _ := signed(t, example(), DefaultRedaction(), "Ed25519", DSSE)
	v := Judge(here(), found, []Key{key}, Expectations{}, clock)
	if !v.Met {
		t.Fatal(v)
	}
	for _, c := range []struct {
		name       string
		change     func(*Promotion)
		rules, run bool
	}{
		{"later", func(p *Promotion) { p.Time = clock.Add(time.Hour); p.Tool = "2.0.0"; p.Run.URL = "" }, true, true},
		{"another run", func(p *Promotion) { p.Run.ID++ }, true, false},
		{"another attempt", func(p *Promotion) { p.Run.Attempt++ }, true, false},
		{"another digest", func(p *Promotion) { p.Digest = theirs }, false, true},
		{"another rule", func(p *Promotion) { p.Rules[0].Value = "3" }, false, true},
		{"other approvers, whom the receipt does not name", func(p *Promotion) { p.Rules[1].Value = "x" }, true, true},
		{"unverified rules", func(p *Promotion) { p.RulesVerified = false }, false, true},
		{"another flow file", func(p *Promotion) { p.Flow.SHA256 = strings.Repeat("0", 64) }, false, true},
		{"no flow file", func(p *Promotion) { p.Flow = nil }, false, true},
		{"another source", func(p *Promotion) { p.From.Registry = "stage.example.com" }, false, true},
		{"another tag at the target", func(p *Promotion) { p.To[0].Tag = "2" }, false, true},
	} {
		p := example()
		c.change(&p)
		if rules, run := v.Receipt.SameRules(p, DefaultRedaction(), target), v.Receipt.SameRun(p); rules != c.rules || run != c.run {
			t.Errorf("%s: same rules %t, same run %t; want %t, %t", c.name, rules, run, c.rules, c.run)
		}
	}
	switch {
	case v.Receipt.SameRules(example(), nil, target):
		t.Error("other redaction is the same")
	case v.Receipt.SameRules(example(), DefaultRedaction(), example().To[1]):
		t.Error("another target is the same")
	case v.Receipt.SameRules(example(), []Redaction{"names"}, target):
		t.Error("an unknown redaction is the same")
	}
}

func TestSealStatement(t *testing.T) {
	_, key := signerOf(t, "P-384")
	for why, change := range map[string]func(*Sealing){
		"is not a valid digest":         func(s *Sealing) { s.Digest = "" },
		"the seal record":               func(s *Sealing) { s.Record = "" },
		"it has no time":                func(s *Sealing) { s.Time = time.Time{} },
		"it has no registry":            func(s *Sealing) { s.Image = Place{} },
		"its run has no kind":           func(s *Sealing) { s.Run = Run{} },
		"bytes, and 358400 are allowed": func(s *Sealing) { s.Rules = []string{strings.Repeat("x", maxPayload)} },
	} {
		s := sealing()
		change(&s)
		if _, err := s.Statement(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want an error with %q", err, why)
		}
	}
	statement, err := sealing().Statement()
	if err != nil {
		t.Fatal(err)
	}
	f := resigned(t, "P-384", string(statement.Content))
	if o, err := Open(f.MediaType, f.Content, ours, []Key{key}); err != nil || o.Sealing.Record != record || o.Sealing.Run != example().Run {
		t.Errorf("%+v, %v", o, err)
	}
}

// FuzzOpen changes what is stored: only the very bytes that were written are taken.
func FuzzOpen(f *testing.F) {
	signer, err := LocalSigner(keys()["Ed25519"])
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewKey(signer.Public())
	if err != nil {
		f.Fatal(err)
	}
	written := map[string]bool{}
	for _, format := range []Format{DSSE, Bundle} {
		found, _ := signed(f, example(), nil, "Ed25519", format)
		for _, one := range found {
			written[string(one.Content)] = true
			f.Add(one.Content, format == Bundle)
		}
	}
	f.Add([]byte(`{"payload":null,"payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":null}]}`), false)
	f.Add([]byte(`{}`), true)
	f.Fuzz(func(t *testing.T, content []byte, bundled bool) {
		mediaType := MediaType
		if bundled {
			mediaType = BundleType
		}
		if _, err := Open(mediaType, content, ours, []Key{key}); err == nil && !written[string(content)] {
			t.Errorf("%q was accepted", content)
		}
	})
}

// FuzzStatement reads statements with a valid signature: what is taken must be taken
// alike by a decoder that keeps only the last of two values.
func FuzzStatement(f *testing.F) {
	_, payloads := signed(f, example(), nil, "Ed25519", DSSE)
	for _, p := range payloads {
		f.Add(p.Content)
	}
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"urn:acrpromote:seal:v1","predicate":null}`))
	private := keys()["Ed25519"]
	signer, err := LocalSigner(private)
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewKey(signer.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := Payload{Content: payload}.Sign(context.Background(), signer, DSSE)
		if err != nil {
			t.Skip()
		}
		o, err := Open(a.MediaType, a.Content, ours, []Key{key})
		if err != nil {
			return
		}
		var head struct {
			Subject []struct{ Digest map[string]string }
		}
		if err := json.Unmarshal(payload, &head); err != nil || len(head.Subject) != 1 || "sha256:"+head.Subject[0].Digest["sha256"] != ours {
			t.Errorf("%q was accepted", payload)
		}
		if (o.Summary == nil) == (o.Promotion == nil) && o.Sealing == nil {
			t.Errorf("%q is no statement", payload)
		}
	})
}

// TestEnvironmentNeedsItsApproval: that a resource is listed is not enough.
func TestEnvironmentNeedsItsApproval(t *testing.T) {
	production, staging := Resource{"environment", "7", "Production"}, Resource{"environment", "8", "Staging"}
	expect := Expectations{Environment: "Production"}
	p := Promotion{Approval: Approval{Kind: Manual, Approvers: 1, Resources: []Resource{production, staging}, Given: []Given{{Resource: staging, Number: 1}}}}
	if unmet := expect.unmetApproval(p); len(unmet) != 1 || !strings.Contains(unmet[0], "not approved there") {
		t.Errorf("%q", unmet)
	}
	p.Approval.Checks = []Check{{Definition: "smoke", Resource: production}}
	if unmet := expect.unmetApproval(p); len(unmet) > 0 {
		t.Errorf("a check on it: %q", unmet)
	}
}

// TestPassed: a receipt that nobody would accept does not make a new one unnecessary.
func TestPassed(t *testing.T) {
	for _, c := range []struct {
		result string
		after  time.Duration
		want   bool
	}{{passed, 0, true}, {passed, maxSkew, true}, {passed, maxSkew + time.Second, false}, {"FAILED", 0, false}, {"passed", 0, false}} {
		r := Receipt{Summary: Summary{VerificationResult: c.result, TimeVerified: clock.Add(c.after)}}
		if got := r.Passed(clock); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestRedactedBranch: a branch that has the name of a person is left out with it, and
// the run is still recognized.
func TestRedactedBranch(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	p := example()
	p.Run.Branch, p.Seal.Run.Branch = "refs/heads/users/Asha@example.com/fix", "refs/heads/users/chi@example.com/fix"
	for _, redact := range [][]Redaction{nil, {RedactComments}, DefaultRedaction(), {RedactApprovers, RedactRequester}} {
		found, payloads := signed(t, p, redact, "Ed25519", DSSE)
		left := strings.Contains(string(payloads[0].Content), "users/Asha@example.com") || strings.Contains(string(payloads[0].Content), "users/chi@example.com")
		if left != (len(redact) < 2) {
			t.Errorf("%v: %s", redact, payloads[0].Content)
		}
		v := Judge(here(), found, []Key{key}, Expectations{}, clock)
		if !v.Met || !v.Receipt.SameRun(p) || !v.Receipt.SameRules(p, redact, target) {
			t.Errorf("%v: the receipt is not recognized", redact)
		}
	}
	if p.Run.Branch == "" || p.Seal.Run.Branch == "" {
		t.Error("the promotion itself has changed")
	}
}
