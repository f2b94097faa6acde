// Package ocierror reads what a registry says when it refuses a request.
package ocierror

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"acrpromote/internal/sanitize"
)

// Bounds of what is kept: in characters, and of errors in one response.
const (
	codeLimit    = 64
	messageLimit = 300
	detailLimit  = 300
	othersLimit  = 1000
	maxEntries   = 10
	maxDepth     = 4 // of details
)

// Error is a registry's error, fit to be shown. Each field may be empty.
type Error struct {
	Code    string // such as MANIFEST_UNKNOWN
	Message string // for people
	Detail  string // what the registry adds, such as a digest
	Others  string // the texts of the other errors in the response
}

// Text returns all that the registry said.
func (e Error) Text() string {
	parts := make([]string, 0, 2)
	for _, part := range []string{e.Code, e.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, ": ")
	if e.Detail != "" {
		text = strings.TrimSpace(text + " [" + e.Detail + "]")
	}
	if e.Others != "" {
		text += "; " + e.Others
	}
	return text
}

// Parse reads the errors of a response's body. A body of another form than the
// specification's is no error. Secrets in it are replaced: a registry may repeat what
// it was sent.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
func Parse(body []byte, secrets *sanitize.Secrets) Error {
	var document struct {
		Errors entries `json:"errors"`
	}
	if json.Unmarshal(body, &document) != nil || len(document.Errors.first) == 0 {
		return Error{}
	}
	var all []Error
	for _, e := range document.Errors.first {
		all = append(all, Error{
			Code:    secrets.Bounded(e.Code, codeLimit),
			Message: secrets.Bounded(e.Message, messageLimit),
			Detail:  secrets.Bounded(describe(e.Detail), detailLimit),
		})
	}
	first := all[0]
	var others []string
	for _, e := range all[1:] {
		if text := e.Text(); text != "" && !slices.Contains(others, text) {
			others = append(others, text)
		}
	}
	if more := document.Errors.count - len(all); more > 0 {
		others = append(others, fmt.Sprintf("and %d more", more))
	}
	first.Others = secrets.Bounded(strings.Join(others, "; "), othersLimit)
	return first
}

// describe returns a detail, which may be any JSON, as text.
func describe(detail json.RawMessage) string {
	var value any
	if len(detail) == 0 || json.Unmarshal(detail, &value) != nil {
		return ""
	}
	return text(value, 0)
}

func text(value any, depth int) string {
	var parts []string
	add := func(part string) bool {
		if part != "" {
			parts = append(parts, part)
		}
		return len(parts) < maxEntries
	}
	switch v := value.(type) {
	case nil:
	case string:
		return v
	case []any:
		for _, item := range v {
			if depth == maxDepth || !add(text(item, depth+1)) {
				break
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if depth == maxDepth {
				break
			}
			if part := text(v[name], depth+1); part != "" && !add(name+" "+part) {
				break
			}
		}
	default:
		return fmt.Sprint(v)
	}
	return strings.Join(parts, ", ")
}

// WantsTLS reports whether a response to plain HTTP says that the server expects
// HTTPS. It has no form: these are the words of Go, nginx and Apache.
func WantsTLS(status int, body []byte) bool {
	if status != 400 {
		return false
	}
	text := strings.ToLower(string(body[:min(len(body), 4<<10)]))
	for _, words := range []string{"http request to an https server", "http request was sent to https port", "plain http to an ssl-enabled server"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// Firewall reports whether the firewall of an Azure Container Registry refused
// the request, and the address that it came from, "" if the message has none:
// "client with IP '203.0.113.7' is not allowed access".
func (e Error) Firewall() (address string, refused bool) {
	if !strings.Contains(e.Message, "client with IP") && !strings.Contains(e.Message, "is not allowed access") {
		return "", false
	}
	_, rest, _ := strings.Cut(e.Message, "client with IP '")
	text, _, closed := strings.Cut(rest, "'")
	if a, err := netip.ParseAddr(text); closed && err == nil {
		// A zone may be any text.
		return a.WithZone("").String(), true
	}
	return "", true
}

// entry is one error of a list.
type entry struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail"`
}

// entries are the first errors of a list. The others are counted only: a body of a
// few bytes for each would take a multiple of its size.
type entries struct {
	first []entry
	count int
}

func (e *entries) UnmarshalJSON(raw []byte) error {
	*e = entries{}
	if string(raw) == "null" {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('[') {
		return errors.New("the errors are not a list")
	}
	for ; decoder.More(); e.count++ {
		var next entry
		into := any(&next)
		if e.count >= maxEntries {
			into = new(json.RawMessage)
		}
		if err := decoder.Decode(into); err != nil {
			if e.count == 0 {
				return err
			}
			continue // what came before it counts
		}
		if e.count < maxEntries {
			e.first = append(e.first, next)
		}
	}
	return nil
}
