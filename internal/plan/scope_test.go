package plan

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"acrpromote/internal/approval"
	"acrpromote/internal/receipt"
	"acrpromote/internal/ref"
	"acrpromote/internal/referrer"
	"acrpromote/internal/seal"
	"acrpromote/internal/topology"
)

// TestScopeVectors compares with figures that another program computed.
func TestScopeVectors(t *testing.T) {
	content, err := os.ReadFile("code_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name     string
		Images   []struct{ Repository, Digest string }
		Targets  []struct{ Digest, Target, Lock string }
		Attached []struct{ Digest, Subject string }

		Lines, Digest, Code string
	}
	if err := json.Unmarshal(content, &vectors); err != nil || len(vectors) < 7 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		var s Scope
		for _, i := range v.Images {
			s.AddImage(parsed(t, i.Repository+"@"+i.Digest), i.Digest)
		}
		for _, target := range v.Targets {
			host, repository, _ := strings.Cut(target.Target, "/")
			repository, tag, _ := strings.Cut(repository, ":")
			s.AddTarget(target.Digest, ref.Reference{Registry: strings.ToUpper(host), Repository: repository, Tag: tag}, Lock(target.Lock))
		}
		for _, a := range v.Attached {
			s.AddAttached(a.Digest, a.Subject)
		}
		if s.Lines() != v.Lines || s.Digest() != v.Digest || s.Code() != v.Code {
			t.Errorf("%s: got\n%s%s %s\nwant\n%s%s %s", v.Name, s.Lines(), s.Digest(), s.Code(), v.Lines, v.Digest, v.Code)
		}
		if again, err := ParseScope(v.Lines); err != nil || !again.Equal(s) {
			t.Errorf("%s: parsing its lines: %v", v.Name, err)
		}
	}
}

func parsed(t *testing.T, s string) ref.Reference {
	t.Helper()
	r, err := ref.ParseSource(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseScopeRejects(t *testing.T) {
	valid := scopeVersion + "\nimage a/b@sha256:0\ntarget sha256:0 c/b:1 lock=none\nattached sha256:1 sha256:0\n"
	if _, err := ParseScope(valid); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(valid, "\n")
	for name, text := range map[string]string{
		"nothing": "", "no version": strings.Join(lines[1:], ""), "another version": strings.Replace(valid, "v1", "v2", 1),
		"a cut line": strings.TrimSuffix(valid, "\n"), "another order": lines[0] + lines[2] + lines[1] + lines[3], "a line twice": lines[0] + lines[1] + lines[1] + lines[2],
		"an unknown line": valid + "other x\n", "an empty line": valid + "\n", "a control character": strings.Replace(valid, "a/b", "a/\x1bb", 1), "another letter": strings.Replace(valid, "a/b", "a/\u202eb", 1),
		"a word more": strings.Replace(valid, "a/b@sha256:0", "a/b@sha256:0 x", 1), "a word less": strings.Replace(valid, " lock=none", "", 1), "carriage returns": strings.ReplaceAll(valid, "\n", "\r\n"),
	} {
		if _, err := ParseScope(text); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// shelf generates images of a set, with what is attached to them.
type shelf struct{ *rand.Rand }

func (s shelf) digest() string { return fmt.Sprintf("sha256:%064x", s.Uint64()) }

func (s shelf) image(name string) Image {
	i := Image{Wanted: Wanted{Action: InvertedPush, Source: ref.Reference{Registry: "prod.example.com", Repository: name, Tag: "1"}}}
	i.Observed.Source = Source{Digest: s.digest(), Timed: s.IntN(4) > 0}
	for range s.IntN(3) {
		i.Observed.Source.Children = append(i.Observed.Source.Children, s.digest())
	}
	flow := &topology.Flow{}
	if s.IntN(3) == 0 {
		flow.Referrers.AfterApproval = topology.Bring
	}
	if s.IntN(3) == 0 {
		flow.Referrers.Exclude = []topology.ArtifactType{"application/excluded"}
	}
	for j := range 1 + s.IntN(3) {
		target := i.Wanted.Source
		target.Registry = fmt.Sprintf("dev%d.example.com", j)
		lock := []topology.Lock{topology.LockNone, topology.LockTag, topology.LockImage}[s.IntN(3)]
		kind := topology.Manual
		if s.IntN(5) == 0 {
			kind = topology.None
		}
		i.Wanted.Targets = append(i.Wanted.Targets, target)
		i.Wanted.Routes = append(i.Wanted.Routes, Route{Flow: flow, Rules: topology.Rules{Kind: kind, Code: topology.CodeOfPlan, Lock: lock}})
		i.Observed.Targets = append(i.Observed.Targets, Target{})
	}
	subjects := append([]string{i.Observed.Source.Digest}, i.Observed.Source.Children...)
	for range s.IntN(6) {
		one := referrer.Referrer{Digest: s.digest(), Subject: subjects[s.IntN(len(subjects))], Missing: s.IntN(2) > 0}
		one.Type = []string{"application/spdx+json", "application/excluded", seal.ArtifactType, seal.LaterTypes[0]}[s.IntN(4)]
		one.Manifest = referrer.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Config: "application/vnd.oci.empty.v1+json", Layers: []string{"application/spdx+json"}}
		if s.IntN(5) == 0 {
			one.Config, one.Layers = "application/vnd.oci.image.config.v1+json", []string{"application/vnd.oci.image.layer.v1.tar"}
		}
		if s.IntN(3) == 0 {
			one.Tag = ref.DigestTag(one.Subject) + ".sig"
		}
		if i.Observed.Source.Timed && s.IntN(5) > 0 {
			one.At = noon.Add(time.Duration(s.IntN(8)) * time.Minute)
		}
		i.Observed.Source.Referrers = append(i.Observed.Source.Referrers, one)
		subjects = append(subjects, one.Digest)
	}
	return i
}

func (s shelf) set() []Image {
	var images []Image
	for n := range 1 + s.IntN(4) {
		images = append(images, s.image(fmt.Sprintf("shop/app%d", n)))
	}
	return images
}

// TestScopeAgainstAnOracle compares with a description that shares no code.
func TestScopeAgainstAnOracle(t *testing.T) {
	s := shelf{rand.New(rand.NewPCG(1, 2))}
	covered, later := 0, 0
	for range 1000 {
		images, at := s.set(), noon.Add(time.Duration(s.IntN(9))*time.Minute)
		if s.IntN(4) == 0 {
			at = time.Time{}
		}
		got, known := ScopeAt(images, at)
		want, left := oracleLines(images, at)
		if !known || got.Lines() != want {
			t.Fatalf("as of %s: got\n%swant\n%sof %+v", at, got.Lines(), want, images)
		}
		sum := sha256.Sum256([]byte(want))
		code := base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding).EncodeToString(sum[:15])
		if code = strings.TrimSuffix(regexp.MustCompile("....").ReplaceAllString(code, "$0-"), "-"); got.Code() != code || got.Digest() != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Fatalf("code %s, digest %s; want %s", got.Code(), got.Digest(), code)
		}
		covered, later = covered+strings.Count(want, "attached "), later+left
	}
	if covered < 200 || later < 200 {
		t.Errorf("only %d attached artifacts are covered, and %d are not", covered, later)
	}
}

// oracleLines returns the lines of a plan as docs/approval-codes.md describes them,
// and how many attached artifacts are not among them.
func oracleLines(images []Image, at time.Time) (text string, left int) {
	groups := make([]map[string]bool, 3)
	for n := range groups {
		groups[n] = map[string]bool{}
	}
	for _, i := range images {
		source := i.Observed.Source
		groups[0]["image "+i.Wanted.Source.Registry+"/"+i.Wanted.Source.Repository+"@"+source.Digest] = true
		leaves := false // what came after the approval
		for j, target := range i.Wanted.Targets {
			route := i.Wanted.Routes[j]
			groups[1][fmt.Sprintf("target %s %s/%s:%s lock=%s", source.Digest, target.Registry, target.Repository, target.Tag, route.Rules.Lock)] = true
			leaves = leaves || route.Rules.Kind != topology.None && route.Flow.Referrers.AfterApproval != topology.Bring
		}
		travels := map[string]bool{source.Digest: true}
		for _, child := range source.Children {
			travels[child] = true
		}
		for again := true; again; {
			again = false
			for _, one := range source.Referrers {
				excluded := one.Type == "application/excluded" && len(i.Wanted.Routes[0].Flow.Referrers.Exclude) > 0
				runs := one.Config == "application/vnd.oci.image.config.v1+json"
				late := !at.IsZero() && !one.At.IsZero() && !one.At.Before(at)
				timeless := source.Timed && leaves && one.At.IsZero()
				if !travels[one.Subject] || excluded || runs || late || timeless {
					continue
				}
				if !travels[one.Digest] {
					travels[one.Digest], again = true, true
				}
				if one.Type != "application/vnd.acrpromote.receipt.v1+json" {
					groups[2]["attached "+one.Digest+" "+one.Subject] = true
				}
			}
		}
		left += len(source.Referrers)
	}
	left -= len(groups[2])
	text = "acrpromote/plan/v1\n"
	for _, g := range groups {
		var lines []string
		for line := range g {
			lines = append(lines, line+"\n")
		}
		slices.Sort(lines)
		text += strings.Join(lines, "")
	}
	return text, left
}

// TestScopeIgnoresWhatWasObserved checks that neither the order nor the state of a
// target is in the code: a rerun has the same.
func TestScopeIgnoresWhatWasObserved(t *testing.T) {
	s := shelf{rand.New(rand.NewPCG(3, 4))}
	for range 500 {
		images, at := s.set(), noon.Add(time.Duration(s.IntN(9))*time.Minute)
		before, _ := ScopeAt(images, at)
		s.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
		for i := range images {
			source := &images[i].Observed.Source
			source.Records, source.Tag, source.Now, source.Approved = []Record{{Digest: s.digest()}}, &Attributes{WriteEnabled: true}, noon, noon
			s.Shuffle(len(source.Referrers), func(i, j int) {
				source.Referrers[i], source.Referrers[j] = source.Referrers[j], source.Referrers[i]
			})
			for j := range source.Referrers {
				source.Referrers[j].Missing = s.IntN(2) > 0
			}
			w := &images[i].Wanted
			s.Shuffle(len(w.Targets), func(i, j int) {
				w.Targets[i], w.Targets[j] = w.Targets[j], w.Targets[i]
				w.Routes[i], w.Routes[j] = w.Routes[j], w.Routes[i]
			})
			for j := range images[i].Observed.Targets {
				images[i].Observed.Targets[j] = Target{Unreachable: s.IntN(2) > 0, TagDigest: s.digest(), Missing: s.IntN(3), Root: true, Tag: &Attributes{}}
			}
		}
		images = append(images, images[s.IntN(len(images))])
		if after, _ := ScopeAt(images, at); after.Code() != before.Code() {
			t.Fatalf("the code depends on the order or on what was observed:\n%s\n%s", before.Lines(), after.Lines())
		}
	}
}

// TestScopeDependsOnEveryLine checks that any line more, less or changed gives
// another code.
func TestScopeDependsOnEveryLine(t *testing.T) {
	s := shelf{rand.New(rand.NewPCG(5, 6))}
	for range 300 {
		scope, _ := ScopeAt(s.set(), time.Time{})
		lines := strings.SplitAfter(strings.TrimSuffix(scope.Lines(), "\n"), "\n")
		codes := map[string]string{scope.Code(): "the plan"}
		check := func(what string, changed Scope) {
			t.Helper()
			if other, twice := codes[changed.Code()]; twice {
				t.Fatalf("%s and %s have the same code\n%s", what, other, scope.Lines())
			}
			codes[changed.Code()] = what
			if changes := append(scope.Changes(changed, 3), changed.Changes(scope, 3)...); len(changes) < 2 {
				t.Fatalf("%s: no change is named: %q", what, changes)
			}
		}
		for n := 1; n < len(lines); n++ {
			without := slices.Delete(slices.Clone(lines), n, n+1)
			less, err := ParseScope(strings.TrimSuffix(strings.Join(without, ""), "\n") + "\n")
			if err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprintf("without line %d", n), less)
		}
		more := scope
		more.images, more.targets, more.attached = slices.Clone(scope.images), slices.Clone(scope.targets), slices.Clone(scope.attached)
		image, target, artifact := more, more, more
		image.AddImage(ref.Reference{Registry: "prod.example.com", Repository: "x"}, s.digest())
		target.AddTarget(s.digest(), ref.Reference{Registry: "dev.example.com", Repository: "x", Tag: "1"}, "")
		artifact.AddAttached(s.digest(), s.digest())
		check("one image more", image)
		check("one target more", target)
		check("one artifact more", artifact)
	}
}

func TestScopeChanges(t *testing.T) {
	digest := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	var was, is Scope
	for n := range 6 {
		was.AddAttached(digest(n), digest(9))
	}
	source := ref.Reference{Registry: "prod.example.com", Repository: "shop/cart"}
	was.AddImage(source, digest(9))
	is.AddImage(source, digest(8))
	source.Repository = "shop/pay"
	is.AddImage(source, digest(7))
	was.AddTarget(digest(9), ref.Reference{Registry: "dev.example.com", Repository: "shop/cart", Tag: "1"}, LockNone)
	is.AddTarget(digest(9), ref.Reference{Registry: "dev.example.com", Repository: "shop/cart", Tag: "1"}, LockTag)
	want := []string{
		"image prod.example.com/shop/cart: " + digest(8) + " instead of " + digest(9), "image prod.example.com/shop/pay (" + digest(7) + ") added",
		"target dev.example.com/shop/cart:1: " + digest(9) + ", lock=tag instead of " + digest(9) + ", lock=none",
		"attached artifact " + digest(0) + " (to " + digest(9) + ") removed", "attached artifact " + digest(1) + " (to " + digest(9) + ") removed", "4 more changes of this kind",
	}
	if got := was.Changes(is, 2); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := was.Changes(was, 2); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestUnknownScope(t *testing.T) {
	s := shelf{rand.New(rand.NewPCG(7, 8))}
	for name, change := range map[string]func(*Source){
		"unreadable":       func(s *Source) { s.Unreadable = true },
		"without a digest": func(s *Source) { s.Digest = "" },
	} {
		images := []Image{s.image("a"), s.image("b")}
		change(&images[1].Observed.Source)
		if scope, known := ScopeAt(images, noon); known || len(scope.images) > 0 {
			t.Errorf("%s: known %v, %+v", name, known, scope)
		}
		groups := []Group{{Rules: topology.Rules{Kind: topology.Manual, Code: topology.CodeOfPlan}, Images: []int{0}}}
		c := Case(InvertedPush, images, groups, "2 images", "IMAGE", images)
		if rules := c.Parts[0].Rules; c.PlanCode(noon) != "" || rules.CodeOf != approval.CodeOfPlan || rules.OtherCode != "IMAGE" || rules.Code != "" {
			t.Errorf("%s: %+v", name, rules)
		}
	}
}

// TestLaterTypes checks that receipts are among what the plan's code does not cover.
func TestLaterTypes(t *testing.T) {
	if !slices.Contains(seal.LaterTypes, receipt.ArtifactType) || slices.Contains(seal.LaterTypes, seal.ArtifactType) {
		t.Errorf("%q", seal.LaterTypes)
	}
}

func TestNeedsPlanCode(t *testing.T) {
	for _, c := range []struct {
		name  string
		image Wanted
		want  bool
	}{
		{"the plan's", wantedBy("1", topology.Rules{Kind: topology.Manual, Code: topology.CodeOfPlan}), true},
		{"the image's", wantedBy("1", topology.Rules{Kind: topology.Manual, Code: topology.CodeOfImage}), false},
		{"no approval", wantedBy("1", topology.Rules{Kind: topology.None, Code: topology.CodeOfPlan}), false},
		{"a seal", Wanted{Action: Seal, Routes: []Route{{Rules: topology.Rules{Kind: topology.Manual, Code: topology.CodeOfPlan}}}}, false},
	} {
		if got := NeedsPlanCode([]Wanted{{}, c.image}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
