package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// checker checks a decoded file as a whole. Values that could not be decoded
// are reported already; what depends on them is not checked.
type checker struct {
	*decoder
	file *File
}

func (c *checker) check() {
	c.checkTrust()
	c.checkRegistries()
	for _, name := range keys(c.file.Flows) {
		if !c.broken["/flows/"+name] {
			c.checkFlow("/flows/"+name, c.file.Flows[name])
		}
	}
	c.checkRecall()
	c.checkOverlaps()
	c.checkUse()
}

// at adds a problem at the value of a path, or at its nearest parent.
func (c *checker) at(path, reason, remedy string) {
	n := c.place(path)
	c.addAt(path, n.line, n.column, reason, remedy)
}

// atKey adds a problem at the key of a path, or at its value if it has no key.
func (c *checker) atKey(path, reason, remedy string) {
	if p, ok := c.places[path]; ok && p.key != nil {
		c.addAt(path, p.key.Line, p.key.Column, reason, remedy)
		return
	}
	c.at(path, reason, remedy)
}

type position struct{ line, column int }

func (c *checker) place(path string) position {
	for path != "" {
		if p, ok := c.places[path]; ok {
			return position{p.value.Line, p.value.Column}
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
	return position{1, 1}
}

func (c *checker) given(path string) bool { _, ok := c.places[path]; return ok }

// decoded reports whether the values at all paths, and those that contain them,
// were decoded.
func (c *checker) decoded(paths ...string) bool {
	for _, p := range paths {
		for ; p != ""; p = p[:max(strings.LastIndexByte(p, '/'), 0)] {
			if c.broken[p] {
				return false
			}
		}
	}
	return true
}

func (c *checker) checkTrust() {
	for i, t := range c.file.Trust {
		path := item("/trust", i)
		if !c.broken[path] && !isName(t) {
			c.at(path, quote(t)+" is not a valid name", nameRemedy)
		}
	}
}

func (c *checker) checkRegistries() {
	first, servers := map[Host]string{}, map[Host]string{}
	// In the order of the file, so that the second of two is reported.
	names := keys(c.file.Registries)
	sorting.By(names, func(a, b string) int {
		p, q := c.place("/registries/"+a), c.place("/registries/"+b)
		return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
	})
	for _, name := range names {
		r, path := c.file.Registries[name], "/registries/"+name
		c.checkUnique(first, servers, path+"/host", name, r.Host)
		for i, host := range r.Hosts {
			c.checkUnique(first, servers, item(path+"/hosts", i), name, host)
		}
		if r.TokenHost != "" && c.decoded(path+"/tokenHost") && r.TokenHost == r.Host {
			c.at(path+"/tokenHost", "it is the registry's own host", "Remove the key: a registry may always issue its own tokens.")
		}
		if r.Trust != "" && c.decoded(path+"/trust", "/trust") && !slices.Contains(c.file.Trust, r.Trust) {
			m := unknown("trust level", r.Trust, c.file.Trust)
			c.at(path+"/trust", m.reason, m.remedy)
		}
	}
}

// checkUnique checks that a host occurs once in the file, and that it is not a regional
// endpoint of another registry. first and servers have the registries of the hosts
// that were checked before, and of their login servers.
func (c *checker) checkUnique(first, servers map[Host]string, path, name string, host Host) {
	if host == "" || !c.decoded(path) {
		return
	}
	server := Host(ref.LoginServer(string(host)))
	switch other, twice := first[host]; {
	case !twice:
		first[host] = name
		if other, known := servers[server]; known && other != name {
			c.at(path, fmt.Sprintf("registries %s and %s are the same registry, %s: one host is a regional endpoint of it", other, name, server), "Remove one of them, and list its host in hosts of the other. A registry has one trust level.")
		}
		servers[server] = name
	case other == name:
		c.at(path, fmt.Sprintf("registry %s has the host %s twice", name, host), "Remove one of them.")
	default:
		c.at(path, fmt.Sprintf("registries %s and %s have the same host, %s", other, name, host), "Remove one of them. A registry has one trust level.")
	}
}

// registry looks up a registry by name, and reports an unknown name.
func (c *checker) registry(path, name string) *Registry {
	if name == "" || !c.decoded(path, "/registries") {
		return nil
	}
	if r := c.file.Registries[name]; r != nil {
		return r
	}
	if !c.given("/registries/" + name) {
		m := unknown("registry", name, keys(c.file.Registries))
		c.at(path, m.reason, m.remedy)
	}
	return nil
}

func (c *checker) checkFlow(path string, f *Flow) {
	from := c.registry(path+"/from", f.From)
	for i, name := range f.To {
		at := item(path+"/to", i)
		to := c.registry(at, name)
		if from == nil || to == nil {
			continue
		}
		if from == to {
			c.checkSelf(path, at, f)
		} else {
			c.checkUpward(path, at, f, from, to)
		}
		c.checkImmutable(path, f, to)
	}
	c.checkTeams(path, f)
	c.checkNames(path, f)
	c.checkApproval(path+"/require/approval", f)
	c.checkAttached(path, f)
	c.checkSealedBy(path+"/require", f.Require)
	c.checkReceipt(path, f)
}

// checkRecall checks that a recall takes an approval.
func (c *checker) checkRecall() {
	const path = "/recall/approval"
	a := c.file.Recall.Approval
	if a == nil || !c.decoded(path, path+"/kind") {
		return
	}
	if a.Kind == None {
		c.at(path+"/kind", "a recall cannot do without an approval", "Set another kind, or remove approval: then those approve who approve by the flow.")
		return
	}
	c.checkApproval(path, &Flow{Require: Require{Approval: *a}})
}

// checkSelf checks a flow within one registry: a tag or a name must change.
func (c *checker) checkSelf(path, at string, f *Flow) {
	renames := f.As.Repository != "" && f.As.Repository != "{repository}" || f.As.Tag != "" && f.As.Tag != "{tag}"
	if len(f.MovingTags) == 0 && !renames && c.decoded(path+"/movingTags", path+"/as", path+"/as/repository", path+"/as/tag") {
		c.at(at, fmt.Sprintf("target %s is the flow's source", f.From), "A flow within one registry needs movingTags, or other names at the target (as).")
	}
}

// checkUpward checks that a flow to a more trusted registry requires an
// approval on a resource that the pipeline's author cannot choose.
func (c *checker) checkUpward(path, at string, f *Flow, from, to *Registry) {
	approval := path + "/require/approval"
	if !c.decoded("/trust", approval, approval+"/kind", approval+"/environment", "/registries/"+from.Name+"/trust", "/registries/"+to.Name+"/trust") ||
		!slices.Contains(c.file.Trust, from.Trust) || !slices.Contains(c.file.Trust, to.Trust) ||
		c.file.Direction(from.Name, to.Name) != Up {
		return
	}
	way := fmt.Sprintf("the flow leads up from %s (trust %s) to %s (trust %s)", from.Name, from.Trust, to.Name, to.Trust)
	a := f.Require.Approval
	switch {
	case !c.given(approval) || a.Kind == None:
		c.at(at, way+" but requires no approval", "Add require: {approval: {kind: manual, environment: NAME}}.")
	case a.Kind != Automated && a.Environment == "":
		c.at(at, way+" but its approval names no environment, so a pipeline could name one that its author can approve", "Add environment: NAME to require.approval.")
	}
}

// checkImmutable rejects patterns for all tags in an immutable registry: it
// would not be immutable any more.
func (c *checker) checkImmutable(path string, f *Flow, to *Registry) {
	if !to.Immutable {
		return
	}
	for i, p := range f.MovingTags {
		if at := item(path+"/movingTags", i); c.decoded(at) && p.text != "" && p.matchesAll() {
			c.at(at, fmt.Sprintf("%s lets every tag move in %s, which is immutable", quote(p.text), to.Name), "List the tags that move.")
		}
	}
}

// checkTeams checks that teams has an entry for each target, and no other.
func (c *checker) checkTeams(path string, f *Flow) {
	teams := path + "/teams"
	if f.Teams == nil || !c.decoded(teams, path+"/to") {
		return
	}
	for _, name := range keys(f.Teams) {
		if !slices.Contains(f.To, name) {
			m := unknown("target", name, f.To)
			c.atKey(teams+"/"+name, fmt.Sprintf("the flow has no target %s", quote(name)), m.remedy)
		}
	}
	for i, name := range f.To {
		if at := item(path+"/to", i); !c.given(teams+"/"+name) && c.decoded(at) {
			c.at(at, fmt.Sprintf("teams has no entry for target %s", name), fmt.Sprintf(`Add it to teams. %s: ["**"] subscribes it to everything.`, name))
		}
	}
}

// checkNames checks that templates do not give several images the same name.
func (c *checker) checkNames(path string, f *Flow) {
	repository, tag := string(f.As.Repository), string(f.As.Tag)
	if repository != "" && !strings.Contains(repository, "{repository}") && (len(f.Repositories) != 1 || !f.Repositories[0].Literal()) && c.decoded(path+"/repositories") {
		c.at(path+"/as/repository", "every repository would get the name "+quote(repository), "Add {repository} to the template, or name the one repository that the flow covers.")
	}
	if tag != "" && !strings.Contains(tag, "{tag}") && !f.Moves(tag) && c.decoded(path+"/movingTags") {
		c.at(path+"/as/tag", "every image would get the tag "+quote(tag)+", which is not in movingTags", "Add {tag} to the template, or add the tag to movingTags.")
	}
}

// checkApproval checks that an approval has the keys of its kind only.
func (c *checker) checkApproval(path string, f *Flow) {
	a := f.Require.Approval
	if !c.decoded(path, path+"/kind") {
		return
	}
	if a.Kind == None || a.Kind == Automated {
		for _, name := range []string{"minApprovers", "requesterCanApprove", "authorCanApprove", "approvers", "commentPattern", "code"} {
			if at := path + "/" + name; c.given(at) {
				c.atKey(at, fmt.Sprintf("%s is not allowed with approval kind %s, which asks no person", name, a.Kind), "Remove it, or set kind: manual.")
			}
		}
	}
	if a.Kind == None {
		for _, name := range []string{"environment", "maxAge"} {
			if at := path + "/" + name; c.given(at) {
				c.atKey(at, fmt.Sprintf("%s is not allowed with approval kind none", name), "Remove it, or set another kind.")
			}
		}
	}
	automated := a.Kind == Automated || a.Kind == Any
	switch {
	case automated && !c.given(path+"/checks"):
		c.at(path+"/kind", fmt.Sprintf("approval kind %s requires checks", a.Kind), "Add checks: [{definition: ID, resource: NAME}].")
	case !automated && c.given(path+"/checks"):
		c.atKey(path+"/checks", "checks is not allowed with approval kind "+string(cmp.Or(a.Kind, Manual)), "Remove it, or set kind: automated or kind: any.")
	}
	seen := map[Check]bool{}
	for i, check := range a.Checks {
		at := item(path+"/checks", i)
		if check.Definition == "" || check.Resource == "" {
			continue
		}
		if seen[check] {
			c.at(at, "duplicate check", "Remove one of them.")
		}
		seen[check] = true
		c.checkTemplated(at+"/resource", f, check.Resource)
	}
	c.checkTemplated(path+"/environment", f, a.Environment)
}

// checkTemplated checks that the tags which name the approval's resource are
// listed: an author who could choose the tag could choose whose approval counts.
func (c *checker) checkTemplated(at string, f *Flow, r Resource) {
	if !r.templated() || !c.decoded(at, "/flows/"+f.Name+"/movingTags") {
		return
	}
	fixed := len(f.MovingTags) > 0
	for _, p := range f.MovingTags {
		fixed = fixed && p.literal
	}
	if !fixed {
		c.at(at, fmt.Sprintf("%s depends on the target tag, but movingTags does not list the tags", quote(string(r))), "List the tags in movingTags, without patterns, or use a name without {tag}.")
	}
}

// checkAttached checks that no required artifact is left out of the copy.
func (c *checker) checkAttached(path string, f *Flow) {
	for i, a := range f.Require.Attached {
		at := item(path+"/require/attached", i)
		switch {
		case a.ArtifactType == "":
		case slices.Contains(f.Referrers.Exclude, a.ArtifactType):
			c.at(at, fmt.Sprintf("%s is required by attached but excluded by referrers", a.ArtifactType), "Remove it from one of the two.")
		case len(f.Referrers.Include) > 0 && !slices.Contains(f.Referrers.Include, a.ArtifactType):
			c.at(at, fmt.Sprintf("%s is required by attached but not included by referrers", a.ArtifactType), "Add it to referrers.include.")
		}
	}
}

// checkSealedBy checks that a flow which says who must have sealed an image
// takes sealed images alone.
func (c *checker) checkSealedBy(path string, r Require) {
	if r.SealedBy != nil && r.Sealed != nil && !*r.Sealed && c.decoded(path+"/sealed", path+"/sealedBy") {
		c.at(path+"/sealed", "sealed is false but sealedBy says who must have sealed the image", "Remove one of the two.")
	}
}

// checkReceipt checks that a flow which requires receipts requires an approval: what
// nobody has approved has no receipt.
func (c *checker) checkReceipt(path string, f *Flow) {
	if f.Receipt.Required && f.Require.Approval.Kind == None && c.decoded(path+"/receipt", path+"/require") {
		c.at(path+"/receipt/required", "receipt is required, but approval.kind is none: what nobody has approved has no receipt", "Require an approval, or remove the key.")
	}
}

// checkOverlaps checks that two flows which can bring the same image to the
// same target have the same rules: otherwise it would be unclear which rules
// apply. A flow that could not be decoded is left out, because what it lacks
// would count as covering everything.
func (c *checker) checkOverlaps() {
	broken := map[string]bool{}
	for path := range c.broken {
		if rest, ok := strings.CutPrefix(path, "/flows/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			broken[name] = true
		}
	}
	byFrom := map[string][]*Flow{}
	rules := map[*Flow]string{}
	for _, name := range keys(c.file.Flows) {
		if f := c.file.Flows[name]; !broken[name] {
			byFrom[f.From] = append(byFrom[f.From], f)
			rules[f] = f.rules()
		}
	}
	spent := 0
	for _, from := range keys(byFrom) {
		flows := byFrom[from]
		for i, f := range flows {
			for _, g := range flows[i+1:] {
				if rules[f] == rules[g] {
					continue
				}
				target, may := f.overlaps(g, &spent)
				if spent > maxCompared {
					c.atKey("/flows", "the flows have too many patterns to compare", "Use fewer, broader patterns.")
					return
				}
				if may {
					c.reportOverlap(f, g, target)
				}
			}
		}
	}
}

// reportOverlap reports two overlapping flows, at the later of them.
func (c *checker) reportOverlap(f, g *Flow, target string) {
	p, q := c.places["/flows/"+f.Name].key, c.places["/flows/"+g.Name].key
	if cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column)) > 0 {
		f, g = g, f
	}
	c.atKey("/flows/"+g.Name, fmt.Sprintf("flows %s and %s can bring the same image from %s to %s, but their rules differ", f.Name, g.Name, f.From, target),
		"Give them repositories or tags that do not overlap, or the same rules.")
}

// checkUse notes unused entries.
func (c *checker) checkUse() {
	note := func(path string, key bool, reason string) {
		at := c.place(path)
		if p := c.places[path]; key && p.key != nil {
			at = position{p.key.Line, p.key.Column}
		}
		c.file.Notes = append(c.file.Notes, Problem{Line: at.line, Column: at.column, Key: keyPath(path), Reason: reason})
	}
	trusted, used := map[string]bool{}, map[string]bool{}
	for _, r := range c.file.Registries {
		trusted[r.Trust] = true
	}
	for _, f := range c.file.Flows {
		used[f.From] = true
		for _, to := range f.To {
			used[to] = true
		}
	}
	for i, t := range c.file.Trust {
		if !trusted[t] {
			note(item("/trust", i), false, fmt.Sprintf("no registry has trust level %s", t))
		}
	}
	for _, name := range keys(c.file.Registries) {
		if !used[name] {
			note("/registries/"+name, true, fmt.Sprintf("no flow uses registry %s", name))
		}
	}
	sorting.By(c.file.Notes, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func item(path string, i int) string { return path + "/" + strconv.Itoa(i) }

func byText[P fmt.Stringer](list []P) {
	sorting.By(list, func(a, b P) int { return cmp.Compare(a.String(), b.String()) })
}

func compareChecks(a, b Check) int {
	return cmp.Or(cmp.Compare(a.Definition, b.Definition), cmp.Compare(a.Resource, b.Resource))
}

func compareAttached(a, b Attached) int {
	return cmp.Or(cmp.Compare(a.ArtifactType, b.ArtifactType), cmp.Compare(a.On, b.On),
		cmp.Compare(a.Count, b.Count), cmp.Compare(a.MaxAge, b.MaxAge))
}
