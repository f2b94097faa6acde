package topology

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"acrpromote/internal/ref"
)

// Version is the version of the format.
type Version int

func (v *Version) numeric() {}
func (v *Version) read(text string) error {
	if text != "1" {
		return mistake{fmt.Sprintf("Version %s of the flow file is not known.", quote(text)), "Write version: 1."}
	}
	*v = 1
	return nil
}

// Count is an integer from 1 up; 0 is not given.
type Count int

// Or is the count, or what holds where none was given.
func (c Count) Or(otherwise int) int {
	if c == 0 {
		return otherwise
	}
	return int(c)
}

const mostCount = 1000

func (c *Count) numeric() {}
func (c *Count) read(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostCount || text[0] == '+' {
		return mistake{fmt.Sprintf("%s is no integer from 1 to %d.", quote(text), mostCount), ""}
	}
	*c = Count(n)
	return nil
}

// Duration is a span of time above zero; 0 is not given.
type Duration time.Duration

// read takes Go's durations, and days as 3d.
func (d *Duration) read(text string) error {
	wrong := mistake{fmt.Sprintf("%s is no duration above zero.", quote(text)), "Write it as 90m, 72h or 3d."}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || strings.ContainsFunc(days, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
			return wrong
		}
		ns := n * float64(24*time.Hour)
		if !(ns >= 1 && ns < math.MaxInt64) {
			return wrong
		}
		*d = Duration(ns)
		return nil
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed <= 0 {
		return wrong
	}
	*d = Duration(parsed)
	return nil
}

func (d Duration) String() string { return time.Duration(d).String() }

// Kind is which approval a flow demands.
type Kind string

const (
	Manual    Kind = "manual"
	Automated Kind = "automated"
	Any       Kind = "any"
	None      Kind = "none"
)

func (Kind) values() []string          { return []string{"manual", "automated", "any", "none"} }
func (k *Kind) read(text string) error { return pick(k, text) }

// OnPartial is how a task ends where some targets are done and others not.
type OnPartial string

const (
	Fail OnPartial = "fail"
	Warn OnPartial = "warn"
)

func (OnPartial) values() []string          { return []string{"fail", "warn"} }
func (o *OnPartial) read(text string) error { return pick(o, text) }

// Lock is what is locked at a target.
type Lock string

const (
	LockNone  Lock = "none"
	LockTag   Lock = "tag"
	LockImage Lock = "image"
)

func (Lock) values() []string          { return []string{"none", "tag", "image"} }
func (l *Lock) read(text string) error { return pick(l, text) }

// On is where attached artifacts must be.
type On string

const (
	OnIndex    On = "index"
	OnChildren On = "children"
)

func (On) values() []string          { return []string{"index", "children"} }
func (o *On) read(text string) error { return pick(o, text) }

// pick reads one of the values that a type has.
func pick[T interface {
	~string
	values() []string
}](into *T, text string) error {
	for _, v := range (*into).values() {
		if v == text {
			*into = T(text)
			return nil
		}
	}
	m := unknown("value", text, (*into).values())
	m.reason = fmt.Sprintf("%s is none of %s.", quote(text), strings.Join((*into).values(), ", "))
	if !strings.HasPrefix(m.remedy, "Did you") {
		m.remedy = ""
	}
	return m
}

// grammar is that of what is neither YAML's nor a registry's.
var grammar = sync.OnceValue(func() (g struct{ artifact, guid *regexp.Regexp }) {
	g.artifact = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)
	g.guid = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	return g
})

// Host is a registry's host name in lower case, without the port of HTTPS.
type Host string

func (h *Host) read(text string) error {
	host, err := readHost(text)
	*h = Host(host)
	return err
}

func readHost(text string) (string, error) {
	host, err := ref.ParseHost(text)
	switch {
	case err == nil:
		return host, nil
	case errors.Is(err, ref.ErrPort):
		return "", mistake{fmt.Sprintf("%s is not a valid registry host: %v.", quote(text), ref.ErrPort), "Write the port without leading zeros, or leave it out."}
	case errors.Is(err, ref.ErrShortHost):
		return "", mistake{fmt.Sprintf("%s is no registry's host name.", quote(text)), "Write it in full, as <your-registry>.azurecr.io."}
	}
	return "", mistake{fmt.Sprintf("%s is no registry's host name.", quote(text)), "Write it as <your-registry>.azurecr.io, without https:// and without a path."}
}

// ArtifactType is the media type of an artifact that refers to an image.
type ArtifactType string

func (a *ArtifactType) read(text string) error {
	if !grammar().artifact.MatchString(text) {
		return mistake{fmt.Sprintf("%s is no artifact type.", quote(text)), "Write a media type, as application/spdx+json."}
	}
	*a = ArtifactType(text)
	return nil
}

// CheckID is the definition id of an automated check: a number or a GUID in
// lower case.
type CheckID string

func (c *CheckID) numeric() {}
func (c *CheckID) read(text string) error {
	lower := strings.ToLower(text)
	n, err := strconv.ParseInt(text, 10, 32)
	if !grammar().guid.MatchString(lower) && (err != nil || n < 1 || text[0] == '+' || text[0] == '0') {
		return mistake{fmt.Sprintf("%s is no definition id of a check.", quote(text)), "Write its number or its GUID."}
	}
	*c = CheckID(lower)
	return nil
}

// Approver is the unique name or descriptor of a person or group, or
// [Project]\Group.
type Approver string

func (a *Approver) read(text string) error {
	if err := printable("approver", text); err != nil {
		return err
	}
	*a = Approver(text)
	return nil
}

// CommentPattern is a regular expression as RE2 knows them.
type CommentPattern struct{ *regexp.Regexp }

func (c *CommentPattern) read(text string) error {
	if len(text) > 1000 {
		return mistake{fmt.Sprintf("The pattern is %d bytes long; at most 1000 are taken.", len(text)), ""}
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return mistake{fmt.Sprintf("%s is no regular expression as RE2 knows them: %s.", quote(text), strings.TrimPrefix(err.Error(), "error parsing regexp: ")), ""}
	}
	c.Regexp = compiled
	return nil
}

func (c CommentPattern) String() string {
	if c.Regexp == nil {
		return ""
	}
	return c.Regexp.String()
}

// printable says whether a name of Azure DevOps can be one: what nobody sees
// tells two names apart that look alike.
func printable(what, text string) error {
	bad := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad || len(text) > 400 || strings.TrimSpace(text) != text {
		return mistake{fmt.Sprintf("%s is no name of an %s.", quote(text), what), "Write it without spaces around it, in at most 400 bytes that can be seen."}
	}
	return nil
}

const nameRemedy = "A name is made of at most 64 letters, digits, '.', '_' and '-', and begins with a letter or digit."

// isName is the grammar of registries', flows' and degrees of trust's names.
func isName(s string) bool {
	if s == "" || len(s) > 64 || strings.Trim(s[:1], "._-") == "" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}
