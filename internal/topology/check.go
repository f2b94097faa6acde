package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checker looks at a decoded file as a whole. What could not be decoded has
// been told, and nothing is said about what rests on it.
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
	c.checkOverlaps()
	c.checkUse()
}

// at adds a problem where the value of a path stands, or its nearest parent.
func (c *checker) at(path, reason, remedy string) {
	n := c.place(path)
	c.add(n.line, n.column, reason, remedy)
}

func (c *checker) atKey(path, reason, remedy string) {
	if p, ok := c.places[path]; ok && p.key != nil {
		c.add(p.key.Line, p.key.Column, reason, remedy)
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

// sound says whether a path and what is directly in it was understood.
func (c *checker) sound(paths ...string) bool {
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
			c.at(path, quote(t)+" is no name.", nameRemedy)
		}
	}
}

func (c *checker) checkRegistries() {
	first := map[Host]string{}
	// In the order of the file, so that the second of two is told.
	names := keys(c.file.Registries)
	slices.SortFunc(names, func(a, b string) int {
		p, q := c.place("/registries/"+a), c.place("/registries/"+b)
		return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
	})
	for _, name := range names {
		r, path := c.file.Registries[name], "/registries/"+name
		if r.Host != "" && c.sound(path+"/host") {
			if other, twice := first[r.Host]; twice {
				c.at(path+"/host", fmt.Sprintf("The registries %s and %s have one host, %s.", other, name, r.Host), "Keep one of them: a registry has one trust.")
			} else {
				first[r.Host] = name
			}
		}
		if r.Trust != "" && c.sound(path+"/trust", "/trust") && !slices.Contains(c.file.Trust, r.Trust) {
			m := unknown("trust", r.Trust, c.file.Trust)
			c.at(path+"/trust", m.reason, m.remedy)
		}
	}
}

// registry looks a name up and tells of it if it is none.
func (c *checker) registry(path, name string) *Registry {
	if name == "" || !c.sound(path, "/registries") {
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
}

// checkSelf: in one registry something must change, or there is no flow.
func (c *checker) checkSelf(path, at string, f *Flow) {
	renames := f.As.Repository != "" && f.As.Repository != "{repository}" || f.As.Tag != "" && f.As.Tag != "{tag}"
	if len(f.MovingTags) == 0 && !renames && c.sound(path+"/movingTags", path+"/as", path+"/as/repository", path+"/as/tag") {
		c.at(at, fmt.Sprintf("The target %s is the flow's source.", f.From), "In one registry a flow needs movingTags, or names of its own by as.")
	}
}

// checkUpward: nothing goes up without an approval that its giver cannot be
// the pipeline's author for.
func (c *checker) checkUpward(path, at string, f *Flow, from, to *Registry) {
	approval := path + "/require/approval"
	if !c.sound("/trust", approval, approval+"/kind", approval+"/environment", "/registries/"+from.Name+"/trust", "/registries/"+to.Name+"/trust") ||
		!slices.Contains(c.file.Trust, from.Trust) || !slices.Contains(c.file.Trust, to.Trust) ||
		c.file.Direction(from.Name, to.Name) != Up {
		return
	}
	way := fmt.Sprintf("The flow leads up from %s (trust %s) to %s (trust %s)", from.Name, from.Trust, to.Name, to.Trust)
	a := f.Require.Approval
	switch {
	case !c.given(approval) || a.Kind == None:
		c.at(at, way+" and requires no approval.", "Add require: {approval: {kind: manual, environment: NAME}}.")
	case a.Kind != Automated && a.Environment == "":
		c.at(at, way+" and its approval names no environment: a pipeline could name one where its author approves.", "Add environment: NAME to require.approval.")
	}
}

// checkImmutable: a pattern for every tag would undo the word immutable.
func (c *checker) checkImmutable(path string, f *Flow, to *Registry) {
	if !to.Immutable {
		return
	}
	for i, p := range f.MovingTags {
		if at := item(path+"/movingTags", i); c.sound(at) && p.text != "" && p.wild() {
			c.at(at, fmt.Sprintf("%s lets every tag move in %s, which is immutable.", quote(p.text), to.Name), "Name the tags that move.")
		}
	}
}

func (c *checker) checkTeams(path string, f *Flow) {
	teams := path + "/teams"
	if f.Teams == nil || !c.sound(teams, path+"/to") {
		return
	}
	for _, name := range keys(f.Teams) {
		if !slices.Contains(f.To, name) {
			m := unknown("target", name, f.To)
			c.atKey(teams+"/"+name, fmt.Sprintf("The flow has no target %s.", quote(name)), m.remedy)
		}
	}
	for i, name := range f.To {
		if at := item(path+"/to", i); !c.given(teams+"/"+name) && c.sound(at) {
			c.at(at, fmt.Sprintf("The flow's teams do not say what %s subscribes to.", name), fmt.Sprintf(`Add it to teams, as %s: ["**"] for everything.`, name))
		}
	}
}

// checkNames: templates must not give many images one name.
func (c *checker) checkNames(path string, f *Flow) {
	repository, tag := string(f.As.Repository), string(f.As.Tag)
	if repository != "" && !strings.Contains(repository, "{repository}") && (len(f.Repositories) != 1 || !f.Repositories[0].Literal()) && c.sound(path+"/repositories") {
		c.at(path+"/as/repository", "Every repository would get the name "+quote(repository)+".", "Put {repository} into it, or let the flow cover one repository by its name.")
	}
	if tag != "" && !strings.Contains(tag, "{tag}") && !f.Moves(tag) && c.sound(path+"/movingTags") {
		c.at(path+"/as/tag", "Every image would get the tag "+quote(tag)+", which does not move.", "Put {tag} into it, or name it in movingTags.")
	}
}

func (c *checker) checkApproval(path string, f *Flow) {
	a := f.Require.Approval
	if !c.sound(path, path+"/kind") {
		return
	}
	asksNobody := ""
	switch a.Kind {
	case None:
		asksNobody = "none"
	case Automated:
		asksNobody = "automated"
	}
	if asksNobody != "" {
		for _, name := range []string{"minApprovers", "requesterCanApprove", "authorCanApprove", "approvers", "commentPattern", "code"} {
			if at := path + "/" + name; c.given(at) {
				c.atKey(at, fmt.Sprintf("%s has no meaning where the approval's kind is %s: no person is asked.", name, asksNobody), "Remove it, or choose the kind manual.")
			}
		}
	}
	if a.Kind == None {
		for _, name := range []string{"environment", "maxAge"} {
			if at := path + "/" + name; c.given(at) {
				c.atKey(at, fmt.Sprintf("%s has no meaning where the approval's kind is none.", name), "Remove it, or choose another kind.")
			}
		}
	}
	automated := a.Kind == Automated || a.Kind == Any
	switch {
	case automated && !c.given(path+"/checks"):
		c.at(path+"/kind", fmt.Sprintf("The kind %s needs the checks that count.", a.Kind), "Add checks: [{definition: ID, resource: NAME}].")
	case !automated && c.given(path+"/checks"):
		c.atKey(path+"/checks", "checks have no meaning where the approval's kind is "+string(cmp.Or(a.Kind, Manual))+".", "Remove them, or choose the kind automated or any.")
	}
	seen := map[Check]bool{}
	for i, check := range a.Checks {
		at := item(path+"/checks", i)
		if check.Definition == "" || check.Resource == "" {
			continue
		}
		if seen[check] {
			c.at(at, "This check is named twice.", "Remove one of them.")
		}
		seen[check] = true
		c.checkTemplated(at+"/resource", f, check.Resource)
	}
	c.checkTemplated(path+"/environment", f, a.Environment)
}

// checkTemplated: an author who could choose the tag would choose whose
// approval counts.
func (c *checker) checkTemplated(at string, f *Flow, r Resource) {
	if !r.templated() || !c.sound(at, "/flows/"+f.Name+"/movingTags") {
		return
	}
	fixed := len(f.MovingTags) > 0
	for _, p := range f.MovingTags {
		fixed = fixed && p.literal
	}
	if !fixed {
		c.at(at, fmt.Sprintf("%s depends on the target's tag, and the flow does not say which tags these are.", quote(string(r))), "List them in movingTags, without patterns, or name one environment.")
	}
}

func (c *checker) checkAttached(path string, f *Flow) {
	for i, a := range f.Require.Attached {
		if a.ArtifactType != "" && slices.Contains(f.Referrers.Exclude, a.ArtifactType) {
			c.at(item(path+"/require/attached", i), fmt.Sprintf("%s must be attached, and is excluded from the copy.", a.ArtifactType), "Remove it from referrers.exclude, or do not require it.")
		}
	}
}

// checkOverlaps: two flows that may bring one image to one target have one
// set of terms, or nobody could say which rules hold. A flow that was not
// understood is left out: its gaps would count as if it covered everything.
func (c *checker) checkOverlaps() {
	broken := map[string]bool{}
	for path := range c.broken {
		if rest, ok := strings.CutPrefix(path, "/flows/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			broken[name] = true
		}
	}
	byFrom := map[string][]*Flow{}
	terms := map[*Flow]string{}
	for _, name := range keys(c.file.Flows) {
		if f := c.file.Flows[name]; !broken[name] {
			byFrom[f.From] = append(byFrom[f.From], f)
			terms[f] = f.terms()
		}
	}
	spent := 0
	for _, from := range keys(byFrom) {
		flows := byFrom[from]
		for i, f := range flows {
			for _, g := range flows[i+1:] {
				if terms[f] == terms[g] {
					continue
				}
				target, may := f.overlaps(g, &spent)
				if spent > mostCompared {
					c.atKey("/flows", "The flows have too many patterns to be compared with each other.", "Use fewer and wider ones.")
					return
				}
				if may {
					c.disagree(f, g, target)
				}
			}
		}
	}
}

// disagree is told at the later of the two flows.
func (c *checker) disagree(f, g *Flow, target string) {
	p, q := c.places["/flows/"+f.Name].key, c.places["/flows/"+g.Name].key
	if cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column)) > 0 {
		f, g = g, f
	}
	c.atKey("/flows/"+g.Name, fmt.Sprintf("The flows %s and %s may bring the same image from %s to %s, and their rules differ.", f.Name, g.Name, f.From, target),
		"Give them repositories or tags that no image shares, or the same rules.")
}

// checkUse notes what is there and leads nowhere.
func (c *checker) checkUse() {
	note := func(path string, key bool, reason string) {
		at := c.place(path)
		if p := c.places[path]; key && p.key != nil {
			at = position{p.key.Line, p.key.Column}
		}
		c.file.Notes = append(c.file.Notes, Problem{Line: at.line, Column: at.column, Reason: reason})
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
			note(item("/trust", i), false, fmt.Sprintf("No registry has the trust %s.", t))
		}
	}
	for _, name := range keys(c.file.Registries) {
		if !used[name] {
			note("/registries/"+name, true, fmt.Sprintf("No flow leads from or to the registry %s.", name))
		}
	}
	slices.SortFunc(c.file.Notes, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func item(path string, i int) string { return path + "/" + strconv.Itoa(i) }

func byText[P fmt.Stringer](list []P) {
	slices.SortFunc(list, func(a, b P) int { return cmp.Compare(a.String(), b.String()) })
}

func compareChecks(a, b Check) int {
	return cmp.Or(cmp.Compare(a.Definition, b.Definition), cmp.Compare(a.Resource, b.Resource))
}

func compareAttached(a, b Attached) int {
	return cmp.Or(cmp.Compare(a.ArtifactType, b.ArtifactType), cmp.Compare(a.On, b.On),
		cmp.Compare(a.Count, b.Count), cmp.Compare(a.MaxAge, b.MaxAge))
}
