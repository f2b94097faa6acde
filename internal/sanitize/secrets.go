package sanitize

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// mark stands where a secret was.
const mark = "***"

// Lengths of what is recognized as part of a secret, in bytes.
const (
	// partOf is how long a secret must be so that its parts are looked for, and
	// part is how much of its beginning or end is one.
	partOf = 32
	part   = 20
	// cut is how much of its beginning is one before an ellipsis.
	cut = 4
)

// Secrets are values that no text may show: passwords, tokens, assertions. They
// are found as they are and in the encodings in which servers and libraries
// repeat what they were sent: Base64, hexadecimal, percent-encoding, JSON, HTML
// and Go strings, also within each other. Of long ones, the beginning and the end are found as well, and
// of all, what is left of them where a text was cut. A nil *Secrets and the zero
// value know none. Methods may be called concurrently.
type Secrets struct {
	mu     sync.RWMutex
	known  map[string]bool
	size   int          // of known, in bytes
	values [][]encoding // as they are
	lines  [][]encoding // as in a line, where that differs
}

// Format prints no secret, for every verb.
func (s *Secrets) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("secrets")) }

// Add adds secrets. Empty ones and blanks cannot be told from other text and
// are left out.
func (s *Secrets) Add(values ...string) {
	for _, v := range values {
		s.add(v, "")
	}
}

// add adds a secret that begins with something public.
func (s *Secrets) add(secret, public string) {
	if s == nil || strings.TrimSpace(secret) == "" || s.has(secret) {
		return
	}
	all := encodings(secret, public)
	var inLine []encoding
	if l := line(secret); l != secret && l != "" {
		inLine = encodings(l, public)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[secret] {
		return
	}
	if s.known == nil {
		s.known = map[string]bool{}
	}
	s.known[secret] = true
	s.size += len(secret)
	// A reader keeps the slices that it has.
	s.values = append(s.values[:len(s.values):len(s.values)], all)
	if inLine != nil {
		s.lines = append(s.lines[:len(s.lines):len(s.lines)], inLine)
	}
}

func (s *Secrets) has(value string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[value]
}

// Size returns how many bytes the secrets have. Their encodings take about twelve times
// as much memory.
func (s *Secrets) Size() int {
	if s == nil {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size
}

// AddLogin adds a password, and user and password as HTTP's Basic
// authentication joins them.
func (s *Secrets) AddLogin(user, password string) {
	if password != "" {
		s.add(password, "")
		s.add(user+":"+password, user+":")
	}
}

// Redact replaces the secrets in a text, and what has the form of a credential,
// by ***. It neither bounds the text nor makes a line of it.
func (s *Secrets) Redact(text string) string {
	return withoutCredentials(s.withoutLines(s.withoutValues(text)))
}

// withoutValues replaces the secrets by the mark.
func (s *Secrets) withoutValues(text string) string {
	if s == nil {
		return text
	}
	s.mu.RLock()
	values := s.values
	s.mu.RUnlock()
	return without(text, values)
}

// withoutLines replaces the secrets by the mark as they are in a line.
func (s *Secrets) withoutLines(text string) string {
	if s == nil {
		return text
	}
	s.mu.RLock()
	lines := s.lines
	s.mu.RUnlock()
	return without(text, lines)
}

// without replaces every secret by the mark. Those that overlap are one.
func without(text string, secrets [][]encoding) string {
	found := &spans{text: text}
	for _, secret := range secrets {
		for _, e := range secret {
			found.add(e)
		}
	}
	found.markDecoded(secrets, nested)
	return found.replaced()
}

// spans are the parts of a text that are secret.
type spans struct {
	text   string
	secret []bool // by byte
}

func (s *spans) mark(begin, end int) {
	if s.secret == nil {
		s.secret = make([]bool, len(s.text))
	}
	for i := begin; i < end; i++ {
		s.secret[i] = true
	}
}

// add marks where a secret is in one of its encodings.
func (s *spans) add(e encoding) {
	whole := e.text
	if len(whole) <= len(s.text) {
		s.each(whole, e.word, func(at int) (int, int) { return at, at + len(whole) })
	}
	if len(whole) >= partOf {
		if !e.public {
			s.eachBeginning(e)
		}
		s.each(whole[len(whole)-part:], e.word, func(at int) (int, int) {
			begin := at
			for i := len(whole) - part - 1; begin > 0 && i >= 0 && s.text[begin-1] == whole[i]; i-- {
				begin--
			}
			return begin, at + part
		})
	}
	if len(whole) > cut && !e.public {
		s.each(ellipsis, false, func(at int) (int, int) {
			for n := min(len(whole)-1, at); n >= cut; n-- {
				if strings.HasSuffix(s.text[:at], whole[:n]) {
					return at - n, at
				}
			}
			return at, at
		})
	}
}

// eachBeginning marks the beginnings of a long secret, as far as they go.
func (s *spans) eachBeginning(e encoding) {
	s.each(e.text[:part], e.word, func(at int) (int, int) {
		end := at + part
		for end < len(s.text) && end-at < len(e.text) && s.text[end] == e.text[end-at] {
			end++
		}
		return at, end
	})
}

const ellipsis = "…"

// each marks what extent returns for each place of what in the text. A word is
// extended to the whole of its Base64.
func (s *spans) each(what string, word bool, extent func(at int) (begin, end int)) {
	for from, done := 0, 0; ; {
		at := strings.Index(s.text[from:], what)
		if at < 0 {
			return
		}
		begin, end := extent(from + at)
		from += at + 1
		for word && begin > done && isBase64(s.text[begin-1]) {
			begin--
		}
		for word && end < len(s.text) && isBase64(s.text[end]) {
			end++
		}
		if end > begin {
			s.mark(begin, end)
		}
		done = max(done, end)
		if word {
			from = max(from, done)
		}
	}
}

// replaced returns the text with the mark for what is secret.
func (s *spans) replaced() string {
	if s.secret == nil {
		return s.text
	}
	var b strings.Builder
	for i := 0; i < len(s.text); {
		end := i
		for end < len(s.text) && s.secret[end] == s.secret[i] {
			end++
		}
		if s.secret[i] {
			b.WriteString(mark)
		} else {
			b.WriteString(s.text[i:end])
		}
		i = end
	}
	return b.String()
}

// encoding is one way to write a secret. A word is part of a longer one in
// Base64, which goes as a whole. The beginning of what is public is no part of a
// secret.
type encoding struct {
	text   string
	word   bool
	public bool
}

// encodings lists how a secret may be written that begins with something
// public.
func encodings(secret, public string) []encoding {
	var all []encoding
	add := func(text string, word bool) {
		e := encoding{text, word, public != "" && strings.HasPrefix(strings.ToLower(text), strings.ToLower(public[:1]))}
		if text != "" && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	add(secret, false)
	for _, escaped := range []string{url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20")} {
		add(escaped, false)
		add(lowerHex(escaped), false)
	}
	if quoted, err := json.Marshal(secret); err == nil {
		add(string(quoted[1:len(quoted)-1]), false)
	}
	for _, quoted := range []string{strconv.Quote(secret), strconv.QuoteToASCII(secret)} {
		add(quoted[1:len(quoted)-1], false)
	}
	add(html.EscapeString(secret), false)
	if len(secret) >= 8 {
		add(hex.EncodeToString([]byte(secret)), false)
		add(strings.ToUpper(hex.EncodeToString([]byte(secret))), false)
		// As part of a host's name, for example.
		add(strings.ToLower(secret), false)
	}
	for _, base := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// By itself.
		add(base.EncodeToString([]byte(secret)), false)
		// In the middle of something: after 0, 1 or 2 bytes of a group of
		// three, without the characters that its neighbours have a part in.
		for before := range 3 {
			whole := base.EncodeToString(append(make([]byte, before), secret...))
			if core := whole[(before*8+5)/6 : (before+len(secret))*8/6]; len(core) >= 8 {
				add(core, true)
			}
		}
	}
	return all
}

// lowerHex writes the numbers of a percent-encoded text in lower case.
func lowerHex(escaped string) string {
	b := []byte(escaped)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(escaped[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}

// forms are how credentials look: an Authorization header, the value of one,
// and JSON Web Tokens; and words that may be user and password in Base64.
var forms = sync.OnceValue(func() (f struct{ credential, word *regexp.Regexp }) {
	const token = `[\pL\pN._~+/=…-]`
	const value = `[^\s"',;\]]`
	f.credential = regexp.MustCompile(`(?i:\bauthorization["']?\s*[:=]\s*["'\[]*(?:(?:bearer|basic)\s+` + value + `+|` + value + `{16,}))` +
		`|(?i:\b(?:bearer|basic)\s+` + token + `{16,})` +
		`|(?i:\beyJ` + token + `{8,})` +
		`|eyJ` + token + `*`)
	f.word = regexp.MustCompile(`(?i)(?:\bbasic\s+)?[a-z0-9+/_-]{4,}={0,2}`)
	return f
})

// withoutCredentials replaces what has the form of a credential by the mark.
func withoutCredentials(text string) string {
	text = forms().credential.ReplaceAllString(text, mark)
	return forms().word.ReplaceAllStringFunc(text, func(word string) string {
		value := word[strings.LastIndexFunc(word, unicode.IsSpace)+1:]
		// Short words, numbers and digests are a login by accident, unless they
		// are said to be one.
		said := len(value) < len(word)
		if !said && (len(value) < 8 || strings.ToLower(value) == value || strings.ToUpper(value) == value) || !isLogin(value) {
			return word
		}
		return mark
	})
}

// isLogin reports whether a word is user and password in Base64.
func isLogin(word string) bool {
	base := base64.RawStdEncoding
	if strings.ContainsAny(word, "-_") {
		base = base64.RawURLEncoding
	}
	decoded, err := base.DecodeString(strings.TrimRight(word, "="))
	if err != nil || !utf8.Valid(decoded) {
		return false
	}
	_, password, joined := strings.Cut(string(decoded), ":")
	return joined && password != "" && !strings.ContainsFunc(string(decoded), func(r rune) bool { return !unicode.IsPrint(r) })
}
