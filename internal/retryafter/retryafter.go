// Package retryafter reads how long an HTTP service asks its client to wait.
package retryafter

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Longest bounds what Parse returns.
const Longest = time.Minute

// Parse returns the wait that a response's Retry-After asks for, a number of
// seconds or a date (RFC 9110, 10.2.3), at most Longest. It is 0 if none is
// asked for, or the time is over, or the header is of another form.
func Parse(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(Longest/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), Longest)
}
