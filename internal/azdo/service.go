// Package azdo reads Azure DevOps: the run that this program is part of, the
// stage, and the approvals given for it. It turns documents into the records
// and the evidence of package approval, which decides about them, and also
// whether the environment's claims about the run are true. What does not match,
// or cannot be read, becomes a refusal in the evidence, never an error that
// could be overlooked.
package azdo

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"
	"golang.org/x/sync/semaphore"

	"acrpromote/internal/approval"
	"acrpromote/internal/collection"
	"acrpromote/internal/levenshtein"
	"acrpromote/internal/sanitize"
)

// Claims are what the agent says about the run, and where to ask. Each is
// compared with what the server says, except Collection, which must come from
// the system connection.
type Claims struct {
	approval.Claims

	Collection     string // the URL of the system connection
	ProjectName    string // SYSTEM_TEAMPROJECT: used in remedies until the server told it
	OIDCRequestURI string // SYSTEM_OIDCREQUESTURI
}

// Run is the run as the server confirmed it. Fields that could not be read are
// empty. ID is a build's or a release's.
type Run struct {
	Kind         approval.Source
	Organization string
	Project      string
	ProjectID    string
	ID           int
	URL          string // of its page
	Definition   int
	Pipeline     string // the name of the definition
	Job          string // of a YAML run, without its stage
	Stage        string
	Attempt      int
	Started      time.Time // zero in a classic release
	Branch       string
	Commit       string
	RequestedBy  string // who it was requested for, and who queued it
	Requesters   []approval.Requester
	Queue        string
	Token        approval.Token
}

// Query says which evidence is needed.
type Query struct {
	Stage          string // "" is the stage that this job runs in
	Environment    string // as approval.Rules.Environment
	PostDeployment bool   // classic: the approvals after the deployment too
	Authors        bool   // who pushed the source version must be known
	// Checks lists resources whose checks are needed too, written as
	// Environment is: those of an automated approval.
	Checks []string
}

// Equal reports whether another query has the same evidence. Names are compared
// without case.
func (q Query) Equal(other Query) bool {
	return strings.EqualFold(q.Stage, other.Stage) && strings.EqualFold(q.Environment, other.Environment) &&
		q.PostDeployment == other.PostDeployment && q.Authors == other.Authors && slices.EqualFunc(q.Checks, other.Checks, strings.EqualFold)
}

// UnknownStageError is a stage name that the run does not have.
type UnknownStageError struct {
	Stage string
	Known []string
}

func (e *UnknownStageError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("approvalStage %q: this run has no stages", e.Stage)
	}
	return fmt.Sprintf("approvalStage %q: this run has no such stage; its stages are %s", e.Stage, strings.Join(e.Known, ", "))
}

// Explanation returns the error, and the stage that is probably meant.
func (e *UnknownStageError) Explanation() (reason, remedy string) {
	if near, ok := levenshtein.Nearest(e.Stage, e.Known); ok {
		remedy = fmt.Sprintf("Did you mean %s?", near)
	}
	return e.Error(), remedy
}

// Service reads one run. Its methods must be called one after another; each
// document is read once.
type Service struct {
	claims     Claims
	token      string
	secrets    *sanitize.Secrets
	collection *collection.Collection
	http       *http.Client
	connection *azuredevops.Connection

	read  sync.Once
	run   loadedRun
	areas map[string]*azuredevops.Client // by resource area
	base  *azuredevops.Client
}

// New returns a service that sends nothing yet. The client must not follow
// redirects or add credentials; token is the job's.
func New(client *http.Client, claims Claims, token string) (*Service, error) {
	of, err := collection.Parse(claims.Collection)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errors.New("the system connection has no access token: run this as a step of an Azure Pipelines job")
	}
	if client.Transport == nil {
		// The library's own transport would bypass egress.
		return nil, errors.New("the client for Azure DevOps has no transport")
	}
	guarded := *client
	guarded.Jar = nil
	s := &Service{claims: claims, token: token, collection: of, http: &guarded, secrets: &sanitize.Secrets{}}
	s.secrets.Add(token)
	guarded.Transport = checkedTransport{next: client.Transport, service: s, large: semaphore.NewWeighted(1)}
	s.connection = &azuredevops.Connection{
		AuthorizationString:     "Bearer " + token,
		BaseUrl:                 of.URL(),
		SuppressFedAuthRedirect: true,
	}
	s.base = azuredevops.NewClientWithOptions(s.connection, of.URL(), azuredevops.WithHTTPClient(s.http))
	return s, nil
}

// Redact makes the service add its secrets to those of the whole run, and remove
// all of them from what responses repeat. It must be called before the first
// request.
func (s *Service) Redact(secrets *sanitize.Secrets) {
	s.secrets = secrets
	s.secrets.Add(s.token)
}

// Hosts returns the hosts that reading the run asks, for an allow-list.
func Hosts(claims Claims) ([]string, error) {
	of, err := collection.Parse(claims.Collection)
	if err != nil {
		return nil, err
	}
	return of.Hosts(), nil
}
