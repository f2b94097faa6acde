package acr

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"acrpromote/internal/keyed"
)

// MetadataHost is the Azure Instance Metadata Service, which issues the tokens of
// a machine's managed identities
// (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
// The machine reaches it directly and over plain HTTP.
const MetadataHost = "169.254.169.254"

const metadataVersion = "2018-02-01"

// The metadata service answers 404 and 410 while it is being updated, which takes
// at most 70 seconds.
const (
	metadataRetries = 4
	metadataWait    = 2 * time.Second
)

// managedIdentity issues tokens of a managed identity of this machine.
// azidentity's own credential takes the address of another service from the
// environment, which the pipeline's author can set.
type managedIdentity struct {
	identity *Identity
	clientID string // "" selects the system-assigned identity, or the only one
	client   *http.Client
	wait     time.Duration
	now      func() time.Time

	requests keyed.Flight[string, azcore.AccessToken]
	mu       sync.Mutex
	kept     map[string]keptToken // by resource
}

// keptToken is a token for one resource.
type keptToken struct {
	token
	expires time.Time
}

// NewManagedIdentity returns the identity of a connection that uses the managed
// identity of the agent's machine. If the connection has a client ID, it is the
// user-assigned identity with that ID. The client must reach the metadata service
// without a proxy; the identity sends requests to no other host.
func NewManagedIdentity(c Connection, client *http.Client) (*Identity, error) {
	i := c.identity(MetadataHost)
	i.inner = &managedIdentity{identity: i, clientID: c.ClientID, client: withoutRedirects(client), wait: metadataWait, now: time.Now, kept: map[string]keptToken{}}
	return i, nil
}

// GetToken implements azcore.TokenCredential. The registries of a run share one
// token, and so do its vaults.
func (m *managedIdentity) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	resource := strings.TrimSuffix(options.Scopes[0], "/.default")
	issued, err := m.requests.Do(ctx, resource, func(ctx context.Context) (azcore.AccessToken, error) {
		m.mu.Lock()
		kept := m.kept[resource]
		m.mu.Unlock()
		if kept.valid(m.now()) {
			return azcore.AccessToken{Token: kept.text, ExpiresOn: kept.expires}, nil
		}
		issued, err := m.request(ctx, resource)
		if err == nil {
			life := issued.ExpiresOn.Sub(m.now())
			m.mu.Lock()
			m.kept[resource] = keptToken{token{text: issued.Token, renewAt: issued.ExpiresOn.Add(-renewBefore(life))}, issued.ExpiresOn}
			m.mu.Unlock()
		}
		return issued, err
	})
	if err != nil {
		captureFrom(ctx).record(err)
	}
	return issued, err
}

// request requests a token. The service may issue one that it issued before: what
// is left of its life is in the response, not in the token's own times.
func (m *managedIdentity) request(ctx context.Context, resource string) (azcore.AccessToken, error) {
	query := url.Values{"api-version": {metadataVersion}, "resource": {resource}}
	if m.clientID != "" {
		query.Set("client_id", m.clientID)
	}
	address := url.URL{Scheme: "http", Host: MetadataHost, Path: "/metadata/identity/oauth2/token", RawQuery: query.Encode()}
	for attempt := 1; ; attempt++ {
		status, body, err := m.ask(ctx, address.String())
		if err != nil {
			return azcore.AccessToken{}, err
		}
		updating := status == http.StatusNotFound || status == http.StatusGone
		if !updating || attempt > metadataRetries {
			return m.read(status, body)
		}
		timer := time.NewTimer(m.wait << (attempt - 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return azcore.AccessToken{}, transportError(MetadataHost, m.identity.op(), ctx.Err(), m.identity.secrets)
		}
	}
}

func (m *managedIdentity) ask(ctx context.Context, address string) (status int, body []byte, err error) {
	i := m.identity
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, transportError(MetadataHost, i.op(), err, i.secrets)
	}
	req.Header.Set("Metadata", "true")
	resp, err := m.client.Do(req)
	if err == nil {
		status = resp.StatusCode
		body, err = readAll(resp.Body)
	}
	if err != nil {
		e := transportError(MetadataHost, i.op(), err, i.secrets)
		if e.kind == ErrUnreachable {
			// Without the cause, whose remedy is about proxies and firewalls.
			e.cause = nil
			e.Remedy = "A managed identity works only on an agent that runs on a machine of Azure; use workload identity federation elsewhere"
		}
		return 0, nil, e
	}
	return status, body, nil
}

// read reads the metadata service's response. Its numbers are strings.
func (m *managedIdentity) read(status int, body []byte) (azcore.AccessToken, error) {
	i := m.identity
	e := &Error{Host: MetadataHost, Op: i.op(), Status: status}
	var doc struct {
		Token       string `json:"access_token"`
		ExpiresIn   any    `json:"expires_in"`
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if status >= 300 && status < 400 {
		body = nil
	}
	readable := json.Unmarshal(body, &doc) == nil
	if status == http.StatusOK && readable && wellFormed(doc.Token) {
		i.secrets.Add(doc.Token)
		seconds, err := strconv.ParseInt(fmt.Sprint(doc.ExpiresIn), 10, 64)
		if err != nil || seconds <= 0 || seconds > int64(maxLifetime/time.Second) {
			seconds = int64(defaultLifetime / time.Second)
		}
		return azcore.AccessToken{Token: doc.Token, ExpiresOn: m.now().Add(time.Duration(seconds) * time.Second)}, nil
	}
	e.Code, e.Message = i.secrets.Bounded(doc.Code, maxCode), i.secrets.Bounded(doc.Description, maxMessage)
	which := "a system-assigned identity"
	if m.clientID != "" {
		which = "the user-assigned identity with the client ID " + i.secrets.Bounded(m.clientID, maxCode)
	}
	switch {
	case status == http.StatusBadRequest && strings.Contains(e.Message, "Multiple user assigned identities"):
		e.kind, e.detail = ErrDenied, "the agent's machine has several user-assigned identities, and the connection selects none"
		e.Remedy = "Enter the client ID of one of them in the connection, or assign only one to the machine"
	case status == http.StatusBadRequest && readable:
		e.kind, e.detail = ErrDenied, "the agent's machine does not have "+which
		e.Remedy = "Assign it to the machine (Identity, in the settings of the virtual machine or scale set), or use another connection"
	case status == http.StatusNotFound, status == http.StatusGone, status >= 500, status == http.StatusTooManyRequests:
		e.kind, e.detail = ErrUnreachable, "the machine's metadata service does not issue tokens at the moment"
		e.Remedy = "Run it again later"
	default:
		e.detail = "the response is not that of Azure's metadata service"
		e.Remedy = "Check what answers at " + MetadataHost + " on the agent's machine"
	}
	return azcore.AccessToken{}, e
}
