package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// sketch is a random flow file, kept separately from its text so that its meaning
// is known without the code under test.
type sketch struct {
	trust      []string
	registries map[string]sketched
	flows      map[string]flowSketch
}

type sketched struct {
	trust     int
	immutable bool
}

type flowSketch struct {
	from                             string
	to, repositories, tags, moving   []string
	repository, tag                  string // as
	kind, environment                string
	teams                            map[string][]string
	requester, sealed, code, minimum bool
}

func (s sketch) host(name string) string { return name + ".azurecr.io" }

func (s sketch) upward(from, to string) bool {
	return s.registries[from].trust < s.registries[to].trust
}

// draw returns a random topology. It may be invalid.
func draw(r *rand.Rand) sketch {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(list ...string) []string {
		var taken []string
		for _, l := range list {
			if r.IntN(2) == 0 {
				taken = append(taken, l)
			}
		}
		return taken
	}
	s := sketch{trust: []string{"dev", "staging", "production"}[:1+r.IntN(3)], registries: map[string]sketched{}, flows: map[string]flowSketch{}}
	var names []string
	for i := range 1 + r.IntN(4) {
		name := fmt.Sprintf("r%d", i)
		names = append(names, name)
		s.registries[name] = sketched{r.IntN(len(s.trust)), r.IntN(2) == 0}
	}
	for i := range 1 + r.IntN(3) {
		w := flowSketch{from: pick(names...), to: some(names...), repositories: some("shop/*", "base/os", "**", "shop/cart"), tags: some("1.*", ">=1.1 <3", "nightly"),
			moving: some("test", "stage", "production"), kind: pick("manual", "manual", "automated", "any", "none"), environment: pick("", "P", "P", "{tag}"),
			requester: r.IntN(4) == 0, sealed: r.IntN(4) == 0, code: r.IntN(4) == 0, minimum: r.IntN(4) == 0}
		if len(w.to) == 0 {
			w.to = []string{pick(names...)}
		}
		if w.environment == "{tag}" && r.IntN(3) > 0 && len(w.moving) > 0 {
			w.tag = pick(w.moving...)
		}
		if r.IntN(4) == 0 {
			w.repository = pick("x/{repository}", "{repository}")
		}
		if r.IntN(5) == 0 {
			w.teams = map[string][]string{}
			for _, to := range w.to {
				w.teams[to] = append(some("shop/**", "base/*"), "shop/cart")
			}
		}
		s.flows[fmt.Sprintf("f%d", i)] = w
	}
	return s
}

// write returns the text of the topology, with maps and lists in random order.
func (s sketch) write(r *rand.Rand) string {
	shuffled := func(list []string) []string {
		list = slices.Clone(list)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list
	}
	list := func(l []string) string {
		var quoted []string
		for _, t := range shuffled(l) {
			quoted = append(quoted, fmt.Sprintf("%q", t))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	object := func(entries []string) string { return "{" + strings.Join(shuffled(entries), ", ") + "}" }
	var registries, flows []string
	for name, g := range s.registries {
		registries = append(registries, name+": "+object([]string{"host: " + s.host(name), "trust: " + s.trust[g.trust], fmt.Sprintf("immutable: %v", g.immutable)}))
	}
	for name, w := range s.flows {
		approval := []string{"kind: " + w.kind}
		if w.environment != "" && w.kind != "none" {
			approval = append(approval, fmt.Sprintf("environment: %q", w.environment))
		}
		if w.kind == "automated" || w.kind == "any" {
			approval = append(approval, "checks: [{definition: 7, resource: P}]")
		}
		if w.kind == "manual" || w.kind == "any" {
			if w.requester {
				approval = append(approval, "requesterCanApprove: true")
			}
			if w.code {
				approval = append(approval, "code: true")
			}
			if w.minimum {
				approval = append(approval, "minApprovers: 2")
			}
		}
		entries := []string{"from: " + w.from, "to: " + list(w.to), "require: " + object([]string{"approval: " + object(approval), fmt.Sprintf("sealed: %v", w.sealed)})}
		for key, l := range map[string][]string{"repositories": w.repositories, "tags": w.tags, "movingTags": w.moving} {
			if len(l) > 0 {
				entries = append(entries, key+": "+list(l))
			}
		}
		var as []string
		if w.repository != "" {
			as = append(as, fmt.Sprintf("repository: %q", w.repository))
		}
		if w.tag != "" {
			as = append(as, fmt.Sprintf("tag: %q", w.tag))
		}
		if as != nil {
			entries = append(entries, "as: "+object(as))
		}
		if w.teams != nil {
			var teams []string
			for to, l := range w.teams {
				teams = append(teams, to+": "+list(l))
			}
			entries = append(entries, "teams: "+object(teams))
		}
		flows = append(flows, name+": "+object(entries))
	}
	parts := shuffled([]string{"version: 1", "trust: [" + strings.Join(s.trust, ", ") + "]", "registries: " + object(registries), "flows: " + object(flows)})
	return strings.Join(parts, "\n") + "\n"
}

// shelves has the content of the registries: the digest of each tag, and the
// digests in each repository.
type shelves struct {
	tags map[ref.Reference]string
	have map[string]bool
}

func fill(r *rand.Rand, s sketch) shelves {
	h := shelves{map[ref.Reference]string{}, map[string]bool{}}
	for name := range s.registries {
		for _, repository := range []string{"shop/cart", "shop/pay", "base/os", "x/shop/cart", "x/base/os"} {
			for _, tag := range []string{"1.0", "1.2.0", "2.0.0", "nightly", "test", "stage", "production"} {
				if r.IntN(6) == 0 {
					h.put(ref.Reference{Registry: s.host(name), Repository: repository, Tag: tag}, fmt.Sprintf("sha256:%064x", r.IntN(4)))
				}
			}
		}
	}
	return h
}

func (h shelves) put(at ref.Reference, digest string) {
	if at.Tag != "" {
		h.tags[at] = digest
	}
	h.have[at.Registry+"/"+at.Repository+"@"+digest] = true
}

// digest returns the digest of an image by tag or digest. A tag that does not
// exist gets the digest of an image that is in no registry.
func (h shelves) digest(source ref.Reference) string {
	if source.Digest != "" {
		return source.Digest
	}
	if d := h.tags[source]; d != "" {
		return d
	}
	return fmt.Sprintf("sha256:%064x", 15)
}

func (h shelves) observe(w Wanted) Observed {
	o := Observed{Source: Source{Digest: h.digest(w.Source), Records: []Record{{}}}}
	for _, t := range w.Targets {
		root := h.have[t.Registry+"/"+t.Repository+"@"+o.Source.Digest]
		o.Targets = append(o.Targets, Target{TagDigest: h.tags[t], Root: root})
	}
	return o
}

// request is the request of a task: images by a flow, and inputs.
type request struct {
	action, flow string
	sources      []ref.Reference
	targets      map[ref.Reference][]Destination
	inputs       topology.Inputs
	move         bool
}

func ask(r *rand.Rand, s sketch) request {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	names := make([]string, 0, len(s.registries))
	for name := range s.registries {
		names = append(names, name)
	}
	slices.Sort(names)
	flow := fmt.Sprintf("f%d", r.IntN(len(s.flows)))
	q := request{action: pick(Promote, InvertedPush), targets: map[ref.Reference][]Destination{}, move: r.IntN(3) == 0}
	home := pick(names...)
	if r.IntN(4) > 0 {
		home = s.flows[flow].from
	}
	if r.IntN(2) == 0 {
		q.flow = flow
	}
	along := r.IntN(3) > 0
	if along {
		home = s.flows[flow].from
		q.action = Promote
		if s.upward(s.flows[flow].to[0], home) {
			q.action = InvertedPush
		}
	}
	for range 1 + r.IntN(3) {
		source := ref.Reference{Registry: s.host(home), Repository: pick("shop/cart", "shop/pay", "base/os"), Tag: pick("1.0", "1.2.0", "2.0.0", "nightly")}
		if slices.Contains(q.sources, source) {
			continue
		}
		q.sources = append(q.sources, source)
		if along {
			// What the flow itself would do, and a tag that moves.
			for _, to := range s.flows[flow].to {
				if s.upward(home, to) == (q.action == InvertedPush) && home != to {
					continue
				}
				d := Destination{Registry: s.host(to)}
				if moving := s.flows[flow].moving; len(moving) > 0 && (home == to || r.IntN(2) == 0) {
					d.Tag = pick(moving...)
				}
				q.targets[source] = append(q.targets[source], d)
			}
			continue
		}
		for _, name := range names {
			if r.IntN(3) > 0 {
				q.targets[source] = append(q.targets[source], Destination{Registry: s.host(name), Tag: pick("", "", "test", "stage", "1.0")})
			}
		}
	}
	yes, no := true, false
	bools := []*bool{nil, nil, &yes, &no}
	none, image, whole := topology.Code(""), topology.CodeOfImage, topology.CodeOfPlan
	codes := []*topology.Code{nil, &none, &image, &whole}
	q.inputs = topology.Inputs{
		Approval: topology.Kind(pick("", "", "", "any", "none", "manual")), Environment: pick("", "", "", "Mine"),
		RequesterCanApprove: bools[r.IntN(4)], Code: codes[r.IntN(4)], Sealed: bools[r.IntN(4)], MinApprovers: r.IntN(3),
		Lock: topology.Lock(pick("", "none", "tag", "image")), OnPartial: topology.OnPartial(pick("", "warn", "fail")),
	}
	return q
}

// made returns the plan for a request, or an error.
func (q request) made(f *topology.File, h shelves) (Plan, error) {
	var images []Image
	var against = Plan{}.Refusals
	for _, source := range q.sources {
		w, refused, err := FindRoutes(f, Request{Action: q.action, Flow: q.flow, Source: source, Targets: q.targets[source], Inputs: q.inputs, MoveTag: q.move})
		if err != nil {
			return Plan{}, err
		}
		against = append(against, refused...)
		images = append(images, Image{w, h.observe(w)})
	}
	return Make(images, approval.Verdict{Granted: true}, against...), nil
}

// planText returns a text that is equal for plans with the same content.
func planText(p Plan) string {
	var lines []string
	for _, part := range p.Parts {
		for i, step := range part.Steps {
			t := part.Wanted.Routes[i].Rules
			lines = append(lines, fmt.Sprintf("%s -> %s %s %s %s | %s %q %d %v %v %v", part.Wanted.Source, step.Target, step.Work, step.Previous, step.Lock,
				t.Kind, t.Environment, t.MinApprovers, t.RequesterCanApprove, t.Code, t.Sealed))
		}
	}
	for _, r := range p.Refusals {
		lines = append(lines, fmt.Sprintf("%s %s", r.Rule, r.Subject))
	}
	slices.Sort(lines)
	return p.Direction + "\n" + strings.Join(lines, "\n")
}

// apply executes a plan.
func (h shelves) apply(p Plan) {
	for _, part := range p.Parts {
		for _, step := range part.Steps {
			if step.Work != Nothing && step.Work != Wait {
				h.put(step.Target, part.Digest)
			}
		}
	}
}

func TestGeneratedPlans(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 2))
	seen := map[string]int{}
	for range 1500 {
		s := draw(r)
		text := s.write(r)
		file, err := topology.Parse("flows.yml", []byte(text))
		if err != nil {
			seen["invalid"]++
			continue
		}
		for range 6 {
			q, h := ask(r, s), fill(r, s)
			holdPlan(t, r, s, file, text, q, h, seen)
			if t.Failed() {
				return
			}
		}
	}
	for _, what := range []string{"planned", "refused", "misuse", "up", "move", "move in immutable", "copy", "down"} {
		if seen[what] < 20 {
			t.Errorf("the generator is too weak: %d of %q; %v", seen[what], what, seen)
		}
	}
}

func holdPlan(t *testing.T, r *rand.Rand, s sketch, file *topology.File, text string, q request, h shelves, seen map[string]int) {
	t.Helper()
	p, err := q.made(file, h)
	shuffled, again := shuffle(t, r, s, q, h)
	switch {
	case (err == nil) != (again == nil):
		t.Fatalf("the order decides whether the file is valid: %v, %v\n%s%+v", err, again, text, q)
	case err != nil:
		seen["misuse"]++
		return
	case planText(p) != planText(shuffled):
		t.Fatalf("another order gives another plan:\n%s\n---\n%s\n%s%+v", planText(p), planText(shuffled), text, q)
	}
	if len(p.Refusals) > 0 {
		seen["refused"]++
		return
	}
	seen["planned"]++
	for _, part := range p.Parts {
		for i, step := range part.Steps {
			holdStep(t, s, q, part, i, step, text, seen)
		}
	}
	if p.Direction != "checked" {
		t.Fatalf("with a flow file, the direction is %s", p.Direction)
	}
	h.apply(p)
	rest, err := q.made(file, h)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest.Refusals) > 0 {
		t.Fatalf("refused the second time: %v\n%s%+v", rest.Refusals, text, q)
	}
	for _, part := range rest.Parts {
		for _, step := range part.Steps {
			if step.Work != Nothing {
				t.Fatalf("the second time %s -> %s is %s\n%s%+v", part.Wanted.Source, step.Target, step.Work, text, q)
			}
		}
	}
}

func holdStep(t *testing.T, s sketch, q request, part Part, i int, step Step, text string, seen map[string]int) {
	t.Helper()
	name := func(host string) string { return strings.TrimSuffix(host, ".azurecr.io") }
	from, to := name(part.Wanted.Source.Registry), name(step.Target.Registry)
	route, rules := part.Wanted.Routes[i], part.Wanted.Routes[i].Rules
	said := s.flows[route.Flow.Name]
	seen[string(step.Work)]++
	if said.from != from || !slices.Contains(said.to, to) {
		t.Fatalf("%s -> %s is not in flow %s\n%s", from, to, route.Flow.Name, text)
	}
	switch {
	case s.upward(from, to):
		seen["up"]++
		asked := said.kind != "none" && (said.environment != "" || said.kind == "automated")
		if !asked || q.action != Promote || rules.Kind == topology.None || rules.Environment == "" && rules.Kind != topology.Automated || rules.Kind == topology.Automated && len(rules.Checks) == 0 {
			t.Fatalf("%s -> %s leads up by %s, with the approval %s of %q\n%s", part.Wanted.Source, step.Target, q.action, rules.Kind, rules.Environment, text)
		}
	case s.upward(to, from):
		seen["down"]++
	}
	// Inputs have not relaxed anything.
	if said.kind != "none" && rules.Kind == topology.None || rules.RequesterCanApprove && !said.requester || rules.Sealed != (said.sealed || q.inputs.Sealed != nil && *q.inputs.Sealed) ||
		(said.kind == "manual" || said.kind == "any") && (said.code && rules.Code == "" || said.minimum && rules.MinApprovers < 2) {
		t.Fatalf("the inputs %+v relax flow %+v to %+v", q.inputs, said, rules)
	}
	if step.Work == Move {
		moving := slices.Contains(said.moving, step.Target.Tag)
		if s.registries[to].immutable {
			seen["move in immutable"]++
		}
		if !moving && (s.registries[to].immutable || from != to || !q.move) {
			t.Fatalf("%s moves in %s, which is immutable: %v\n%s", step.Target, to, s.registries[to].immutable, text)
		}
	}
}

// shuffle plans the same again, with file and request in another order.
func shuffle(t *testing.T, r *rand.Rand, s sketch, q request, h shelves) (Plan, error) {
	t.Helper()
	text := s.write(r)
	file, err := topology.Parse("flows.yml", []byte(text))
	if err != nil {
		t.Fatalf("in another order the file is invalid: %v\n%s", err, text)
	}
	sources, targets := slices.Clone(q.sources), map[ref.Reference][]Destination{}
	r.Shuffle(len(sources), func(i, j int) { sources[i], sources[j] = sources[j], sources[i] })
	for source, list := range q.targets {
		list = slices.Clone(list)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		targets[source] = list
	}
	q.sources, q.targets = sources, targets
	return q.made(file, h)
}
