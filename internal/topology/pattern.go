package topology

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"acrpromote/internal/ref"
)

// glob is a pattern for names whose segments are separated by '/'. Within a
// segment, * matches any text and ? one character. A segment ** matches any
// number of segments; at the end of a pattern, at least one.
type glob struct {
	text     string
	segments []string // a final ** is stored as *, **
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

// match reports whether the pattern matches a name. Only the last ** and the
// last * are retried, so the time is proportional to both lengths.
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

// overlaps reports whether a name can match both patterns. It adds the work to
// spent.
func (g glob) overlaps(other glob, spent *int) bool {
	if g.literal {
		return other.match(g.text)
	}
	if other.literal {
		return g.match(other.text)
	}
	// Most patterns of one file differ at the beginning.
	*spent++
	mine, yours := g.fixed(), other.fixed()
	if n := min(len(mine), len(yours)); mine[:n] != yours[:n] {
		return false
	}
	return overlap(len(g.segments), len(other.segments), spent,
		func(i int) bool { return g.segments[i] == "**" },
		func(j int) bool { return other.segments[j] == "**" },
		func(i, j int) bool { return segmentsOverlap(g.segments[i], other.segments[j], spent) })
}

// fixed returns the text with which every matching name begins.
func (g glob) fixed() string {
	before, _, _ := strings.Cut(g.text, "*")
	before, _, _ = strings.Cut(before, "?")
	return before
}

func segmentsOverlap(a, b string, spent *int) bool {
	return overlap(len(a), len(b), spent,
		func(i int) bool { return a[i] == '*' },
		func(j int) bool { return b[j] == '*' },
		func(i, j int) bool { return a[i] == '?' || b[j] == '?' || a[i] == b[j] })
}

// overlap reports whether two patterns of n and m parts can match the same text.
// Parts for which manyA and manyB report true match any number of units; unit
// reports whether two other parts can match the same unit.
func overlap(n, m int, spent *int, manyA, manyB func(int) bool, unit func(i, j int) bool) bool {
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
			// A part for many matches nothing, or one more unit.
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

const maxPattern = 255

const repositoryRemedy = "A repository consists of lower-case letters and digits, separated by '.', '_', '-' and '/'."

// checkGlob checks the length and the segments of a pattern.
func checkGlob(what, text string) error {
	if len(text) > maxPattern {
		return mistake{fmt.Sprintf("the %s pattern has %d bytes, more than %d", what, len(text), maxPattern), ""}
	}
	before := ""
	for segment := range strings.SplitSeq(text, "/") {
		switch {
		case segment == "":
			return mistake{quote(text) + " has an empty segment", "Remove the extra slash."}
		case strings.Contains(segment, "**") && segment != "**":
			return mistake{quote(text) + " combines ** with other text", "** must be a whole segment. Within a segment, use *."}
		case segment == "**" && before == "**":
			return mistake{quote(text) + " has ** twice in a row", "Remove one of them."}
		case segment == "." || segment == "..":
			return mistake{fmt.Sprintf("%s has the segment %s, which is not allowed", quote(text), segment), "Remove it."}
		}
		before = segment
	}
	return nil
}

// RepositoryPattern is a glob for repositories.
type RepositoryPattern struct{ glob }

// Literal reports whether the pattern is the name of one repository.
func (p RepositoryPattern) Literal() bool { return p.literal }

func (p *RepositoryPattern) read(text string) error {
	if strings.Contains(text, ":") || strings.Contains(text, "@") {
		return mistake{quote(text) + " is more than a repository", "Put tags into the key tags, and registries into from and to."}
	}
	if bad := outside(text, "abcdefghijklmnopqrstuvwxyz0123456789._-/*?"); bad != "" {
		return mistake{fmt.Sprintf("%s contains %s, which is not allowed in a repository", quote(text), bad), repositoryRemedy + " Patterns can also contain *, ** and ?."}
	}
	if err := checkGlob("repository", text); err != nil {
		return err
	}
	if !strings.ContainsAny(text, "*?") && !ref.IsRepository(text) {
		return mistake{quote(text) + " is not a valid repository", repositoryRemedy}
	}
	p.glob = compile(text)
	return nil
}

// Repositories is a list of repository patterns. An empty list covers every
// repository.
type Repositories []RepositoryPattern

// Match reports whether a repository is covered.
func (r Repositories) Match(repository string) bool {
	for _, p := range r {
		if p.match(repository) {
			return true
		}
	}
	return len(r) == 0
}

// Names returns the repositories if each is given by its name; otherwise it returns nil.
func (r Repositories) Names() []string {
	var names []string
	for _, p := range r {
		if !p.literal {
			return nil
		}
		names = append(names, p.text)
	}
	return names
}

func (r Repositories) String() string { return patterns(r, "every repository") }

// patterns returns the patterns of a list for a message, or all if it is empty.
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

// TagGlob is a glob for tags.
type TagGlob struct{ glob }

func (p *TagGlob) read(text string) error {
	if bad := outside(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?"); bad != "" {
		return mistake{fmt.Sprintf("%s contains %s, which is not allowed in a tag", quote(text), bad), "A tag consists of letters, digits, '_', '.' and '-'. Patterns can also contain * and ?."}
	}
	if text != "**" && strings.Contains(text, "**") {
		return mistake{quote(text) + " contains **", "In tags, use * for any text."}
	}
	if len(text) > maxPattern {
		return checkGlob("tag", text)
	}
	if !strings.ContainsAny(text, "*?") && !ref.IsTag(text) {
		return mistake{quote(text) + " is not a valid tag", "A tag has at most 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'."}
	}
	p.glob = compile(text)
	return nil
}

// matchesAll reports whether a pattern matches every name.
func (g glob) matchesAll() bool { return strings.Trim(g.text, "*/") == "" }

// BranchPattern is a glob for full refs, such as refs/heads/release/*.
type BranchPattern struct{ glob }

// pulls is the beginning of the refs of pull requests.
const pulls = "refs/pull/"

// Match reports whether the pattern matches a ref. The ref of a pull request
// holds what nobody has accepted yet: only a pattern that begins like one
// matches it.
func (p BranchPattern) Match(ref string) bool {
	if beginsWith(ref, pulls) && !beginsWith(p.text, pulls) {
		return false
	}
	return p.match(ref)
}

// beginsWith reports whether s begins with a prefix, in any case.
func beginsWith(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// ParseBranch parses a pattern of full refs.
func ParseBranch(text string) (BranchPattern, error) {
	var p BranchPattern
	err := p.read(text)
	return p, err
}

func (p *BranchPattern) read(text string) error {
	if !strings.HasPrefix(text, "refs/") {
		return mistake{quote(text) + " is not a full ref", fmt.Sprintf("Write refs/heads/%s.", strings.Trim(quote(text), `"`))}
	}
	if err := printable("branch", text); err != nil || strings.ContainsAny(text, " \\~^:[") {
		return mistake{quote(text) + " contains characters that are not allowed in a ref", "Patterns can contain *, ** and ?."}
	}
	if err := checkGlob("branch", text); err != nil {
		return err
	}
	p.glob = compile(text)
	return nil
}

// outside returns the first character that is not among the allowed ones,
// quoted, or "".
func outside(text, allowed string) string {
	for _, r := range text {
		if !strings.ContainsRune(allowed, r) {
			return quote(string(r))
		}
	}
	return ""
}
