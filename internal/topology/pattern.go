package topology

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"acrpromote/internal/ref"
)

// glob is a pattern over names whose segments are parted by '/'. * is any
// text and ? one character within a segment; ** alone between slashes is any
// number of segments, none included, but at the end of a pattern at least one.
type glob struct {
	text     string
	segments []string // a ** at the end is written *, **
	literal  bool
}

func compile(text string) glob {
	g := glob{text: text, segments: strings.Split(text, "/"), literal: !strings.ContainsAny(text, "*?")}
	if last := len(g.segments) - 1; g.segments[last] == "**" {
		g.segments = append(g.segments[:last], "*", "**")
	}
	return g
}

func (g glob) String() string { return g.text }

// match takes time in proportion to both lengths: only the last ** and the
// last * are ever tried again.
func (g glob) match(name string) bool {
	if g.literal {
		return g.text == name
	}
	pattern, rest, more := g.segments, name, true
	var retry []string
	var from string
	for more {
		if len(pattern) > 0 && pattern[0] == "**" {
			pattern = pattern[1:]
			retry, from = pattern, rest
			if len(pattern) == 0 {
				return true
			}
			continue
		}
		segment, after, further := strings.Cut(rest, "/")
		if len(pattern) > 0 && matchSegment(pattern[0], segment) {
			pattern, rest, more = pattern[1:], after, further
			continue
		}
		if retry == nil {
			return false
		}
		_, from, more = strings.Cut(from, "/")
		pattern, rest = retry, from
	}
	for len(pattern) > 0 && pattern[0] == "**" {
		pattern = pattern[1:]
	}
	return len(pattern) == 0
}

func matchSegment(pattern, s string) bool {
	p, i := 0, 0
	retry, from := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			retry, from = p+1, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, size := utf8.DecodeRuneInString(s[i:])
			p, i = p+1, i+size
		case p < len(pattern) && pattern[p] == s[i]:
			p, i = p+1, i+1
		case retry >= 0:
			from++
			p, i = retry, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// overlaps says whether a name may match both patterns. spent counts the work.
func (g glob) overlaps(other glob, spent *int) bool {
	if g.literal {
		return other.match(g.text)
	}
	if other.literal {
		return g.match(other.text)
	}
	// Most patterns of one file part at their beginning already.
	*spent++
	mine, yours := g.fixed(), other.fixed()
	if n := min(len(mine), len(yours)); mine[:n] != yours[:n] {
		return false
	}
	return meet(len(g.segments), len(other.segments), spent,
		func(i int) bool { return g.segments[i] == "**" },
		func(j int) bool { return other.segments[j] == "**" },
		func(i, j int) bool { return segmentsMeet(g.segments[i], other.segments[j], spent) })
}

// fixed is what every name that the pattern covers begins with.
func (g glob) fixed() string {
	before, _, _ := strings.Cut(g.text, "*")
	before, _, _ = strings.Cut(before, "?")
	return before
}

func segmentsMeet(a, b string, spent *int) bool {
	return meet(len(a), len(b), spent,
		func(i int) bool { return a[i] == '*' },
		func(j int) bool { return b[j] == '*' },
		func(i, j int) bool { return a[i] == '?' || b[j] == '?' || a[i] == b[j] })
}

// meet says whether two patterns of n and m parts have a text in common, where
// some parts stand for any number of units, and two others can be one unit.
func meet(n, m int, spent *int, manyA, manyB func(int) bool, unit func(i, j int) bool) bool {
	row := make([]bool, m+1)
	for i := 0; i <= n; i++ {
		next := make([]bool, m+1)
		for j := 0; j <= m; j++ {
			*spent++
			if i == 0 && j == 0 {
				row[0] = true
			}
			if !row[j] {
				continue
			}
			a, b := i < n && manyA(i), j < m && manyB(j)
			// A part for many may stand for nothing, or for one more unit.
			if a {
				next[j] = true
				if j < m {
					row[j+1] = true
				}
			}
			if b {
				row[j+1] = true
				if i < n {
					next[j] = true
				}
			}
			if i < n && j < m && !a && !b && unit(i, j) {
				next[j+1] = true
			}
		}
		if i == n {
			return row[m]
		}
		row = next
	}
	return false
}

const mostPattern = 255

// checkGlob says what is wrong with a pattern, beside its characters.
func checkGlob(what, text string) error {
	if len(text) > mostPattern {
		return mistake{fmt.Sprintf("The %s pattern is %d bytes long; at most %d are taken.", what, len(text), mostPattern), ""}
	}
	before := ""
	for segment := range strings.SplitSeq(text, "/") {
		switch {
		case segment == "":
			return mistake{fmt.Sprintf("%s begins or ends with a slash, or has two in a row.", quote(text)), "Remove it."}
		case strings.Contains(segment, "**") && segment != "**":
			return mistake{fmt.Sprintf("%s has ** beside other text.", quote(text)), "** stands alone between slashes; within a segment write *."}
		case segment == "**" && before == "**":
			return mistake{fmt.Sprintf("%s has ** twice in a row.", quote(text)), "Once is the same."}
		case segment == "." || segment == "..":
			return mistake{fmt.Sprintf("%s has the segment %s, which no name has.", quote(text), segment), "Remove it."}
		}
		before = segment
	}
	return nil
}

// RepositoryPattern is a glob over repositories.
type RepositoryPattern struct{ glob }

// Match says whether the pattern covers a repository.
func (p RepositoryPattern) Match(repository string) bool { return p.match(repository) }

// Literal says whether the pattern is the name of one repository.
func (p RepositoryPattern) Literal() bool { return p.literal }

func (p *RepositoryPattern) read(text string) error {
	if strings.Contains(text, ":") || strings.Contains(text, "@") {
		return mistake{fmt.Sprintf("%s names more than a repository.", quote(text)), "Tags have a key of their own, tags; a registry is named by from and to."}
	}
	if bad := outside(text, "abcdefghijklmnopqrstuvwxyz0123456789._-/*?"); bad != "" {
		return mistake{fmt.Sprintf("%s has %s, which no repository has.", quote(text), bad), "Repositories are lower-case letters and digits, parted by '.', '_', '-' and '/'; patterns know *, ** and ?."}
	}
	if err := checkGlob("repository", text); err != nil {
		return err
	}
	if !strings.ContainsAny(text, "*?") && !ref.IsRepository(text) {
		return mistake{fmt.Sprintf("%s is no repository.", quote(text)), "Write lower-case letters and digits, parted by '.', '_', '-' and '/'."}
	}
	p.glob = compile(text)
	return nil
}

// Repositories are patterns of repositories. None at all covers every one.
type Repositories []RepositoryPattern

// Match says whether a repository is covered.
func (r Repositories) Match(repository string) bool {
	for _, p := range r {
		if p.Match(repository) {
			return true
		}
	}
	return len(r) == 0
}

func (r Repositories) String() string { return patterns(r, "every repository") }

// patterns writes patterns for people.
func patterns[P fmt.Stringer](list []P, all string) string {
	if len(list) == 0 {
		return all
	}
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return listed(texts)
}

// TagGlob is a glob over tags.
type TagGlob struct{ glob }

// Match says whether the glob covers a tag.
func (p TagGlob) Match(tag string) bool { return p.match(tag) }

func (p *TagGlob) read(text string) error {
	if bad := outside(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?"); bad != "" {
		return mistake{fmt.Sprintf("%s has %s, which no tag has.", quote(text), bad), "Tags are letters, digits, '_', '.' and '-'; patterns know * and ?."}
	}
	if text != "**" && strings.Contains(text, "**") {
		return mistake{fmt.Sprintf("%s has ** in it.", quote(text)), "In a tag * is any text."}
	}
	if len(text) > mostPattern {
		return checkGlob("tag", text)
	}
	if !strings.ContainsAny(text, "*?") && !ref.IsTag(text) {
		return mistake{fmt.Sprintf("%s is no tag.", quote(text)), "A tag has at most 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'."}
	}
	p.glob = compile(text)
	return nil
}

// wild says whether a pattern covers every name.
func (g glob) wild() bool { return strings.Trim(g.text, "*/") == "" }

// BranchPattern is a glob over full refs, such as refs/heads/release/*.
type BranchPattern struct{ glob }

// Match says whether the pattern covers a ref.
func (p BranchPattern) Match(ref string) bool { return p.match(ref) }

func (p *BranchPattern) read(text string) error {
	if !strings.HasPrefix(text, "refs/") {
		return mistake{fmt.Sprintf("%s is no full ref.", quote(text)), fmt.Sprintf("Write refs/heads/%s.", strings.Trim(quote(text), `"`))}
	}
	if err := printable("branch", text); err != nil || strings.ContainsAny(text, " \\~^:[") {
		return mistake{fmt.Sprintf("%s has characters that no ref has.", quote(text)), "Patterns know *, ** and ?."}
	}
	if err := checkGlob("branch", text); err != nil {
		return err
	}
	p.glob = compile(text)
	return nil
}

// outside is the first character that is none of those allowed, quoted.
func outside(text, allowed string) string {
	for _, r := range text {
		if !strings.ContainsRune(allowed, r) {
			return quote(string(r))
		}
	}
	return ""
}
