package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What a text from outside may measure. A YAML parser builds a node of some
// 200 bytes for every mark, so marks are counted before it is asked.
const (
	mostBytes         = 1 << 20
	mostMarks         = 100_000
	mostManifestBytes = 4 << 20
	mostManifestMarks = 400_000
	mostDepth         = 32
	mostManifestDepth = 100
)

// clean checks size and encoding, and returns the text with LF line ends. It
// stops at the first problem: what is not text has no second one.
func clean(p *problems, content []byte, size int) (string, bool) {
	if len(content) > size {
		p.add(1, 1, fmt.Sprintf("The text is %d bytes long; at most %d are read.", len(content), size), "Split it.")
		return "", false
	}
	if bytes.HasPrefix(content, []byte{0xff, 0xfe}) || bytes.HasPrefix(content, []byte{0xfe, 0xff}) {
		p.add(1, 1, "The text is UTF-16.", "Save it as UTF-8.")
		return "", false
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	if bytes.ContainsRune(content, '\r') {
		content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	}
	line, column := 1, 1
	for rest := content; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && n == 1:
			p.add(line, column, fmt.Sprintf("The byte 0x%02X is no UTF-8.", rest[0]), "Save the text as UTF-8.")
			return "", false
		case r == '\n':
			line, column = line+1, 0
		case r == '\t':
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff':
			p.add(line, column, fmt.Sprintf("There is a control character, U+%04X.", r), "Remove it.")
			return "", false
		case unicode.Is(unicode.Bidi_Control, r):
			// It shows reviewers another text than the one that counts.
			p.add(line, column, fmt.Sprintf("There is a character that turns the direction of writing, U+%04X.", r), "Remove it.")
			return "", false
		}
		rest = rest[n:]
		column++
	}
	return string(content), true
}

// untabbed tells of the first line that begins with a tab among its spaces.
func untabbed(p *problems, text string) bool {
	number := 0
	for line := range strings.Lines(text) {
		number++
		content := strings.TrimLeft(line, " \t")
		indent := line[:len(line)-len(content)]
		if at := strings.IndexByte(indent, '\t'); at >= 0 {
			p.add(number, at+1, "The line is indented with a tab.", "YAML takes spaces only.")
			return false
		}
	}
	return true
}

// marks counts whatever can begin a node of YAML, from above.
func marks(text string) int {
	n := 0
	for i := range len(text) {
		switch text[i] {
		case '\n', ',', '[', '{', ':', '?':
			n++
		case '-':
			if i+1 < len(text) && text[i+1] == ' ' {
				n++
			}
		}
	}
	return n
}

// countable says whether a text has few enough marks.
func countable(p *problems, text string, most int) bool {
	if n := marks(text); n > most {
		p.add(1, 1, fmt.Sprintf("The text has %d entries or more; at most %d are read.", n, most), "Split it.")
		return false
	}
	return true
}

// documents reads YAML documents one by one until the end, the first
// mistake, or until each says stop.
func documents(p *problems, text string, each func(document *yaml.Node) (more bool)) {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			syntax(p, text, err)
			return
		}
		if !each(&document) {
			return
		}
	}
}

// countedFrom0 are the lines of what the library's parser says, from 1 those
// of its scanner: yaml.v3, parser.fail in decode.go.
var countedFrom0 = []string{
	"did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected key",
	"did not find expected '-' indicator", "did not find expected node content", "did not find expected <document start>",
}

// syntax tells what the library said. It knows lines only; the column is where
// the line's content begins.
func syntax(p *problems, text string, err error) {
	said, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(said, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			line, _ = strconv.Atoi(number)
			said = what
		}
		if slices.Contains(countedFrom0, said) {
			line++
		}
	}
	lines := strings.Split(text, "\n")
	line = min(max(line, 1), len(lines))
	content := lines[line-1]
	column := len(content) - len(strings.TrimLeft(content, " ")) + 1
	p.add(line, column, fmt.Sprintf("This is no YAML: %s.", said),
		"Look at this line and the one before it; text that begins with one of > < = * & ! % @ { [ is put in quotes.")
}

// one reads the single document of a text and refuses what makes YAML hard to
// review: anchors, aliases, tags, and nesting without end.
func one(p *problems, text string) *yaml.Node {
	var first *yaml.Node
	documents(p, text, func(document *yaml.Node) bool {
		if first == nil {
			first = document
			return true
		}
		p.add(document.Line, document.Column, "A second document begins here.", "A flow file is one YAML document: remove the line ---.")
		return false
	})
	if first == nil {
		if len(p.found) == 0 {
			p.add(1, 1, "The file is empty.", "`acrpromote init` writes one.")
		}
		return nil
	}
	root := first.Content[0]
	if !plain(p, root, 0) {
		return nil
	}
	return root
}

// plain walks a document once. False: it is too deep to be looked at further.
func plain(p *problems, n *yaml.Node, depth int) bool {
	if depth > mostDepth {
		p.add(n.Line, n.Column, fmt.Sprintf("The nesting is deeper than %d.", mostDepth), "A flow file needs no such depth.")
		return false
	}
	switch {
	case n.Kind == yaml.AliasNode:
		p.add(n.Line, n.Column, fmt.Sprintf("There is an alias, *%s.", n.Value), "Aliases are not taken: write the value out, or put text that begins with * in quotes.")
		return true
	case n.Anchor != "":
		p.add(n.Line, n.Column, fmt.Sprintf("There is an anchor, &%s.", n.Anchor), "Anchors are not taken: remove it, or put text that begins with & in quotes.")
	case n.Style&yaml.TaggedStyle != 0:
		p.add(n.Line, n.Column, fmt.Sprintf("There is a YAML tag, %s.", quote(n.Tag)), "Tags are not taken: remove it, or put text that begins with ! in quotes.")
	}
	for _, child := range n.Content {
		if !plain(p, child, depth+1) {
			return false
		}
	}
	return true
}
