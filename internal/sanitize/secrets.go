package sanitize

import (
	"encoding/base64"
	"encoding/json"
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

// Secrets are values that no text may show: passwords, tokens, assertions. They
// are found as they are and in the encodings in which servers and libraries
// repeat what they were sent: Base64, percent-encoding, JSON, HTML and Go
// strings. A nil *Secrets and the zero value know none. Methods may be called
// concurrently.
type Secrets struct {
	mu     sync.RWMutex
	values []string
}

// Add adds secrets. Empty ones and blanks cannot be told from other text and
// are left out.
func (s *Secrets) Add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		if strings.TrimSpace(v) != "" && !slices.Contains(s.values, v) {
			s.values = append(s.values, v)
		}
	}
}

// AddLogin adds a password, and user and password as HTTP's Basic
// authentication joins them.
func (s *Secrets) AddLogin(user, password string) {
	if password != "" {
		s.Add(password, user+":"+password)
	}
}

// Redact replaces the secrets in a text, and what has the form of a credential,
// by ***. It neither bounds the text nor makes a line of it.
func (s *Secrets) Redact(text string) string {
	return withoutCredentials(s.withoutValues(text, nil))
}

// withoutValues replaces the secrets, each after change (if it is not nil), by
// the mark. Those that overlap are one.
func (s *Secrets) withoutValues(text string, change func(string) string) string {
	if s == nil {
		return text
	}
	s.mu.RLock()
	values := s.values
	s.mu.RUnlock()
	var secret []bool // by byte of the text
	for _, value := range values {
		if change != nil {
			value = change(value)
		}
		// No encoding is shorter: most tokens are longer than most texts.
		if value == "" || len(value) > len(text) {
			continue
		}
		for _, e := range encodings(value) {
			for from, done := 0, 0; ; {
				at := strings.Index(text[from:], e.text)
				if at < 0 {
					break
				}
				if secret == nil {
					secret = make([]bool, len(text))
				}
				begin, end := from+at, from+at+len(e.text)
				from = begin + 1
				for e.word && begin > done && isBase64(text[begin-1]) {
					begin--
				}
				for e.word && end < len(text) && isBase64(text[end]) {
					end++
				}
				for i := max(begin, done); i < end; i++ {
					secret[i] = true
				}
				done = max(done, end)
				if e.word {
					from = done
				}
			}
		}
	}
	if secret == nil {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		end := i
		for end < len(text) && secret[end] == secret[i] {
			end++
		}
		if secret[i] {
			b.WriteString(mark)
		} else {
			b.WriteString(text[i:end])
		}
		i = end
	}
	return b.String()
}

// encoding is one way to write a secret. A word is part of a longer one in
// Base64, which goes as a whole.
type encoding struct {
	text string
	word bool
}

// encodings lists how a secret may be written.
func encodings(secret string) []encoding {
	all := []encoding{{text: secret}}
	add := func(text string, word bool) {
		if text != "" && !slices.Contains(all, encoding{text, word}) {
			all = append(all, encoding{text, word})
		}
	}
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
