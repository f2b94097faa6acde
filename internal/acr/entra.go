package acr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"acrpromote/internal/refusal"
	"acrpromote/internal/sanitize"
)

// Connection is an Azure Resource Manager service connection, as the agent
// passes it to a task. Authority is the address that the connection names for
// its tokens, or empty.
type Connection struct {
	Name, ID         string
	Cloud            Cloud
	Authority        string
	Tenant, ClientID string
	// Secrets, if not nil, are those of the whole run: the identity adds its own.
	Secrets *sanitize.Secrets
}

// Identity issues tokens of Microsoft Entra ID for one service connection, or
// for the user at a prompt.
type Identity struct {
	name  string
	cloud Cloud
	host  string
	inner azcore.TokenCredential
	// secrets are removed from what responses repeat.
	secrets *sanitize.Secrets
	// chain is set if the identity tries several credentials, of which all but
	// one may fail.
	chain bool
}

var (
	_ azcore.TokenCredential = (*Identity)(nil)
	_ cloudCredential        = (*Identity)(nil)
)

// Cloud returns the cloud whose registries this identity is for.
func (i *Identity) Cloud() Cloud { return i.cloud }

// NewSecretCredential returns the identity of a connection with a client
// secret. The client must reach the connection's authority; the identity sends
// requests to no other host.
func NewSecretCredential(c Connection, secret string, client *http.Client) (*Identity, error) {
	i, err := newIdentity(c)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		return nil, fmt.Errorf("the service connection %s has no client secret; renew it in the project's settings, or use workload identity federation", c.Name)
	}
	i.secrets.Add(secret)
	i.inner, err = azidentity.NewClientSecretCredential(c.Tenant, c.ClientID, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            i.options(client),
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		return nil, i.misconfigured(err)
	}
	return i, nil
}

// NewCertificateCredential returns the identity of a connection with a
// certificate and its private key in PEM, which must be valid now. The client
// must reach the connection's authority; the identity sends requests to no other
// host.
func NewCertificateCredential(c Connection, pem string, now time.Time, client *http.Client) (*Identity, error) {
	i, err := newIdentity(c)
	if err != nil {
		return nil, err
	}
	i.secrets.Add(pem)
	certificates, key, err := parseCertificate([]byte(pem), now)
	if err != nil {
		return nil, i.misconfigured(err)
	}
	i.inner, err = azidentity.NewClientCertificateCredential(c.Tenant, c.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions:            i.options(client),
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		return nil, i.misconfigured(err)
	}
	return i, nil
}

// NewFederatedCredential returns the identity of a connection with workload
// identity federation. The client must reach the connection's authority and the
// collection; the identity sends requests to no other host.
func NewFederatedCredential(c Connection, f Federation, client *http.Client) (*Identity, error) {
	i, err := newIdentity(c)
	if err != nil {
		return nil, err
	}
	assertion, err := f.assertionSource(c, client, i.secrets)
	if err != nil {
		return nil, err
	}
	// azidentity has a credential for Azure Pipelines, but it takes the address
	// for the job's token from the environment.
	i.inner, err = azidentity.NewClientAssertionCredential(c.Tenant, c.ClientID, func(ctx context.Context) (string, error) {
		text, err := assertion(ctx)
		if err != nil {
			captureFrom(ctx).record(err)
		}
		return text, err
	}, &azidentity.ClientAssertionCredentialOptions{
		ClientOptions:            i.options(client),
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		return nil, i.misconfigured(err)
	}
	return i, nil
}

// NewUserCredential returns the identity of the user at a prompt: the environment,
// a workload or managed identity, or the sign-in of az, azd or Azure PowerShell. The
// variables are those of the environment that say which (see userSources). The
// credential may start these programs. The metadata client must reach the metadata
// service without a proxy.
func NewUserCredential(c Cloud, variables map[string]string, now time.Time, client, metadata *http.Client) (*Identity, error) {
	i := &Identity{name: "your own identity (az login)", cloud: c, host: c.Authority, chain: true, secrets: &sanitize.Secrets{}}
	options := i.options(client)
	options.Transport = sdkTransport{client: withoutRedirects(client), metadata: withoutRedirects(metadata)}
	inner, err := userCredential(userOptions{variables: variables, client: options, metadata: withoutRedirects(metadata), now: now})
	if err != nil {
		return nil, i.misconfigured(err)
	}
	i.inner = inner
	return i, nil
}

func newIdentity(c Connection) (*Identity, error) {
	host, err := c.Cloud.authority(c.Authority)
	if err != nil {
		return nil, fmt.Errorf("service connection %s: %w", c.Name, err)
	}
	i := c.identity(host)
	if c.Tenant == "" || c.ClientID == "" {
		return nil, i.misconfigured(errors.New("its tenant or its client id is missing"))
	}
	return i, nil
}

// identity returns an identity whose tokens a host issues, and no credential yet.
func (c Connection) identity(host string) *Identity {
	i := &Identity{name: "service connection " + c.Name, cloud: c.Cloud, host: host, secrets: c.Secrets}
	if i.secrets == nil {
		i.secrets = &sanitize.Secrets{}
	}
	return i
}

func (i *Identity) misconfigured(err error) error {
	return fmt.Errorf("%s cannot be used: %s; check it in the project's settings", i.name, i.secrets.Bounded(err.Error(), maxMessage))
}

func (i *Identity) options(client *http.Client) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: "https://" + i.host + "/"},
		Transport: sdkTransport{client: withoutRedirects(client), only: i.host},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

// GetToken requests a token, and explains errors.
func (i *Identity) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	seen := &errorCapture{}
	defer seen.release()
	token, err := i.inner.GetToken(context.WithValue(ctx, errorCaptureKey{}, seen), options)
	if err == nil {
		return token, nil
	}
	if cause := seen.first(); cause != nil && !i.chain {
		return azcore.AccessToken{}, transportError(i.host, i.op(), cause, i.secrets)
	}
	if ctx.Err() != nil {
		return azcore.AccessToken{}, transportError(i.host, i.op(), ctx.Err(), i.secrets)
	}
	return azcore.AccessToken{}, i.entraError(err)
}

func (i *Identity) op() string { return "signing in as " + i.name }

// entraError reads Entra's response (RFC 6749, 5.2, with AADSTS codes in the
// description:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func (i *Identity) entraError(err error) error {
	e := &Error{Host: i.host, Op: i.op(), kind: ErrDenied}
	failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	if !ok || failed.RawResponse == nil {
		e.detail = i.secrets.Bounded(err.Error(), maxMessage)
		e.Remedy = "Check the connection's tenant, client id and credential"
		if i.chain {
			i.explainChain(e, err)
		}
		return e
	}
	e.Status = failed.RawResponse.StatusCode
	var doc struct{ Error, Description string }
	if failed.RawResponse.Body != nil {
		body, _ := io.ReadAll(io.LimitReader(failed.RawResponse.Body, maxResponse))
		_ = json.Unmarshal(body, &struct {
			Error       *string `json:"error"`
			Description *string `json:"error_description"`
		}{&doc.Error, &doc.Description})
	}
	description, _, _ := strings.Cut(strings.ReplaceAll(doc.Description, "\r", "\n"), "\n")
	description, _, _ = strings.Cut(description, " Trace ID:")
	e.Code, e.Message = i.secrets.Bounded(doc.Error, maxCode), i.secrets.Bounded(description, maxMessage)
	entry, known := refusal.Find(refusal.Entra, refusal.Response{Status: e.Status, Code: refusal.EntraCode(e.Message), Message: e.Message})
	if !known {
		entry = refusal.Named("entra-refused")
	}
	e.detail, e.Remedy = entry.Fill(
		"subject", refusal.Presented("subject", e.Message), "issuer", refusal.Presented("issuer", e.Message),
		"audience", refusal.Presented("audience", e.Message))
	if entry.Name == "entra-refused" && i.chain {
		i.explainChain(e, err)
	}
	if e.Status >= 500 || e.Status == http.StatusTooManyRequests {
		e.kind = ErrUnreachable
	}
	return e
}

// Name returns what the identity is called in messages.
func (i *Identity) Name() string { return i.name }

// explainChain makes an error say what came of each source of the user's identity.
func (i *Identity) explainChain(e *Error, err error) {
	if tried := i.tried(err.Error()); tried != "" {
		e.detail = "no source of an identity works. " + tried
	}
	e.Remedy = "Sign in (az login), or give a user and password for the registry; AZURE_TOKEN_CREDENTIALS selects one source, such as AzureCLICredential"
}

// tried returns a sentence for each source that azidentity's chain has tried. The
// chain's text has a line for each, which begins with a tab, and more lines of
// that source, which begin with two. It is empty for any other text.
func (i *Identity) tried(text string) string {
	_, list, found := strings.Cut(text, "Attempted credentials:\n\t")
	if !found {
		return ""
	}
	list = strings.ReplaceAll(list, "\n\t\t", " ")
	var sentences []string
	for source := range strings.SplitSeq(list, "\n\t") {
		name, reason, _ := strings.Cut(source, ": ")
		// A response is dumped between lines of dashes, without a colon after the name.
		if failed, dump, is := strings.Cut(source, " authentication failed"); is && sourceLabel(failed) != "" {
			dump = strings.ReplaceAll(dump, strings.Repeat("-", 80), " ")
			name, reason = failed, strings.Join(strings.Fields("authentication failed"+dump), " ")
		}
		if known := sourceLabel(strings.TrimSpace(name)); known != "" {
			name = known
		}
		sentences = append(sentences, strings.TrimSuffix(name+": "+i.secrets.Bounded(reason, maxReason), ".")+".")
	}
	return strings.Join(sentences, " ")
}

// maxReason is how much is shown of the reason of one source.
const maxReason = 200

// sdkTransport is the HTTP client below Azure's SDK. It follows no redirects
// and limits the size of responses. If only is set, it sends requests to that
// host alone. If metadata is set, it is the client for the metadata service.
type sdkTransport struct {
	client   *http.Client
	metadata *http.Client
	only     string
}

func (b sdkTransport) Do(req *http.Request) (*http.Response, error) {
	resp, err := b.do(req)
	if err != nil {
		captureFrom(req.Context()).record(err)
	}
	return resp, err
}

func (b sdkTransport) do(req *http.Request) (*http.Response, error) {
	if b.only != "" && (req.URL.Scheme != "https" || !strings.EqualFold(req.URL.Host, b.only)) {
		return nil, fmt.Errorf("the sign-in would go to %s instead of %s, and was stopped; AZURE_REGIONAL_AUTHORITY_NAME must not be set", sanitize.Bounded(req.URL.Host, 100), b.only)
	}
	req, err := bufferedBody(req)
	if err != nil {
		return nil, err
	}
	client := b.client
	if b.metadata != nil && req.URL.Host == MetadataHost {
		client = b.metadata
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := captureFrom(req.Context()).readAll(req.Context(), resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK && marks(body) > maxMarks {
		return nil, fmt.Errorf("the response has more than %d values", maxMarks)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// maxMarks limits the values of a document that the SDK decodes, into maps and
// pointers of many times its size. The attributes of an index of 500 children have
// about 2,000.
const maxMarks = 50_000

// marks returns an upper bound for the number of values of a JSON document.
func marks(document []byte) int {
	n := 0
	for _, c := range document {
		if c == ',' || c == '{' || c == '[' {
			n++
		}
	}
	return n
}

// bufferedBody gives each attempt a body of its own. The SDK's GetBody rewinds
// the one reader that an earlier attempt may still be sending from.
func bufferedBody(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	content, err := readAll(req.Body)
	if err != nil {
		return nil, err
	}
	own := req.Clone(req.Context())
	own.ContentLength = int64(len(content))
	own.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	own.Body, _ = own.GetBody()
	return own, nil
}

func readAll(body io.ReadCloser) ([]byte, error) { return readAllFrom(nil, body, nil) }

// readAllFrom reads the rest of a body, of which begin has been read, and closes it.
func readAllFrom(begin []byte, body io.ReadCloser, err error) ([]byte, error) {
	defer body.Close()
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(body, maxResponse+1-int64(len(begin))))
	if err != nil {
		return nil, err
	}
	read := append(begin, rest...)
	if len(read) > maxResponse {
		return nil, fmt.Errorf("more than %d bytes are not read", maxResponse)
	}
	return read, nil
}

func withoutRedirects(client *http.Client) *http.Client {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	return &own
}
