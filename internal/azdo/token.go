package azdo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// runToken has the claims of the run's own signed token. The token came over
// TLS from the collection's own host, so its signature is not checked.
type runToken struct {
	RunID     claim `json:"run_id"`
	DefID     claim `json:"def_id"`
	ProjectID claim `json:"prj_id"`
}

// claim is a claim that is text or a number.
type claim string

func (c *claim) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		*c = claim(text)
		return nil
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return errors.New("it is neither text nor a whole number")
	}
	*c = claim(strconv.Itoa(n))
	return nil
}

// maxToken is the length in bytes of the longest response with a token.
const maxToken = 256 << 10

// readToken requests the run's own token, without a service connection. If the
// server has none (404, 405), or refuses a request without a service connection
// (400), there is nothing to compare. The address is made of the collection and of
// what the job claims: one that the author of the pipeline chose could be an address
// that has no token. The agent's address is compared in any case: that of another job
// is refused.
// https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create
func (s *Service) readToken(ctx context.Context) (approval.TokenResponse, *rule.Refusal) {
	c := s.claims
	if c.OIDCRequestURI != "" {
		u, err := url.Parse(c.OIDCRequestURI)
		if err != nil || !s.collection.Contains(c.OIDCRequestURI) {
			return approval.TokenResponse{Outside: s.collection.String()}, nil
		}
		if plan, job, ok := jobOf(u.Path); ok && !(approval.SameGUID(plan, c.PlanID) && approval.SameGUID(job, c.JobID) && s.inClaimedProject(u.Path)) {
			return approval.TokenResponse{OtherJob: true}, nil
		}
	}
	claims, err := s.askToken(ctx, fmt.Sprintf("%s/%s/_apis/distributedtask/hubs/build/plans/%s/jobs/%s/oidctoken?api-version=7.1",
		s.collection.URL(), approval.GUID(c.ProjectID), approval.GUID(c.PlanID), approval.GUID(c.JobID)))
	var a *statusError
	switch {
	case err == nil:
		return approval.TokenResponse{Claims: claims}, nil
	case errors.As(err, &a) && (a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed):
		return approval.TokenResponse{Absent: fmt.Sprintf("the server provides none (status %d)", a.Status)}, nil
	case errors.As(err, &a) && a.Status == http.StatusBadRequest:
		return approval.TokenResponse{Absent: fmt.Sprintf("the server refuses it without a service connection (%s)", a)}, nil
	case errors.As(err, &a) && (a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden):
		return approval.TokenResponse{Denied: a.Status}, nil
	}
	unread := s.unreadable("the run's own token", err, viewBuilds)
	return approval.TokenResponse{}, &unread
}

// inClaimedProject reports whether an address of a job's tokens is in the project that
// the job claims to belong to, as far as it names one by its id.
func (s *Service) inClaimedProject(path string) bool {
	before, _, _ := strings.Cut(path, "/_apis/")
	project := approval.GUID(before[strings.LastIndex(before, "/")+1:])
	return project == "" || approval.SameGUID(project, s.claims.ProjectID)
}

// jobOf returns the plan and the job in an address of a job's tokens, which ends in
// plans/PLAN/jobs/JOB/oidctoken. It reports false for an address of another form.
func jobOf(path string) (plan, job string, ok bool) {
	parts := strings.Split(strings.TrimRight(path, "/"), "/")
	if n := len(parts) - 5; n >= 0 && strings.EqualFold(parts[n], "plans") && strings.EqualFold(parts[n+2], "jobs") {
		return parts[n+1], parts[n+3], true
	}
	return "", "", false
}

func (s *Service) askToken(ctx context.Context, address string) (approval.TokenClaims, error) {
	request, err := s.request(ctx, http.MethodPost, address)
	if err != nil {
		return approval.TokenClaims{}, err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return approval.TokenClaims{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxToken+1))
	switch {
	case err != nil:
		return approval.TokenClaims{}, err
	case len(raw) > maxToken:
		return approval.TokenClaims{}, &malformed{reason: fmt.Sprintf("it is longer than %d KiB", maxToken>>10)}
	}
	var document struct {
		Token string `json:"oidcToken"`
	}
	if err := decode(raw, &document); err != nil {
		return approval.TokenClaims{}, err
	}
	s.secrets.Add(document.Token)
	return parseToken(document.Token)
}

// request returns a request to an address of the collection.
func (s *Service) request(ctx context.Context, method, address string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, &malformed{reason: "its address cannot be used"}
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	return request, nil
}

// parseToken reads the claims of a signed token. Its errors never quote it.
func parseToken(token string) (approval.TokenClaims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return approval.TokenClaims{}, &malformed{reason: "it is not a signed token"}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return approval.TokenClaims{}, &malformed{reason: "it is not a signed token"}
	}
	var claims runToken
	if err := decode(payload, &claims); err != nil {
		return approval.TokenClaims{}, &malformed{reason: "its claims cannot be read"}
	}
	return approval.TokenClaims{RunID: string(claims.RunID), PipelineID: string(claims.DefID), ProjectID: string(claims.ProjectID)}, nil
}
