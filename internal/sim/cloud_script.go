package sim

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is something that goes wrong with some requests: those that all of its
// conditions name. Of these Skip are let through first, then Times meet it, of
// every Every.
type Fault struct {
	Host   string // "" is any; without the port 443
	Method string // "" is any; several are set apart by spaces
	Path   string // regular expression, found anywhere in the decoded path; "" is any
	Query  string // a parameter that the query has
	Skip   int
	Times  int // 0 is once, Always is without end
	Every  int // 0 is each of them; 5 is every fifth
	Do     Action
}

// Always is the number of times that does not end.
const Always = -1

// Action is what a fault does to a request. The handler is the rest of the way,
// for what only spoils the answer.
type Action func(w http.ResponseWriter, r *http.Request, rest http.Handler)

// Script is a list of faults under way.
type Script struct {
	cloud  *Cloud
	mu     sync.Mutex
	faults []*scripted
}

type scripted struct {
	Fault
	path     *regexp.Regexp
	seen     int
	happened int
}

// Script has requests meet these faults, the first that fits each. It stands
// nearest to the hosts: every interceptor sees a request that meets a fault. It
// panics if a path is no regular expression.
func (c *Cloud) Script(faults ...Fault) *Script {
	s := &Script{cloud: c}
	for _, f := range faults {
		s.faults = append(s.faults, &scripted{Fault: f, path: regexp.MustCompile(f.Path)})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scripts = append(c.scripts[:len(c.scripts):len(c.scripts)], s)
	return s
}

// Stop ends the script.
func (s *Script) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Happened is how many requests have met each fault, in the script's order.
func (s *Script) Happened() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var counts []int
	for _, f := range s.faults {
		counts = append(counts, f.happened)
	}
	return counts
}

// meets is what the request meets, nil if nothing.
func (s *Script) meets(r *http.Request) Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !f.fits(r) {
			continue
		}
		f.seen++
		n := f.seen - f.Skip
		if n < 1 || f.Every > 1 && n%f.Every != 0 || f.Times != Always && f.happened >= max(f.Times, 1) {
			continue
		}
		f.happened++
		return f.Do
	}
	return nil
}

func (f *scripted) fits(r *http.Request) bool {
	if f.Host != "" && address(f.Host) != address(r.Host) {
		return false
	}
	if f.Method != "" && !strings.Contains(" "+f.Method+" ", " "+r.Method+" ") {
		return false
	}
	return f.path.MatchString(r.URL.Path) && (f.Query == "" || r.URL.Query().Has(f.Query))
}

func (s *Script) around(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if do := s.meets(r); do != nil {
			do(w, r, rest)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// Refuse answers with the error document of the distribution protocol instead
// of the host. Headers are given as name, value, name, value.
func Refuse(status int, code, message string, headers ...string) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fail(w, status, code, message, nil)
	}
}

// RefuseEntra answers as Microsoft Entra ID refuses: with a kind such as
// invalid_client, the number of an AADSTS code, and a message.
func RefuseEntra(status int, kind string, code int, message string) Action {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		entraRefusal{status, kind, code, message}.write(w, r)
	}
}

// RefuseDevOps answers as Azure DevOps refuses, with a message.
func RefuseDevOps(status int, message string) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		restRefusal{status, message, "Microsoft.TeamFoundation.Framework.Server.UnauthorizedRequestException", 3000}.write(w)
	}
}

// Status answers with a bare status, as a gateway before the registry does.
func Status(status int, headers ...string) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		http.Error(w, http.StatusText(status), status)
	}
}

// Throttle answers 429 as Azure does; a negative time leaves Retry-After out.
func Throttle(retryAfter time.Duration) Action {
	var headers []string
	if retryAfter >= 0 {
		headers = []string{"Retry-After", strconv.Itoa(int(retryAfter / time.Second))}
	}
	return Refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests", headers...)
}

// Reset breaks the connection without an answer.
func Reset() Action {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// Reading takes so many bytes of the request's body (negative is all of it)
// before then follows.
func Reading(bytes int64, then Action) Action {
	return func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
		if bytes < 0 {
			_, _ = io.Copy(io.Discard, r.Body)
		} else {
			_, _ = io.CopyN(io.Discard, r.Body, bytes)
		}
		then(w, r, rest)
	}
}

// Lose has the host do as asked, and breaks the connection instead of saying
// so.
func Lose() Action {
	return func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
		rest.ServeHTTP(&spoiled{ResponseWriter: w, mute: true, header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}

// Cut breaks the connection after so many bytes of the answer's body.
func Cut(after int) Action {
	return spoil(func(s *spoiled) { s.ends, s.left, s.then = true, after, func() { panic(http.ErrAbortHandler) } })
}

// Flip changes one bit of a byte of the answer's body.
func Flip(at int) Action {
	return spoil(func(s *spoiled) { s.flips, s.flip = true, at })
}

// WrongLength announces so many bytes more than the answer's body has.
func WrongLength(more int) Action {
	return WithHeader("Content-Length", func(length string) string {
		n, _ := strconv.Atoi(length)
		return fmt.Sprint(n + more)
	})
}

// WithHeader changes a header of the answer; "" takes it away.
func WithHeader(name string, change func(string) string) Action {
	return spoil(func(s *spoiled) {
		s.edit = func(h http.Header) {
			if value := change(h.Get(name)); value != "" {
				h.Set(name, value)
			} else {
				h.Del(name)
			}
		}
	})
}

// Both does two things to one answer.
func Both(outer, inner Action) Action {
	return func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
		outer(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner(w, r, rest) }))
	}
}

func spoil(how func(*spoiled)) Action {
	return func(w http.ResponseWriter, r *http.Request, rest http.Handler) {
		s := &spoiled{ResponseWriter: w}
		how(s)
		rest.ServeHTTP(s, r)
		if s.ends && s.left > 0 {
			s.then() // the body was shorter than that
		}
	}
}

// spoiled is an answer with something wrong with it.
type spoiled struct {
	http.ResponseWriter
	header http.Header // of a mute answer
	mute   bool        // nothing of it is sent
	edit   func(http.Header)
	begun  bool
	ends   bool
	left   int // bytes until then
	then   func()
	flips  bool
	flip   int // bytes until the one that is changed
}

// Unwrap lets http.ResponseController flush.
func (s *spoiled) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *spoiled) Header() http.Header {
	if s.mute {
		return s.header
	}
	return s.ResponseWriter.Header()
}

func (s *spoiled) WriteHeader(status int) {
	if s.mute {
		return
	}
	if !s.begun && s.edit != nil {
		s.edit(s.ResponseWriter.Header())
	}
	s.begun = true
	s.ResponseWriter.WriteHeader(status)
}

func (s *spoiled) Write(p []byte) (int, error) {
	if s.mute {
		return len(p), nil
	}
	if !s.begun {
		s.WriteHeader(http.StatusOK)
	}
	if s.flips && s.flip < len(p) && s.flip >= 0 {
		p = append([]byte(nil), p...)
		p[s.flip] ^= 1
	}
	s.flip -= len(p)
	if !s.ends {
		return s.ResponseWriter.Write(p)
	}
	n, err := s.ResponseWriter.Write(p[:min(len(p), s.left)])
	if s.left -= n; err == nil && s.left <= 0 {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		s.then()
	}
	return n, err
}
