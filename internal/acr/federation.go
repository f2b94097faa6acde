package acr

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"acrpromote/internal/collection"
	"acrpromote/internal/ref"
	"acrpromote/internal/refusal"
	"acrpromote/internal/sanitize"
)

const oidcVersion = "7.1"

// Federation describes how a job gets the token of a service connection: from
// the collection, with the job's own token, at SYSTEM_OIDCREQUESTURI.
type Federation struct {
	Collection string
	RequestURI string
	JobToken   string
}

// String and GoString keep the job's token out of printed values.
func (f Federation) String() string   { return "federation with " + f.Collection }
func (f Federation) GoString() string { return f.String() }

// InCollection returns an error unless the address for the job's token is in the
// collection: the job's token is sent to it.
func InCollection(system, requestURI string) error {
	of, err := collection.Parse(system)
	if err != nil {
		return err
	}
	if u, err := url.Parse(requestURI); err != nil || u.Hostname() == "" {
		return fmt.Errorf("the address for the job's token (SYSTEM_OIDCREQUESTURI) cannot be understood")
	}
	if !of.Contains(requestURI) {
		return fmt.Errorf("the address for the job's token (SYSTEM_OIDCREQUESTURI) is not known to be part of the collection %s, which the job's system connection names; nothing was sent there", sanitize.Bounded(of.String(), 100))
	}
	return nil
}

// address returns the host:port of a URL, in lower case. It reports false if it
// is not valid.
func address(u *url.URL) (string, bool) { return ref.HostPort(u.Host, ref.DefaultPort(u.Scheme)) }

// assertionSource returns the function that fetches the connection's assertion.
// It adds the job's token and the assertion to secrets.
func (f Federation) assertionSource(c Connection, client *http.Client, secrets *sanitize.Secrets) (func(context.Context) (string, error), error) {
	if f.RequestURI == "" {
		return nil, fmt.Errorf("service connection %s uses workload identity federation, but this job offers no address for its token (SYSTEM_OIDCREQUESTURI); a newer agent or server is needed, or a connection with a client secret", c.Name)
	}
	if err := InCollection(f.Collection, f.RequestURI); err != nil {
		return nil, fmt.Errorf("service connection %s: %w", c.Name, err)
	}
	if c.ID == "" || !wellFormed(f.JobToken) {
		return nil, fmt.Errorf("service connection %s: its id or the job's token is missing; the agent hands both to a task whose input names the connection", c.Name)
	}
	secrets.Add(f.JobToken)
	address, err := url.Parse(f.RequestURI)
	if err != nil {
		return nil, fmt.Errorf("the address for the job's token (SYSTEM_OIDCREQUESTURI) cannot be understood")
	}
	query := address.Query()
	query.Set("api-version", oidcVersion)
	query.Set("serviceConnectionId", c.ID)
	address.RawQuery, address.Fragment = query.Encode(), ""
	client = withoutRedirects(client)
	return func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), nil)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+f.JobToken)
		req.Header.Set("Accept", "application/json")
		// Get a 401 instead of a redirect to a sign-in page.
		req.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
		return f.requestAssertion(client, req, c, secrets)
	}, nil
}

func (f Federation) requestAssertion(client *http.Client, req *http.Request, c Connection, secrets *sanitize.Secrets) (string, error) {
	op := "asking for the token of service connection " + c.Name
	resp, err := client.Do(req)
	if err != nil {
		return "", transportError(req.URL.Host, op, err, secrets)
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return "", transportError(req.URL.Host, op, err, secrets)
	}
	e := &Error{Host: req.URL.Host, Op: op, Status: resp.StatusCode}
	var doc struct {
		Token   string          `json:"oidcToken"`
		Message string          `json:"message"`
		Value   json.RawMessage `json:"value"`
	}
	readable := json.Unmarshal(body, &doc) == nil
	switch {
	case resp.StatusCode == http.StatusOK && readable && wellFormed(doc.Token):
		secrets.Add(doc.Token)
		return doc.Token, nil
	case resp.StatusCode == http.StatusBadRequest, resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusNotFound:
		e.kind = ErrDenied
		e.detail, e.Remedy = refusal.Named("devops-assertion-refused").Fill()
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		e.kind, e.detail = ErrUnreachable, "Azure DevOps is in trouble"
		e.Remedy = "Run it again later"
	default:
		e.detail = "the response has no token"
		e.Remedy = "Check what stands between the agent and Azure DevOps"
	}
	if resp.StatusCode != http.StatusOK {
		e.Message = secrets.Bounded(reason(doc.Message, doc.Value), maxMessage)
	}
	if entry, known := refusal.Find(refusal.DevOps, refusal.Response{Status: e.Status, Message: e.Message}); known && entry.Name == "devops-connection-not-referenced" {
		e.kind = ErrDenied
		e.detail, e.Remedy = entry.Fill()
	}
	return "", e
}

// reason returns why Azure DevOps refuses a token: message or, as has been seen
// with the status 400, value, which is the text or an object with a message.
func reason(message string, value json.RawMessage) string {
	var text string
	var object struct {
		Message string `json:"message"`
	}
	switch {
	case message != "":
		return message
	case json.Unmarshal(value, &text) == nil:
		return text
	case json.Unmarshal(value, &object) == nil:
		return object.Message
	}
	return ""
}
