package sanitize

import (
	"encoding/base64"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// nested is how many encodings within each other are undone.
	nested = 3
	// decodable is how long a secret must be so that it is looked for in what a text
	// decodes to, in bytes: shorter ones are in any number by accident.
	decodable = 8
)

// decoded is what a part of a text decodes to. origin has, for each byte of text,
// the bytes of the original that it comes from.
type decoded struct {
	text   string
	origin []extent
}

type extent struct{ begin, end int }

// wordOf returns what the part at the given place decodes to as a whole.
func wordOf(text string, at []int) *decoded {
	return &decoded{text, slices.Repeat([]extent{{at[0], at[1]}}, len(text))}
}

// notations are how a text may write the bytes of another: escapes of characters
// (percent-encoding, HTML, JSON, Go and C), numbers, and Base64. Each may have been
// cut before an ellipsis.
var notations = sync.OnceValue(func() (n struct{ escape, hex, bytes, word *regexp.Regexp }) {
	n.escape = regexp.MustCompile(`%[0-9a-fA-F]{2}|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]{1,6}\}|\\[0-7]{3}|\\["'\\/]|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,6});` +
		`|(?:%[0-9a-fA-F]?|\\[xu]?\{?[0-9a-fA-F]{0,6}|&#?[0-9a-zA-Z]{0,7})…`)
	n.hex = regexp.MustCompile(`(?:0[xX])?[0-9a-fA-F]{2}(?:[ :,-]{0,2}(?:0[xX])?[0-9a-fA-F]{2}){3,}(?:[ :,-]{0,2}[0-9a-fA-FxX]{0,3}…)?`)
	n.bytes = regexp.MustCompile(`[0-9]{1,3}(?:[ ,;]{1,2}[0-9]{1,3}){3,}(?:[ ,;]{0,2}…)?`)
	n.word = regexp.MustCompile(`[A-Za-z0-9+/_-]{6,}(?:={1,2}|…)?`)
	return n
})

// decodings returns what a text decodes to, without the notations that it does not
// have.
func decodings(text string) []*decoded {
	var all []*decoded
	add := func(d *decoded) {
		if d != nil && d.readable() {
			all = append(all, d)
		}
	}
	n := notations()
	add(unescaped(text, n.escape))
	for _, at := range n.hex.FindAllStringIndex(text, -1) {
		add(numbers(text, at, 2, 16))
	}
	for _, at := range n.bytes.FindAllStringIndex(text, -1) {
		add(numbers(text, at, 3, 10))
	}
	for _, at := range n.word.FindAllStringIndex(text, -1) {
		word, wasCut := strings.CutSuffix(text[at[0]:at[1]], ellipsis)
		word = strings.TrimRight(word, "=")
		if !wasCut && len(word) < (decodable*8+5)/6 {
			continue
		}
		base := base64.RawStdEncoding
		if strings.ContainsAny(word, "-_") {
			base = base64.RawURLEncoding
		}
		// What precedes it may look like a part of it, as in a path.
		for before := range min(4, len(word)) {
			whole := word[before:]
			if len(whole)%4 == 1 { // nothing is encoded in a single character
				whole = whole[:len(whole)-1]
			}
			content, err := base.DecodeString(whole)
			if err != nil {
				continue
			}
			if wasCut {
				content = append(content, ellipsis...)
			}
			add(wordOf(string(content), at))
		}
	}
	return all
}

// readable reports whether there may be a secret in the text: a run of characters
// that is long enough, or cut. Nearly nothing that is decoded by accident has one.
func (d *decoded) readable() bool {
	enough := decodable
	if strings.Contains(d.text, ellipsis) {
		enough = cut
	}
	run := 0
	for i := 0; i < len(d.text) && run < enough; i++ {
		if run++; d.text[i] < ' ' || d.text[i] > '~' {
			run = 0
		}
	}
	return run >= enough
}

// unescaped returns the text without its escapes, nil if it has none.
func unescaped(text string, escape *regexp.Regexp) *decoded {
	found := escape.FindAllStringIndex(text, -1)
	if found == nil {
		return nil
	}
	var b strings.Builder
	d := &decoded{origin: make([]extent, 0, len(text))}
	plain := func(begin, end int) {
		b.WriteString(text[begin:end])
		for i := begin; i < end; i++ {
			d.origin = append(d.origin, extent{i, i + 1})
		}
	}
	last := 0
	for _, at := range found {
		plain(last, at[0])
		character := unescape(text[at[0]:at[1]])
		b.WriteString(character)
		for range len(character) {
			d.origin = append(d.origin, extent{at[0], at[1]})
		}
		last = at[1]
	}
	plain(last, len(text))
	d.text = b.String()
	return d
}

// unescape returns what one escape stands for.
func unescape(escape string) string {
	number := func(digits string, base int) string {
		n, err := strconv.ParseUint(digits, base, 32)
		if err != nil {
			return escape
		}
		return string(rune(n))
	}
	single := func(digits string, base int) string {
		n, err := strconv.ParseUint(digits, base, 8)
		if err != nil {
			return escape
		}
		return string([]byte{byte(n)})
	}
	switch {
	case strings.HasSuffix(escape, ellipsis):
		return ellipsis
	case escape[0] == '%':
		return single(escape[1:], 16)
	case escape[0] == '&':
		return html.UnescapeString(escape)
	case escape[1] == 'x':
		return single(escape[2:], 16)
	case escape[1] == 'u':
		return number(strings.Trim(escape[2:], "{}"), 16)
	case len(escape) == 4:
		return single(escape[1:], 8)
	}
	return escape[1:]
}

// numbers returns the bytes that a list of numbers has, each of at most so many
// digits.
func numbers(text string, at []int, digits, base int) *decoded {
	list, wasCut := strings.CutSuffix(text[at[0]:at[1]], ellipsis)
	var content []byte
	d := &decoded{}
	for i := 0; i < len(list); {
		end := i
		for end < len(list) && end-i < digits && isHex(list[end]) {
			end++
		}
		if end == i || strings.HasPrefix(list[i:], "0x") || strings.HasPrefix(list[i:], "0X") {
			i = max(end, i+1)
			continue
		}
		n, err := strconv.ParseUint(list[i:end], base, 8)
		switch {
		case wasCut && end == len(list) && len(content) > 0:
			// The last number may be another one, and goes with the one before.
			d.origin[len(content)-1].end = at[0] + end
		case err == nil:
			content = append(content, byte(n))
			d.origin = append(d.origin, extent{at[0] + i, at[0] + end})
		}
		i = end
	}
	if wasCut {
		content = append(content, ellipsis...)
		d.origin = append(d.origin, slices.Repeat([]extent{{at[0] + len(list), at[1]}}, len(ellipsis))...)
	}
	d.text = string(content)
	return d
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// markDecoded marks the parts of the text that decode to a secret, with encodings
// in each other undone too.
func (s *spans) markDecoded(secrets [][]encoding, depth int) {
	if depth == 0 || len(secrets) == 0 {
		return
	}
	for _, d := range decodings(s.text) {
		inner := &spans{text: d.text}
		for _, secret := range secrets {
			as := secret[0]
			if len(as.text) < decodable {
				continue
			}
			inner.add(as)
			if strings.Contains(as.text, " ") {
				// Queries write blanks so.
				as.text = strings.ReplaceAll(as.text, " ", "+")
				inner.add(as)
			}
		}
		inner.markDecoded(secrets, depth-1)
		for i, marked := range inner.secret {
			if marked {
				s.mark(d.origin[i].begin, d.origin[i].end)
			}
		}
	}
}
