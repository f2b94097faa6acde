package sim

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MetadataAddress is where a machine of Azure reaches its metadata service: over
// plain HTTP, at an address that no router forwards.
const MetadataAddress = "169.254.169.254:80"

// MetadataService is the Azure Instance Metadata Service of one machine, as far as it
// issues tokens of the machine's managed identities.
type MetadataService struct {
	system   *Application
	assigned []*Application

	mu       sync.Mutex
	server   *http.Server
	hold     chan struct{}
	failures []int
	requests []string
}

// NewMetadataService returns the service of a machine with a system-assigned
// identity (nil if it has none) and user-assigned ones.
func NewMetadataService(system *Application, assigned ...*Application) *MetadataService {
	return &MetadataService{system: system, assigned: assigned}
}

// Serve answers at the listener until Close.
func (m *MetadataService) Serve(listener net.Listener) {
	server := &http.Server{Handler: m, ReadHeaderTimeout: 30 * time.Second}
	m.mu.Lock()
	m.server = server
	m.mu.Unlock()
	go server.Serve(listener)
}

// Close ends the service and every request that it keeps waiting.
func (m *MetadataService) Close() {
	m.Hang(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != nil {
		m.server.Close()
	}
}

// Hang makes the service accept requests and not answer them.
func (m *MetadataService) Hang(hang bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hold != nil {
		close(m.hold)
		m.hold = nil
	}
	if hang {
		m.hold = make(chan struct{})
	}
}

// Fail makes the next requests end with these statuses: 404, 410 and 5xx while the
// service is updated, 429 where it is asked too often.
func (m *MetadataService) Fail(statuses ...int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = append(m.failures, statuses...)
}

// Requests are the paths and queries that were asked for.
func (m *MetadataService) Requests() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

func (m *MetadataService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.requests = append(m.requests, r.Method+" "+r.URL.RequestURI())
	hold := m.hold
	failure := 0
	if len(m.failures) > 0 {
		failure, m.failures = m.failures[0], m.failures[1:]
	}
	m.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	refuse := func(status int, kind, description string) {
		writeJSON(w, status, map[string]string{"error": kind, "error_description": description})
	}
	query := r.URL.Query()
	switch {
	case failure != 0:
		refuse(failure, "service_unavailable", "The service is being updated.")
	case r.Host != "169.254.169.254" && r.Host != MetadataAddress:
		refuse(http.StatusBadRequest, "invalid_request", "Wrong host")
	case r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != "":
		refuse(http.StatusBadRequest, "invalid_request", "Requests through a proxy are not served")
	case !strings.EqualFold(r.Header.Get("Metadata"), "true"):
		refuse(http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
	case r.URL.Path != "/metadata/identity/oauth2/token":
		http.NotFound(w, r)
	case r.Method != http.MethodGet:
		refuse(http.StatusMethodNotAllowed, "invalid_request", "Method not allowed")
	case query.Get("api-version") != "2018-02-01":
		refuse(http.StatusBadRequest, "invalid_request", "The api-version is missing or not supported")
	case !knownAudience(strings.TrimSuffix(query.Get("resource"), "/")):
		refuse(http.StatusBadRequest, "invalid_resource", "AADSTS500011: The resource principal named "+query.Get("resource")+" was not found in the tenant.")
	default:
		m.token(w, query.Get("client_id"), query.Get("resource"))
	}
}

func (m *MetadataService) token(w http.ResponseWriter, clientID, resource string) {
	app := m.system
	switch {
	case clientID != "":
		app = nil
		for _, a := range m.assigned {
			if strings.EqualFold(a.clientID, clientID) {
				app = a
			}
		}
	case app == nil && len(m.assigned) == 1:
		app = m.assigned[0]
	case app == nil && len(m.assigned) > 1:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request",
			"error_description": "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"})
		return
	}
	if app == nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Identity not found"})
		return
	}
	token, lifetime := app.directory.issue(app, strings.TrimSuffix(resource, "/"))
	until := time.Now().Add(lifetime)
	life := strconv.Itoa(int(lifetime.Seconds()))
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token": token, "client_id": app.clientID, "expires_in": life, "expires_on": fmt.Sprint(until.Unix()),
		"ext_expires_in": life, "not_before": fmt.Sprint(time.Now().Add(-5 * time.Minute).Unix()), "resource": resource, "token_type": "Bearer",
	})
}
