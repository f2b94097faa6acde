package topology

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"acrpromote/internal/expression"
	"acrpromote/internal/ref"
)

// Version is the version of the flow file's format.
type Version int

func (v *Version) numeric() {}
func (v *Version) read(text string) error {
	if text != "1" {
		return mistake{"unknown version " + quote(text), "Write version: 1."}
	}
	*v = 1
	return nil
}

// Count is a positive integer; 0 if not set.
type Count int

// Or returns the count, or otherwise if it is not set.
func (c Count) Or(otherwise int) int {
	if c == 0 {
		return otherwise
	}
	return int(c)
}

const maxCount = 1000

func (c *Count) numeric() {}
func (c *Count) read(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxCount || text[0] == '+' {
		return mistake{fmt.Sprintf("%s is not an integer from 1 to %d", quote(text), maxCount), ""}
	}
	*c = Count(n)
	return nil
}

// Duration is a positive duration; 0 if not set.
type Duration time.Duration

// read accepts Go's durations, and days such as 3d.
func (d *Duration) read(text string) error {
	wrong := mistake{quote(text) + " is not a positive duration", "Write it as 90m, 72h or 3d."}
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

// Kind is the kind of approval that a flow requires.
type Kind string

const (
	Manual    Kind = "manual"
	Automated Kind = "automated"
	Any       Kind = "any"
	None      Kind = "none"
)

func (Kind) values() []string          { return []string{"manual", "automated", "any", "none"} }
func (k *Kind) read(text string) error { return pick(k, text) }

// OnPartial is how a task ends if some targets are done and others are not.
type OnPartial string

const (
	Fail OnPartial = "fail"
	Warn OnPartial = "warn"
)

func (OnPartial) values() []string          { return []string{"fail", "warn"} }
func (o *OnPartial) read(text string) error { return pick(o, text) }

// AfterApproval is what to do with artifacts that were attached after the
// approval.
type AfterApproval string

const (
	Leave AfterApproval = "leave"
	Bring AfterApproval = "bring"
)

func (AfterApproval) values() []string          { return []string{"leave", "bring"} }
func (a *AfterApproval) read(text string) error { return pick(a, text) }

// RecallSource is what a recall does at the source of an image.
type RecallSource string

const (
	KeepSource  RecallSource = "keep"
	BlockSource RecallSource = "block"
)

func (RecallSource) values() []string          { return []string{"keep", "block"} }
func (r *RecallSource) read(text string) error { return pick(r, text) }

// RecallElsewhere is what a recall does in registries that cannot disable the reading of
// an image.
type RecallElsewhere string

const (
	LeaveElsewhere  RecallElsewhere = "leave"
	DeleteElsewhere RecallElsewhere = "delete"
)

func (RecallElsewhere) values() []string          { return []string{"leave", "delete"} }
func (r *RecallElsewhere) read(text string) error { return pick(r, text) }

// Redaction is something that is left out of receipts.
type Redaction string

func (Redaction) values() []string {
	return []string{"comments", "uniqueNames", "approvers", "requester", "egress", "rules"}
}
func (r *Redaction) read(text string) error { return pick(r, text) }

// Redactions is a list that may be empty: nothing is left out then.
type Redactions []Redaction

func (Redactions) mayBeEmpty() {}

// ReceiptKey is the URL of a key in Key Vault, or the path of a file.
type ReceiptKey string

// vaultKey matches the URL of a key in Key Vault, with or without a version.
var vaultKey = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?i:https)://[A-Za-z0-9.-]+(:443)?(?i:/keys/)[0-9A-Za-z-]{1,127}(/[0-9A-Za-z]{1,64})?$`)
})

func (k *ReceiptKey) read(text string) error {
	if err := printable("key", text); err != nil {
		return err
	}
	if strings.Contains(text, "://") && !vaultKey().MatchString(text) {
		return mistake{quote(text) + " is not the URL of a key in Key Vault", "Write https://<vault>.vault.azure.net/keys/<name>, or the path of a PEM file."}
	}
	*k = ReceiptKey(text)
	return nil
}

// is reports whether an input names this key. A URL is compared without regard to
// case, as Key Vault does.
func (k ReceiptKey) is(input string) bool {
	if strings.Contains(string(k), "://") {
		return strings.EqualFold(string(k), input)
	}
	return string(k) == input
}

// Lock is what to lock at a target.
type Lock string

const (
	LockNone  Lock = "none"
	LockTag   Lock = "tag"
	LockImage Lock = "image"
)

func (Lock) values() []string          { return []string{"none", "tag", "image"} }
func (l *Lock) read(text string) error { return pick(l, text) }

// Code is what the approval code that the approver's comment must quote is
// computed from; empty if none is required.
type Code string

const (
	// CodeOfImage is the code of the image, or of the set of images.
	CodeOfImage Code = "image"
	// CodeOfPlan is the code of the plan: the images, their targets, the locks and
	// what is attached.
	CodeOfPlan Code = "plan"
)

// ParseCode parses a value of the input approvalCode and of the key code: true
// means image, and false none.
func ParseCode(text string) (Code, error) {
	switch text {
	case "false":
		return "", nil
	case "true", string(CodeOfImage):
		return CodeOfImage, nil
	case string(CodeOfPlan):
		return CodeOfPlan, nil
	}
	return "", fmt.Errorf("%s is not one of true, image, plan, false", quote(text))
}

func (*Code) logical() {}
func (c *Code) read(text string) (err error) {
	*c, err = ParseCode(text)
	return err
}

// strictness orders the values: the plan's code covers the images, and more.
func (c Code) strictness() int { return slices.Index([]Code{"", CodeOfImage, CodeOfPlan}, c) }

// String returns the value as it is written in a flow file.
func (c Code) String() string {
	if c == "" {
		return "false"
	}
	return string(c)
}

// On is the manifest to which artifacts must be attached.
type On string

const (
	OnIndex    On = "index"
	OnChildren On = "children"
)

func (On) values() []string          { return []string{"index", "children"} }
func (o *On) read(text string) error { return pick(o, text) }

// pick reads one of the values of a type.
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
	m.reason = fmt.Sprintf("%s is not one of %s", quote(text), strings.Join((*into).values(), ", "))
	if !strings.HasPrefix(m.remedy, "Did you") {
		m.remedy = ""
	}
	return m
}

// grammar has the regular expressions for artifact types and GUIDs.
var grammar = sync.OnceValue(func() (g struct{ artifact, guid *regexp.Regexp }) {
	g.artifact = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)
	g.guid = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	return g
})

// Host is the host name of a registry in lower case, without the default HTTPS
// port.
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
	case strings.ContainsAny(text, "<>"):
		return "", mistake{quote(text) + " is a placeholder, not a registry host", "Write your registry's host name in its place."}
	case errors.Is(err, ref.ErrPort):
		return "", mistake{fmt.Sprintf("%s is not a valid registry host: %v", quote(text), ref.ErrPort), "Write the port without leading zeros, or omit it."}
	case errors.Is(err, ref.ErrIPv6):
		return "", mistake{quote(text) + " is not a valid registry host", "Write an IPv6 address in brackets and without a zone, as \"[2001:db8::1]:5000\"."}
	case errors.Is(err, ref.ErrShortHost):
		return "", mistake{quote(text) + " is not a valid registry host", "Write the full host name, such as <your-registry>.azurecr.io."}
	}
	return "", mistake{quote(text) + " is not a valid registry host", "Write it as <your-registry>.azurecr.io, without https:// and without a path."}
}

// ArtifactType is the type of an artifact that refers to an image, a media type.
type ArtifactType string

func (a *ArtifactType) read(text string) error {
	if !grammar().artifact.MatchString(text) {
		return mistake{quote(text) + " is not an artifact type", "Write a media type, such as application/spdx+json."}
	}
	*a = ArtifactType(text)
	return nil
}

// CheckID is the definition ID of an automated check: a number, or a GUID in
// lower case.
type CheckID string

func (c *CheckID) numeric() {}
func (c *CheckID) read(text string) error {
	lower := strings.ToLower(text)
	n, err := strconv.ParseInt(text, 10, 32)
	if !grammar().guid.MatchString(lower) && (err != nil || n < 1 || text[0] == '+' || text[0] == '0') {
		return mistake{quote(text) + " is not the definition ID of a check", "Write its number or GUID."}
	}
	*c = CheckID(lower)
	return nil
}

// Project is the name or the ID of a project of Azure DevOps.
type Project string

func (p *Project) read(text string) error {
	if err := printable("project", text); err != nil {
		return err
	}
	if len(text) > 64 || strings.ContainsAny(text, `\/:*?"<>;#$*{},+=[]|`) {
		return mistake{quote(text) + " is not a valid project name", "Write the name or the ID of a project."}
	}
	*p = Project(text)
	return nil
}

// PipelineID is the ID of a pipeline definition, as its address shows it
// (definitionId).
type PipelineID int

func (p *PipelineID) numeric() {}
func (p *PipelineID) read(text string) error {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 || text[0] == '+' || text[0] == '0' {
		return mistake{quote(text) + " is not the ID of a pipeline", "Write the number that its address has after definitionId=."}
	}
	*p = PipelineID(n)
	return nil
}

// ObjectID is the object ID of an identity in Microsoft Entra ID, in lower case.
type ObjectID string

func (o *ObjectID) read(text string) error {
	lower := strings.ToLower(text)
	if !grammar().guid.MatchString(lower) {
		return mistake{quote(text) + " is not an object ID", "Write the GUID that Microsoft Entra ID shows as the object ID. An application's client ID is another one."}
	}
	*o = ObjectID(lower)
	return nil
}

// Approver is a person or group: a unique name, a descriptor or
// [Project]\Group.
type Approver string

func (a *Approver) read(text string) error {
	if err := printable("approver", text); err != nil {
		return err
	}
	*a = Approver(text)
	return nil
}

// CommentPattern is an RE2 regular expression.
type CommentPattern struct{ *regexp.Regexp }

func (c *CommentPattern) expressions(text string) []expression.Expression {
	return expression.FindInPattern(text)
}

func (c *CommentPattern) read(text string) error {
	if len(text) > 1000 {
		return mistake{fmt.Sprintf("the pattern has %d bytes, more than 1000", len(text)), ""}
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return mistake{fmt.Sprintf("%s is not a valid RE2 regular expression: %s", quote(text), strings.TrimPrefix(err.Error(), "error parsing regexp: ")), ""}
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

// printable checks a name of Azure DevOps. It rejects invisible characters,
// which would make two names look sameRules.
func printable(what, text string) error {
	bad := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad || len(text) > 400 || strings.TrimSpace(text) != text {
		return mistake{fmt.Sprintf("%s is not a valid %s name", quote(text), what), "A name has at most 400 bytes, no surrounding spaces and no invisible characters."}
	}
	return nil
}

const nameRemedy = "A name has at most 64 letters, digits, '.', '_' and '-', and begins with a letter or digit."

// isName reports whether s is a valid name of a registry, flow or trust level.
func isName(s string) bool {
	if s == "" || len(s) > 64 || strings.Trim(s[:1], "._-") == "" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}
