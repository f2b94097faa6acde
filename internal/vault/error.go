package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"acrpromote/internal/explain"
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

// refused explains a vault's refusal: the first entry that fits.
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
	for _, r := range refusals {
		if r.status == status && (r.code == "" || r.code == code || r.code == inner) && strings.Contains(message, r.says) {
			e := v.failed(op, r.kind, v.fill(r.remedy, message, signing), "%s (%s)", v.fill(r.cause, message, signing), strings.Join(said, ", "))
			return e
		}
	}
	kind, cause, remedy := error(nil), "an answer like this was not expected", "Check the vault's name, and what is in front of it"
	switch {
	case status >= 500:
		kind, cause, remedy = ErrUnreachable, "the vault is unavailable", "Run it again later"
	case status >= 300 && status < 400:
		cause = "it redirects to another address, which is not followed"
	}
	return v.failed(op, kind, remedy, "%s (%s)", cause, strings.Join(said, ", "))
}

// refusals are the ways in which a vault refuses. An empty code or message fits any.
// https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
var refusals = []struct {
	status        int
	code, says    string
	kind          error
	cause, remedy string
}{
	{401, "", "AKV10032", ErrDenied, "the identity belongs to another tenant than the vault", "Use a service connection of the vault's tenant in receiptConnection"},
	{401, "", "", ErrDenied, "the vault does not accept the identity's token", "Check that the connection's identity belongs to the vault's tenant and cloud"},
	{403, "ForbiddenByFirewall", "", ErrDenied, "the vault's firewall does not admit {address}", "Allow it under Networking of the vault, or run the job on an agent in a network that the vault admits"},
	{403, "ForbiddenByConnection", "", ErrDenied, "the vault is reachable only over its private endpoint", "Run the job on an agent in a network where {vault} resolves to the private endpoint"},
	{403, "KeyDisabled", "", ErrDenied, "the key is disabled", "Enable this version of the key, or name another key or version"},
	{403, "KeyExpired", "", ErrDenied, "the key has expired", "Rotate the key, or extend this version's expiration date"},
	{403, "KeyNotYetValid", "", ErrDenied, "the key is not valid yet", "Change this version's activation date, or name another version"},
	{403, "KeyOperationForbidden", "", ErrUnsuitable, "the key does not permit signing", "Add sign to its permitted operations, or use another key"},
	{403, "", "not permitted on this key", ErrUnsuitable, "the key does not permit signing", "Add sign to its permitted operations, or use another key"},
	{403, "", "", ErrDenied, "access is denied", "{grant}"},
	{404, "", "", ErrNotFound, "the vault has no key {key}", "Correct its name or version; a deleted key can be recovered for some time (az keyvault key list-deleted --vault-name {name})"},
	{429, "", "", ErrUnreachable, "the vault limits requests", "Run it again later. The limit is shared by everything that uses the vault; EC keys have the highest"},
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
