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
			restRefusal{http.StatusBadRequest, "The service connection with id " + connection + " is not referenced by this step.",
				"Microsoft.TeamFoundation.DistributedTask.WebApi.OidcTokenException", 3000}.write(w)
			return
		}
		claims["sub"] = named.Subject()
	case t.run == nil:
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
	writeJSON(w, http.StatusOK, map[string]any{"oidcToken": o.signer.sign(claims)})
}
