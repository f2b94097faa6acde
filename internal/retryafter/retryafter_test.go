package retryafter

import (
	"net/http"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, " 60 ": time.Minute, "61": time.Minute, "007": 7 * time.Second, "600": time.Minute,
		"31536000": Longest, "18446744073709551615": Longest, "99999999999999999999": Longest, "00000000000000000000000009": 9 * time.Second,
		"-3": 0, "+3": 0, "1.5": 0, "soon": 0, "7 s": 0,
		"Mon, 23 Nov 2026 12:00:20 GMT":   20 * time.Second,
		"Monday, 23-Nov-26 12:00:05 GMT":  5 * time.Second,
		"Mon Nov 23 12:00:07 2026":        7 * time.Second,
		"Mon, 23 Nov 2026 11:00:00 GMT":   0,
		"Tue, 24 Nov 2026 12:00:00 GMT":   Longest,
		"Tue, 23 Nov 2027 12:00:00 GMT":   Longest,
		"Mon, 01 Jan 0001 00:00:00 GMT":   0,
		"Fri, 31 Dec 9999 23:59:59 GMT":   Longest,
		"Mon, 23 Nov 2026 12:00:20 +0100": 0,
	} {
		if got := Parse(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	if got := Parse(nil, now); got != 0 {
		t.Errorf("no header: %s", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"5", "", "-1", "Mon, 23 Nov 2026 12:00:20 GMT", "99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got := Parse(http.Header{"Retry-After": {value}}, time.Unix(1e9, 0)); got < 0 || got > Longest {
			t.Errorf("%q: %s", value, got)
		}
	})
}
