package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// client is a container engine somewhere in a network: it signs in, pushes and
// pulls as any does. It shares no code with the program.
type client struct {
	http           *http.Client
	host           string
	user, password string
	token          string
}

func newClient(network *sim.Network, registry *sim.Registry, login login) *client {
	return &client{http: network.Client(), host: registry.Host(), user: login.user, password: login.password}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answerError is an answer that was not hoped for.
type answerError struct {
	method, path  string
	status        int
	code, message string
}

func (e *answerError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.method, e.path, e.status, e.code, e.message)
}

var challengePart = regexp.MustCompile(`(\w+)="([^"]*)"`)

// signIn follows the registry's challenge, as docker login and push do.
func (c *client) signIn(ctx context.Context, repository, actions string) error {
	response, err := c.send(ctx, http.MethodGet, "/v2/", nil, "")
	if err == nil {
		response.Body.Close()
		return fmt.Errorf("%s lets anybody in", c.host)
	}
	refused, ok := err.(*answerError)
	if !ok || refused.status != http.StatusUnauthorized {
		return err
	}
	parts := map[string]string{}
	for _, p := range challengePart.FindAllStringSubmatch(refused.message, -1) {
		parts[p[1]] = p[2]
	}
	query := url.Values{"service": {parts["service"]}, "scope": {"repository:" + repository + ":" + actions}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, parts["realm"]+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	request.SetBasicAuth(c.user, c.password)
	answered, err := c.do(request)
	if err != nil {
		return err
	}
	defer answered.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(answered.Body).Decode(&body); err != nil || body.Token == "" {
		return fmt.Errorf("%s gave no token: %v", c.host, err)
	}
	c.token = body.Token
	return nil
}

// push sends an image: blobs, platforms, the image under its tag, and what is
// attached to it.
func (c *client) push(ctx context.Context, img *image, repository, tag string) error {
	if err := c.signIn(ctx, repository, "pull,push"); err != nil {
		return err
	}
	for _, digest := range sorted(img.blobs) {
		if err := c.pushBlob(ctx, repository, digest, img.blobs[digest]); err != nil {
			return err
		}
	}
	for _, m := range img.children {
		if err := c.pushManifest(ctx, repository, m.Digest, m); err != nil {
			return err
		}
	}
	if err := c.pushManifest(ctx, repository, tag, img.root); err != nil {
		return err
	}
	for _, m := range img.attached {
		if err := c.pushManifest(ctx, repository, m.Digest, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) pushBlob(ctx context.Context, repository, digest string, content []byte) error {
	opened, err := c.send(ctx, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, "")
	if err != nil {
		return err
	}
	opened.Body.Close()
	location, err := opened.Location()
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	stored, err := c.send(ctx, http.MethodPut, location.RequestURI(), content, "application/octet-stream")
	if err != nil {
		return err
	}
	return stored.Body.Close()
}

func (c *client) pushManifest(ctx context.Context, repository, reference string, m testimage.Part) error {
	stored, err := c.send(ctx, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, m.Content, m.MediaType)
	if err != nil {
		return err
	}
	return stored.Body.Close()
}

// pull fetches an image by digest with all that it is made of, and checks every
// byte against its digest.
func (c *client) pull(ctx context.Context, repository, digest string) (*image, error) {
	if err := c.signIn(ctx, repository, "pull"); err != nil {
		return nil, err
	}
	img := &image{blobs: map[string][]byte{}}
	content, err := c.fetch(ctx, "/v2/"+repository+"/manifests/"+digest, digest)
	if err != nil {
		return nil, err
	}
	var index testimage.Manifest
	if err := json.Unmarshal(content, &index); err != nil {
		return nil, err
	}
	img.root = testimage.Part{Descriptor: testimage.Describe(index.MediaType, content), Content: content}
	for _, child := range index.Manifests {
		content, err := c.fetch(ctx, "/v2/"+repository+"/manifests/"+child.Digest, child.Digest)
		if err != nil {
			return nil, err
		}
		img.children = append(img.children, testimage.Part{Descriptor: child, Content: content})
		var d testimage.Manifest
		if err := json.Unmarshal(content, &d); err != nil {
			return nil, err
		}
		for _, b := range d.Blobs() {
			if img.blobs[b.Digest] != nil {
				continue
			}
			if img.blobs[b.Digest], err = c.fetch(ctx, "/v2/"+repository+"/blobs/"+b.Digest, b.Digest); err != nil {
				return nil, err
			}
		}
	}
	return img, nil
}

func (c *client) fetch(ctx context.Context, path, digest string) ([]byte, error) {
	response, err := c.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if got := testimage.Digest(content); got != digest {
		return nil, fmt.Errorf("%s%s: got %s", c.host, path, got)
	}
	return content, nil
}

func (c *client) send(ctx context.Context, method, target string, content []byte, mediaType string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+c.host+target, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		request.Header.Set("Content-Type", mediaType)
	}
	if method == http.MethodGet {
		request.Header.Set("Accept", strings.Join([]string{testimage.IndexType, testimage.ManifestType, "*/*"}, ", "))
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.do(request)
}

func (c *client) do(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil || response.StatusCode < 400 {
		return response, err
	}
	defer response.Body.Close()
	refused := &answerError{method: request.Method, path: request.URL.Path, status: response.StatusCode}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&body) == nil && len(body.Errors) > 0 {
		refused.code, refused.message = body.Errors[0].Code, body.Errors[0].Message
	}
	if challenge := response.Header.Get("Www-Authenticate"); challenge != "" {
		refused.message = challenge
	}
	return nil, refused
}
