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
	"path"
	"strconv"
	"strings"

	"acrpromote/internal/approval"
	"acrpromote/internal/rule"
)

// runToken is what the run's own signed token says of the run. It came over
// TLS from the collection's own host, so reading its claims is enough.
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

// readToken asks for the run's own token, naming no service connection.
// Where the server has none to give (404, 405), or the agent names no address,
// there is nothing to compare, and both results are empty.
func (s *Service) readToken(ctx context.Context) (*runToken, approval.Token, []rule.Refusal) {
	const what = "the run's own token"
	if s.claims.OIDCRequestURI == "" {
		return nil, approval.Token{State: approval.TokenAbsent, Detail: "the agent names no address that gives one"}, nil
	}
	u, err := url.Parse(s.claims.OIDCRequestURI)
	if err != nil || !s.within(u) {
		return nil, approval.Token{}, []rule.Refusal{s.mismatch(what, fmt.Sprintf("the address that is to give the run's own token does not lie within the collection %s, so it was not asked", s.collection.Host+s.collection.Path))}
	}
	u.RawQuery, u.Fragment = url.Values{"api-version": {"7.1"}}.Encode(), ""
	token, err := s.askToken(ctx, u.String())
	var a *answer
	switch {
	case err == nil:
		return token, approval.Token{State: approval.TokenMatched}, nil
	case errors.As(err, &a) && (a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed):
		return nil, approval.Token{State: approval.TokenAbsent, Detail: fmt.Sprintf("the server gives none (status %d)", a.Status)}, nil
	case errors.As(err, &a) && (a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden):
		return nil, approval.Token{}, []rule.Refusal{s.mismatch(what, fmt.Sprintf("Azure DevOps denies this job the run's own token: status %d", a.Status))}
	}
	return nil, approval.Token{}, []rule.Refusal{s.unreadable(what, err, `the permission "View builds" on the pipeline`)}
}

// within tells whether an address lies in the collection: on its host, and, as
// organisations share one, under its path.
func (s *Service) within(u *url.URL) bool {
	root := strings.ToLower(s.collection.Path) + "/"
	return u.Scheme == s.collection.Scheme && u.User == nil && hostPort(u) == hostPort(s.collection) &&
		strings.HasPrefix(strings.ToLower(path.Clean(u.Path))+"/", root)
}

func (s *Service) askToken(ctx context.Context, address string) (*runToken, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, &malformed{"its address cannot be used"}
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	response, err := s.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var document struct {
		Token string `json:"oidcToken"`
	}
	if err := decode(raw, &document); err != nil {
		return nil, err
	}
	return parseToken(document.Token)
}

// parseToken reads the claims of a signed token. Its errors never quote it.
func parseToken(token string) (*runToken, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, &malformed{"it is no signed token"}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, &malformed{"it is no signed token"}
	}
	var claims runToken
	if err := decode(payload, &claims); err != nil {
		return nil, &malformed{"its claims cannot be read"}
	}
	return &claims, nil
}

// bind compares the token's claims with the run.
func (t *runToken) bind(s *Service, b *build) []rule.Refusal {
	var differs []string
	if string(t.RunID) != strconv.Itoa(s.claims.BuildID) {
		differs = append(differs, "run")
	}
	if !approval.SameGUID(string(t.ProjectID), s.claims.ProjectID) {
		differs = append(differs, "project")
	}
	if b != nil && (b.Definition == nil || string(t.DefID) != strconv.Itoa(b.Definition.ID.Value)) {
		differs = append(differs, "pipeline")
	}
	if len(differs) == 0 {
		return nil
	}
	return []rule.Refusal{s.mismatch("the run's own token", fmt.Sprintf("the run's own token names another %s than run %d claims to be", strings.Join(differs, " and another "), s.claims.BuildID))}
}
