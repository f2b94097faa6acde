package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"acrpromote/internal/sanitize"
)

// longestBody is how much of a response is read.
const longestBody = 1 << 20

// newHTTPClient returns a client that uses the proxy and the CA of the environment
// and follows no redirect.
func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// response is what a service answered.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (r response) accepted() bool { return r.status >= 200 && r.status < 300 }

// refused reports whether the service understood the request and said no.
func (r response) refused() bool {
	return r.status >= 400 && r.status < 500 && r.status != http.StatusTooManyRequests && r.status != http.StatusRequestTimeout
}

// code returns the error code of the distribution protocol, "" if there is none.
func (r response) code() string {
	var document struct{ Errors []struct{ Code string } }
	if json.Unmarshal(r.body, &document) != nil || len(document.Errors) == 0 {
		return ""
	}
	return document.Errors[0].Code
}

// answer returns what the response says as an answer to a question.
func (r response) answer(letter string) answer {
	return answer{Answer: letter, Status: r.status, Code: r.code(), Body: string(r.body)}
}

// either returns one letter if the response accepts, the other if it refuses.
func (r response) either(accepted, refused string) answer {
	switch {
	case r.accepted():
		return r.answer(accepted)
	case r.refused():
		return r.answer(refused)
	}
	return r.answer(answerOther)
}

// want returns an error unless the response is a success.
func (r response) want(what string) error {
	if r.accepted() {
		return nil
	}
	return fmt.Errorf("%s: %d %s %s", what, r.status, r.code(), r.body)
}

func send(ctx context.Context, client *http.Client, method, address string, header map[string]string, body []byte) (response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	for name, value := range header {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	answered, err := client.Do(request)
	if err != nil {
		return response{}, err
	}
	defer answered.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answered.Body, longestBody))
	if err != nil {
		return response{}, fmt.Errorf("%s %s: %w", method, address, err)
	}
	return response{answered.StatusCode, answered.Header, content}, nil
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// signIn is who signs in to registries: a user with a password, or the identity
// that azidentity finds.
type signIn struct {
	http           *http.Client
	secrets        *sanitize.Secrets
	user, password string
	credential     azcore.TokenCredential
}

// entra returns an Entra token for registries.
func (s *signIn) entra(ctx context.Context) (string, error) {
	if s.credential == nil {
		credential, err := azidentity.NewDefaultAzureCredential(nil)
		if err != nil {
			return "", err
		}
		s.credential = credential
	}
	token, err := s.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://containerregistry.azure.net/.default"}})
	if err != nil {
		return "", fmt.Errorf("signing in to Entra ID (az login?): %w", err)
	}
	s.secrets.Add(token.Token)
	return token.Token, nil
}

// registry is one name of a registry. Its requests are plain HTTP: the answers are
// what is looked for.
type registry struct {
	host    string
	http    *http.Client
	sign    *signIn
	service string // of its tokens, once the challenge is known
	refresh string
	touched map[string]bool // ids of facts that pushed something
}

func newRegistry(host string, client *http.Client, sign *signIn) *registry {
	return &registry{host: host, http: client, sign: sign, touched: map[string]bool{}}
}

var challengePart = regexp.MustCompile(`(\w+)="([^"]*)"`)

// challenge asks under which service name tokens are given. They are asked for at the
// registry's own host, whatever realm the challenge names.
func (r *registry) challenge(ctx context.Context) error {
	if r.service != "" {
		return nil
	}
	got, err := send(ctx, r.http, http.MethodGet, "https://"+r.host+"/v2/", nil, nil)
	if err != nil {
		return err
	}
	header := got.header.Get("WWW-Authenticate")
	for _, p := range challengePart.FindAllStringSubmatch(header, -1) {
		if p[1] == "service" {
			r.service = p[2]
		}
	}
	if r.service == "" {
		return fmt.Errorf("%s answers %d without a challenge", r.host, got.status)
	}
	return nil
}

// tokenAs asks the endpoint for an access token under a service name.
func (r *registry) tokenAs(ctx context.Context, service, scope string) (string, response, error) {
	if err := r.challenge(ctx); err != nil {
		return "", response{}, err
	}
	var got response
	var err error
	if r.sign.user != "" {
		query := url.Values{"service": {service}, "scope": {scope}}
		got, err = send(ctx, r.http, http.MethodGet, "https://"+r.host+"/oauth2/token?"+query.Encode(), map[string]string{"Authorization": basic(r.sign.user, r.sign.password)}, nil)
	} else {
		if err := r.exchange(ctx); err != nil {
			return "", response{}, err
		}
		got, err = r.form(ctx, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "service": {service}, "scope": {scope}, "refresh_token": {r.refresh}})
	}
	if err != nil {
		return "", response{}, err
	}
	var document struct {
		Token string `json:"access_token"`
	}
	if got.accepted() {
		if err := json.Unmarshal(got.body, &document); err != nil {
			return "", response{}, err
		}
		r.sign.secrets.Add(document.Token)
		got.body = nil
	}
	return document.Token, got, nil
}

// exchange turns the Entra token into a refresh token, once for each registry.
func (r *registry) exchange(ctx context.Context) error {
	if r.refresh != "" {
		return nil
	}
	entra, err := r.sign.entra(ctx)
	if err != nil {
		return err
	}
	got, err := r.form(ctx, "/oauth2/exchange", url.Values{"grant_type": {"access_token"}, "service": {r.service}, "access_token": {entra}})
	if err != nil {
		return err
	}
	if err := got.want("signing in to " + r.host); err != nil {
		return err
	}
	var document struct {
		Token string `json:"refresh_token"`
	}
	if err := json.Unmarshal(got.body, &document); err != nil || document.Token == "" {
		return fmt.Errorf("signing in to %s: no refresh token", r.host)
	}
	r.refresh = document.Token
	r.sign.secrets.Add(r.refresh)
	return nil
}

// form posts a form to the registry.
func (r *registry) form(ctx context.Context, path string, values url.Values) (response, error) {
	return send(ctx, r.http, http.MethodPost, "https://"+r.host+path, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(values.Encode()))
}

// everything is what a probe may do in its own repository.
const everything = "pull,push,delete,metadata_read,metadata_write"

// empty returns an error if the registry has a repository.
func (r *registry) empty(ctx context.Context) error {
	if err := r.challenge(ctx); err != nil {
		return err
	}
	token, got, err := r.tokenAs(ctx, r.service, "registry:catalog:*")
	if err != nil {
		return err
	}
	if err := got.want("a token for the catalog of " + r.host); err != nil {
		return err
	}
	got, err = send(ctx, r.http, http.MethodGet, "https://"+r.host+"/v2/_catalog", map[string]string{"Authorization": "Bearer " + token}, nil)
	if err != nil {
		return err
	}
	if err := got.want("listing the repositories of " + r.host); err != nil {
		return err
	}
	var document struct{ Repositories []string }
	if err := json.Unmarshal(got.body, &document); err != nil {
		return fmt.Errorf("listing the repositories of %s: %w", r.host, err)
	}
	if n := len(document.Repositories); n > 0 {
		return fmt.Errorf("registry %s has repositories, such as %s: this program works only in empty registries", r.host, document.Repositories[0])
	}
	return nil
}

const (
	imageType    = "application/vnd.oci.image.manifest.v1+json"
	artifactType = "application/vnd.acrpromote.livecheck"
)

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// repository is the repository of one fact in a registry.
type repository struct {
	registry *registry
	name     string
}

func repositoryOf(id string) string { return "livecheck/" + id }

// repository returns the repository that a fact's probe works in.
func (r *registry) repository(id string) *repository {
	r.touched[id] = true
	return &repository{r, repositoryOf(id)}
}

// do sends a request with a token for everything in this repository.
func (r *repository) do(ctx context.Context, method, path, mediaType string, body []byte) (response, error) {
	return r.with(ctx, everything, method, path, mediaType, body)
}

// with sends a request with a token for these actions.
func (r *repository) with(ctx context.Context, actions, method, path, mediaType string, body []byte) (response, error) {
	if err := r.registry.challenge(ctx); err != nil {
		return response{}, err
	}
	token, got, err := r.registry.tokenAs(ctx, r.registry.service, "repository:"+r.name+":"+actions)
	if err != nil {
		return response{}, err
	}
	if token == "" {
		return response{}, got.want("a token for " + r.name)
	}
	header := map[string]string{"Authorization": "Bearer " + token, "Content-Type": mediaType}
	if method == http.MethodGet {
		header["Accept"] = imageType + ", application/vnd.oci.image.index.v1+json, application/json"
	}
	return send(ctx, r.registry.http, method, "https://"+r.registry.host+path, header, body)
}

func (r *repository) distribution(path string) string { return "/v2/" + r.name + path }

// attributesPath is the path of the attributes of a tag or a manifest.
func (r *repository) attributesPath(reference string) string {
	kind := "_tags"
	if strings.Contains(reference, ":") {
		kind = "_manifests"
	}
	return "/acr/v1/" + url.PathEscape(r.name) + "/" + kind + "/" + reference + "?api-version=2021-07-01"
}

// blob uploads a blob in one piece.
func (r *repository) blob(ctx context.Context, content []byte) error {
	opened, err := r.do(ctx, http.MethodPost, r.distribution("/blobs/uploads/"), "", nil)
	if err != nil {
		return err
	}
	if err := opened.want("opening an upload"); err != nil {
		return err
	}
	at, err := url.Parse("https://" + r.registry.host)
	if err != nil {
		return err
	}
	if at, err = at.Parse(opened.header.Get("Location")); err != nil {
		return err
	}
	if at.Host != r.registry.host {
		return fmt.Errorf("%s opens uploads at %s", r.registry.host, at.Host)
	}
	query := at.Query()
	query.Set("digest", digestOf(content))
	at.RawQuery = query.Encode()
	put, err := r.do(ctx, http.MethodPut, at.RequestURI(), "application/octet-stream", content)
	if err != nil {
		return err
	}
	return put.want("uploading a blob")
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

func describe(mediaType string, content []byte) descriptor {
	return descriptor{mediaType, digestOf(content), len(content)}
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
	Subject       *descriptor  `json:"subject,omitempty"`
}

// pushed is a manifest whose blobs are in the repository.
type pushed struct {
	content []byte
	digest  string
}

// build uploads the blobs of a new artifact, which has a subject or not, and
// returns its manifest, which it does not put.
func (r *repository) build(ctx context.Context, subject *pushed) (*pushed, error) {
	config, layer := []byte("{}"), []byte(rand.Text())
	for _, content := range [][]byte{config, layer} {
		if err := r.blob(ctx, content); err != nil {
			return nil, err
		}
	}
	m := manifest{SchemaVersion: 2, MediaType: imageType, ArtifactType: artifactType,
		Config: describe("application/vnd.oci.empty.v1+json", config), Layers: []descriptor{describe("text/plain", layer)}}
	if subject != nil {
		d := describe(imageType, subject.content)
		m.Subject = &d
	}
	content, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &pushed{content, digestOf(content)}, nil
}

// put puts a manifest under a tag or its digest.
func (r *repository) put(ctx context.Context, p *pushed, reference string) (response, error) {
	return r.do(ctx, http.MethodPut, r.distribution("/manifests/"+reference), imageType, p.content)
}

// push builds and puts a manifest under a tag, or under its digest if the tag is
// empty.
func (r *repository) push(ctx context.Context, tag string, subject *pushed) (*pushed, error) {
	p, err := r.build(ctx, subject)
	if err != nil {
		return nil, err
	}
	if tag == "" {
		tag = p.digest
	}
	got, err := r.put(ctx, p, tag)
	if err != nil {
		return nil, err
	}
	return p, got.want("pushing a manifest")
}

// change changes attributes of a tag or a manifest.
func (r *repository) change(ctx context.Context, reference, attributes string) (response, error) {
	return r.do(ctx, http.MethodPatch, r.attributesPath(reference), "application/json", []byte(attributes))
}

// set changes attributes and returns an error if the registry refuses.
func (r *repository) set(ctx context.Context, reference, attributes string) error {
	got, err := r.change(ctx, reference, attributes)
	if err != nil {
		return err
	}
	return got.want("changing attributes of " + reference)
}

const (
	lockedTag    = `{"deleteEnabled":false,"writeEnabled":false}`
	writeLocked  = `{"writeEnabled":false}`
	readDisabled = `{"readEnabled":false}`
	unlocked     = `{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}`
)

// remove unlocks and deletes a repository.
func (r *registry) remove(ctx context.Context, name string) error {
	repo := &repository{r, name}
	base := "/acr/v1/" + url.PathEscape(name)
	var problems []error
	for kind, key := range map[string]string{"_tags": "name", "_manifests": "digest"} {
		got, err := repo.do(ctx, http.MethodGet, base+"/"+kind+"?api-version=2021-07-01", "", nil)
		if err != nil {
			return err
		}
		if got.status == http.StatusNotFound {
			return nil
		}
		var document map[string]json.RawMessage
		var entries []map[string]any
		if json.Unmarshal(got.body, &document) == nil {
			_ = json.Unmarshal(document[strings.TrimPrefix(kind, "_")], &entries)
		}
		for _, e := range entries {
			if reference, ok := e[key].(string); ok {
				problems = append(problems, repo.set(ctx, reference, unlocked))
			}
		}
	}
	got, err := repo.do(ctx, http.MethodDelete, base+"?api-version=2021-07-01", "", nil)
	if err != nil {
		return err
	}
	if err := got.want("deleting the repository"); err != nil {
		return errors.Join(append(problems, err)...)
	}
	return nil
}
