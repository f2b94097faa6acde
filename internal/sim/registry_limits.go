package sim

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Limits are how many requests of each kind one identity may send in a window;
// 0 is no limit. What exceeds them is answered 429 with Retry-After.
type Limits struct {
	Window time.Duration // whole seconds
	// Sliding counts what was sent within the last window. Otherwise the
	// windows follow each other, from the identity's first request on.
	Sliding                bool
	Read, Write, Referrers int
}

// BasicLimits are what a registry of the tier Basic grants one identity of
// several: half of what is published for reads and for ListReferrers.
// https://learn.microsoft.com/azure/container-registry/container-registry-skus
var BasicLimits = Limits{Window: time.Minute, Read: 5000, Write: 2000, Referrers: 250}

// Refused is a request that exceeded a limit.
type Refused struct {
	Kind string // read, write or referrers
	At   time.Time
}

type spender struct{ who, kind string }

// spending is what an identity has sent of one kind, oldest first.
type spending struct {
	begun time.Time // of the window
	sent  []time.Time
}

// Refused lists the requests that exceeded a limit.
func (r *Registry) Refused() []Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Refused(nil), r.refused...)
}

// withinLimits counts the request, and answers 429 if it exceeds a limit.
func (r *Registry) withinLimits(w http.ResponseWriter, req *http.Request) bool {
	kind, limit := "write", r.o.Limits.Write
	switch path := req.URL.Path; {
	case r.o.Limits == Limits{} || strings.HasPrefix(path, "/oauth2/"):
		return true
	case strings.HasPrefix(path, "/v2/") && strings.Contains(path, "/referrers/"):
		kind, limit = "referrers", r.o.Limits.Referrers
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		kind, limit = "read", r.o.Limits.Read
	}
	who := caller(req)
	if limit == 0 || who == "" {
		return true
	}
	now := time.Now()
	r.mu.Lock()
	s := r.spent[spender{who, kind}]
	if s == nil {
		s = &spending{begun: now}
		r.spent[spender{who, kind}] = s
	}
	wait := s.spend(now, r.o.Limits, limit)
	if wait > 0 {
		r.refused = append(r.refused, Refused{kind, now})
	}
	r.mu.Unlock()
	if wait == 0 {
		return true
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	fail(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests", nil)
	return false
}

// spend counts a request, and returns how long to wait if there was one too many.
func (s *spending) spend(now time.Time, l Limits, limit int) time.Duration {
	if l.Sliding {
		for len(s.sent) > 0 && now.Sub(s.sent[0]) >= l.Window {
			s.sent = s.sent[1:]
		}
		if len(s.sent) >= limit {
			return s.sent[0].Add(l.Window).Sub(now)
		}
	} else {
		if passed := now.Sub(s.begun) / l.Window; passed > 0 {
			s.begun, s.sent = s.begun.Add(passed*l.Window), nil
		}
		if len(s.sent) >= limit {
			return s.begun.Add(l.Window).Sub(now)
		}
	}
	s.sent = append(s.sent, now)
	return 0
}

// caller is who sends the request, "" if it is not signed. The signature is
// checked where the request is answered.
func caller(req *http.Request) string {
	if user, _, ok := req.BasicAuth(); ok {
		return user
	}
	parts := strings.Split(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return ""
	}
	var c claims
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return ""
	}
	return strings.Join(c.Identity, " ")
}
