// Package manual has the entries of the troubleshooting page: what a rule or an
// outcome means, and what to do. It renders an entry as plain text, and names
// the place where people find it: the published page, if the build has its
// address, and otherwise the program's own help.
package manual

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"acrpromote/docs"
	"acrpromote/internal/packed"
	"acrpromote/internal/sorting"
)

// address is where the pages of docs/ are published, without a slash at the end,
// or empty. The build sets it.
var address string

// page is the name of the page that has the entries.
const page = "troubleshooting.md"

// Address returns the address of the published documentation, or "".
func Address() string { return address }

// URL returns the address of the published entry, or "" if the documentation is
// not published or has no such entry.
func URL(topic string) string { return entryURL(address, topic) }

// Hint returns the sentence that tells where to read more about a topic, such as
// the name of a rule. It returns "" if there is no such entry.
func Hint(topic string) string { return hint(address, topic) }

// Reference returns a reference to a page of the documentation, to be put at the
// end of a sentence: its address in parentheses, or "" if it is not published.
func Reference(page string) string { return reference(address, page) }

func reference(address, page string) string {
	if address == "" {
		return ""
	}
	return " (" + address + "/" + page + ")"
}

func entryURL(address, topic string) string {
	if _, known := lookup(topic); !known || address == "" {
		return ""
	}
	return address + "/" + page + "#" + topic
}

func hint(address, topic string) string {
	if url := entryURL(address, topic); url != "" {
		return "More: " + url
	}
	if _, known := lookup(topic); known {
		return "More: " + command(topic)
	}
	return ""
}

// command returns the command that shows an entry.
func command(topic string) string { return "acrpromote help " + topic }

// Topics returns the topics that have an entry, sorted: the rules, the outcomes,
// and further causes of errors.
func Topics() []string {
	topics := make([]string, 0, len(entries()))
	for _, e := range entries() {
		topics = append(topics, e.topic)
	}
	return topics
}

// Entry returns the entry of a topic as plain text, wrapped to width columns.
func Entry(topic string, width int) (string, bool) {
	e, known := lookup(topic)
	if !known {
		return "", false
	}
	return render(e, width, address), true
}

// entry is a section of the page. Its topic is the anchor of its heading.
type entry struct{ topic, title, body string }

// entries returns the sections of the page with a heading of the third level,
// sorted by topic.
var entries = sync.OnceValue(func() []entry { return parse(packed.Text(docs.Troubleshooting)) })

func parse(text string) []entry {
	var all []entry
	section := false
	for line := range strings.Lines(strings.ReplaceAll(text, "\r\n", "\n")) {
		level := len(line) - len(strings.TrimLeft(line, "#"))
		switch {
		case level == 3:
			title := strings.TrimSpace(line[level:])
			all = append(all, entry{topic: anchor(title), title: title})
			section = true
		case level > 0:
			section = false
		case section:
			all[len(all)-1].body += line
		}
	}
	sorting.By(all, func(a, b entry) int { return cmp.Compare(a.topic, b.topic) })
	return all
}

func lookup(topic string) (entry, bool) {
	all := entries()
	i, known := slices.BinarySearchFunc(all, topic, func(e entry, topic string) int { return cmp.Compare(e.topic, topic) })
	if !known {
		return entry{}, false
	}
	return all[i], true
}

// anchor returns the anchor of a heading, as GitHub makes it.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}
