package ocierror

import (
	"strings"
	"testing"
	"unicode"

	"acrpromote/internal/sanitize"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("ä", 400)
	var secrets sanitize.Secrets
	secrets.Add("an-opaque-token")
	for raw, want := range map[string]Error{
		`{"errors":[{"code":"DENIED","message":"no","detail":{"x":1}},{"code":"B"}]}`: {"DENIED", "no", "x 1", "B"},
		`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:aa"}},{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:bb"}}]}`: {"MANIFEST_BLOB_UNKNOWN", "blob unknown", "digest sha256:aa", "MANIFEST_BLOB_UNKNOWN: blob unknown [digest sha256:bb]"},
		`{"errors":[{"code":"A","detail":[{"Type":"repository","Name":"shop/cart","Action":"push"},null,"",{}]}]}`:                                                                                         {Code: "A", Detail: "Action push, Name shop/cart, Type repository"},
		`{"errors":[{"detail":"an-opaque-token\n##vso[x]"},{"detail":{"an-opaque-token":true}}]}`:                                                                                                          {Detail: "*** ##vso[x]", Others: "[*** true]"},
		`{"errors":[{"code":"A"},{"code":"B"},{"code":"B"}` + strings.Repeat(`,{"code":"C"}`, 20) + `]}`:                                                                                                   {Code: "A", Others: "B; C; and 13 more"},
		`{"errors":[{"code":"A","detail":"` + long + `"}]}`:                                                                                                                                                {Code: "A", Detail: strings.Repeat("ä", 300) + "…"},
		`{"errors":[]}`:               {},
		``:                            {},
		`<html>`:                      {},
		`null`:                        {},
		`{"errors":"x"}`:              {},
		`{"errors":[{"code":1}]}`:     {},
		`{"errors":[null]}`:           {},
		`{"errors":null}`:             {},
		`{"errors":{"code":"A"}}`:     {},
		`{"errors":[{"code":"A"},1]}`: {Code: "A", Others: "and 1 more"},
		`{"errors":[{"code":"A"},` + strings.Repeat("{},", 100_000) + `{}]}`: {Code: "A", Others: "and 99992 more"},
		`{"error":"invalid_grant"}`:                                                    {},
		`{"errors":[{"code":"A"}]} x`:                                                  {},
		`{"errors":[{"message":"` + long + `"}]}`:                                      {Message: strings.Repeat("ä", 300) + "…"},
		`{"errors":[{"code":"` + long + `"}]}`:                                         {Code: strings.Repeat("ä", 64) + "…"},
		`{"errors":[{"message":"a\u0000\u001b[1m\r\nb\u202ec"}]}`:                      {Message: "a [1m bc"},
		`{"errors":[{"code":"an-opaque-token","message":"no: an-opaque-token"}]}`:      {Code: "***", Message: "no: ***"},
		`{"errors":[{"message":"no: Bearer abcdefghijklmnop and eyJhbGciOi.eyJ9.x"}]}`: {Message: "no: *** and ***"},
	} {
		if got := Parse([]byte(raw), &secrets); got != want {
			t.Errorf("%.80s: %+v, want %+v", raw, got, want)
		}
	}
}

func TestFirewall(t *testing.T) {
	for message, want := range map[string]struct {
		address string
		refused bool
	}{
		"":                              {},
		"no access to IP '203.0.113.7'": {},
		"client with IP '203.0.113.7' is not allowed access":      {"203.0.113.7", true},
		"client with IP '2001:db8::7' is not allowed access":      {"2001:db8::7", true},
		"client with IP 'fe80::1%\"x' is not allowed access":      {"fe80::1", true},
		"client with IP '203.0.113.7; rm' is not allowed access.": {"", true},
		"client with IP '203.0.113.7":                             {"", true},
		"this client is not allowed access":                       {"", true},
	} {
		address, refused := Error{Message: message}.Firewall()
		if address != want.address || refused != want.refused {
			t.Errorf("%q: %q, %t; want %+v", message, address, refused, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"client with IP '203.0.113.7' is not allowed access"}]}`))
	f.Add([]byte(`{"errors":[{"code":"A"},{"detail":[{"x":["an-opaque-token",{"y":{"z":"\u2028"}}]}]}]}`))
	f.Add([]byte(`{"errors":[{"code":"\u001b","message":"##vso[task.complete]\u0085 an-opaque-token"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var secrets sanitize.Secrets
		secrets.Add("an-opaque-token")
		got := Parse(raw, &secrets)
		for _, said := range []struct {
			text  string
			limit int
		}{{got.Code, codeLimit}, {got.Message, messageLimit}, {got.Detail, detailLimit}, {got.Others, othersLimit}} {
			text := said.text
			if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == 0x2028 || r == 0x202e || r == 0x200b }) {
				t.Errorf("has a control character: %q", text)
			}
			if len([]rune(text)) > said.limit+1 {
				t.Errorf("is %d characters long", len([]rune(text)))
			}
			if strings.Contains(text, "an-opaque-token") {
				t.Errorf("has a secret: %q", text)
			}
		}
		if a, _ := got.Firewall(); strings.Trim(a, "0123456789abcdef.:") != "" {
			t.Errorf("address %q", a)
		}
	})
}

func TestWantsTLS(t *testing.T) {
	for body, want := range map[string]bool{
		"Client sent an HTTP request to an HTTPS server.\n":                                   true,
		"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>": true,
		"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />":             true,
		"": false, `{"errors":[{"code":"NAME_INVALID"}]}`: false, strings.Repeat(" ", 5000) + "HTTP request to an HTTPS server": false,
	} {
		if WantsTLS(400, []byte(body)) != want || WantsTLS(404, []byte(body)) {
			t.Errorf("WantsTLS(%.60q) = %v", body, !want)
		}
	}
}
