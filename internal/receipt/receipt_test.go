package receipt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "embed"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/schemacheck"
)

//go:embed schema.json
var schemaJSON []byte

var (
	ours   = "sha256:" + strings.Repeat("a", 64)
	theirs = "sha256:" + strings.Repeat("b", 64)
	record = "sha256:" + strings.Repeat("c", 64)
	clock  = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	source = Place{"prod.example.com", "shop/cart", "1.4.2"}
	target = Place{"dev.example.com", "shop/cart", "1.4.2"}
	allOf  = []Redaction{RedactApprovers, RedactComments, RedactEgress, RedactRequester, RedactRules, RedactUniqueNames}
)

// keys are made once: RSA keys take long.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	made := map[string]crypto.Signer{}
	must := func(name string, k crypto.Signer, err error) {
		if err != nil {
			panic(err)
		}
		made[name] = k
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must("P-256", p256, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must("P-384", p384, err)
	// Always the same key, for the processes of a fuzz test.
	must("Ed25519", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), nil)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	must("RSA", rsa2048, err)
	return made
})

func signerOf(t testing.TB, name string) (Signer, Key) {
	t.Helper()
	signer, err := LocalSigner(keys()[name])
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, key
}

// example is a promotion with every field set. The names of people and hosts occur
// in one place only, but for the details of outcomes and a rule that names people.
func example() Promotion {
	resource := Resource{"environment", "7", "Production"}
	asha := Person{"11111111-aaaa-4aaa-8aaa-000000000001", "asha@example.com", "Asha Rao"}
	ben := Person{"11111111-aaaa-4aaa-8aaa-000000000002", "ben@example.com", "Ben Okafor"}
	return Promotion{
		Time: clock.Add(123 * time.Millisecond), Tool: "1.1.0", Action: "invertedPush", Digest: ours, From: source, To: []Place{target, {"team.example.com:5000", "cart", "latest"}},
		Run: Run{Kind: "yaml", Organization: "contoso", Project: "shop", Pipeline: Pipeline{12, "release"}, ID: 4711, URL: "https://dev.azure.com/contoso/shop/_build/results?buildId=4711",
			Stage: "Release", Attempt: 2, Branch: "refs/heads/main", Commit: strings.Repeat("d", 40)},
		Requesters: []Person{{"11111111-aaaa-4aaa-8aaa-000000000003", "chi@example.com", "Chi Nguyen"}},
		Approval: Approval{Kind: Manual, Given: []Given{
			{ID: "9f0c", Check: 41, Resource: resource, Approver: asha, Time: clock.Add(-time.Hour), Comment: "CHG-1001 <looks good> & tested"},
			{ID: "9f0d", Check: 42, Resource: resource, Approver: ben, Time: clock.Add(-time.Minute), Comment: "CHG-1002 second pair of eyes"},
			{ID: "9f0e", Check: 43, Resource: Resource{"endpoint", "e1", "prod-writer"}, Approver: ben, Time: clock.Add(-time.Minute)},
		}, Checks: []Check{{"smoke", resource, clock.Add(-2 * time.Hour)}}},
		RulesVerified: true,
		Rules:         []Rule{{"minApprovers", "2", "flow", false}, {"approvers", "asha@example.com, ben@example.com", "flow", true}, {"approvalMaxAge", "72h0m0s", "input", false}},
		Outcomes:      []Outcome{{"min-approvers", true, "Asha Rao (asha@example.com): \"CHG-1001 <looks good> & tested\""}, {"not-sealed", true, ""}},
		Seal:          &Seal{Record: record, Time: clock.Add(-3 * time.Hour), Run: Run{Kind: "yaml", Project: "shop", ID: 4700}},
		Flow:          &Flow{"release", "release-rules", "refs/heads/main", strings.Repeat("e", 40), "flows.yml", strings.Repeat("f", 64)},
		Attached:      []Attached{{theirs, "application/spdx+json", ours}},
		Egress:        []string{"egress-one.example.com:443", "egress-two.example.com:443"},
	}
}

// signed returns the statements of a promotion to the target, signed.
func signed(t testing.TB, p Promotion, redact []Redaction, key string, format Format) (found []Found, payloads []Payload) {
	t.Helper()
	signer, _ := signerOf(t, key)
	promotion, summaries, err := p.Statements(redact, target)
	if err != nil {
		t.Fatal(err)
	}
	payloads = append([]Payload{promotion}, summaries...)
	for i, payload := range payloads {
		a, err := payload.Sign(context.Background(), signer, format)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, Found{Manifest: fmt.Sprintf("sha256:%064x", i), MediaType: a.MediaType, Content: a.Content})
	}
	return found, payloads
}

// here is the image at the target.
func here() Image { return Image{Digest: ours, Resources: []string{target.Resource(ours)}} }

func TestReceiptIsVerified(t *testing.T) {
	for name := range keys() {
		for _, format := range []Format{DSSE, Bundle} {
			_, key := signerOf(t, name)
			found, _ := signed(t, example(), nil, name, format)
			v := Judge(here(), found, []Key{key}, Expectations{}, clock.Add(time.Minute))
			if !v.Met || v.Receipt == nil || len(v.Valid) != 1 || len(v.Refusals)+len(v.Notes) != 0 {
				t.Fatalf("%s %s: %+v", name, format, v)
			}
			if r := v.Receipt; r.Key.ID() != key.ID() || r.Promotion.Approval.Approvers != 2 || r.Promotion.Approval.Given[2].Number != 2 ||
				r.Promotion.Approval.Given[0].Comment != "CHG-1001 <looks good> & tested" || r.Manifests != [2]string{found[1].Manifest, found[0].Manifest} ||
				!slices.Equal(r.Summary.VerifiedLevels, []string{ApprovedByPersons, ApprovedByChecks, RulesVerified}) {
				t.Errorf("%s %s: %+v", name, format, r)
			}
		}
	}
}

// TestStatementsAreDeterministic also checks that making them changes nothing of
// the promotion.
func TestStatementsAreDeterministic(t *testing.T) {
	p := example()
	first, summaries, err := p.Statements(allOf, source, target)
	if err != nil || len(summaries) != 2 {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, example()) {
		t.Error("the promotion was changed")
	}
	p.Seal.Time = p.Seal.Time.Add(time.Millisecond)
	if whole, _, err := p.Statements(nil, source); err != nil || regexp.MustCompile(`:[0-9]{2}\.[0-9]+Z`).Match(whole.Content) || !bytes.Contains(whole.Content, []byte(`"record":"`+record+`","time":"2026-11-27T09:00:00Z"`)) {
		t.Errorf("times are not in whole seconds: %s, %v", whole.Content, err)
	}
	again, _, err := p.Statements(allOf, source)
	if err != nil || !bytes.Equal(first.Content, again.Content) {
		t.Errorf("%s\n%s\n%v", first.Content, again.Content, err)
	}
}

// TestLargePromotions has more than a statement lists.
func TestLargePromotions(t *testing.T) {
	p := example()
	p.Attached = slices.Repeat(p.Attached, 10_000)
	p.Approval.Given[0].Comment = "é" + strings.Repeat("é", 5000)
	promotion, _, err := p.Statements(nil, target)
	if err != nil || !bytes.Contains(promotion.Content, []byte(`"attachedCount":10000`)) || bytes.Count(promotion.Content, []byte("application/spdx+json")) != maxAttached ||
		!bytes.Contains(promotion.Content, []byte(strings.Repeat("é", 2048)+"…\"")) {
		t.Errorf("%d bytes, %v", len(promotion.Content), err)
	}
	signer, _ := signerOf(t, "RSA")
	p.Run.URL = strings.Repeat("x", maxPayload-len(promotion.Content))
	if promotion, _, err = p.Statements(nil, target); err != nil || len(promotion.Content) < maxPayload-200 {
		t.Fatalf("%d bytes, %v", len(promotion.Content), err)
	}
	for _, format := range []Format{DSSE, Bundle} {
		if a, err := promotion.Sign(context.Background(), signer, format); err != nil || len(a.Content) > MaxSize {
			t.Errorf("the largest statement has %d bytes, %v", len(a.Content), err)
		}
	}
}

// TestPersonsAreCounted counts persons by their ID, or else by their names.
func TestPersonsAreCounted(t *testing.T) {
	for want, persons := range map[int][]Person{
		1: {{ID: "1111AAAA", Name: "Asha"}, {ID: "1111aaaa", Name: "A. Rao"}, {ID: "1111aaaa"}},
		2: {{Name: "Asha"}, {Name: "Ben"}, {Name: "Asha"}},
		3: {{ID: "1", Name: "Asha"}, {ID: "2", Name: "Asha"}, {UniqueName: "asha@example.com", Name: "Asha"}},
	} {
		p := example()
		p.Approval.Given = nil
		for _, who := range persons {
			p.Approval.Given = append(p.Approval.Given, Given{Approver: who, Time: clock})
		}
		if got := p.normal().Approval.Approvers; got != want {
			t.Errorf("%v are %d persons, want %d", persons, got, want)
		}
	}
}

func TestNoReceiptWithoutApproval(t *testing.T) {
	for name, change := range map[string]func(*Promotion){
		"its approval is of kind \"none\"":       func(p *Promotion) { p.Approval.Kind = "none" },
		"its approval is of kind \"unapproved\"": func(p *Promotion) { p.Approval.Kind = "unapproved" },
		"its approval is of kind \"\"":           func(p *Promotion) { p.Approval.Kind = "" },
		"nobody has approved":                    func(p *Promotion) { p.Approval.Given = nil },
		"no check has approved":                  func(p *Promotion) { p.Approval.Kind, p.Approval.Checks = Automated, nil },
		"the rule not-sealed is not met":         func(p *Promotion) { p.Outcomes[1].Met = false },
		"has no time or no number":               func(p *Promotion) { p.Approval.Given[0].Time = time.Time{} },
		"is not a valid digest":                  func(p *Promotion) { p.Digest = "latest" },
		"it has no time":                         func(p *Promotion) { p.Time = time.Time{} },
		"it has no source":                       func(p *Promotion) { p.From = Place{} },
		"it has no target":                       func(p *Promotion) { p.To = nil },
		"or one without a registry":              func(p *Promotion) { p.To[0].Repository = "" },
		"its run has no kind":                    func(p *Promotion) { p.Run = Run{} },
		"is not a place of the promotion":        func(p *Promotion) { p.To = p.To[1:] },
		"bytes, and":                             func(p *Promotion) { p.Run.Branch = strings.Repeat("x", maxPayload) },
	} {
		p := example()
		change(&p)
		if _, _, err := p.Statements(nil, target); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want an error with %q", err, name)
		}
	}
	if _, _, err := example().Statements([]Redaction{"names"}, target); err == nil || !strings.Contains(err.Error(), `"names" is not something`) {
		t.Error(err)
	}
	checks := example()
	checks.Approval.Kind, checks.Approval.Given, checks.RulesVerified = Automated, nil, false
	_, summaries, err := checks.Statements(nil, target)
	if err != nil || !bytes.Contains(summaries[0].Content, []byte(`"verifiedLevels":["ACRPROMOTE_APPROVED_BY_CHECKS","ACRPROMOTE_RULES_UNVERIFIED"]`)) {
		t.Errorf("%s %v", summaries, err)
	}
}

// TestChangedBytesAreRefused changes every byte of what is stored, of the statement
// and of the signature.
func TestChangedBytesAreRefused(t *testing.T) {
	for _, format := range []Format{DSSE, Bundle} {
		for name := range keys() {
			_, key := signerOf(t, name)
			found, payloads := signed(t, example(), nil, name, format)
			for which, f := range found {
				step := 1
				if name != "P-256" || format == Bundle {
					step = 29 // every byte would take long
				}
				for i := 0; i < len(f.Content); i += step {
					changed := bytes.Clone(f.Content)
					changed[i] ^= 1 << (i % 7)
					if _, err := Open(f.MediaType, changed, ours, []Key{key}); err == nil {
						t.Fatalf("%s %s: byte %d of %s was changed, and accepted", name, format, i, f.Content)
					}
				}
				var e envelope
				if format == DSSE {
					if err := json.Unmarshal(f.Content, &e); err != nil || !bytes.Equal(e.Payload, payloads[which].Content) {
						t.Fatal(err)
					}
					for i := 0; i < len(e.Payload)+len(e.Signatures[0].Sig); i += step {
						changed := envelope{bytes.Clone(e.Payload), e.PayloadType, []signatureOf{{"", bytes.Clone(e.Signatures[0].Sig)}}}
						if i < len(e.Payload) {
							changed.Payload[i] ^= 0x20
						} else {
							changed.Signatures[0].Sig[i-len(e.Payload)] ^= 0x20
						}
						content, err := changed.encode(MediaType, "")
						if err != nil {
							t.Fatal(err)
						}
						if _, err := Open(MediaType, content, ours, []Key{key}); err == nil {
							t.Fatalf("%s: byte %d of the statement or the signature was changed, and accepted", name, i)
						}
					}
				}
				for _, content := range [][]byte{nil, f.Content[1:], f.Content[:len(f.Content)-1], append([]byte(" "), f.Content...), append(bytes.Clone(f.Content), '\n'), append(bytes.Clone(f.Content), f.Content...)} {
					if _, err := Open(f.MediaType, content, ours, []Key{key}); err == nil {
						t.Errorf("%s: %q was accepted", name, content)
					}
				}
			}
		}
	}
}

// TestChangedFieldsAreRefused changes each value of the statements and encodes them
// again, with the old signature.
func TestChangedFieldsAreRefused(t *testing.T) {
	_, key := signerOf(t, "Ed25519")
	random := mathrand.New(mathrand.NewPCG(1, 2))
	changes := 0
	for range 20 {
		found, payloads := signed(t, generate(random), nil, "Ed25519", DSSE)
		for i, f := range found {
			var e envelope
			if err := json.Unmarshal(f.Content, &e); err != nil {
				t.Fatal(err)
			}
			var document any
			if err := json.Unmarshal(payloads[i].Content, &document); err != nil {
				t.Fatal(err)
			}
			eachValue(document, func(set func(any), value any) {
				set(mutated(value))
				payload, err := json.Marshal(document)
				set(value)
				if err != nil {
					t.Fatal(err)
				}
				content, err := envelope{payload, e.PayloadType, e.Signatures}.encode(MediaType, "")
				if err != nil {
					t.Fatal(err)
				}
				changes++
				others := []Found{{MediaType: MediaType, Content: content}, found[1-i]}
				if v := Judge(here(), others, []Key{key}, Expectations{}, clock); v.Met || len(v.Valid) > 0 {
					t.Fatalf("accepted: %s", payload)
				}
			})
		}
	}
	if changes < 1000 {
		t.Errorf("only %d changes were tried", changes)
	}
}

// eachValue visits every value of a JSON document.
func eachValue(v any, visit func(set func(any), value any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			visit(func(to any) { v[name] = to }, value)
			eachValue(value, visit)
		}
	case []any:
		for i, value := range v {
			visit(func(to any) { v[i] = to }, value)
			eachValue(value, visit)
		}
	}
}

func mutated(v any) any {
	switch v := v.(type) {
	case string:
		return v + "x"
	case float64:
		return v + 1
	case bool:
		return !v
	case []any:
		return append(slices.Clone(v), "x")
	}
	return map[string]any{"x": 1}
}

// generate returns a promotion with random content.
func generate(random *mathrand.Rand) Promotion {
	p := example()
	word := func(kind string) string { return fmt.Sprintf("%s-%06x", kind, random.Uint32()&0xffffff) }
	person := func() Person { return Person{word("id"), word("unique") + "@example.com", "Person " + word("name")} }
	p.Approval.Given, p.Approval.Checks = nil, nil
	for range random.IntN(4) {
		p.Approval.Given = append(p.Approval.Given, Given{ID: word("approval"), Check: random.IntN(3), Resource: Resource{"environment", word("r"), word("R")},
			Approver: person(), Time: clock.Add(-time.Duration(random.IntN(1e6)) * time.Millisecond), Comment: "“" + word("comment") + "” \t\u2028<&>"})
	}
	if len(p.Approval.Given) == 0 || random.IntN(2) == 0 {
		p.Approval.Checks = []Check{{word("check"), Resource{"endpoint", word("e"), ""}, time.Time{}}}
	}
	if len(p.Approval.Given) == 0 {
		p.Approval.Kind = Automated
	}
	p.Requesters = nil
	for range random.IntN(3) {
		p.Requesters = append(p.Requesters, person())
	}
	p.Rules = []Rule{{"sealed", word("value"), "default", false}}
	people := []string{}
	for _, g := range p.Approval.Given {
		people = append(people, g.Approver.UniqueName)
		p.Outcomes = append(p.Outcomes, Outcome{"min-approvers", true, fmt.Sprintf("%s (%s, %s): %q", g.Approver.Name, g.Approver.UniqueName, g.Approver.ID, g.Comment)})
	}
	for _, r := range p.Requesters {
		p.Outcomes = append(p.Outcomes, Outcome{"requester-approved", true, "not requested by " + r.Name + r.UniqueName})
	}
	p.Rules = append(p.Rules, Rule{"approvers", strings.Join(people, ", "), "flow", true})
	p.Egress = []string{word("host") + ".example.com"}
	p.RulesVerified = random.IntN(2) == 0
	if random.IntN(2) == 0 {
		p.Seal, p.Flow, p.Attached = nil, nil, nil
	}
	return p
}

// TestRedactionLeaksNothing looks for every redacted text in everything that is
// attached.
func TestRedactionLeaksNothing(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(3, 4))
	looked := 0
	for i := range 300 {
		p := generate(random)
		var redact []Redaction
		for j, name := range allOf {
			if (i+1)>>j&1 == 1 {
				redact = append(redact, name)
			}
		}
		promotion, summaries, err := p.Statements(redact, target)
		if err != nil {
			t.Fatal(err)
		}
		secrets := map[Redaction][]string{RedactEgress: p.Egress}
		for _, g := range p.Approval.Given {
			comment := strings.Trim(g.Comment, "“” \t\u2028<&>")
			secrets[RedactComments] = append(secrets[RedactComments], comment)
			secrets[RedactUniqueNames] = append(secrets[RedactUniqueNames], g.Approver.ID, g.Approver.UniqueName)
			secrets[RedactApprovers] = append(secrets[RedactApprovers], comment, g.Approver.ID, g.Approver.UniqueName, g.Approver.Name)
		}
		for _, r := range p.Requesters {
			secrets[RedactUniqueNames] = append(secrets[RedactUniqueNames], r.ID, r.UniqueName)
			secrets[RedactRequester] = append(secrets[RedactRequester], r.ID, r.UniqueName, r.Name)
		}
		for _, r := range p.Rules {
			if !r.People {
				secrets[RedactRules] = append(secrets[RedactRules], r.Value)
			}
		}
		for _, name := range redact {
			if !bytes.Contains(promotion.Content, []byte(`"`+string(name)+`"`)) {
				t.Errorf("%s is not listed as redacted", name)
			}
			for _, secret := range secrets[name] {
				looked++
				for _, content := range [][]byte{promotion.Content, summaries[0].Content} {
					if bytes.Contains(content, []byte(secret)) {
						t.Errorf("%s: %q is in %s", name, secret, content)
					}
				}
			}
		}
		if want := len(p.Approval.Given); !bytes.Contains(promotion.Content, fmt.Appendf(nil, `"approvers":%d,`, want)) {
			t.Errorf("the number of approvers, %d, is missing in %s", want, promotion.Content)
		}
	}
	if looked < 1000 {
		t.Errorf("looked for only %d texts", looked)
	}
}

// TestQuotedNamesAreRedacted has people whose names occur elsewhere.
func TestQuotedNamesAreRedacted(t *testing.T) {
	p := example()
	p.Requesters[0].Name = "CHI@example.com"
	p.Approval.Given[0].Comment = "asked by chi nguyen"
	p.Approval.Given[1].Approver.Name = "Ben (BEN@example.com)"
	p.Approval.Given[1].Comment = "after a talk with Asha@Example.com"
	p.Rules[0].Value = "matches ben@example.com"
	redacted, err := p.normal().redact([]Redaction{RedactUniqueNames})
	if err != nil {
		t.Fatal(err)
	}
	if g := redacted.Approval.Given; redacted.Requesters[0].Name != "" || g[0].Comment != "asked by chi nguyen" || g[1].Comment != "" || g[0].Approver != (Person{Name: "Asha Rao"}) || g[1].Approver != (Person{}) || redacted.Rules[2].Value != "" {
		t.Errorf("%+v", redacted)
	}
	p.Requesters[0].Name = "Chi Nguyen"
	if redacted, err = p.normal().redact([]Redaction{RedactRequester}); err != nil || redacted.Approval.Given[0].Comment != "" || redacted.Approval.Given[1].Comment == "" {
		t.Errorf("%+v, %v", redacted, err)
	}
}

// TestPolicyDigest shows that the hash of the rules tells rules apart, and does not
// cover what is redacted.
func TestPolicyDigest(t *testing.T) {
	digestOf := func(change func(*Promotion), redact ...Redaction) string {
		p := example()
		if change != nil {
			change(&p)
		}
		p, err := p.normal().redact(redact)
		if err != nil {
			t.Fatal(err)
		}
		return p.PolicyDigest()
	}
	// printf 'acrpromote/rules/v1\napprovalMaxAge="72h0m0s"\napprovers="asha@example.com, ben@example.com"\nminApprovers="2"\n' | sha256sum
	if got := digestOf(nil); got != "sha256:2febd901b0df36c9485824bdecb1d4c73773fdc2eae46298c19564d99a055075" {
		t.Errorf("the hash of the rules is %s", got)
	}
	other := func(p *Promotion) { p.Rules[0].Value = "1" }
	someone := func(p *Promotion) { p.Rules[1].Value = "chi@example.com" }
	switch {
	case digestOf(nil) == digestOf(other):
		t.Error("other rules have the same hash")
	case digestOf(nil) == digestOf(someone):
		t.Error("other approvers have the same hash")
	case digestOf(nil, RedactUniqueNames) != digestOf(someone, RedactUniqueNames):
		t.Error("the hash covers redacted names")
	case digestOf(nil, RedactRules) != "":
		t.Error("the hash covers redacted rules")
	}
}

func parsed(t *testing.T, content []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(content, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func sealing() Sealing {
	return Sealing{Time: clock, Tool: "1.1.0", Digest: ours, Image: source, Record: record, Run: example().Run, Rules: []string{"older-than-run"}}
}

func TestStatementsMatchSchema(t *testing.T) {
	schema := parsed(t, schemaJSON).(map[string]any)
	random := mathrand.New(mathrand.NewPCG(5, 6))
	matches := func(content []byte) {
		t.Helper()
		if found := schemacheck.Violations(schema, parsed(t, content), "receipt"); len(found) > 0 {
			t.Errorf("%q\n%s", found, content)
		}
	}
	for i := range 100 {
		promotion, summaries, err := generate(random).Statements(allOf[:i%7], target)
		if err != nil {
			t.Fatal(err)
		}
		matches(promotion.Content)
		matches(summaries[0].Content)
	}
	seal, err := sealing().Statement()
	if err != nil {
		t.Fatal(err)
	}
	matches(seal.Content)
	if len(schemacheck.Violations(schema, parsed(t, []byte(`{}`)), "receipt")) == 0 {
		t.Error("the schema is met by anything")
	}
}

// fieldsOf returns the names of all fields of a type, as the page writes them.
func fieldsOf(goType reflect.Type, prefix string, apart map[reflect.Type]bool) (names []string) {
	switch {
	case goType.Kind() == reflect.Pointer:
		return fieldsOf(goType.Elem(), prefix, apart)
	case goType.Kind() == reflect.Slice:
		return fieldsOf(goType.Elem(), strings.TrimSuffix(prefix, ".")+"[].", apart)
	case goType.Kind() != reflect.Struct, goType == reflect.TypeFor[time.Time](), apart[goType]:
		return nil
	}
	for i := range goType.NumField() {
		f := goType.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "-" {
			names = append(append(names, prefix+name), fieldsOf(f.Type, prefix+name+".", apart)...)
		}
	}
	return names
}

// TestPageAndSchemaHaveEveryField compares the types with the schema and with the
// tables of the page that describes the format.
func TestPageAndSchemaHaveEveryField(t *testing.T) {
	schema := parsed(t, schemaJSON).(map[string]any)
	definition := func(name string) map[string]any {
		return map[string]any{"$ref": "#/$defs/" + name, "$defs": schema["$defs"]}
	}
	page, err := os.ReadFile("../../docs/receipts-format.md")
	if err != nil {
		t.Fatal(err)
	}
	// Types that have a table of their own.
	apart := map[reflect.Type]bool{reflect.TypeFor[Place](): true, reflect.TypeFor[Run](): true, reflect.TypeFor[Person](): true, reflect.TypeFor[Resource](): true}
	var tables [][]string
	row := regexp.MustCompile("^\\| `([^`]+)` \\|")
	for line := range strings.Lines(strings.ReplaceAll(string(page), "\r\n", "\n")) {
		if line == "| field | type | meaning |\n" {
			tables = append(tables, nil)
		} else if found := row.FindStringSubmatch(line); found != nil && len(tables) > 0 {
			tables[len(tables)-1] = append(tables[len(tables)-1], found[1])
		} else if line == "\n" && len(tables) > 0 && tables[len(tables)-1] != nil {
			tables = append(tables, nil)
		}
	}
	for _, c := range []struct {
		schema string
		goType reflect.Type
	}{
		{"summaryStatement", reflect.TypeFor[Statement[Summary]]()},
		{"promotionStatement", reflect.TypeFor[Statement[Promotion]]()},
		{"sealingStatement", reflect.TypeFor[Statement[Sealing]]()},
		{"", reflect.TypeFor[Statement[string]]()},
		{"", reflect.TypeFor[Summary]()},
		{"", reflect.TypeFor[Promotion]()},
		{"", reflect.TypeFor[Sealing]()},
		{"", reflect.TypeFor[Place]()},
		{"", reflect.TypeFor[Run]()},
		{"", reflect.TypeFor[Person]()},
		{"", reflect.TypeFor[Resource]()},
	} {
		if c.schema != "" {
			for _, difference := range schemacheck.Differences(definition(c.schema), c.goType, c.schema) {
				t.Error(difference)
			}
			continue
		}
		others := apart
		if apart[c.goType] {
			others = nil
		}
		want := fieldsOf(c.goType, "", others)
		if !slices.ContainsFunc(tables, func(table []string) bool { return slices.Equal(table, want) }) {
			t.Errorf("docs/receipts-format.md has no table with exactly the fields of %s: %q\n%q", c.goType, want, tables)
		}
	}
	for name := range redactions {
		if !strings.Contains(string(page), "\n| `"+string(name)+"` | ") {
			t.Errorf("docs/receipts-format.md does not explain the redaction %s", name)
		}
	}
	for _, text := range []string{ApprovedByPersons, ApprovedByChecks, RulesVerified, RulesUnverified, SummaryType, PromotionType, SealType, ArtifactType, MediaType, BundleType, payloadType, annotationCreated, annotationPredicate, annotationBundleContent, annotationBundlePredicate} {
		if !strings.Contains(string(page), "`"+text+"`") {
			t.Errorf("docs/receipts-format.md does not name %s", text)
		}
	}
}
