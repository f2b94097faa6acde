package card

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"acrpromote/internal/imageinfo"
	"acrpromote/internal/markup"
	"acrpromote/internal/sbom"
)

const (
	field       = 150 // bytes of one value
	longField   = 400 // bytes of a note, which may name two digests
	headTargets = 3   // lines about targets above the code
	tableShare  = 3   // of the space, the part for the table of images
)

// Markdown returns the card in at most limit bytes: first the decision and the
// code, then the details, folded, of as many images as fit.
func Markdown(c Card, limit int) string {
	w := &writer{now: c.Now, rows: longList}
	w.head(c)
	if len(c.Images) > 1 {
		w.table(c.Images, limit/tableShare)
	}
	shown := 0
	for i, image := range c.Images {
		detail := ""
		for _, rows := range []int{longList, shortList, 0} {
			d := &writer{now: c.Now, rows: rows}
			d.image(image, len(c.Images) > 1)
			if detail = d.b.String(); w.b.Len()+len(detail) <= limit-reserve {
				break
			}
			detail = ""
		}
		if detail == "" {
			break
		}
		w.b.WriteString(detail)
		shown = i + 1
	}
	if left := len(c.Images) - shown; left > 0 {
		w.paragraph("Details of %s are not shown here; result.json has them.", count(left, "image"))
	}
	for _, note := range c.Notes[:min(len(c.Notes), mostNotes)] {
		w.paragraph("%s.", markup.Text(upperFirst(note), longField))
	}
	return w.b.String()
}

const (
	longList  = 100 // entries of one list
	shortList = 10
	mostNotes = 10
	reserve   = 8 << 10 // for the notes
)

type writer struct {
	b    strings.Builder
	now  time.Time
	rows int
}

func (w *writer) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

// paragraph writes a line after a blank one.
func (w *writer) paragraph(format string, args ...any) { w.line("\n"+format, args...) }

func (w *writer) text(s string) string { return markup.Text(s, field) }
func (w *writer) code(s string) string { return markup.Code(s, field) }

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

var verbs = map[string][2]string{
	"seal": {"Seal", "Sealed"}, "promote": {"Promote", "Promoted"}, "invertedPush": {"Push", "Pushed"},
}

// head writes the decision: what, where, from which image to which, how many rules
// are not met, and the code.
func (w *writer) head(c Card) {
	verb := verbs[c.Operation][0]
	if c.Done {
		verb = verbs[c.Operation][1]
	}
	what := count(len(c.Images), "image")
	if len(c.Images) == 1 {
		what = w.code(c.Images[0].Source)
	}
	s := fmt.Sprintf("**%s** %s", cmp.Or(verb, "Copy"), what)
	if totals := totals(c.Images); totals != "" {
		s += " " + totals
	}
	s += ". "
	if c.Operation == "seal" && len(c.Images) == 1 && locks(c.Images[0].Lock) {
		s += "Locked: " + w.text(c.Images[0].Lock) + "."
	}
	if c.Operation != "seal" {
		s += fmt.Sprintf("Rules: %d pending, %d violated.", c.Pending, c.Violated)
	}
	w.paragraph("%s", strings.TrimSpace(s))
	if len(c.Images) == 1 {
		w.line("")
		w.lines(c.Images[0])
	}
	w.approvalCode(c.Code)
}

// totals says what happens at the targets of all images.
func totals(images []Image) string {
	states := map[State]int{}
	rollbacks, targets := 0, 0
	for _, i := range images {
		for _, t := range i.Targets {
			targets++
			states[t.State]++
			if t.Rollback {
				rollbacks++
			}
		}
	}
	if targets == 0 {
		return ""
	}
	var words []string
	for _, s := range []struct {
		state State
		words string
	}{{New, "new"}, {Moves, "where the tag moves"}, {Repair, "where only parts or attached artifacts are missing"}, {Present, "unchanged"}, {Unread, "not read"}} {
		if n := states[s.state]; n > 0 {
			word := fmt.Sprintf("%d %s", n, s.words)
			if s.state == Moves && rollbacks > 0 {
				word += fmt.Sprintf(" (**%s**)", count(rollbacks, "rollback"))
			}
			words = append(words, word)
		}
	}
	return "to " + count(targets, "target") + ": " + strings.Join(words, ", ")
}

// lines writes one line for each group of targets where the same happens.
func (w *writer) lines(image Image) {
	groups := group(image)
	for i, g := range groups {
		if i == headTargets-1 && len(groups) > headTargets {
			rest := 0
			for _, other := range groups[i:] {
				rest += len(other)
			}
			w.line("- and %s", count(rest, "more target"))
			return
		}
		where := w.code(g[0].Where)
		if more := len(g) - 1; more > 0 {
			where += fmt.Sprintf(" and %s", count(more, "more target"))
		}
		w.line("- %s%s", where, w.happens(image, g[0]))
	}
}

// group groups the targets of an image by what happens there.
func group(image Image) [][]Target {
	var groups [][]Target
	targets := image.Targets
	if len(targets) == 0 {
		targets = []Target{{Where: image.Source, State: New, Change: min(len(image.Changes)-1, 0)}}
	}
	for _, t := range targets {
		at := slices.IndexFunc(groups, func(g []Target) bool {
			o := g[0]
			return o.State == t.State && o.Change == t.Change && o.Rollback == t.Rollback && o.Previous == t.Previous
		})
		if at < 0 {
			groups = append(groups, []Target{t})
		} else {
			groups[at] = append(groups[at], t)
		}
	}
	sort.SliceStable(groups, func(i, j int) bool { return rank(groups[i][0]) < rank(groups[j][0]) })
	return groups
}

// rank orders what happens at targets: first what an approver must not miss.
func rank(t Target) int {
	if t.Rollback {
		return 0
	}
	return 1 + slices.Index([]State{Moves, New, Repair, Unread, Present}, t.State)
}

// happens says what happens at a target.
func (w *writer) happens(image Image, t Target) string {
	switch t.State {
	case Present:
		return ": already there, nothing changes"
	case Repair:
		return ": already there, and what is missing or attached is added"
	case Unread:
		return ": could not be read"
	}
	s := ""
	if t.State == Moves {
		s = " (the tag moves)"
		if t.Rollback {
			s = " (**rollback**: the tag moves to an older image)"
		}
	}
	if t.Change < 0 || t.Change >= len(image.Changes) {
		if t.Previous != "" {
			return fmt.Sprintf("%s: %s → %s", s, w.code(short(t.Previous)), w.code(short(image.Digest)))
		}
		return fmt.Sprintf("%s: %s", s, w.code(short(image.Digest)))
	}
	change := image.Changes[t.Change]
	if change.Old.Digest == "" {
		return fmt.Sprintf("%s: %s, %s", s, w.code(short(image.Digest)), w.basis(change))
	}
	s += fmt.Sprintf(": %s → %s", w.code(short(change.Old.Digest)), w.code(short(image.Digest)))
	if change.Compared {
		s += w.claims(change.Old.Claims, image.Description.Claims)
	}
	if change.Basis != imageinfo.Moved {
		s += ", " + w.basis(change)
	}
	return s
}

// claims says what the images claim about their versions and base images.
func (w *writer) claims(old, new imageinfo.Claims) string {
	s := ""
	switch {
	case old.Version != new.Version:
		s = fmt.Sprintf(", version %s → %s (claimed by the images)", cmp.Or(w.claim(old.Version), "none"), cmp.Or(w.claim(new.Version), "none"))
	case new.Version != "":
		s = fmt.Sprintf(", both claim the version %s", w.claim(new.Version))
	}
	if old.BaseName != new.BaseName || old.BaseDigest != new.BaseDigest {
		s += ", **another base image** (claimed)"
	}
	return s
}

// claim writes a version that an image claims. One that has the form of no version is
// short and in quotes, so that it does not read like a sentence of the card.
func (w *writer) claim(version string) string {
	if limited, quoted := quotedClaim(version); quoted {
		return `"` + markup.Text(limited, longestClaim) + `"`
	}
	return w.text(version)
}

func (w *writer) orNone(s string) string {
	if s == "" {
		return "none"
	}
	return w.text(s)
}

// basis says what the image is compared with, and why.
func (w *writer) basis(c Change) string {
	switch c.Basis {
	case imageinfo.Moved:
		return "compared with what the tag points to now"
	case imageinfo.Version:
		return "compared with " + w.code(c.Old.Tag) + ", the highest version below it there"
	case imageinfo.Newest:
		return "compared with " + w.code(c.Old.Tag) + ", the tag that was set last there"
	case imageinfo.Same:
		return "the same image"
	case imageinfo.First:
		return "the first image of this repository there"
	}
	return "not compared"
}

// approvalCode writes the code to copy.
func (w *writer) approvalCode(c Code) {
	if c.Value == "" {
		return
	}
	required := ""
	switch c.Required {
	case Required:
		required = " (required)"
	case Optional:
		required = " (not required)"
	}
	covers := map[string]string{"plan": "exactly this plan", "set": "exactly these images", "image": "exactly this image"}[c.Covers]
	w.paragraph("Approval code%s:", required)
	w.line("\n```\n%s\n```", strings.Trim(markup.Code(c.Value, 80), "`"))
	s := "Paste it into the comment of your approval: an approval that quotes it covers " + cmp.Or(covers, "exactly this") + "."
	switch c.Required {
	case Required:
		s += " Without it the approval does not count."
		if c.Also != "" {
			s += fmt.Sprintf(" Some of the rules require another code, which does not cover the plan: quote %s too.", w.code(c.Also))
		}
	case Optional:
		s = "The rules do not ask for it: an approval counts with or without it, for whatever the approved step does."
	case Unknown:
		s += " Whether it is required is decided by the rules of the step that needs the approval."
	}
	w.paragraph("%s", s)
}

// table writes the images of a set in at most limit bytes.
func (w *writer) table(images []Image, limit int) {
	w.line("\n| Image | Before | After | Targets |\n|---|---|---|---|")
	start := w.b.Len()
	for i, image := range images {
		var before, where []string
		for _, g := range group(image) {
			if len(before) == headTargets {
				before, where = append(before, "…"), append(where, "…")
				break
			}
			before, where = append(before, w.present(image, g[0])), append(where, w.group(g))
		}
		row := fmt.Sprintf("| %s | %s | %s | %s |\n", w.code(image.Source), strings.Join(before, "<br>"), w.named(image.Description.Version, image.Digest), strings.Join(where, "<br>"))
		if w.b.Len()-start+len(row) > limit {
			w.paragraph("… and %s; result.json lists them all.", count(len(images)-i, "more image"))
			return
		}
		w.b.WriteString(row)
	}
}

// present says what a target has now.
func (w *writer) present(image Image, t Target) string {
	switch {
	case t.State == Present, t.State == Repair:
		return "the same"
	case t.State == Unread:
		return "not read"
	case t.Change >= 0 && t.Change < len(image.Changes) && image.Changes[t.Change].Old.Digest != "":
		old := image.Changes[t.Change].Old
		return w.named(old.Version, old.Digest)
	case t.Previous != "":
		return w.named("", t.Previous)
	case t.Change >= 0 && t.Change < len(image.Changes) && image.Changes[t.Change].Basis == imageinfo.First:
		return "none"
	}
	return "not compared"
}

// group says where a group of targets is, and what happens to the tag.
func (w *writer) group(g []Target) string {
	s := w.code(g[0].Where)
	if more := len(g) - 1; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	switch {
	case g[0].Rollback:
		s += " (**rollback**)"
	case g[0].State == Moves:
		s += " (tag moves)"
	}
	return s
}

// named returns a claimed version and a digest.
func (w *writer) named(version, digest string) string {
	return strings.TrimSpace(w.claim(version) + " " + w.code(short(digest)))
}

// image writes the details of an image, folded.
func (w *writer) image(image Image, named bool) {
	if named {
		w.paragraph("#### %s", w.code(image.Source))
	}
	several := len(image.Changes) > 1
	if several {
		w.targets(image.Targets)
		w.attached(image.Attached)
	}
	for _, c := range image.Changes {
		if several && len(c.Targets) > 0 {
			w.paragraph("%s, %s:", w.code(c.Targets[0])+more(len(c.Targets)-1), w.basis(c))
		}
		w.change(image, c)
	}
	if len(image.Changes) == 0 {
		w.fold("The image", func() { w.sides(image, nil) })
	}
	if !several {
		w.targets(image.Targets)
		w.attached(image.Attached)
	}
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// fold writes a folded block. The blank lines let what is in it be read as Markdown.
func (w *writer) fold(summary string, content func()) {
	w.line("\n<details><summary>%s</summary>\n", summary)
	content()
	w.line("\n</details>")
}

func (w *writer) change(image Image, c Change) {
	if c.Basis == imageinfo.Same {
		return // the list of targets says so
	}
	if c.Old.Digest == "" {
		w.fold("The image", func() { w.sides(image, nil) })
	} else {
		w.fold("Version, digest, age, size, base image", func() { w.sides(image, &c.Old) })
	}
	for _, note := range c.Notes[:min(len(c.Notes), mostNotes)] {
		w.paragraph("%s.", markup.Text(upperFirst(note), longField))
	}
	if !c.Compared {
		return
	}
	w.fold(fmt.Sprintf("Layers: %d shared, %d new; platforms: %d added, %d removed", c.LayersShared.Count, c.LayersNew.Count, len(c.PlatformsAdded), len(c.PlatformsRemoved)), func() {
		for _, l := range []struct {
			name string
			imageinfo.Layers
		}{{"Layers that both have", c.LayersShared}, {"New layers", c.LayersNew}, {"Layers that are gone", c.LayersGone}} {
			w.line("- %s: %d, %s", l.name, l.Count, markup.Size(l.Bytes))
		}
		w.list("Platforms added", c.PlatformsAdded)
		w.list("Platforms removed", c.PlatformsRemoved)
	})
	if len(c.Settings) == 0 {
		w.paragraph("The image configuration is the same.")
	} else {
		w.fold(fmt.Sprintf("Image configuration: %s", count(len(c.Settings), "difference")), func() { w.settings(c.Settings) })
	}
	for _, p := range c.Packages {
		w.packages(p, len(c.Packages) > 1)
	}
}

// list writes a list of names as one item, if there are any.
func (w *writer) list(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.line("- %s: %s", name, w.joined(list))
}

func (w *writer) joined(list []string) string {
	shown := list[:min(len(list), max(w.rows, shortList))]
	var words []string
	for _, s := range shown {
		words = append(words, w.code(s))
	}
	return strings.Join(words, ", ") + more(len(list)-len(shown))
}

// sides writes a table of what the images are, with one column without an old one.
func (w *writer) sides(image Image, old *Side) {
	if old == nil {
		w.line("| | Value |\n|---|---|")
	} else {
		w.line("| | Before | After |\n|---|---|---|")
	}
	row := func(name string, get func(Description) string) {
		then := get(image.Description)
		switch {
		case old != nil:
			if now := get(old.Description); now != "" || then != "" {
				w.line("| %s | %s | %s |", name, now, then)
			}
		case then != "":
			w.line("| %s | %s |", name, then)
		}
	}
	if old == nil {
		w.line("| Digest | %s |", w.code(image.Digest))
	} else {
		w.line("| Digest | %s | %s |", w.code(old.Digest), w.code(image.Digest))
	}
	row("Version (claimed)", func(d Description) string { return w.claim(d.Version) })
	row("Pushed", func(d Description) string { return w.moment(d.SetAt) })
	row("Built (claimed)", func(d Description) string { return w.moment(d.Created) })
	row("Layers, compressed", func(d Description) string {
		if len(d.Platforms) == 0 {
			return ""
		}
		return markup.Size(d.LayerBytes)
	})
	row("Platforms", func(d Description) string { return w.joined(d.Platforms) })
	row("Base image (claimed)", func(d Description) string { return w.code(d.BaseName) })
	row("Base digest (claimed)", func(d Description) string { return w.code(d.BaseDigest) })
	row("Source (claimed)", func(d Description) string { return w.code(d.Source) })
	row("Revision (claimed)", func(d Description) string { return w.code(d.Revision) })
}

// moment returns a time and how long ago it was.
func (w *writer) moment(at string) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return w.text(at)
	}
	s := t.UTC().Format("2006-01-02 15:04 UTC")
	if age := age(w.now.Sub(t)); age != "" && !w.now.IsZero() {
		s += ", " + age
	}
	return s
}

// age returns a duration in words, "" if it is negative.
func age(d time.Duration) string {
	switch hours := int(d.Hours()); {
	case d < 0:
		return ""
	case hours < 1:
		return "less than an hour ago"
	case hours < 48:
		return count(hours, "hour") + " ago"
	default:
		return count(hours/24, "day") + " ago"
	}
}

func (w *writer) settings(settings []imageinfo.Setting) {
	w.line("| Setting | Before | After |\n|---|---|---|")
	for _, s := range settings[:min(len(settings), max(w.rows, shortList))] {
		name := w.text(s.Name)
		if len(s.Platforms) > 0 {
			name += " on " + w.joined(s.Platforms)
		}
		if len(s.Added)+len(s.Removed)+len(s.Changed) == 0 {
			w.line("| %s | %s | %s |", name, w.setting(s.Old), w.setting(s.New))
			continue
		}
		var now, then []string
		if len(s.Removed) > 0 {
			now = append(now, "removed: "+w.joined(s.Removed))
		}
		if len(s.Added) > 0 {
			then = append(then, "added: "+w.joined(s.Added))
		}
		if len(s.Changed) > 0 {
			then = append(then, "another value: "+w.joined(s.Changed))
		}
		w.line("| %s | %s | %s |", name, strings.Join(now, "; "), strings.Join(then, "; "))
	}
	if left := len(settings) - max(w.rows, shortList); left > 0 {
		w.paragraph("… and %d more; result.json lists them all.", left)
	}
}

func (w *writer) setting(s string) string {
	if s == "" {
		return "not set"
	}
	return w.code(s)
}

func (w *writer) packages(p Packages, named bool) {
	summary := "Packages: no difference"
	if n := p.Counts; n != (Counts{}) {
		summary = fmt.Sprintf("Packages: %d added, %d removed, %d with another version", n.Added, n.Removed, n.Changed)
		older := 0
		for _, c := range p.Changed {
			if c.Older {
				older++
			}
		}
		switch {
		case len(p.Changed) < n.Changed:
			summary += fmt.Sprintf(" (%d older among the %d that are listed)", older, len(p.Changed))
		case older > 0:
			summary += fmt.Sprintf(" (%d older)", older)
		}
	}
	if named {
		summary += " (" + count(len(p.Platforms), "platform") + ")"
	}
	w.fold(summary, func() {
		w.line("Of %s, by the SBOMs (%s) attached to both images. Anyone who may push can attach one.", w.joined(p.Platforms), w.text(string(p.Format)))
		w.line("")
		if len(p.Changed) > 0 {
			w.line("| Package | Before | After |\n|---|---|---|")
			shown := p.Changed
			if len(shown) > w.rows {
				shown = sbom.OlderFirst(shown)[:w.rows]
			}
			for _, c := range shown {
				mark := ""
				if c.Older {
					mark = " (**older**)"
				}
				w.line("| %s | %s | %s%s |", w.packageName(c.Type, c.Name), w.versions(c.Old), w.versions(c.New), mark)
			}
			w.left(p.Counts.Changed - len(shown))
		}
		for _, l := range []struct {
			name  string
			list  []sbom.Package
			total int
		}{{"Added", p.Added, p.Counts.Added}, {"Removed", p.Removed, p.Counts.Removed}} {
			shown := l.list[:min(len(l.list), w.rows)]
			if len(shown) > 0 {
				w.paragraph("%s:\n", l.name)
			}
			for _, one := range shown {
				w.line("%s", strings.TrimSpace("- "+w.packageName(one.Type, one.Name)+" "+w.text(one.Version)))
			}
			if len(l.list) > 0 {
				w.left(l.total - len(shown))
			}
		}
	})
}

func (w *writer) left(n int) {
	if n > 0 {
		w.paragraph("… and %d more; result.json has the list.", n)
	}
}

func (w *writer) packageName(kind, name string) string {
	s := w.code(name)
	if kind != "" {
		s += " (" + w.text(kind) + ")"
	}
	return s
}

func (w *writer) versions(list []string) string {
	var words []string
	for _, v := range list[:min(len(list), shortList)] {
		words = append(words, w.orNone(v))
	}
	return strings.Join(words, ", ") + more(len(list)-shortList)
}

// attached writes what is attached, by type.
func (w *writer) attached(attached []Attached) {
	total := 0
	for _, a := range attached {
		total += a.Count
	}
	if total == 0 {
		return
	}
	w.fold("Attached: "+count(total, "artifact"), func() {
		for _, a := range attached[:min(len(attached), max(w.rows, shortList))] {
			left := ""
			if a.Left > 0 {
				left = fmt.Sprintf(", %d of them not copied", a.Left)
			}
			w.line("- %d %s%s", a.Count, cmp.Or(w.code(a.Type), "of an unknown type"), left)
		}
		w.left(len(attached) - max(w.rows, shortList))
	})
}

// targets writes what happens at each target: tags and locks.
func (w *writer) targets(targets []Target) {
	if len(targets) == 0 {
		return
	}
	locked := 0
	for _, t := range targets {
		if locks(t.Lock) {
			locked++
		}
	}
	w.fold(fmt.Sprintf("Targets: %d, %d to be locked", len(targets), locked), func() {
		w.line("| Target | Tag | Lock |\n|---|---|---|")
		for _, t := range targets[:min(len(targets), max(w.rows, shortList))] {
			state := map[State]string{New: "new", Moves: "moves from " + w.code(short(t.Previous)), Repair: "already there, incomplete", Present: "already there", Unread: "not read"}[t.State]
			if t.Rollback {
				state = "**rollback**: " + state
			}
			lock := "none"
			if locks(t.Lock) {
				lock = "will be locked: " + w.text(t.Lock)
			}
			w.line("| %s | %s | %s |", w.code(t.Where), state, lock)
		}
		w.left(len(targets) - max(w.rows, shortList))
	})
}

func upperFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:]
}

func locks(lock string) bool { return lock != "" && lock != "none" }

// short returns the beginning of a digest.
func short(digest string) string {
	if algorithm, hex, ok := strings.Cut(digest, ":"); ok && len(hex) > 12 {
		return algorithm + ":" + hex[:12] + "…"
	}
	return digest
}
