package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A file is searched one document at a time, and a document that is too large for
// that one item at a time, so that the memory is that of the largest part.

// yaml searches the YAML documents of a text.
func (s *search) yaml(text string) {
	line := 0
	for _, document := range splitDocuments(text) {
		s.document(document, line)
		line += strings.Count(document, "\n")
	}
}

// document searches one document, which begins after base lines.
func (s *search) document(text string, base int) {
	n := marks(text)
	if n <= maxManifestMarks {
		s.part(text, base, nil)
		return
	}
	parts := splitItems(text)
	for _, part := range parts {
		if marks(part.text) > maxManifestMarks {
			parts = nil
			break
		}
	}
	if parts == nil {
		s.add(base+1, 1, tooManyEntries(n, maxManifestMarks), "Split it.")
		return
	}
	for _, part := range parts {
		var at []step
		if part.index >= 0 {
			at = []step{{key: "items"}, {index: part.index}}
		}
		s.part(part.text, base+part.line, at)
	}
}

// part searches YAML that begins after base lines, at a path of the document.
func (s *search) part(text string, base int, at []step) {
	s.begin(base, at)
	p := &problems{}
	documents(p, text, func(document *yaml.Node) bool {
		root := document
		if len(at) > 0 && root.Content[0].Kind == yaml.SequenceNode {
			root = root.Content[0].Content[0]
		}
		return s.walk(root, context{group: unknownGroup})
	})
	for _, problem := range p.found {
		s.add(base+problem.Line, problem.Column, problem.Reason, problem.Remedy)
	}
}

func (s *search) begin(base int, at []step) {
	s.base, s.path, s.seen, s.resource = base, at, map[visit]bool{}, ""
}

// splitDocuments splits a text at the lines that begin or end a YAML document.
func splitDocuments(text string) []string {
	var parts []string
	from, at, content := 0, 0, false
	for line := range strings.Lines(text) {
		switch {
		case isMarker(line, "---"):
			// Directives belong to the document after them.
			if content {
				parts = append(parts, text[from:at])
				from = at
			}
			content = true
		case isMarker(line, "..."):
			parts = append(parts, text[from:at+len(line)])
			from, content = at+len(line), false
		case line[0] != '%' && line[0] != '#' && strings.TrimSpace(line) != "":
			content = true
		}
		at += len(line)
	}
	return append(parts, text[from:])
}

func isMarker(line, marker string) bool {
	rest, found := strings.CutPrefix(line, marker)
	return found && (rest == "" || strings.ContainsAny(rest[:1], " \t\n"))
}

// part is an item of a list with the number of lines before it, or what is around
// the items, with the index -1.
type part struct {
	text        string
	line, index int
}

// splitItems splits a document at the items of its key items, as kubectl writes
// them. It returns nil if it has no such key.
func splitItems(text string) []part {
	var parts []part
	from, at, line, first, indent := 0, 0, 0, 0, -1
	cut := func(index int) {
		parts = append(parts, part{text[from:at], first, index})
		from, first = at, line
	}
	inItems, index := false, -1
	for next := range strings.Lines(text) {
		content := strings.TrimLeft(next, " ")
		spaces := len(next) - len(content)
		blank := strings.TrimSpace(content) == "" || content[0] == '#'
		isItem := strings.HasPrefix(content, "- ") || content == "-\n"
		switch {
		case blank:
		case !inItems:
			rest, is := strings.CutPrefix(next, "items:")
			rest = strings.TrimSpace(rest)
			inItems = is && indent < 0 && (rest == "" || rest[0] == '#')
		case indent < 0 && isItem:
			indent = spaces
			cut(-1)
			index++
		case spaces == indent && isItem:
			cut(index)
			index++
		case spaces <= indent:
			cut(index)
			inItems, index = false, -1
		}
		at, line = at+len(next), line+1
	}
	if indent < 0 {
		return nil
	}
	cut(index)
	return parts
}

// json searches a text that is JSON. It returns a new search, and whether the text
// is JSON: YAML may begin with a bracket too.
func (s *search) json(text string) (*search, bool) {
	if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return nil, false
	}
	found := &search{problems: &problems{}, hosts: s.hosts}
	r := &jsonReader{text: text, decoder: json.NewDecoder(strings.NewReader(text)), line: 1, column: 1}
	r.decoder.UseNumber()
	for {
		found.begin(0, nil)
		r.nodes = 0
		document, err := r.read(func(index int, item *yaml.Node) {
			found.begin(0, []step{{key: "items"}, {index: index}})
			found.walk(item, context{group: unknownGroup})
		}, 0)
		switch {
		case errors.Is(err, io.EOF):
			return found, true
		case errors.Is(err, errTooLarge):
			found.add(r.line, r.column, tooManyEntries(r.nodes, maxManifestMarks), "Split it.")
			return found, true
		case errors.Is(err, errTooDeep):
			found.add(r.line, r.column, tooDeep, "Check brackets and indentation.")
			return found, true
		case err != nil:
			return nil, false
		}
		found.begin(0, nil)
		if !found.walk(document, context{group: unknownGroup}) {
			return found, true
		}
	}
}

var (
	errTooLarge = errors.New("too many values")
	errTooDeep  = errors.New("nested too deeply")
)

// jsonReader reads JSON as YAML nodes with their lines, as the YAML parser does
// not understand all of it: a character outside the basic plane is two escapes.
type jsonReader struct {
	text         string
	decoder      *json.Decoder
	offset       int // of what line and column are
	line, column int
	nodes        int // in the part that is being read
}

// token returns the next token, and moves line and column to its beginning.
func (r *jsonReader) token() (json.Token, error) {
	begin := int(r.decoder.InputOffset())
	for begin < len(r.text) && strings.IndexByte(" \t\n,:", r.text[begin]) >= 0 {
		begin++
	}
	for _, c := range r.text[r.offset:begin] {
		if r.column++; c == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
	r.offset = begin
	return r.decoder.Token()
}

// read returns the next value. Of an object, it passes each item of the list items
// to item, and leaves the list empty.
func (r *jsonReader) read(item func(int, *yaml.Node), depth int) (*yaml.Node, error) {
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	return r.value(token, item, depth)
}

func (r *jsonReader) value(token json.Token, item func(int, *yaml.Node), depth int) (*yaml.Node, error) {
	if r.nodes++; r.nodes > maxManifestMarks {
		return nil, errTooLarge
	}
	if depth >= maxManifestDepth {
		return nil, errTooDeep
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line, Column: r.column}
	switch token := token.(type) {
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case string:
		n.Value = token
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if token == '{' {
			n.Kind = yaml.MappingNode
		}
		return n, r.content(n, item, depth)
	default:
		n.Value = fmt.Sprint(token)
	}
	return n, nil
}

// content reads the content of an array or an object, up to its end.
func (r *jsonReader) content(n *yaml.Node, item func(int, *yaml.Node), depth int) error {
	isList := item != nil && n.Kind == yaml.SequenceNode && depth == 1
	for r.decoder.More() {
		if n.Kind == yaml.MappingNode {
			key, err := r.read(nil, depth+1)
			if err != nil {
				return err
			}
			n.Content = append(n.Content, key)
		}
		var below func(int, *yaml.Node)
		if depth == 0 && n.Kind == yaml.MappingNode && n.Content[len(n.Content)-1].Value == "items" {
			below = item
		}
		before := r.nodes
		child, err := r.read(below, depth+1)
		if err != nil {
			return err
		}
		if isList {
			item(len(n.Content), child)
			child, r.nodes = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, before
		}
		n.Content = append(n.Content, child)
	}
	_, err := r.token()
	return err
}

// mentioned is why a reference to the source was left out where it stands.
const mentioned = "it is not where a known resource has an image"

// mentions adds the references to the source in other text.
func (s *search) mentions(n *yaml.Node) {
	text, line, counted := n.Value, n.Line, 0
	literal := n.Style&yaml.LiteralStyle != 0
	if literal {
		line++
	}
	for at := 0; ; {
		slash := strings.IndexByte(text[at:], '/')
		if slash < 0 {
			return
		}
		slash += at
		at = slash + 1
		host := s.hostBefore(text[:slash])
		if host == "" {
			continue
		}
		end := at
		for end < len(text) && isReferenceByte(text[end]) {
			end++
		}
		name := strings.TrimRight(text[at:end], "./:@-_")
		if name == "" {
			continue
		}
		if literal {
			line += strings.Count(text[counted:slash], "\n")
			counted = slash
		}
		s.others.put(location{line: s.base + line, path: s.where()}, host+"/"+name, mentioned)
		at = end
	}
}

// isReferenceByte reports whether a byte can be in a repository, tag or digest.
func isReferenceByte(b byte) bool { return isHostByte(b) || strings.IndexByte("/:@", b) >= 0 }

// isHostByte reports whether a byte can be in a host, or next to one in a longer
// name.
func isHostByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("._-", b) >= 0
}

// hostBefore returns the name of the source with which a text ends, or "".
func (s *search) hostBefore(text string) string {
	text = strings.TrimSuffix(text, ":443")
	for _, host := range s.hosts {
		begin := len(text) - len(host)
		if begin >= 0 && strings.EqualFold(text[begin:], host) && isBoundary(text[:begin]) {
			return host
		}
	}
	return ""
}

// isBoundary reports whether a host name can begin after a text. In JSON within a
// string, the end of a line is an escape, which ends in a letter.
func isBoundary(before string) bool {
	n := len(before)
	return n == 0 || !isHostByte(before[n-1]) ||
		n >= 2 && before[n-2] == '\\' && strings.IndexByte("nrt", before[n-1]) >= 0 ||
		n >= 6 && before[n-6:n-4] == `\u`
}
