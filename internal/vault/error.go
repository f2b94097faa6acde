package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"acrpromote/internal/explain"
	"acrpromote/internal/refusal"
	"acrpromote/internal/sanitize"
)

// Kinds of Error, for errors.Is.
var (
	// ErrUnsuitable is a key that can never sign receipts: another input is needed.
	ErrUnsuitable = errors.New("unsuitable")
	// ErrNotFound is a key or a version that the vault does not have.
	ErrNotFound = errors.New("not found")
	// ErrDenied is a vault that refuses, whatever the reason.
	ErrDenied = errors.New("denied")
	// ErrUnreachable is a vault that does not answer, or not now.
	ErrUnreachable = errors.New("unreachable")
)

// Error is a key that cannot be used: which, for what, why, and the next step. It
// contains no secrets.
type Error struct {
	reason, remedy string
	kind, cause    error
}

var _ explain.Error = (*Error)(nil)

func (e *Error) Error() string { return explain.Text(e.Explanation()) }

// Explanation implements explain.Error.
func (e *Error) Explanation() (reason, remedy string) { return e.reason, e.remedy }

// Unwrap returns the cause, or nil if the vault's answer is the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the error's kind, such as ErrDenied.
func (e *Error) Is(target error) bool { return e.kind != nil && target == e.kind }

// MaxAnswer limits what is read of an answer, in bytes.
const MaxAnswer = 256 << 10

// Limits of what is shown of an answer.
const (
	maxMessage = 512 // characters
	maxCode    = 64  // characters
)

// failed returns the error of an operation with the key.
func (v *Vault) failed(op string, kind error, remedy, detail string, arguments ...any) *Error {
	return &Error{reason: v.key.Host + ": " + op + " failed: " + fmt.Sprintf(detail, arguments...), remedy: remedy, kind: kind}
}

// explain explains an error of azkeys or below it.
func (v *Vault) explain(op string, err error, signing bool) error {
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok && refused.RawResponse != nil {
		var body []byte
		if refused.RawResponse.Body != nil {
			body, _ = io.ReadAll(io.LimitReader(refused.RawResponse.Body, MaxAnswer))
		}
		return v.refused(op, refused.StatusCode, body, signing)
	}
	if refused, ok := errors.AsType[*unauthorizedError](err); ok {
		return v.refused(op, http.StatusUnauthorized, refused.body, signing)
	}
	var explained explain.Error
	switch {
	case errors.Is(err, context.Canceled):
		return &Error{reason: v.key.Host + ": " + op + " was cancelled", cause: err}
	case errors.As(err, &explained):
		reason, remedy := explained.Explanation()
		e := v.failed(op, ErrUnreachable, remedy, "%s", reason)
		e.cause = err
		return e
	}
	return v.failed(op, nil, "Check that it is a Key Vault, and what is in front of it", "the answer cannot be understood: %s", v.secrets.Bounded(err.Error(), maxMessage))
}

// answerError is the document with which a vault refuses.
type answerError struct {
	Error struct {
		Code, Message string
		InnerError    struct{ Code string }
	}
}

// refused explains a vault's refusal. The inner code is the more precise one.
func (v *Vault) refused(op string, status int, body []byte, signing bool) error {
	var answer answerError
	if json.Unmarshal(body, &answer) != nil {
		answer = answerError{}
	}
	code, inner := v.secrets.Bounded(answer.Error.Code, maxCode), v.secrets.Bounded(answer.Error.InnerError.Code, maxCode)
	message := v.secrets.Bounded(answer.Error.Message, maxMessage)
	said := []string{fmt.Sprintf("HTTP %d", status)}
	for _, part := range []string{code, inner} {
		if part != "" {
			said = append(said, part)
		}
	}
	if message != "" {
		said = append(said, "“"+message+"”")
	}
	entry, known := refusal.Find(refusal.KeyVault, refusal.Response{Status: status, Code: cmp.Or(inner, code), Message: message})
	switch {
	case known:
	case status >= 500:
		entry = refusal.Named("vault-unavailable")
	default:
		entry = refusal.Refusal{Cause: "an answer like this was not expected", Remedy: "Check the vault's name, and what is in front of it"}
	}
	var kind error
	switch {
	case entry.Name == "vault-key-operation" || entry.Name == "vault-key-permission":
		kind = ErrUnsuitable
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		kind = ErrDenied
	case status == http.StatusNotFound:
		kind = ErrNotFound
	case status == http.StatusTooManyRequests || status >= 500:
		kind = ErrUnreachable
	}
	return v.failed(op, kind, v.fill(entry.Remedy, message, signing), "%s (%s)", v.fill(entry.Cause, message, signing), strings.Join(said, ", "))
}

// fill replaces the placeholders of a refusal.
func (v *Vault) fill(text, message string, signing bool) string {
	name, _, _ := strings.Cut(v.key.Host, ".")
	key := v.key.Name
	if v.key.Version != "" {
		key += " with the version " + v.key.Version
	}
	return strings.NewReplacer("{vault}", v.key.Host, "{name}", name, "{key}", key, "{address}", clientAddress(message), "{grant}", v.grant(name, signing)).Replace(text)
}

// grant returns what to grant so that the identity may use the key.
func (v *Vault) grant(vault string, signing bool) string {
	what, permissions := "read and sign with the key", "get sign"
	if !signing {
		what, permissions = "read the key", "get"
	}
	return fmt.Sprintf("Let %s %s: grant it the role Key Vault Crypto User on the key (az role assignment create --role \"Key Vault Crypto User\" --assignee %s --scope \"$(az keyvault show --name %s --query id --output tsv)/keys/%s\"); in a vault with access policies: az keyvault set-policy --name %s --spn %s --key-permissions %s. It can take some minutes to apply",
		v.identity, what, v.clientID, vault, v.key.Name, vault, v.clientID, permissions)
}

// clientAddress returns the address that a firewall's message names.
func clientAddress(message string) string {
	_, rest, found := strings.Cut(message, "Client address: ")
	address, _, _ := strings.Cut(rest, " ")
	if !found || address == "" || len(address) > 45 || strings.Trim(address, "0123456789abcdefABCDEF.:") != "" {
		return "this machine's address"
	}
	return address
}

// unreadable is the error for a key file. what is a clause about the file.
func unreadable(path, what, remedy string) *Error {
	return &Error{reason: fmt.Sprintf("the key file %s %s", sanitize.Bounded(path, maxShown), what), remedy: remedy, kind: ErrUnsuitable}
}
