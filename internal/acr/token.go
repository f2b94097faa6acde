package acr

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// token is a bearer token and when to renew it: some time before it expires, so
// that it does not expire during a request.
type token struct {
	text    string
	fetched time.Time
	renewAt time.Time
}

func (t token) valid(now time.Time) bool { return t.text != "" && now.Before(t.renewAt) }

// Lifetimes: the default if none is given, and how long before its end a token
// is renewed.
const (
	defaultLifetime = 5 * time.Minute
	maxLifetime     = 24 * time.Hour
	maxRenewBefore  = 10 * time.Minute
)

// newToken returns a token with the lifetime that its own claims give,
// otherwise the response. A lifetime is the difference of the issuer's two
// times, so that a wrong clock on this machine does not matter.
func newToken(text string, expiresIn int64, now time.Time) token {
	lifetime := defaultLifetime
	if expiresIn > 0 && expiresIn < int64(maxLifetime/time.Second) {
		lifetime = time.Duration(expiresIn) * time.Second
	}
	if from, until, ok := tokenTimes(text); ok {
		if from.IsZero() {
			from = now
		}
		if told := until.Sub(from); told > 0 {
			lifetime = told
		}
	}
	lifetime = min(lifetime, maxLifetime)
	return token{text: text, fetched: now, renewAt: now.Add(lifetime - renewBefore(lifetime))}
}

// renewBefore returns how long before its end a token is renewed. Its times are
// whole seconds, so a short-lived one may end a second earlier than it seems.
func renewBefore(lifetime time.Duration) time.Duration {
	return max(min(lifetime/5, maxRenewBefore), min(lifetime/2, 2*time.Second))
}

// withholds reports whether the token, which was requested for all of needs, says
// in its own claims that something of want was not granted. Then another token
// would not grant it either. It is a hint that saves requests, not evidence.
func (t token) withholds(needs, want access) bool {
	if len(want) == 0 || !needs.covers(want) {
		return false
	}
	granted, known := t.granted()
	return known && !granted.covers(want)
}

// granted returns the access that the token's own claims list. It reports false if
// they list none that can be read.
func (t token) granted() (access, bool) {
	var claims struct {
		Access []struct {
			Type, Name string
			Actions    []string
		} `json:"access"`
	}
	if !decodeClaims(t.text, &claims) || claims.Access == nil {
		return nil, false
	}
	granted := access{}
	for _, a := range claims.Access {
		name := a.Name
		if a.Type == "registry" {
			name = "registry:" + a.Name
		}
		granted[name] = append(granted[name], a.Actions...)
	}
	return granted, true
}

// decodeClaims reads the claims of a JSON Web Token. The signature is not checked:
// the token came from the issuer.
func decodeClaims(text string, claims any) bool {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return err == nil && json.Unmarshal(payload, claims) == nil
}

// tokenTimes returns iat and exp of a JSON Web Token.
func tokenTimes(text string) (issuedAt, expires time.Time, ok bool) {
	var claims struct {
		IssuedAt float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	const most = 1 << 40
	if !decodeClaims(text, &claims) || claims.Expires <= 0 || claims.Expires > most || claims.IssuedAt < 0 || claims.IssuedAt > most {
		return issuedAt, expires, false
	}
	if claims.IssuedAt > 0 {
		issuedAt = time.Unix(int64(claims.IssuedAt), 0)
	}
	return issuedAt, time.Unix(int64(claims.Expires), 0), true
}

// wellFormed reports whether a token can be sent in a header.
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
