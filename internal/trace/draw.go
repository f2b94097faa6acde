package trace

import (
	"cmp"
	"fmt"
	"strings"

	"acrpromote/internal/sanitize"
)

// Limits of what is drawn.
const (
	mostDrawn = 200 // places, events, and promotions to one place
	longest   = 120 // characters of a text
)

// Mermaid returns a life as a Mermaid flowchart: the places, and the promotions between
// them. Texts from elsewhere contain no markup.
func (l Life) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	node := map[string]string{}
	at := func(name, state string) string {
		// A place has a node with its name; a reference with a tag belongs to it.
		if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
			name = name[:i]
		}
		id, known := node[name]
		if !known {
			id = fmt.Sprintf("p%d", len(node))
			node[name] = id
			fmt.Fprintf(&b, "  %s[\"%s<br>%s\"]\n", id, entities(name), entities(state))
		}
		return id
	}
	for i, p := range l.Places {
		if i == mostDrawn {
			break
		}
		state := p.State
		if len(p.Tags) > 0 {
			state += ": " + strings.Join(p.Tags, ", ")
		}
		at(p.Name, state)
	}
	drawn := 0
	for _, e := range l.Events {
		if e.Kind != "promoted" {
			continue
		}
		for _, to := range e.To {
			if drawn++; drawn > mostDrawn {
				return b.String()
			}
			arrow := "-->"
			if e.Basis != Signed {
				arrow = "-.->"
			}
			from, target := at(e.From, "not read"), at(to, "not read")
			fmt.Fprintf(&b, "  %s %s|\"%s<br>%s\"| %s\n", from, arrow, entities(cmp.Or(e.Time, "no time")), entities(string(e.Basis)+", "+e.Run), target)
		}
	}
	return b.String()
}

// entities returns a text in which everything but letters, digits and a few harmless
// characters is written as Mermaid's entities.
func entities(text string) string {
	var b strings.Builder
	for _, r := range sanitize.Visible(text, longest) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" ./:@,_-", r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}

// SVG returns a life as a picture without outside resources: its events in the order of
// time, and below them the places.
func (l Life) SVG() string {
	const width, row, top = 1120, 26, 64
	var body strings.Builder
	y := top
	line := func(colour, left, text, mark string) {
		fmt.Fprintf(&body, "<circle cx=\"28\" cy=\"%d\" r=\"5\" fill=\"%s\"/><text x=\"46\" y=\"%d\" class=\"t\">%s</text><text x=\"216\" y=\"%d\" fill=\"%s\">%s</text><text x=\"280\" y=\"%d\">%s</text>\n",
			y-4, colour, y, escape(left), y, colour, escape(mark), y, escape(text))
		y += row
	}
	colours := map[Basis]string{Signed: "#1a7f37", Registry: "#0969da", Claimed: "#9a6700"}
	for i, e := range l.Events {
		if i == mostDrawn {
			line("#57606a", "", fmt.Sprintf("and %d more", len(l.Events)-i), "")
			break
		}
		line(colours[e.Basis], e.Time, e.Words(), string(e.Basis))
	}
	y += row / 2
	for i, p := range l.Places {
		if i == mostDrawn {
			line("#57606a", "", fmt.Sprintf("and %d more", len(l.Places)-i), "")
			break
		}
		colour := map[string]string{Present: "#1a7f37", Missing: "#57606a"}[p.State]
		text := p.Name
		if len(p.Tags) > 0 {
			text += "  " + strings.Join(p.Tags, ", ")
		}
		line(cmp.Or(colour, "#cf222e"), p.State, text, string(Registry))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#1f2328\" role=\"img\">\n", width, y, width, y)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>.t{fill:#57606a}</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", escape(l.Image))
	fmt.Fprintf(&b, "<text x=\"20\" y=\"24\" font-weight=\"bold\">%s</text><text x=\"20\" y=\"42\" class=\"t\">%s</text>\n", escape(l.Image), escape(l.Digest))
	if top < y {
		fmt.Fprintf(&b, "<line x1=\"28\" y1=\"%d\" x2=\"28\" y2=\"%d\" stroke=\"#d0d7de\"/>\n", top-4, y-row)
	}
	return b.String() + body.String() + "</svg>\n"
}

var markup = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

func escape(text string) string { return markup.Replace(sanitize.Visible(text, longest)) }
