package sim

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// jobToken is the token that one job of one run has: opaque, and good for the
// run's own project alone.
type jobToken struct {
	value   string
	project *Project
	run     *Run     // nil in a release
	release *Release // nil in a YAML run
	// personal marks a person's token, which no job has.
	personal bool
	hub      string
	planID   string
	jobID    string
	// connections are the ids that an input of the job's step names: for no
	// others does the service give out assertions.
	connections []string
}

// issue makes a token known. Callers hold mu.
func (o *Organization) issue(t *jobToken) *jobToken {
	b := make([]byte, 48)
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Sprintf("sim: no random bytes: %v", err))
	}
	t.value = "job." + base64.RawURLEncoding.EncodeToString(b)
	o.tokens[t.value] = t
	return t
}

func (s *Stage) newToken(a *attempt) *jobToken {
	p := s.phases[0]
	return s.run.project.org.issue(&jobToken{project: s.run.project, run: s.run, hub: "build",
		planID: s.run.planID, jobID: s.jobID(a, p, p.jobs[0])})
}

// RunToken is the response to a request for a run's own token, without a service
// connection. Which of them a server gives is not documented.
type RunToken int

const (
	RunTokenIssued    RunToken = iota
	RunTokenRefused            // 400, as for a service connection that the job does not use
	RunTokenUnknown            // 404
	RunTokenNoAddress          // the agent gets no address to ask at
)

// SetRunToken sets the response to requests for a run's own token.
func (o *Organization) SetRunToken(t RunToken) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runToken = t
}

// RefuseInMessage makes a refused request for a token have its reason in
// value.Message. Otherwise value is the text. Both have been seen.
func (o *Organization) RefuseInMessage() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages = true
}

// refuseToken responds to a request for a token that is refused.
func (o *Organization) refuseToken(w http.ResponseWriter, reason string) {
	o.mu.Lock()
	messages := o.messages
	o.mu.Unlock()
	body := map[string]any{"count": len(reason), "value": reason}
	if messages {
		body = map[string]any{"count": 1, "value": map[string]any{"Message": reason}}
	}
	writeJSON(w, http.StatusBadRequest, body)
}

// requestURI is SYSTEM_OIDCREQUESTURI.
func (t *jobToken) requestURI() string {
	return fmt.Sprintf("%s/_apis/distributedtask/hubs/%s/plans/%s/jobs/%s/oidctoken", t.project.url(), t.hub, t.planID, t.jobID)
}

func (t *jobToken) serveOIDC(w http.ResponseWriter, hub, plan, job, connection string) {
	p := t.project
	o := p.org
	if hub != t.hub || !strings.EqualFold(plan, t.planID) || !strings.EqualFold(job, t.jobID) {
		restRefusal{http.StatusForbidden, "TF400813: The user '" + p.buildService() + "' is not authorized to access this resource.",
			"Microsoft.TeamFoundation.Framework.Server.UnauthorizedRequestException", 3000}.write(w)
		return
	}
	now := time.Now()
	claims := map[string]any{
		"jti": guidOf(fmt.Sprintf("%s/%d", t.planID, now.UnixNano())), "aud": federationAudience, "iss": o.Issuer(),
		"nbf": now.Add(-10 * time.Minute).Unix(), "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	o.mu.Lock()
	var hooks []func(map[string]any)
	switch {
	case connection != "":
		var named *ServiceConnection
		for _, s := range p.connection {
			if strings.EqualFold(s.id, connection) && slices.Contains(t.connections, s.id) && s.scheme == "WorkloadIdentityFederation" {
				named = s
			}
		}
		if named == nil {
			o.mu.Unlock()
			o.refuseToken(w, "There is no explicit reference to the service connection "+connection+" in the job "+t.jobID+", so no token is issued for it.")
			return
		}
		claims["sub"] = named.Subject()
	case o.runToken == RunTokenRefused:
		o.mu.Unlock()
		o.refuseToken(w, "There is no explicit reference to a service connection in the request of the job "+t.jobID+".")
		return
	case t.run == nil || o.runToken != RunTokenIssued:
		// Whether a classic release has a token of its own is not documented.
		o.mu.Unlock()
		restRefusal{http.StatusNotFound, "No token is issued for this hub.",
			"Microsoft.TeamFoundation.DistributedTask.WebApi.OidcTokenException", 3000}.write(w)
		return
	default:
		r := t.run
		claims["sub"] = fmt.Sprintf("p://%s/%s/%s", o.name, p.name, r.options.Pipeline)
		claims["org_id"], claims["prj_id"] = o.id, p.id
		claims["def_id"], claims["run_id"] = fmt.Sprint(r.pipeline), fmt.Sprint(r.id)
		claims["rpo_id"], claims["rpo_uri"] = r.repositoryID(), o.Collection()+p.name+"/_git/"+p.name
		claims["rpo_ver"], claims["rpo_ref"] = r.options.Commit, r.options.Branch
		hooks = slices.Clone(r.hooks["claims"])
	}
	o.mu.Unlock()
	for _, hook := range hooks {
		hook(claims)
	}
	doc := map[string]any{"oidcToken": o.signer.sign(claims)}
	o.verify("TaskHubOidcToken", doc)
	writeJSON(w, http.StatusOK, doc)
}
