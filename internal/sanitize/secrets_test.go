package sanitize

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	const password, opaque, short = `a "b"<c>&d/é+~1`, "opaque-refresh-token_0123456789", "pw"
	var s Secrets
	s.AddLogin("pusher", password)
	s.AddLogin("reader", short)
	s.Add(opaque, "", "  ")
	const upper, longUser = "Opaque-ACCESS-token.0123456789-AbCdEfGh", "pusher-of-the-images-of-this-project"
	s.AddLogin("a-user", upper)
	s.AddLogin(longUser, short)
	quoted, _ := json.Marshal(password)
	basic := func(user, password string) string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
	}
	encoded := url.QueryEscape(password)
	for name, c := range map[string]struct{ text, want string }{
		"as it is":                    {"no: " + password + "!", "no: ***!"},
		"twice":                       {opaque + " " + opaque, "*** ***"},
		"side by side":                {opaque + opaque, "***"},
		"within a word":               {"x" + opaque + "y", "x***y"},
		"over lines":                  {"a\n" + opaque + "\nb", "a\n***\nb"},
		"in a query":                  {"?password=" + encoded + "&x=1", "?password=***&x=1"},
		"in a query, in lower case":   {"?password=" + lowerHex(encoded), "?password=***"},
		"in a path":                   {"/v2/" + url.PathEscape(password) + "/x", "/v2/***/x"},
		"in JavaScript's encoding":    {strings.ReplaceAll(encoded, "+", "%20") + ".", "***."},
		"in JSON":                     {`{"password":` + string(quoted) + `}`, `{"password":"***"}`},
		"as Go quotes it":             {fmt.Sprintf("got %q", password), `got "***"`},
		"as Go quotes it in ASCII":    {fmt.Sprintf("got %+q", password), `got "***"`},
		"in HTML":                     {"<p>" + html.EscapeString(password) + "</p>", "<p>***</p>"},
		"a login":                     {"Basic " + basic("pusher", password) + ".", "Basic ***."},
		"a login with a short secret": {"sent " + basic("reader", short) + ".", "sent ***."},
		"a login of another user":     {"sent " + basic("someone", opaque) + ".", "sent ***."},
		"in the middle of Base64":     {"sent " + base64.URLEncoding.EncodeToString([]byte(`{"token":"`+opaque+`","a":1}`)) + ".", "sent ***."},
		"Base64 without padding":      {base64.RawStdEncoding.EncodeToString([]byte(opaque)), "***"},
		"overlapping":                 {"pusher:" + password, "***"},
		"another text":                {"pusher was here, " + opaque[:20], "pusher was here, " + opaque[:20]},
		"in hexadecimal":              {fmt.Sprintf("sent %x and %X.", opaque, opaque), "sent *** and ***."},
		"in a host's name":            {"https://" + strings.ToLower(upper) + ".example.com", "https://***.example.com"},
		"the beginning of a long one": {"sent " + upper[:25] + "!", "sent ***!"},
		"the end of a long one":       {"sent x" + upper[10:] + "!", "sent x***!"},
		"half a login":                {"sent " + basic("a-user", upper)[:40] + ".", "sent ***."},
		"cut":                         {"sent " + opaque[:7] + "…", "sent ***…"},
		"cut in Base64":               {"sent " + basic("pusher", password)[:14] + "…", "sent ***…"},
		"a user of a login":           {"the user " + longUser + " and " + longUser[:9] + "…", "the user " + longUser + " and " + longUser[:9] + "…"},
		"a form":                      {"Bearer abcdefghijklmnop", "***"},
	} {
		if got := s.Redact(c.text); got != c.want {
			t.Errorf("%s: %q: %q, want %q", name, c.text, got, c.want)
		}
	}
	repeating := &Secrets{}
	repeating.Add("abab", "bcb")
	if got := repeating.Redact("xababab abcb"); got != "x*** a***" {
		t.Errorf("overlapping itself: %q", got)
	}
}

func TestSecretsInALine(t *testing.T) {
	var s Secrets
	s.Add("opaque\tsecret<1>", "0123456789")
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"got opaque\tsecret<1> here", 100, "got *** here"},
		{"got opaque \u200bsecret 1 here", 100, "got *** here"},
		{"got opa\u202eque\nsecret<1> here", 100, "got *** here"},
		{"got 01234\u200b56789", 100, "got ***"},
		// Not half of it.
		{"got 0123456789", 8, "got ***"},
		{"got 0123456789", 6, "got **…"},
		{"got " + strings.Repeat("\u200b", (longestText-4)/3-2) + "0123456789", 100, "…"},
	} {
		if got := s.Bounded(c.text, c.limit); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	var none *Secrets
	if got := none.Bounded("a\nb", 10); got != "a b" {
		t.Errorf("without secrets: %q", got)
	}
	if got := none.Redact("a\nb"); got != "a\nb" {
		t.Errorf("without secrets: %q", got)
	}
}

func TestSecretsAreAddedWhileTheyAreUsed(t *testing.T) {
	var s Secrets
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				token := fmt.Sprintf("token-%d-%d-", i, j)
				s.Add(token)
				if got := s.Redact("got " + token); got != "got ***" {
					t.Errorf("%q", got)
				}
			}
		})
	}
	wg.Wait()
}

// TestSecretsMadeOfFewLetters: secrets that overlap, repeat, and come together
// only when hidden characters are gone.
func TestSecretsMadeOfFewLetters(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []string{"a", "b", "a", "b", "<", " ", "\n", "\u200b", ":", "%", "&", "YQ", "é"}
	word := func(most int) string {
		var b strings.Builder
		for range 1 + random.IntN(most) {
			b.WriteString(letters[random.IntN(len(letters))])
		}
		return b.String()
	}
	replaced := 0
	for range 10_000 {
		text, secret, other := word(12), word(4), word(3)
		var s Secrets
		s.Add(secret, other)
		got := s.Bounded(text, 100)
		for _, secret := range []string{secret, other} {
			if strings.TrimSpace(secret) != "" && strings.Contains(got, secret) || line(secret) != "" && strings.Contains(got, line(secret)) {
				t.Fatalf("%q with the secrets %q and %q gives %q", text, secret, other, got)
			}
		}
		if strings.Contains(got, mark) {
			replaced++
		}
	}
	if replaced < 2_000 {
		t.Errorf("only %d texts had a secret", replaced)
	}
}

// FuzzBounded: a line is bounded and steers nothing, and no secret is in it,
// neither as it is nor in any encoding.
func FuzzBounded(f *testing.F) {
	f.Add("no: pusher:a-password\x1b\u202e", "pusher", "a-password", "token", 20)
	f.Add("Basic cHVzaGVyOmEtcGFzc3dvcmQ=", "pusher", "a-password", "eyJhbGci.a.b", 300)
	f.Add("a\u200b<b> a b a b", "", "a<b>", "b\na", 7)
	f.Add("abababc", "a", "abab", "bc", 3)
	f.Fuzz(func(t *testing.T, text, user, password, token string, limit int) {
		limit &= 0x3ff
		var s Secrets
		s.AddLogin(user, password)
		s.Add(token)
		for _, text := range []string{
			text, text + password, password + text + token, text + url.QueryEscape(password) + " " + url.PathEscape(token),
			text + " " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), text + html.EscapeString(password), fmt.Sprintf("%s %q", text, token),
		} {
			got := s.Bounded(text, limit)
			if n := utf8.RuneCountInString(got); n > limit+1 || !utf8.ValidString(got) {
				t.Errorf("%q is %d characters long, or invalid", got, n)
			}
			if strings.ContainsFunc(got, steers) || strings.ContainsAny(got, "<>") || strings.Contains(got, "  ") || strings.TrimSpace(got) != got {
				t.Errorf("%q is no clean line", got)
			}
			if strings.Contains(got, "eyJ") {
				t.Errorf("%q has a token", got)
			}
			for _, secret := range []string{password, token} {
				// What the mark, the ellipsis or a single blank is made of
				// cannot be kept out.
				if strings.ContainsAny(secret, "*…") || !utf8.ValidString(secret) || strings.TrimSpace(secret) == "" {
					continue
				}
				written := []string{secret, url.QueryEscape(secret), html.EscapeString(secret)}
				if len(secret) >= 8 {
					written = append(written, base64.RawStdEncoding.EncodeToString([]byte(user+":"+secret)))
				}
				for _, w := range written {
					if strings.Contains(got, w) {
						t.Errorf("%q of %q has the secret %q as %q", got, text, secret, w)
					}
				}
			}
		}
	})
}

// TestSecretsInAnyNotation checks that a secret is found in what a text decodes to,
// and that texts without one stay as they are.
func TestSecretsInAnyNotation(t *testing.T) {
	const secret = "A job's token/+~1"
	each := func(format, between string) string {
		var list []string
		for _, c := range []byte(secret) {
			list = append(list, fmt.Sprintf(format, c))
		}
		return strings.Join(list, between)
	}
	std := base64.StdEncoding.EncodeToString
	var s Secrets
	s.Add(secret, "short")
	for _, written := range []string{
		each("%%%02X", ""), each("%%%02x", ""), url.QueryEscape(each("%%%02X", "")), url.QueryEscape(url.QueryEscape(secret)), url.QueryEscape(url.QueryEscape(url.QueryEscape(secret))),
		each("&#%d;", ""), each("&#x%x;", ""), html.EscapeString(html.EscapeString(html.EscapeString(secret))), each("&amp;#%d;", ""),
		each(`\x%02x`, ""), each(`\u%04x`, ""), each(`\u{%x}`, ""), each(`\%03o`, ""), strings.ReplaceAll(secret, "/", `\/`), fmt.Sprintf("%q", fmt.Sprintf("%q", secret)),
		each("%02x", " "), each("%02X", ":"), each("0x%02x", ", "), each("%d", " "), each("%d", ","), each("%02x", ""),
		std([]byte(std([]byte(secret)))), std([]byte("me:" + std([]byte("you:"+secret)))), std([]byte(url.QueryEscape(secret))), url.QueryEscape(std([]byte("a" + secret + "b"))),
		base64.RawURLEncoding.EncodeToString([]byte(std([]byte("ab" + secret)))),
	} {
		for _, text := range []string{written, "no: " + written + " is not it", "a/path/" + written + "?x", `{"sent":"` + written + `"}`} {
			got := s.Bounded(text, 4000)
			if !strings.Contains(got, mark) || strings.Contains(got, written[len(written)/3:len(written)/3+12]) {
				t.Errorf("%q gives %q", text, got)
			}
			if strings.HasPrefix(text, "no: ") && !strings.HasSuffix(got, "is not it") {
				t.Errorf("%q gives %q: too much is gone", text, got)
			}
		}
	}
	// What was cut shows no beginning.
	for _, written := range []string{
		each("%%%02X", ""), each("&#%d;", ""), each("&#x%x;", ""), each(`\x%02x`, ""), each(`\u%04x`, ""), each("%02x", " "), each("%02X", ":"), each("%d", " "), each("%02x", ""),
		url.QueryEscape(each("%%%02X", "")), std([]byte(secret)), std([]byte(std([]byte(secret)))), std([]byte(each("%%%02X", ""))),
	} {
		for length := len(written) / 2; length < len(written); length++ {
			if got := s.Bounded("no: "+written[:length]+"…", 4000); strings.Contains(got, written[:len(written)/4]) {
				t.Errorf("%q, cut, gives %q", written[:length], got)
			}
		}
	}
	digest := "sha256:" + strings.Repeat("73686f7274", 12) + "ab12"
	for _, plain := range []string{digest, "1, 2, 3, 4, 5, 6, 7, 8, 9", "100% of a&b; c%20d", "sha256-2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae.sig", "%zz \\u12 &#; &#9999999;", each("%02x", " ")[:11]} {
		if got := s.Bounded(plain, 4000); got != plain {
			t.Errorf("%q became %q", plain, got)
		}
	}
}

// BenchmarkLine measures a line of the log of requests, and a long text without
// secrets.
func BenchmarkLine(b *testing.B) {
	var s Secrets
	for i := range 12 {
		s.Add(fmt.Sprintf("eyJhbGciOiJSUzI1NiJ9.%d.%s", i, strings.Repeat("token", 200)))
	}
	for name, text := range map[string]string{
		"request": "GET contosoprod.azurecr.io/v2/shop/cart/blobs/sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae 200 in 12 ms",
		"long":    strings.Repeat("some text about 17 things, %41 and aGVsbG8gd29ybGQsIGhlbGxv, ", 4000),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s.Bounded(text, 300)
			}
		})
	}
}
