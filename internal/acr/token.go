package acr

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// token is a bearer token and when it should be replaced: some time before it
// expires, so that none ends in the middle of a request.
type token struct {
	text    string
	fetched time.Time
	renewAt time.Time
}

func (t token) good(now time.Time) bool { return t.text != "" && now.Before(t.renewAt) }

// Lifetimes: what is assumed where none is told, and how far ahead of its end
// a token is replaced.
const (
	assumedLifetime = 5 * time.Minute
	longestLifetime = 24 * time.Hour
	longestAhead    = 10 * time.Minute
)

// issued dates a token by its own claims, else by what the answer says of it.
// A lifetime is counted from now by the issuer's own two times, so that a
// clock that is wrong here does not matter.
func issued(text string, expiresIn int64, now time.Time) token {
	lifetime := assumedLifetime
	if expiresIn > 0 && expiresIn < int64(longestLifetime/time.Second) {
		lifetime = time.Duration(expiresIn) * time.Second
	}
	if from, until, ok := times(text); ok {
		if from.IsZero() {
			from = now
		}
		if told := until.Sub(from); told > 0 {
			lifetime = told
		}
	}
	lifetime = min(lifetime, longestLifetime)
	return token{text: text, fetched: now, renewAt: now.Add(lifetime - min(lifetime/5, longestAhead))}
}

// times reads iat and exp of a JSON Web Token. The signature is the issuer's
// business: the token came straight from it.
func times(text string) (issuedAt, expires time.Time, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return issuedAt, expires, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return issuedAt, expires, false
	}
	var claims struct {
		IssuedAt float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	const most = 1 << 40
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > most || claims.IssuedAt < 0 || claims.IssuedAt > most {
		return issuedAt, expires, false
	}
	if claims.IssuedAt > 0 {
		issuedAt = time.Unix(int64(claims.IssuedAt), 0)
	}
	return issuedAt, time.Unix(int64(claims.Expires), 0), true
}

// wellFormed keeps out what could not stand in a header.
func wellFormed(text string) bool {
	if text == "" || len(text) > maxToken {
		return false
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
