// Package refusal explains how Azure Container Registry, Microsoft Entra ID, Azure
// DevOps and Azure Key Vault refuse requests: from what a service says to the cause and the next
// step, in one table. docs/refusals.md is made from it.
package refusal

import (
	"slices"
	"strings"
)

// Service is who refuses.
type Service string

// The services.
const (
	Registry Service = "Azure Container Registry"
	Entra    Service = "Microsoft Entra ID"
	DevOps   Service = "Azure DevOps"
	KeyVault Service = "Azure Key Vault"
)

// Refusal is one way to refuse. Status, Codes and Says are its conditions, of which
// an empty one always holds. Cause is a clause; Remedy is a sentence without its
// full stop. Both can contain placeholders, such as {address}.
type Refusal struct {
	Name    string // its heading on the page
	Service Service
	Status  []int
	Codes   []string // the service's own: an AADSTS number, the code of a registry, of Azure DevOps or of a vault
	Says    []string // what the message contains, in lower case; one of them
	Cause   string
	Remedy  string
}

// Response is what a service said.
type Response struct {
	Status  int
	Code    string
	Message string
}

// Find returns the first entry of the table that fits a response.
func Find(service Service, said Response) (Refusal, bool) {
	message := strings.ToLower(said.Message)
	for _, r := range All {
		if r.Service == service && r.identifies() && r.fits(said, message) {
			return r, true
		}
	}
	return Refusal{}, false
}

// identifies reports whether the entry has a condition. The others are found by
// what the program was doing; see Named.
func (r Refusal) identifies() bool { return len(r.Status)+len(r.Codes)+len(r.Says) > 0 }

func (r Refusal) fits(said Response, message string) bool {
	return (len(r.Status) == 0 || slices.Contains(r.Status, said.Status)) &&
		(len(r.Codes) == 0 || slices.Contains(r.Codes, said.Code)) &&
		(len(r.Says) == 0 || slices.ContainsFunc(r.Says, func(part string) bool { return strings.Contains(message, part) }))
}

// Named returns an entry by its name, which must exist.
func Named(name string) Refusal {
	return All[slices.IndexFunc(All, func(r Refusal) bool { return r.Name == name })]
}

// Fill returns cause and remedy with the placeholders replaced: name, value, …
func (r Refusal) Fill(pairs ...string) (cause, remedy string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if i%2 == 0 {
			pairs[i] = "{" + pairs[i] + "}"
		}
	}
	replace := strings.NewReplacer(pairs...)
	return replace.Replace(r.Cause), replace.Replace(r.Remedy)
}

// EntraCode returns the number of an error of Microsoft Entra ID from its
// description: "AADSTS7000215: Invalid client secret provided."
func EntraCode(description string) string {
	rest, found := strings.CutPrefix(description, "AADSTS")
	code, _, colon := strings.Cut(rest, ":")
	if !found || !colon || code == "" || len(code) > 8 || strings.Trim(code, "0123456789") != "" {
		return ""
	}
	return "AADSTS" + code
}

// DevOpsCode returns the code at the beginning of a message of Azure DevOps:
// "TF400813: The user is not authorized to access this resource."
func DevOpsCode(message string) string {
	code, _, found := strings.Cut(message, ":")
	digits := strings.TrimPrefix(strings.TrimPrefix(code, "TF"), "VS")
	if !found || digits == code || digits == "" || len(digits) > 7 || strings.Trim(digits, "0123456789") != "" {
		return ""
	}
	return code
}

// Presented returns the subject, the issuer or the audience (what) that an
// assertion presented, from the message with which Microsoft Entra ID refused it.
// It is "what Entra names in its message" if the message has none.
func Presented(what, message string) string {
	for _, before := range []string{"presented assertion " + what + " '", "Assertion " + strings.ToUpper(what[:1]) + what[1:] + ": '"} {
		if _, rest, found := strings.Cut(message, before); found {
			if value, _, closed := strings.Cut(rest, "'"); closed && value != "" {
				return "“" + value + "”"
			}
		}
	}
	return "the " + what + " in the message"
}
