package azdo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"
	"golang.org/x/sync/semaphore"

	"acrpromote/internal/approval"
)

// Resource areas and locations, by the server's identifiers
// (azure-devops-go-api/v7, the clients of each package).
const (
	areaBuild     = "965220d5-5bb9-42cf-8d67-9b146df2a5a4"
	areaApprovals = "5b55a9b6-2e0f-40d7-829d-3741d2b8c4e4"
	areaChecks    = "4a933897-0488-45af-bd82-6fd3ad33f46a"
	areaRelease   = "efc2f575-36ef-48e9-b672-0c6fb4a48ac5"
	areaGit       = "4e080c62-fa21-4fbc-8fef-2a10a2b38049"
	areaTask      = "a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd"
	areaEndpoints = "1814ab31-2f4f-4a9f-8761-f4d77dc5a5d7"

	locationAreas          = "e81700f7-3be2-46de-8624-2eb35882fcaa"
	locationBuild          = "0cd358e1-9217-4d94-8269-1c1ee6f93dcf"
	locationTimeline       = "8baac422-4c6e-4de5-8532-db96d92acffa"
	locationAttachments    = "f2192269-89fa-4f94-baf6-8fb128c55159"
	locationAttachment     = "af5122d3-3438-485e-a25a-2dbbfde84ee6"
	locationApprovals      = "37794717-f36f-4d78-b2bf-4dc30d0cfbcd"
	locationSuite          = "91282c1d-c183-444f-9554-1485bfb3879d"
	locationConfigurations = "86c8381e-5aee-4cde-8ae4-25c0c7f5eaea"
	locationRelease        = "a166fde7-27ad-408e-ba75-703c2cc9d500"
	locationCommit         = "c2570c3b-5b3f-41b8-98bf-5407bfde8d58"
	locationItem           = "fb93c0db-47ed-4a31-8c20-47552878fb44"
	locationPullRequest    = "9946fd70-0d40-406e-b686-b4744cbbcc37"
	locationMergeQuery     = "b3a6eebe-9cf0-49ea-b6cb-1a4c5f5007b0"
	locationEnvironments   = "8572b1fc-2482-47fa-8f74-7e3ed53ee54b"
	locationEndpoints      = "e85f1c62-adfc-4b74-b618-11a150fb195e"
)

// Limits for each response. Real timelines reach 2.1 MB.
const (
	maxBody    = 16 << 20 // bytes
	maxObjects = 50_000
	maxValues  = 500_000
)

// statusError is a response other than a document: a status other than 200, or
// a body other than JSON. Message is the server's own, cleaned.
type statusError struct {
	Status  int
	Message string
}

func (a *statusError) Error() string {
	s := fmt.Sprintf("status %d", a.Status)
	if a.Message != "" {
		s += ": " + a.Message
	}
	return s
}

// malformed is a response that is JSON and yet invalid. The reason may contain
// text of the response as it is. The remedy is empty if the usual one applies.
type malformed struct{ reason, remedy string }

func (m *malformed) Error() string { return m.reason }

// checkedTransport checks responses before the library sees them. The library
// loses the status of a 5xx with HTML, takes any 2xx for a document, and writes
// the session header of a response into a package variable, from any goroutine.
type checkedTransport struct {
	next    http.RoundTripper
	service *Service            // whose secrets are removed
	large   *semaphore.Weighted // large responses
}

func (g checkedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := g.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Header.Del("X-TFS-Session")
	if request.Context().Value(plainContent{}) != nil && response.StatusCode == http.StatusOK {
		return response, nil
	}
	if response.StatusCode == http.StatusOK && isJSON(response.Header.Get("Content-Type")) {
		response.Body = &limitedBody{body: response.Body, ctx: request.Context(), large: g.large}
		return response, nil
	}
	defer response.Body.Close()
	a := &statusError{Status: response.StatusCode}
	if isJSON(response.Header.Get("Content-Type")) {
		head, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		a.Message = g.message(head)
	}
	return nil, a
}

// plainContent marks the context of a request whose response is not a document.
type plainContent struct{}

// message returns the server's message in an error document: in message or, where
// a token is refused, in value, as text or as an object with a message.
func (g checkedTransport) message(body []byte) string {
	var document struct {
		Message string          `json:"message"`
		Value   json.RawMessage `json:"value"`
	}
	if json.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &document) != nil {
		return ""
	}
	var text string
	var object struct {
		Message string `json:"message"`
	}
	switch {
	case document.Message != "":
		text = document.Message
	case json.Unmarshal(document.Value, &text) == nil:
	case json.Unmarshal(document.Value, &object) == nil:
		text = object.Message
	}
	return g.service.secrets.Line(text)
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}

// largeBody is the size in bytes of responses that are read one at a time.
const largeBody = 1 << 20

// limitedBody is the body of a JSON document. It returns an error if the body is
// longer than maxBody, or has so many objects and values that it would take a
// multiple of that once it is decoded. What is larger than largeBody is read one at
// a time, until it is closed.
type limitedBody struct {
	body  io.ReadCloser
	ctx   context.Context
	large *semaphore.Weighted
	held  bool

	read, objects, values int
	inString, escaped     bool
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.read >= maxBody {
		return 0, &malformed{reason: fmt.Sprintf("it is longer than %d MiB", maxBody>>20)}
	}
	if b.read >= largeBody && !b.held {
		if err := b.large.Acquire(b.ctx, 1); err != nil {
			return 0, err
		}
		b.held = true
	}
	p = p[:min(len(p), maxBody-b.read)]
	n, err := b.body.Read(p)
	b.read += n
	b.count(p[:n])
	switch {
	case b.objects > maxObjects:
		return 0, &malformed{reason: fmt.Sprintf("it has more than %d objects", maxObjects)}
	case b.values > maxValues:
		return 0, &malformed{reason: fmt.Sprintf("it has more than %d values", maxValues)}
	}
	return n, err
}

// count counts what begins an object, a list or a further value. A document that is
// no JSON may be counted wrong.
func (b *limitedBody) count(text []byte) {
	for _, c := range text {
		switch {
		case b.escaped:
			b.escaped = false
		case b.inString:
			b.escaped, b.inString = c == '\\', c != '"'
		case c == '"':
			b.inString = true
		case c == '{':
			b.objects++
		case c == ',', c == '[':
			b.values++
		}
	}
}

func (b *limitedBody) Close() error {
	if b.held {
		b.held = false
		b.large.Release(1)
	}
	return b.body.Close()
}

// connect reads the resource areas: one OPTIONS and one GET.
func (s *Service) connect(ctx context.Context) error {
	var document struct {
		Value *[]struct {
			ID          string `json:"id"`
			LocationURL string `json:"locationUrl"`
		} `json:"value"`
	}
	if err := s.send(ctx, s.base, http.MethodGet, locationAreas, "5.1-preview.1", nil, nil, nil, &document); err != nil {
		return err
	}
	if document.Value == nil {
		return &malformed{reason: "it lists no resource areas"}
	}
	wanted := []string{areaBuild, areaApprovals, areaChecks, areaGit, areaTask, areaEndpoints}
	if s.claims.Source() == approval.Release {
		wanted = append(wanted, areaRelease)
	}
	s.areas = make(map[string]*azuredevops.Client, len(wanted))
	if len(*document.Value) == 0 { // a server on premises: one address serves everything
		for _, area := range wanted {
			s.areas[area] = s.base
		}
		return nil
	}
	for _, area := range wanted {
		for _, entry := range *document.Value {
			if !strings.EqualFold(entry.ID, area) {
				continue
			}
			client, err := s.clientAt(area, entry.LocationURL)
			if err != nil && (area == areaTask || area == areaEndpoints) {
				continue // nothing that is decided depends on them
			}
			if err != nil {
				return err
			}
			s.areas[area] = client
		}
	}
	return nil
}

// clientAt returns the client of an area. An address outside the collection
// would receive the job's token, and could answer in place of Azure DevOps. All
// areas but that of releases are at every address of a collection.
func (s *Service) clientAt(area, location string) (*azuredevops.Client, error) {
	address, secure := strings.CutPrefix(location, "https://")
	if !secure || strings.ContainsAny(address, "@?#") {
		return nil, &malformed{reason: "it lists a resource area whose address is not HTTPS"}
	}
	same, releases := s.collection.Is(location)
	switch {
	case !same || releases && area != areaRelease:
		return nil, &malformed{
			reason: fmt.Sprintf("it refers to %s for a resource area of the collection %s, which is at another address, so no request was sent there", strings.TrimRight(address, "/"), s.collection),
			remedy: fmt.Sprintf("If both are names of one server, configure the agent with the one that the server lists, or correct the server's public address. Otherwise check whether a proxy responds in place of %s.", s.collection.Host()),
		}
	case releases:
		return azuredevops.NewClientWithOptions(s.connection, strings.TrimRight(location, "/"), azuredevops.WithHTTPClient(s.http)), nil
	}
	return s.base, nil
}

// get reads one document of an area into v.
func (s *Service) get(ctx context.Context, area, location, version string, route map[string]string, query url.Values, v any) error {
	client := s.areas[area]
	if client == nil {
		return &malformed{reason: "it does not list the resource area " + area}
	}
	return s.send(ctx, client, http.MethodGet, location, version, route, query, nil, v)
}

// send sends one request and decodes the response strictly.
func (s *Service) send(ctx context.Context, client *azuredevops.Client, method, location, version string, route map[string]string, query url.Values, body []byte, v any) (err error) {
	// The library dereferences fields that a server may omit (ids, templates
	// and versions of its locations).
	defer func() {
		if recover() != nil {
			err = &malformed{reason: "its description of its API is incomplete"}
		}
	}()
	var content io.Reader
	mediaType := ""
	if body != nil {
		content, mediaType = bytes.NewReader(body), azuredevops.MediaTypeApplicationJson
	}
	// The library adds the names of the location to the route that it is given,
	// and several requests may share one.
	route = maps.Clone(route)
	response, err := client.Send(ctx, method, uuid.MustParse(location), version, route, query, content, mediaType, azuredevops.MediaTypeApplicationJson, nil)
	if err != nil {
		var missing *azuredevops.LocationIdNotRegisteredError
		if errors.As(err, &missing) {
			return &malformed{reason: "it does not offer the API " + location}
		}
		return err
	}
	defer response.Body.Close()
	if plain, ok := v.(*plainText); ok {
		return plain.read(response.Body)
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return decode(raw, v)
}
