// Package arm reads Azure Resource Manager: container registries, what belongs to them,
// and who has rights on them. It sends nothing but GET.
//
// A token for Azure Resource Manager is sent only to the management host of its cloud,
// whatever the address of a next page says. The package reaches the network through the
// http.Client that it is given.
package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"acrpromote/internal/explain"
	"acrpromote/internal/sanitize"
)

// endpoints are the management host and the audience of its tokens by cloud, as
// azcore has them (sdk/azcore/arm/runtime).
var endpoints = map[string]struct{ host, audience string }{
	"AzureCloud":        {"management.azure.com", "https://management.core.windows.net/"},
	"AzureChinaCloud":   {"management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn/"},
	"AzureUSGovernment": {"management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net/"},
}

// Host returns the management host of a cloud, by its name in service connections.
func Host(cloud string) string { return endpoints[cloud].host }

// Limits of what is read: pages of a list, and bytes of an error.
const (
	maxPages   = 2_000
	maxMessage = 512
	maxCode    = 64
	maxRefusal = 64 << 10
	// MaxPage limits the bytes of one page.
	MaxPage = 16 << 20
)

// Client reads Azure Resource Manager as one identity. It is safe for concurrent use.
type Client struct {
	host, audience string
	credential     azcore.TokenCredential
	client         *http.Client
	secrets        *sanitize.Secrets
	clientID       string

	mu    sync.Mutex // guards token
	token azcore.AccessToken
	roles sync.Map // doctor.Role by GUID
}

// New returns a client for a cloud. It sends nothing yet. The HTTP client must not
// follow redirects, and limits and repeats requests. clientID is the application of the
// identity, or empty.
func New(cloud string, credential azcore.TokenCredential, client *http.Client, clientID string, secrets *sanitize.Secrets) (*Client, error) {
	at, known := endpoints[cloud]
	if !known {
		return nil, fmt.Errorf("the cloud %q has no Azure Resource Manager that is known", cloud)
	}
	return &Client{host: at.host, audience: at.audience, credential: credential, client: client, clientID: clientID, secrets: secrets}, nil
}

// Error is a request that Azure Resource Manager refused or did not answer.
type Error struct {
	Status int // 0 if there was no answer
	Code   string
	reason string
	cause  error
}

func (e *Error) Error() string { return e.reason }

// Unwrap returns the cause, or nil if the answer is the cause.
func (e *Error) Unwrap() error { return e.cause }

// denied reports whether the identity lacks a right. What it may not see is not found.
func (e *Error) denied() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusNotFound
}

// unknownVersion reports whether this cloud does not have the version that was asked
// for.
func (e *Error) unknownVersion() bool {
	return e.Code == "NoRegisteredProviderFound" || e.Code == "InvalidApiVersionParameter" || e.Code == "InvalidResourceType"
}

// bearer returns a token that is valid for some minutes.
func (c *Client) bearer(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Until(c.token.ExpiresOn) > 5*time.Minute {
		return c.token.Token, nil
	}
	token, err := c.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.audience + "/.default"}})
	if err != nil {
		return "", err
	}
	c.secrets.Add(token.Token)
	c.token = token
	return token.Token, nil
}

// send sends one GET to an address of the management host, and decodes the answer.
func (c *Client) send(ctx context.Context, address string, v any) error {
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "https" || !strings.EqualFold(at.Host, c.host) || at.User != nil {
		return &Error{reason: "the next page is at another address than " + c.host + ": " + c.secrets.Bounded(address, maxMessage)}
	}
	token, err := c.bearer(ctx)
	if err != nil {
		return c.unanswered(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return c.unanswered(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return c.unanswered(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return c.refused(response)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return c.unanswered(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return &Error{Status: response.StatusCode, reason: "the answer of " + c.host + " is not complete or not of the documented form: " + c.secrets.Bounded(err.Error(), maxMessage)}
	}
	return nil
}

func (c *Client) unanswered(err error) error {
	reason, _ := explain.Split(err, "")
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		reason, _ = explain.Split(wrapped.Err, "")
	}
	return &Error{reason: c.secrets.Bounded(reason, maxMessage), cause: err}
}

// refused explains an answer that is not 200.
func (c *Client) refused(response *http.Response) error {
	var answer struct {
		Error struct{ Code, Message string }
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if json.Unmarshal(body, &answer) != nil {
		answer.Error.Code, answer.Error.Message = "", ""
	}
	e := &Error{Status: response.StatusCode, Code: c.secrets.Bounded(answer.Error.Code, maxCode)}
	e.reason = strings.TrimSpace(fmt.Sprintf("%s answered HTTP %d %s", c.host, e.Status, e.Code))
	if message := c.secrets.Bounded(answer.Error.Message, maxMessage); message != "" {
		e.reason += ", “" + strings.TrimSuffix(message, ".") + "”"
	}
	return e
}

// get reads the resource at a path, by the first of the versions that the cloud has.
// query is added as it is.
func (c *Client) get(ctx context.Context, path string, versions []string, query string, v any) error {
	var err error
	for _, version := range versions {
		err = c.send(ctx, "https://"+c.host+path+"?api-version="+version+query, v)
		if refused, ok := errors.AsType[*Error](err); !ok || !refused.unknownVersion() {
			return err
		}
	}
	return err
}

// page is one page of a list.
type page struct {
	Value    *[]json.RawMessage
	NextLink string
}

// list reads the list at a path, and calls each for every element, at most limit.
func (c *Client) list(ctx context.Context, path string, versions []string, query string, limit int, each func(json.RawMessage) error) error {
	var p page
	err := c.get(ctx, path, versions, query, &p)
	count := 0
	for pages := 1; ; pages++ {
		if err != nil {
			return err
		}
		if p.Value == nil {
			return &Error{Status: http.StatusOK, reason: "the answer of " + c.host + " has no list"}
		}
		for _, element := range *p.Value {
			if count++; count > limit {
				return &Error{reason: fmt.Sprintf("there are more than %d", limit)}
			}
			if err := each(element); err != nil {
				return &Error{Status: http.StatusOK, reason: "the answer of " + c.host + " is not of the documented form: " + c.secrets.Bounded(err.Error(), maxMessage)}
			}
		}
		if p.NextLink == "" {
			return nil
		}
		if pages == maxPages {
			return &Error{reason: fmt.Sprintf("there are more than %d pages", maxPages)}
		}
		next := p.NextLink
		p = page{}
		err = c.send(ctx, next, &p)
	}
}
