// Package markup writes text from outside in Markdown.
package markup

import (
	"fmt"
	"strings"
	"unicode"

	"acrpromote/internal/sanitize"
)

// Text returns a text of at most limit bytes in one line, in which nothing is
// markup and everything shows.
func Text(s string, limit int) string { return Escape(sanitize.Visible(s, limit)) }

// Code returns a reference, digest or name of at most limit bytes as code, and
// anything else as Text does.
func Code(s string, limit int) string {
	s = sanitize.Visible(s, limit)
	if s == "" {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !plain(r) && !strings.ContainsRune(".:/@_…", r) }) {
		return Escape(s)
	}
	return "`" + s + "`"
}

// Escape writes a text so that no renderer makes markup or a link of it. Some
// look for addresses in what the entities of a text stand for, so a word that
// looks like one is code. Every other character that may have a meaning in
// Markdown or HTML is a numeric entity, which is always a literal character.
func Escape(s string) string {
	words := strings.Split(s, " ")
	for i, word := range words {
		if address(word) {
			// Punctuation is not part of the address.
			core := strings.TrimRight(strings.TrimLeft(word, "("), ".,:;)")
			from := strings.Index(word, core)
			words[i] = word[:from] + codeWord(core) + word[from+len(core):]
		} else {
			words[i] = entities(word)
		}
	}
	return strings.Join(words, " ")
}

// address reports whether a renderer might make a link of a word: a URL, a host
// or a mail address. Times and numbers are none.
func address(word string) bool {
	word = strings.TrimRight(word, ".:,;)")
	return strings.ContainsAny(word, ".:@。．") && strings.ContainsFunc(word, unicode.IsLetter) || strings.Count(word, ".") > 2
}

// codeWord writes a word as code, and as entities what would end the code or be
// markup in a renderer that does not know it.
func codeWord(word string) string {
	var b strings.Builder
	for word != "" {
		size := strings.IndexFunc(word, func(r rune) bool { return r < 0x80 && !plain(r) && !strings.ContainsRune(".:/@_,;=+%?", r) })
		if size < 0 {
			size = len(word)
		}
		if size > 0 {
			b.WriteString("`" + word[:size] + "`")
		}
		if size < len(word) {
			fmt.Fprintf(&b, "&#%d;", word[size])
			size++
		}
		word = word[size:]
	}
	return b.String()
}

func entities(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x80 || plain(r) || strings.ContainsRune(",;'\"()/=+%?.:", r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

func plain(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-'
}

// Size returns a number of bytes in a readable form.
func Size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n) / 1024
	for i, u := range units {
		if v < 1024 || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", v, u)
		}
		v /= 1024
	}
	return ""
}
