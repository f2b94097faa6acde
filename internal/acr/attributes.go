package acr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Attributes are the registry's metadata of a repository, a tag or a manifest.
// All of it was in the response. Digest is the digest that a tag points to, or
// the manifest's own; it is empty for a repository.
type Attributes struct {
	Digest                      string
	Created, Updated            time.Time
	WriteEnabled, DeleteEnabled bool
}

// Metadata reads and sets attributes at one Azure Container Registry (GET and
// PATCH /acr/v1/…).
type Metadata struct {
	host    string
	client  *azcontainerregistry.Client
	secrets *sanitize.Secrets // of signing in
	signIn  *SignIn
}

// NewMetadata returns a client that sends nothing yet. s signs its requests.
func NewMetadata(host string, s *SignIn, client *http.Client, plain bool) (*Metadata, error) {
	scheme := "https"
	if plain {
		scheme = "http"
	}
	if !s.owns(&url.URL{Scheme: scheme, Host: host}) {
		return nil, fmt.Errorf("the attributes of %s cannot be asked for with the sign-in to %s", host, s.host)
	}
	own := withoutRedirects(client)
	if own.Transport == nil {
		return nil, fmt.Errorf("the attributes of %s have no way to the network", host)
	}
	own.Transport = s.Transport(own.Transport)
	sdk, err := azcontainerregistry.NewClient(scheme+"://"+s.host, nil, &azcontainerregistry.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport: unauthorizedAsError{sdkTransport{client: own, only: ""}},
			Retry:     policy.RetryOptions{MaxRetries: -1},
			// With an Authorization header the SDK skips its own sign-in, which
			// would send the first PATCH without a body and trust the
			// challenge. authTransport replaces the header.
			PerCallPolicies: []policy.Policy{placeholderAuthorization{}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("the attributes of %s cannot be asked for: %w", host, err)
	}
	return &Metadata{host: s.host, client: sdk, secrets: s.secrets, signIn: s}, nil
}

type placeholderAuthorization struct{}

func (placeholderAuthorization) Do(req *policy.Request) (*http.Response, error) {
	req.Raw().Header.Set("Authorization", "Bearer -")
	return req.Next()
}

// unauthorizedAsError turns a 401 into an error. The SDK would answer it with
// its own sign-in.
type unauthorizedAsError struct{ sdkTransport }

func (f unauthorizedAsError) Do(req *http.Request) (*http.Response, error) {
	resp, err := f.sdkTransport.Do(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	err = &unauthorizedError{body: body}
	captureFrom(req.Context()).record(err)
	return nil, err
}

type unauthorizedError struct{ body []byte }

func (*unauthorizedError) Error() string { return "HTTP 401" }

// Tag returns a tag's attributes.
func (m *Metadata) Tag(ctx context.Context, repository, tag string) (Attributes, error) {
	op := "reading the attributes of " + repository + ":" + tag
	seen := &errorCapture{}
	defer seen.release()
	answer, err := m.client.GetTagProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, tag, nil)
	if err != nil {
		return Attributes{}, m.sdkError(op, repository, err, seen, reading)
	}
	if answer.Tag == nil || answer.Tag.ChangeableAttributes == nil {
		return Attributes{}, m.missing(op, "tag")
	}
	t := answer.Tag
	if t.Name != nil && *t.Name != tag {
		return Attributes{}, m.missing(op, "tag of this name")
	}
	return m.digested(op, t.Digest, t.CreatedOn, t.LastUpdatedOn, t.ChangeableAttributes.CanWrite, t.ChangeableAttributes.CanDelete)
}

// Manifest returns a manifest's attributes.
func (m *Metadata) Manifest(ctx context.Context, repository, digest string) (Attributes, error) {
	op := "reading the attributes of " + repository + "@" + digest
	seen := &errorCapture{}
	defer seen.release()
	answer, err := m.client.GetManifestProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, digest, nil)
	if err != nil {
		return Attributes{}, m.sdkError(op, repository, err, seen, reading)
	}
	if answer.Manifest == nil || answer.Manifest.ChangeableAttributes == nil {
		return Attributes{}, m.missing(op, "manifest")
	}
	a := answer.Manifest
	attributes, err := m.digested(op, a.Digest, a.CreatedOn, a.LastUpdatedOn, a.ChangeableAttributes.CanWrite, a.ChangeableAttributes.CanDelete)
	if err == nil && attributes.Digest != digest {
		return Attributes{}, m.missing(op, "manifest of this digest")
	}
	return attributes, err
}

// Repository returns a repository's attributes, which apply to every image in
// it.
func (m *Metadata) Repository(ctx context.Context, repository string) (Attributes, error) {
	op := "reading the attributes of " + repository
	seen := &errorCapture{}
	defer seen.release()
	answer, err := m.client.GetRepositoryProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, nil)
	if err != nil {
		return Attributes{}, m.sdkError(op, repository, err, seen, reading)
	}
	if answer.ChangeableAttributes == nil {
		return Attributes{}, m.missing(op, "changeableAttributes")
	}
	return m.complete(op, answer.CreatedOn, answer.LastUpdatedOn, answer.ChangeableAttributes.CanWrite, answer.ChangeableAttributes.CanDelete)
}

// SetTag sets whether a tag can be written (moved) and deleted.
func (m *Metadata) SetTag(ctx context.Context, repository, tag string, write, del bool) error {
	seen := &errorCapture{}
	defer seen.release()
	_, err := m.client.UpdateTagProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, tag, &azcontainerregistry.ClientUpdateTagPropertiesOptions{
		Value: &azcontainerregistry.TagWriteableProperties{CanWrite: &write, CanDelete: &del},
	})
	if err != nil {
		return m.sdkError("setting the lock of "+repository+":"+tag, repository, err, seen, writing)
	}
	return nil
}

// SetManifest sets whether a manifest can be written and deleted.
func (m *Metadata) SetManifest(ctx context.Context, repository, digest string, write, del bool) error {
	seen := &errorCapture{}
	defer seen.release()
	_, err := m.client.UpdateManifestProperties(context.WithValue(ctx, errorCaptureKey{}, seen), repository, digest, &azcontainerregistry.ClientUpdateManifestPropertiesOptions{
		Value: &azcontainerregistry.ManifestWriteableProperties{CanWrite: &write, CanDelete: &del},
	})
	if err != nil {
		return m.sdkError("setting the lock of "+repository+"@"+digest, repository, err, seen, writing)
	}
	return nil
}

const (
	reading = "metadata_read"
	writing = "metadata_write"
)

// digested returns the attributes of something that has a digest.
func (m *Metadata) digested(op string, digest *string, created, updated *time.Time, write, del *bool) (Attributes, error) {
	if digest == nil || !ref.IsDigest(*digest) {
		return Attributes{}, m.missing(op, "digest")
	}
	attributes, err := m.complete(op, created, updated, write, del)
	if err == nil {
		attributes.Digest = *digest
	}
	return attributes, err
}

func (m *Metadata) complete(op string, created, updated *time.Time, write, del *bool) (Attributes, error) {
	switch {
	case created == nil || created.IsZero():
		return Attributes{}, m.missing(op, "createdTime")
	case updated == nil || updated.IsZero():
		return Attributes{}, m.missing(op, "lastUpdateTime")
	case write == nil:
		return Attributes{}, m.missing(op, "writeEnabled")
	case del == nil:
		return Attributes{}, m.missing(op, "deleteEnabled")
	}
	return Attributes{Created: created.UTC(), Updated: updated.UTC(), WriteEnabled: *write, DeleteEnabled: *del}, nil
}

// missing is the error for a response without a required field: an absent
// attribute is neither locked nor unlocked.
func (m *Metadata) missing(op, what string) error {
	return &Error{Host: m.host, Op: op, detail: "the response has no " + what, Remedy: "Check whether the host is an Azure Container Registry, and which proxy or gateway is in front of it"}
}

func (m *Metadata) sdkError(op, repository string, err error, seen *errorCapture, action string) error {
	var e *Error
	refused, answeredAtAll := errors.AsType[*azcore.ResponseError](err)
	unauthorized, is401 := errors.AsType[*unauthorizedError](seen.first())
	switch {
	case is401:
		e = responseError(m.host, op, http.StatusUnauthorized, unauthorized.body, m.secrets)
	case answeredAtAll && refused.RawResponse != nil:
		var body []byte
		if refused.RawResponse.Body != nil {
			body, _ = io.ReadAll(io.LimitReader(refused.RawResponse.Body, maxResponse))
		}
		e = responseError(m.host, op, refused.StatusCode, body, m.secrets)
	case seen.first() != nil:
		return transportError(m.host, op, seen.first(), m.secrets)
	default:
		return &Error{Host: m.host, Op: op, detail: "the answer cannot be understood: " + m.secrets.Bounded(err.Error(), maxMessage), Remedy: "Check that it is a registry of Azure, and what is in front of it"}
	}
	switch {
	case errors.Is(e, ErrDenied) && e.Remedy == "":
		e.Remedy = m.signIn.Remedy(map[string][]string{repository: {action}})
	case errors.Is(e, ErrUnsupported):
		e.detail = "this registry keeps no attributes and locks"
		e.Remedy = "Only Azure Container Registry has them, which seals and locks need. Check the host and what is in front of it; for a registry of another kind, use a flow file with sealed: false and without lock"
	}
	return e
}
