package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// vaultCredential requests tokens for the vault's audience and no other, of the
// identity's own tenant: the vault has no say in either.
type vaultCredential struct {
	inner    azcore.TokenCredential
	audience string
}

func (c vaultCredential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return c.inner.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.audience + "/.default"}})
}

// transport is what azkeys sends its requests with.
//
// azkeys sends its first request without a token, and takes audience and tenant from
// the challenge. Both are known from the vault's host and the connection, so that the
// transport answers this request itself: it saves a round trip, and a challenge from
// the network never decides what token is requested.
type transport struct {
	host      string
	challenge string
	client    *http.Client
}

func newTransport(key Reference, client *http.Client) *transport {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	// azkeys needs some tenant; vaultCredential does not pass it on.
	return &transport{host: key.Host, client: &own, challenge: fmt.Sprintf(`Bearer authorization="https://login.invalid/own", resource="%s"`, key.audience())}
}

// unauthorizedError is a 401 of the vault. azkeys would take its challenge, and panic if
// the authorization in it is not a URL.
type unauthorizedError struct{ body []byte }

func (*unauthorizedError) Error() string { return "HTTP 401" }

// Do implements policy.Transporter.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || !strings.EqualFold(req.URL.Host, t.host) {
		return nil, errors.New("the request would go to another host than the vault, and was stopped")
	}
	if req.Header.Get("Authorization") == "" {
		return &http.Response{
			Status: "401 Unauthorized", StatusCode: http.StatusUnauthorized, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Www-Authenticate": {t.challenge}}, Body: http.NoBody, Request: req,
		}, nil
	}
	own := req.Clone(req.Context())
	if req.Body != nil && req.Body != http.NoBody {
		// A body that can be sent again from its beginning, while an earlier
		// attempt may still be reading its own.
		content, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		own.ContentLength = int64(len(content))
		own.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
		own.Body, _ = own.GetBody()
	}
	resp, err := t.client.Do(own)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > MaxAnswer:
		return nil, fmt.Errorf("it has more than %d bytes", MaxAnswer)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, &unauthorizedError{body}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
