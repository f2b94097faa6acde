package azdo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"acrpromote/internal/approval"
)

// decode reads one whole JSON object into v. null, an array, a truncated body,
// anything after the object, and a duplicate name are errors. The standard
// decoder takes null as an empty value, and the last of two values.
func decode(raw []byte, v any) error {
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	if len(raw) == 0 {
		return &malformed{reason: "it is empty"}
	}
	if raw[0] != '{' {
		return &malformed{reason: "it is not a JSON object"}
	}
	// A map takes a multiple of raw, so names are counted first.
	if err := json.Unmarshal(raw, &struct{}{}); err != nil {
		return &malformed{reason: "it cannot be parsed: " + err.Error()}
	}
	if err := uniqueNames(raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return &malformed{reason: "it cannot be parsed: " + err.Error()}
	}
	return nil
}

// maxNames limits the names of one object.
const maxNames = 1000

// uniqueNames returns an error if an object has a name twice, in any case: the
// standard decoder matches names without case. raw must be valid JSON, so that
// a name is a string followed by a colon.
func uniqueNames(raw []byte) error {
	var names [][]byte // of all objects that are open
	var open []int     // where in names each of them begins
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{':
			open = append(open, len(names))
		case '}':
			last := len(open) - 1
			names, open = names[:open[last]], open[:last]
		case '"':
			begin := i
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			text := raw[begin : i+1]
			after := i + 1
			for after < len(raw) && (raw[after] == ' ' || raw[after] == '\t' || raw[after] == '\r' || raw[after] == '\n') {
				after++
			}
			if after == len(raw) || raw[after] != ':' {
				continue // a value
			}
			name, mine := bareName(text), names[open[len(open)-1]:]
			if len(mine) == maxNames {
				return &malformed{reason: fmt.Sprintf("an object has more than %d names", maxNames)}
			}
			for _, other := range mine {
				if bytes.EqualFold(other, name) {
					return &malformed{reason: fmt.Sprintf("it has the name %s twice", quote(string(name)))}
				}
			}
			names = append(names, name)
		}
	}
	return nil
}

// bareName is a name without its quotes and escapes.
func bareName(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var name string
	if json.Unmarshal(quoted, &name) != nil {
		return quoted
	}
	return []byte(name)
}

// quote returns text of a response for an error, if it is not too long.
func quote(text string) string {
	const longest = 300
	if len(text) > longest {
		return fmt.Sprintf("a text of %d bytes", len(text))
	}
	return strconv.Quote(text)
}

// identity is an IdentityRef, with the fields that are needed.
type identity struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
	UniqueName  string `json:"uniqueName"`
	Descriptor  string `json:"descriptor"`
	SubjectKind string `json:"subjectKind"`
	IsContainer bool   `json:"isContainer"`
}

func (i *identity) person() approval.Person {
	if i == nil {
		return approval.Person{}
	}
	return approval.Person{
		ID:         approval.GUID(i.ID),
		Name:       i.DisplayName,
		UniqueName: i.UniqueName,
		Descriptor: i.Descriptor,
		Kind:       i.SubjectKind,
		Group:      i.IsContainer || groupDescriptor(i.Descriptor) || groupUniqueName(i.UniqueName),
	}
}

// groupDescriptor reports whether a descriptor is that of a group, by the
// subject kinds that Azure DevOps gives to groups.
func groupDescriptor(descriptor string) bool {
	return strings.HasPrefix(descriptor, "vssgp.") || strings.HasPrefix(descriptor, "aadgp.") ||
		strings.HasPrefix(descriptor, "Microsoft.TeamFoundation.Identity;")
}

// groupUniqueName reports whether a unique name has a form that only groups
// have: a person's is an address or DOMAIN\name.
func groupUniqueName(name string) bool {
	return strings.HasPrefix(name, "vstfs:///") || strings.HasPrefix(name, "[") && strings.Contains(name, `]\`)
}

// at returns a time of the server, or zero. The server writes absent times as
// 0001-01-01T00:00:00.
func at(t *azuredevops.Time) time.Time {
	if t == nil || t.Time.Year() <= 1 {
		return time.Time{}
	}
	return t.Time.UTC()
}

// number is a whole number that some responses write as text. Set reports
// whether it was present.
type number struct {
	Value int
	Set   bool
}

func (n *number) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if text == "null" {
		return nil
	}
	if len(raw) > 1 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s is not a whole number", quote(text))
	}
	n.Value, n.Set = value, true
	return nil
}
