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

// MaxManifestBytes limits a file of manifests. 10 MiB of them are usual in large
// clusters.
const MaxManifestBytes = 16 << 20

// Limits of a file. A YAML parser creates a node of some 200 bytes for every
// mark, so marks are counted before it runs; in manifests, those of one document
// or item of a list.
const (
	maxBytes         = 1 << 20
	maxMarks         = 100_000
	maxManifestMarks = 400_000
	maxDepth         = 32
	maxManifestDepth = 100
)

// clean checks size and encoding, and returns the text with LF line ends. It
// stops at the first problem.
func clean(p *problems, content []byte, size int) (string, bool) {
	if len(content) > size {
		p.add(1, 1, fmt.Sprintf("the file has %d bytes, more than %d", len(content), size), "Split it.")
		return "", false
	}
	if bytes.HasPrefix(content, []byte{0xff, 0xfe}) || bytes.HasPrefix(content, []byte{0xfe, 0xff}) {
		p.add(1, 1, "the file is UTF-16", "Save it as UTF-8.")
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
			p.add(line, column, fmt.Sprintf("byte 0x%02X is not valid UTF-8", rest[0]), "Save the file as UTF-8.")
			return "", false
		case r == '\n':
			line, column = line+1, 0
		case r == '\t':
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff':
			p.add(line, column, fmt.Sprintf("control character U+%04X", r), "Remove it.")
			return "", false
		case unicode.Is(unicode.Bidi_Control, r):
			// Reviewers would see another text than the program reads.
			p.add(line, column, fmt.Sprintf("character U+%04X changes the writing direction", r), "Remove it.")
			return "", false
		}
		rest = rest[n:]
		column++
	}
	return string(content), true
}

// checkTabs reports whether no line is indented with tabs, and adds a problem
// for the first that is.
func checkTabs(p *problems, text string) bool {
	number := 0
	for line := range strings.Lines(text) {
		number++
		content := strings.TrimLeft(line, " \t")
		indent := line[:len(line)-len(content)]
		if at := strings.IndexByte(indent, '\t'); at >= 0 {
			p.add(number, at+1, "the line is indented with a tab", "Use spaces.")
			return false
		}
	}
	return true
}

// marks returns an upper bound for the number of YAML nodes in a text.
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

// checkMarks reports whether a text has at most the given number of marks, and
// adds a problem if not.
func checkMarks(p *problems, text string, limit int) bool {
	if n := marks(text); n > limit {
		p.add(1, 1, tooManyEntries(n, limit), "Split it.")
		return false
	}
	return true
}

func tooManyEntries(n, limit int) string {
	return fmt.Sprintf("the file has about %d entries, more than %d", n, limit)
}

// documents calls each for the YAML documents of a text, until the first
// mistake or until each returns false.
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

// countedFrom0 are the errors of the library's parser, which counts lines from
// 0; its scanner counts from 1 (yaml.v3, parser.fail in decode.go).
var countedFrom0 = []string{
	"did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected key",
	"did not find expected '-' indicator", "did not find expected node content", "did not find expected <document start>",
}

// syntax adds the library's error as a problem. The error has a line only; the
// column is where the line's content begins.
func syntax(p *problems, text string, err error) {
	reason, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(reason, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			line, _ = strconv.Atoi(number)
			reason = what
		}
		if slices.Contains(countedFrom0, reason) {
			line++
		}
	}
	lines := strings.Split(text, "\n")
	line = min(max(line, 1), len(lines))
	content := lines[line-1]
	column := len(content) - len(strings.TrimLeft(content, " ")) + 1
	p.add(line, column, fmt.Sprintf("invalid YAML: %s", reason),
		"Check this line and the one before it. Text that begins with one of > < = * & ! % @ { [ needs quotes.")
}

// one returns the single document of a text. It rejects what makes YAML hard to
// review: anchors, aliases, tags and deep nesting.
func one(p *problems, text string) *yaml.Node {
	var first *yaml.Node
	documents(p, text, func(document *yaml.Node) bool {
		if first == nil {
			first = document
			return true
		}
		p.add(document.Line, document.Column, "a second document begins here", "A flow file is one YAML document. Remove the line ---.")
		return false
	})
	if first == nil {
		if len(p.found) == 0 {
			p.add(1, 1, "the file is empty", "Run `acrpromote init` to create one.")
		}
		return nil
	}
	root := first.Content[0]
	if !plain(p, root, 0) {
		return nil
	}
	return root
}

// plain checks a node and those in it. It reports false if the nesting is too
// deep to go on.
func plain(p *problems, n *yaml.Node, depth int) bool {
	if depth > maxDepth {
		p.add(n.Line, n.Column, fmt.Sprintf("nesting is deeper than %d levels", maxDepth), "Check brackets and indentation.")
		return false
	}
	switch {
	case n.Kind == yaml.AliasNode:
		p.add(n.Line, n.Column, fmt.Sprintf("alias *%s is not supported", n.Value), "Write out the value, or put text that begins with * in quotes.")
		return true
	case n.Anchor != "":
		p.add(n.Line, n.Column, fmt.Sprintf("anchor &%s is not supported", n.Anchor), "Remove it, or put text that begins with & in quotes.")
	case n.Style&yaml.TaggedStyle != 0:
		p.add(n.Line, n.Column, fmt.Sprintf("YAML tag %s is not supported", quote(n.Tag)), "Remove it, or put text that begins with ! in quotes.")
	}
	for _, child := range n.Content {
		if !plain(p, child, depth+1) {
			return false
		}
	}
	return true
}
