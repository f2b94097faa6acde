package manual

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// render returns an entry as plain text. It knows the Markdown that the page
// uses: paragraphs, lists of one level, and inline marks.
func render(e entry, width int, address string) string {
	var b strings.Builder
	b.WriteString(e.title + "\n")
	list := false
	links := &links{}
	for line := range strings.Lines(e.body) {
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		item, isItem := strings.CutPrefix(text, "- ")
		if !isItem || !list {
			b.WriteByte('\n')
		}
		list = isItem
		if isItem {
			wrap(&b, "- ", links.plain(item), width)
		} else {
			wrap(&b, "", links.plain(text), width)
		}
	}
	b.WriteString(links.seeAlso(e.topic, width, address))
	return b.String()
}

// noBreak is a space that wrap does not break.
const noBreak = "\x00"

// wrap writes a paragraph with lines of at most width columns, if its words
// permit. The first line begins with the mark, the others with as many spaces.
func wrap(b *strings.Builder, mark, text string, width int) {
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(mark)
			column = len(mark)
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", len(mark)))
			column = len(mark)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(strings.ReplaceAll(word, noBreak, " "))
		column += n
	}
	b.WriteByte('\n')
}

// links collects the other pages that an entry links to, in their order.
type links struct{ targets []string }

// plain removes the inline marks outside code. A link to another entry becomes
// the command that shows it; one to another page is collected.
func (l *links) plain(text string) string {
	var b strings.Builder
	for text != "" {
		switch {
		case text[0] == '`':
			if end := strings.IndexByte(text[1:], '`'); end >= 0 {
				b.WriteString(text[:end+2])
				text = text[end+2:]
				continue
			}
		case text[0] == '*':
			text = strings.TrimLeft(text, "*")
			continue
		case text[0] == '[':
			label, rest, isLink := strings.Cut(text[1:], "](")
			target, after, closed := strings.Cut(rest, ")")
			if isLink && closed && !strings.Contains(label, "]") {
				b.WriteString(l.label(label, target))
				text = after
				continue
			}
		}
		b.WriteByte(text[0])
		text = text[1:]
	}
	return b.String()
}

// label returns the text of a link.
func (l *links) label(label, target string) string {
	if strings.HasPrefix(target, "https://") {
		return label + " (" + target + ")"
	}
	file, topic, _ := strings.Cut(target, "#")
	if _, known := lookup(topic); known && (file == "" || file == page) {
		shown := "`" + strings.ReplaceAll(command(topic), " ", noBreak) + "`"
		if label == topic {
			return shown
		}
		return label + " (" + shown + ")"
	}
	if file != "" && !slices.Contains(l.targets, target) {
		l.targets = append(l.targets, target)
	}
	return label
}

// seeAlso returns the addresses of the entry and of what it links to. Without an
// address it returns the names of the pages.
func (l *links) seeAlso(topic string, width int, address string) string {
	var b strings.Builder
	if address != "" {
		b.WriteString("\nSee also:\n")
		for _, target := range append([]string{page + "#" + topic}, l.targets...) {
			b.WriteString("  " + address + "/" + target + "\n")
		}
		return b.String()
	}
	var names []string
	for _, target := range l.targets {
		file, _, _ := strings.Cut(target, "#")
		if name := strings.TrimSuffix(file, ".md"); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	b.WriteByte('\n')
	wrap(&b, "", "See also, in the documentation: "+strings.Join(names, ", ")+".", width)
	return b.String()
}
